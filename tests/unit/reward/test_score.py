"""Tests of reward.score and reward.is_valid: scores by hand, and completions that try to cheat."""

import random
import time
from itertools import permutations

import pytest

from reward import RULES, is_valid, score
from reward.parsing import parse_order, write_order

TRUTH = {"grounding": "4.0-8.0", "jigsaw": "2413", "counting": "2,0,3"}


@pytest.mark.parametrize(
    ("task", "completion", "answer", "expected"),
    [
        ("grounding", "4-8", "4.0-8.0", 1.0),
        ("grounding", " \n4.000-8.000\t", "4.0-8.0", 1.0),
        ("grounding", "2-6", "4.0-8.0", 2 / 6),
        ("grounding", "5.5-6.5", "4.0-8.0", 1 / 4),
        ("grounding", "0-16", "4.0-8.0", 4 / 16),
        ("grounding", "8-9", "4.0-8.0", 0.0),
        ("jigsaw", "2413", "2413", 1.0),
        ("jigsaw", "4213", "2413", 1 - 2 / 8),
        ("jigsaw", "3142", "2413", 0.0),
        ("jigsaw", "21", "12", 0.0),
        ("jigsaw", "312", "123", 0.0),
        ("jigsaw", "132", "123", 0.5),
        ("jigsaw", "213456789", "123456789", 1 - 2 / 40),
        ("counting", "2,0,3", "2,0,3", 1.0),
        ("counting", "1,0,3", "2,0,3", 2.5 / 3),
        ("counting", "2,1,3", "2,0,3", 2 / 3),
        ("counting", "9,9,9", "2,0,3", 0.0),
        ("counting", "3,0,2", "2,0,3", (0.5 + 1 + 2 / 3) / 3),
        ("counting", "0,0,0", "0,0,0", 1.0),
    ],
)
def test_scores_computed_by_hand(task: str, completion: str, answer: str, expected: float) -> None:
    assert score(task, completion, answer) == pytest.approx(expected, abs=1e-12)
    assert is_valid(task, completion, answer)


@pytest.mark.parametrize(
    ("task", "completion"),
    [
        *(
            ("grounding", reply)
            for reply in ("", "-", "4", "4-", "-4-8", "+4-8", "4--8", "4 - 8", "4-8s", "4-8-9")
        ),
        *(
            ("grounding", reply)
            for reply in ("4\u20138", "٤-٨", "\uff14-\uff18", "४-८", "4-8\u00a0", "\u20034-8", "4-8\x00")
        ),
        *(("grounding", reply) for reply in ("NaN-NaN", "inf-inf", "1e9-2e9", "4_0-8", "0x4-0x8", "4,0-8,0")),
        *(
            ("grounding", reply)
            for reply in ("8-4", "5-5", "4.-8.", ".4-.8", "4.0000-8.0", "0000004-8", "1" * 400 + "-8")
        ),
        *(
            ("grounding", reply)
            for reply in ("4-8.", "The answer is 4-8", "4-8\n4-8", "<answer>4-8</answer>")
        ),
        *(("jigsaw", reply) for reply in ("", "241", "24133", "2410", "2411", "12345", "2 4 1 3", "2,4,1,3")),
        *(
            ("jigsaw", reply)
            for reply in ("٢٤١٣", "²413", "\uff12413", "-2413", "2413.", "2413 ok", "2413\n2413")
        ),
        *(("counting", reply) for reply in ("", "2,0", "2,0,3,", "2, 0, 3", "-2,0,3", "+2,0,3", "2.0,0,3")),
        *(("counting", reply) for reply in ("٢,٠,٣", "2\uff0c0,3", "2,²,3", "2;0;3", "2,0,0000003", "a,b,c")),
    ],
)
def test_a_completion_of_another_form_is_invalid_and_scores_zero(task: str, completion: str) -> None:
    assert not is_valid(task, completion, TRUTH[task])
    assert score(task, completion, TRUTH[task]) == 0.0


@pytest.mark.parametrize("num_clips", range(2, 7))
def test_every_permutation_scores_within_bounds_and_only_the_truth_scores_one(num_clips: int) -> None:
    orders = ["".join(map(str, order)) for order in permutations(range(1, num_clips + 1))]
    truth = random.Random(num_clips).choice(orders)
    scores = {order: score("jigsaw", order, truth) for order in orders}
    assert all(0.0 <= value <= 1.0 for value in scores.values())
    assert [order for order, value in scores.items() if value == 1.0] == [truth]
    assert min(scores.values()) == 0.0
    assert all(is_valid("jigsaw", order, truth) for order in orders)


def test_garbage_never_raises_and_never_leaves_the_bounds() -> None:
    rng = random.Random(0)
    alphabet = "0123456789.,-+eE \n\t٣²½1−–NaninfINF\x00\ud800é"
    for _ in range(5000):
        if rng.random() < 0.3:
            reply = rng.randbytes(rng.randrange(12)).decode("latin-1")
        else:
            reply = "".join(rng.choice(alphabet) for _ in range(rng.randrange(14)))
        for task, truth in TRUTH.items():
            value = score(task, reply, truth)
            assert 0.0 <= value <= 1.0  # NaN would fail here
            assert value == 0.0 or is_valid(task, reply, truth)


def test_a_huge_completion_takes_little_time() -> None:
    huge = [filler * 10**6 for filler in ("1", "1-", "9,", " ", "12 ", ".")] + [
        "9" * 10**6 + "-" + "9" * 10**6
    ]
    start = time.process_time()
    for reply in huge:
        assert all(score(task, reply, truth) == 0.0 for task, truth in TRUTH.items())
    assert time.process_time() - start < 10  # CPU time; a backtracking pattern would take hours.


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        *(("grounding", answer) for answer in ("8-4", "4-4", "soon")),
        *(("jigsaw", answer) for answer in ("2414", "1", "0123456789")),
        *(("counting", answer) for answer in ("1,2", "")),
    ],
)
def test_a_malformed_truth_raises(task: str, answer: str) -> None:
    for door in (score, is_valid):
        with pytest.raises(ValueError, match="cannot be the truth"):
            door(task, "1", answer)


def test_an_unknown_task_raises_and_the_error_names_the_known_ones() -> None:
    for door in (score, is_valid):
        with pytest.raises(ValueError, match="grounding, jigsaw, counting"):
            door("shuffled", "12", "12")
    assert set(RULES) == set(TRUTH)


@pytest.mark.parametrize("num_clips", [2, 9, 10, 12])
def test_orders_of_any_length_are_parsed_as_written(num_clips: int) -> None:
    order = tuple(range(num_clips, 0, -1))
    assert parse_order(write_order(order)) == order
    assert score("jigsaw", write_order(order), write_order(order)) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3",
        "123456789,10",
        "1,2,3,4,5,6,7,8,9,9",
        "10987654321",
        "1,2,3,4,5,6,7,8,9,10,",
        "1,2,3,4,5,6,7,8,9,10,11,12,13",
        "01,2,3,4,5,6,7,8,9,10",
    ],
)
def test_an_order_in_another_form_is_refused(text: str) -> None:
    assert parse_order(text) is None
