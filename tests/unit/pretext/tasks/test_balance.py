"""`pretext.tasks.balance`: known games are solved, and constant answers earn little against balanced draws."""

from collections import Counter

import numpy as np
import pytest

from pretext.tasks.balance import balanced_weights
from pretext.tasks.counting import Counting, CountingParams, _balanced_totals
from pretext.tasks.grounding import Grounding, GroundingParams, _balanced_segments
from pretext.tasks.task import Material
from reward.rules import count_accuracy, interval_iou
from tests.unit.pretext.made import sampled

INTERVALS = [(a, b) for a in range(48) for b in range(a + 1, 49)]


def best_constant_interval(shares: dict[tuple[int, int], float]) -> float:
    """Return the score of the best constant answer, given the share of each segment (first, end) of 48 frames."""
    weights = np.array(list(shares.values()))
    scores = np.array([[interval_iou(answer, truth) for truth in shares] for answer in INTERVALS])
    return float((scores @ (weights / weights.sum())).max())


def best_constant_count(shares: dict[int, float]) -> tuple[int, float]:
    total = sum(shares.values())
    earned = {
        answer: sum(share * count_accuracy((answer,), (truth,)) for truth, share in shares.items()) / total
        for answer in range(1, max(shares) + 1)
    }
    best = max(earned, key=lambda answer: earned[answer])
    return best, earned[best]


@pytest.mark.parametrize(
    ("scores", "weights", "value"),
    [
        ([[1, 0], [0, 1]], [1 / 2, 1 / 2], 1 / 2),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [1 / 3, 1 / 3, 1 / 3], 1 / 3),
        ([[3, 0], [0, 1]], [1 / 4, 3 / 4], 3 / 4),
        ([[1, 1 / 2, 1 / 3], [0, 1, 2 / 3], [0, 1 / 2, 1]], [2 / 7, 2 / 7, 3 / 7], 4 / 7),
        ([[1, 0], [1, 0]], [0, 1], 0),  # a truth for which no answer scores
        ([[0.4]], [1], 0.4),
    ],
)
def test_known_games_are_solved(scores: list[list[float]], weights: list[float], value: float) -> None:
    found = balanced_weights(np.array(scores, np.float64))
    np.testing.assert_allclose(found, weights, atol=2e-3)
    assert (np.array(scores) @ found).max() == pytest.approx(value, abs=2e-3)


def test_no_other_draw_is_better_than_the_one_found() -> None:
    """The other side of the game proves it: a mix of answers earns as much against every truth."""
    scores = np.random.default_rng(0).random((7, 5))
    ours = (scores @ balanced_weights(scores)).max()
    # From the other side, truths and answers change places, and scores change their sign.
    theirs = (balanced_weights(1 - scores.T) @ scores).min()
    assert ours == pytest.approx(theirs, abs=3e-3)


def test_a_constant_answer_earns_little_in_balanced_grounding() -> None:
    """With 48 frames and segments of 8 to 16, it earns 0.306 against even draws, and under 0.2 against balanced."""
    even = {
        (first, first + length): 1 / (49 - length) for length in range(8, 17) for first in range(49 - length)
    }
    assert best_constant_interval(even) == pytest.approx(0.306, abs=0.002)
    segments, weights = _balanced_segments(48, (8, 16))
    assert weights.sum() == pytest.approx(1.0)
    assert best_constant_interval(dict(zip(segments, weights.tolist(), strict=True))) < 0.2


def test_segments_are_drawn_with_the_balanced_weights() -> None:
    params, material = GroundingParams(perturbations=("invert",), balanced=True), Material(sampled(48))
    drawn: Counter[tuple[int, int]] = Counter()
    for seed in range(3000):
        recipe = Grounding().make(material, params, seed)
        drawn[recipe.params["first"], recipe.params["last"] + 1] += 1
    assert all(8 <= end - first <= 16 for first, end in drawn)
    assert best_constant_interval({segment: float(count) for segment, count in drawn.items()}) < 0.21
    segments, weights = _balanced_segments(48, (8, 16))
    for segment, weight in zip(segments, weights.tolist(), strict=True):
        assert abs(drawn[segment] - 3000 * weight) <= 5 * np.sqrt(3000 * weight) + 1


@pytest.mark.parametrize(
    ("most", "best", "even", "most_balanced"),
    [(3, 3, 0.583, 0.42), (4, 5, 0.548, 0.36)],
    ids=["easy", "hard"],
)
def test_a_constant_answer_earns_little_in_balanced_counting(
    most: int, best: int, even: float, most_balanced: float
) -> None:
    ways, weights = _balanced_totals((1, most), (1, most))
    published: Counter[int] = Counter()
    for total in ways:
        for numbers in total:
            published[sum(numbers)] += 1 / most / most ** len(numbers)  # type: ignore[assignment]
    answer, earned = best_constant_count(dict(published))
    assert answer == best
    assert earned == pytest.approx(even, abs=0.01)
    totals = [sum(total[0]) for total in ways]
    assert totals == list(range(1, most * most + 1))
    assert best_constant_count(dict(zip(totals, weights.tolist(), strict=True)))[1] < most_balanced


def test_totals_are_drawn_with_the_balanced_weights() -> None:
    params, material = CountingParams(balanced=True, size=(0.1, 0.2)), Material(sampled(48, (128, 128)))
    drawn: Counter[int] = Counter()
    num_draws = 700
    for seed in range(num_draws):
        drawn.update(map(int, Counting().make(material, params, seed).truth.split(",")))
    assert best_constant_count({total: float(count) for total, count in drawn.items()})[1] < 0.43
    ways, weights = _balanced_totals((1, 3), (1, 3))
    for total, weight in zip(ways, weights.tolist(), strict=True):
        assert abs(drawn[sum(total[0])] - 3 * num_draws * weight) <= 5 * np.sqrt(3 * num_draws * weight) + 1
