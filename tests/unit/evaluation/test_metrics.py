"""`evaluation.metrics`, by hand."""

import pytest

from evaluation.metrics import floor, stage_scores


def test_stage_scores_are_means_and_validity_is_of_the_sampled_answers() -> None:
    found = stage_scores(
        [(1.0, True), (0.0, False)],
        [(0.5, True), (0.25, True), (0.0, False), (0.25, True)],
        num_samples=2,
    )
    assert (found.greedy, found.sampled, found.valid, found.samples) == (0.5, 0.25, 0.75, 2)


def test_the_floor_of_grounding_by_hand() -> None:
    # IoU of 0-4 with 2-6 is 2/6, of 0-4 with 4-8 is 0, of 2-6 with 4-8 is 2/6.
    found = floor("grounding", ["0-4", "2-6", "4-8"])
    assert found.best_constant == pytest.approx((2 / 6 + 1 + 2 / 6) / 3)  # the middle one, always
    assert found.random == pytest.approx((2 / 6 + 0 + 2 / 6 + 2 / 6 + 0 + 2 / 6) / 6)


def test_the_floor_of_the_jigsaw_by_hand() -> None:
    # 123 and 132 agree in 1 - 2/4; 123 and 321 in 1 - 4/4; 132 and 321 are 3, 1 and 2 moved by 2, 1, 1.
    found = floor("jigsaw", ["123", "123", "132", "321"])
    assert found.best_constant == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    pairs = {("123", "123"): 2, ("123", "132"): 4, ("123", "321"): 4, ("132", "321"): 2}
    agreement = {("123", "123"): 1.0, ("123", "132"): 0.5, ("123", "321"): 0.0, ("132", "321"): 0.0}
    assert found.random == pytest.approx(sum(pairs[p] * agreement[p] for p in pairs) / 12)


def test_one_sample_has_no_other_to_guess_from() -> None:
    found = floor("jigsaw", ["12"])
    assert (found.random, found.best_constant) == (0.0, 1.0)


def test_equal_answers_are_their_own_best_constant_and_guess() -> None:
    found = floor("counting", ["1,2,3"] * 5)
    assert (found.random, found.best_constant) == (1.0, 1.0)
