"""`dataset.stats.baselines`: equal to a slow reference that scores every answer, and to the published figures."""

from collections.abc import Sequence
from functools import cache
from itertools import permutations, product
from statistics import fmean

import numpy as np
import pytest

from dataset.stats.baselines import span_s, task_baseline
from pretext.stream import make_recipe
from pretext.tasks.counting import CountingParams
from pretext.tasks.task import TaskParams
from pretext.video.frames import SampledVideo
from reward import score


def reference(task: str, truths: Sequence[str], guesses: Sequence[str]) -> tuple[float, float]:
    """Return (random, best constant) by scoring every pair."""
    pairs = [
        score(task, truths[j], truth) for i, truth in enumerate(truths) for j in range(len(truths)) if j != i
    ]
    return fmean(pairs), max(fmean(score(task, guess, truth) for truth in truths) for guess in guesses)


def drawn(
    task: str, count: int, params: dict[str, TaskParams] | None = None
) -> tuple[list[str], list[tuple[float, float]]]:
    """Return truths and the spans of their videos, for 40 made-up videos of 2 to 60 s."""
    rng = np.random.default_rng(0)
    videos = []
    for number in range(40):
        duration_s = float(rng.uniform(2, 60))
        times_s = ((np.arange(48) + 0.5) / 48 * 0.9 + 0.05) * duration_s
        videos.append(
            SampledVideo(f"{number}.mp4", "pyav", duration_s, np.arange(48), times_s.round(4), 192, 320)
        )
    recipes = [
        make_recipe(index, videos=videos, mix={task: 1}, params_by_task=params or {}, seed=0)
        for index in range(count)
    ]
    return [recipe.truth for recipe in recipes], [span_s(recipe.frame_times_s) for recipe in recipes]


@cache
def as_published(task: str) -> tuple[list[str], list[tuple[float, float]]]:
    return drawn(task, 3000)


def test_counting_equals_the_reference_over_all_vectors_of_counts() -> None:
    truths = ["0,3,3", "3,1,3", "3,3,1", "1,4,3", "3,3,0"]
    guesses = [",".join(map(str, guess)) for guess in product(range(11), repeat=3)]
    found = task_baseline("counting", truths)
    assert (found.random, found.best_constant) == pytest.approx(reference("counting", truths, guesses))
    assert fmean(score("counting", found.constant, truth) for truth in truths) == pytest.approx(
        found.best_constant
    )
    # It has the best number of each kind, although no sample has all three.
    assert found.constant not in truths


@pytest.mark.parametrize("seed", range(3))
def test_the_jigsaw_equals_the_reference_over_all_orders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = ["".join(map(str, rng.permutation(k) + 1)) for k in [4] * 7 + [5] * 12]
    guesses = ["".join(map(str, order)) for k in (4, 5) for order in permutations(range(1, k + 1))]
    found = task_baseline("jigsaw", truths)
    assert (found.random, found.best_constant) == pytest.approx(reference("jigsaw", truths, guesses))
    assert fmean(score("jigsaw", found.constant, truth) for truth in truths) == pytest.approx(
        found.best_constant
    )


@pytest.mark.parametrize("seed", range(3))
def test_grounding_equals_the_reference_over_a_fine_grid_of_intervals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(0, 60, (25, 2)), axis=1) / 10
    truths = [f"{start:.1f}-{end:.1f}" for start, end in ends if start < end]
    guesses = [f"{a / 20:.2f}-{b / 20:.2f}" for a in range(121) for b in range(a + 1, 122)]
    found = task_baseline("grounding", truths)
    random, best = reference("grounding", truths, guesses)
    assert found.random == pytest.approx(random)
    assert found.best_constant == pytest.approx(best, abs=5e-4)
    assert fmean(score("grounding", found.constant, truth) for truth in truths) == pytest.approx(
        found.best_constant
    )
    assert found.whole_clip is None  # The spans of the videos are unknown.


def test_the_whole_video_and_the_same_part_of_each_by_hand() -> None:
    # 2 to 4 of 8 s, and 20 to 40 of 80 s: both are the second quarter.
    found = task_baseline("grounding", ["12-14", "20-40"], spans_s=[(10.0, 18.0), (0.0, 80.0)])
    assert found.whole_clip == pytest.approx(0.25)
    assert found.same_part == pytest.approx(1.0)
    assert found.best_constant == pytest.approx(0.5)


def test_a_single_sample_has_no_random_answer() -> None:
    assert task_baseline("jigsaw", ["12"]).random == 0.0
    assert task_baseline("grounding", ["1-2"]).best_constant == 1.0
    assert task_baseline("counting", ["1,2,3"] * 5).random == 1.0


def test_answering_three_of_each_earns_0_58_in_published_counting() -> None:
    found = task_baseline("counting", as_published("counting")[0])
    assert found.constant == "3,3,3"
    assert found.best_constant == pytest.approx(0.58, abs=0.01)


def test_balanced_counting_lowers_the_best_constant_answer() -> None:
    balanced, _ = drawn("counting", 3000, {"counting": CountingParams(balanced=True)})
    published, _ = as_published("counting")
    lower, higher = task_baseline("counting", balanced), task_baseline("counting", published)
    assert lower.best_constant < higher.best_constant - 0.02


def test_any_order_earns_0_35_in_the_published_jigsaw() -> None:
    # Two random orders of 6 differ by 2 x 35 / 6 places on average, of at most 18: 1 - 70 / 6 / 18 = 0.352.
    found = task_baseline("jigsaw", as_published("jigsaw")[0])
    assert found.random == pytest.approx(0.352, abs=0.005)
    assert found.best_constant == pytest.approx(0.36, abs=0.015)  # slightly better by chance


def test_the_whole_video_earns_0_25_in_published_grounding() -> None:
    truths, spans_s = as_published("grounding")
    found = task_baseline("grounding", truths, spans_s=spans_s)
    assert found.whole_clip == pytest.approx(0.25, abs=0.005)
    assert found.same_part is not None
    assert found.same_part > found.whole_clip
    assert found.best_constant < found.whole_clip  # Constant seconds earn little if videos differ in length.


def test_thirty_thousand_truths_are_feasible() -> None:
    # No timer is needed: comparing all pairs would take hours and exhaust the memory.
    rng = np.random.default_rng(0)
    # Nearly all differ, which is the slowest case.
    lengths_s = np.exp(rng.uniform(np.log(2), np.log(600), 30_000))
    starts_s = rng.uniform(0, 0.75, 30_000) * lengths_s
    ends_s = starts_s + rng.uniform(1 / 6, 1 / 3, 30_000) * lengths_s
    truths = [f"{a:.1f}-{b:.1f}" for a, b in zip(starts_s, ends_s, strict=True)]
    found = task_baseline("grounding", truths, spans_s=[(0.0, float(length)) for length in lengths_s])
    assert found.samples == 30_000
    assert fmean(score("grounding", found.constant, truth) for truth in truths) == pytest.approx(
        found.best_constant
    )


def test_missing_and_malformed_truths_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no truths"):
        task_baseline("jigsaw", [])
    with pytest.raises(ValueError, match="cannot be the truth"):
        task_baseline("counting", ["1,2,3", "12"])
    with pytest.raises(ValueError, match="has no rule"):
        task_baseline("juggling", ["12"])
