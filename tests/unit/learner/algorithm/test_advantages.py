"""Tests of learner.algorithm.advantages: values by hand, numpy, and groups whose advantages must be exactly 0."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pytest

from learner.algorithm.advantages import (
    ADVANTAGES,
    batch_advantages,
    difficulty_weights,
    group_advantages,
    has_spread,
    has_training_signal,
    overlong_share,
    shaped_rewards,
)
from learner.config import DifficultyConfig, GrpoConfig, OverlongConfig


@dataclass(frozen=True)
class Scored:
    """The parts of a scored group that advantages are computed from."""

    rewards: tuple[float, ...]
    task: str = "jigsaw"
    lengths: tuple[int, ...] = ()
    truncated: tuple[bool, ...] = ()


def scored(
    *rewards: float, task: str = "jigsaw", lengths: Sequence[int] = (), cut: Sequence[int] = ()
) -> Scored:
    """Return a group; `cut` are the indices of its truncated completions."""
    return Scored(
        rewards, task, tuple(lengths) or (3,) * len(rewards), tuple(i in cut for i in range(len(rewards)))
    )


def advantages(
    *groups: Scored, kl: Sequence[Sequence[float]] | None = None, **settings: Any
) -> list[list[float]]:
    """Return the advantages of a batch, with the estimator dr_grpo unless `settings` name another."""
    config = GrpoConfig.model_validate({"advantage": "dr_grpo"} | settings)
    return batch_advantages(groups, config, max_tokens=100, completion_kl=kl)


# --- estimators ------------------------------------------------------------------------------------


def test_every_estimator_of_the_configuration_exists() -> None:
    assert set(ADVANTAGES) == set(get_args(GrpoConfig.model_fields["advantage"].annotation))


@pytest.mark.parametrize(
    ("estimator", "rewards", "expected"),
    [
        # mean 0.5, squared deviations sum to 1, std = sqrt(1 / 3)
        ("grpo", (1, 0, 0, 1), (0.8660254, -0.8660254, -0.8660254, 0.8660254)),
        # mean 0.5, deviations -0.3, -0.1, 0.4, std = sqrt(0.26 / 2)
        ("grpo", (0.2, 0.4, 0.9), (-0.8320503, -0.2773501, 1.1094004)),
        # two rewards are half their gap away from the mean, and their std is the gap / sqrt(2)
        ("grpo", (0.25, 0.75), (-0.7071068, 0.7071068)),
        ("dr_grpo", (1, 0, 0, 1), (0.5, -0.5, -0.5, 0.5)),
        ("dr_grpo", (0.2, 0.4, 0.9), (-0.3, -0.1, 0.4)),
        # the mean of the others is 1/3 for a reward of 1, and 2/3 for a reward of 0
        ("rloo", (1, 0, 0, 1), (0.6666667, -0.6666667, -0.6666667, 0.6666667)),
        # the means of the others are 0.65, 0.55, 0.3
        ("rloo", (0.2, 0.4, 0.9), (-0.45, -0.15, 0.6)),
        ("rloo", (0.25, 0.75), (-0.5, 0.5)),
    ],
)
def test_advantages_by_hand(estimator: str, rewards: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = group_advantages(rewards, tolerance=1e-6, estimator=estimator)
    assert found == pytest.approx(expected, abs=5e-6)


def test_epsilon_is_added_to_the_std() -> None:
    gap = 2e-6  # the std of two rewards is their gap / sqrt(2), here about as large as epsilon
    low, high = group_advantages((0.0, gap), tolerance=1e-6, estimator="grpo")
    assert high == pytest.approx((gap / 2) / (gap / 2**0.5 + 1e-6), rel=1e-12)
    assert low == -high


@pytest.mark.parametrize("estimator", sorted(ADVANTAGES))
def test_random_groups_against_numpy(estimator: str) -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 8, 64):
        rewards = rng.random(size)
        slow = {
            "grpo": (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6),
            "dr_grpo": rewards - rewards.mean(),
            "rloo": np.array([rewards[i] - np.delete(rewards, i).mean() for i in range(size)]),
        }[estimator]
        found = group_advantages(rewards.tolist(), tolerance=1e-6, estimator=estimator)
        assert found == pytest.approx(slow.tolist(), abs=1e-12)
        assert sum(found) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("estimator", sorted(ADVANTAGES))
@pytest.mark.parametrize(
    "rewards",
    [
        (0.7,) * 8,
        (0.0,) * 8,
        (0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2),  # float64 residue
        tuple(float(np.float32(1) / np.float32(3)) + n * 6e-8 for n in range(4)),  # float32 residue
        (0.5, 0.5 + 1e-6),
    ],
)
def test_a_group_of_equal_rewards_gets_exactly_zero(rewards: tuple[float, ...], estimator: str) -> None:
    assert not has_spread(rewards, tolerance=1.001e-6)
    assert group_advantages(rewards, tolerance=1.001e-6, estimator=estimator) == [0.0] * len(rewards)


def test_without_the_tolerance_rounding_residue_gets_advantages() -> None:
    residue = (0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2)
    assert any(group_advantages(residue, tolerance=0.0, estimator="dr_grpo"))


def test_small_differences_of_a_continuous_reward_still_count() -> None:
    found = group_advantages((0.5, 0.5, 0.5, 0.5001), tolerance=1e-6, estimator="grpo")
    assert found[3] == pytest.approx(1.5, rel=0.03)
    assert sum(found) == pytest.approx(0, abs=1e-9)


def test_a_group_of_one_completion_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        group_advantages((1.0,), tolerance=0.0)


# --- shaped rewards --------------- ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "share"), [(1, 0), (80, 0), (81, 0.05), (90, 0.5), (99, 0.95), (100, 1), (101, 1)]
)
def test_the_overlong_punishment_by_hand(length: int, share: float) -> None:
    assert overlong_share(length, max_tokens=100, buffer_tokens=20) == pytest.approx(share)
    assert overlong_share(length, max_tokens=100, buffer_tokens=0) == 0


def test_shaped_rewards_by_hand() -> None:
    config = GrpoConfig(overlong=OverlongConfig(buffer_tokens=20, penalty=0.5))
    group = replace(scored(1.0, 0.5, 0.0), lengths=(80, 90, 100))
    assert shaped_rewards(group, config, max_tokens=100) == pytest.approx([1, 0.5 - 0.25, 0 - 0.5])


def test_the_kl_gives_no_advantages_to_a_group_without_spread() -> None:
    config = GrpoConfig(kl_in="reward", kl_coef=1e-3)
    kl = [[0.01, 0.02, 0.0, 0.013]] * 2
    found = batch_advantages(
        [scored(1, 1, 1, 1), scored(1, 0, 1, 1)], config, max_tokens=100, completion_kl=kl
    )
    assert found[0] == [0.0] * 4
    shaped = [reward - 1e-3 * nats for reward, nats in zip((1, 0, 1, 1), kl[1], strict=True)]
    assert found[1] == group_advantages(shaped, tolerance=1e-6)


def test_a_group_has_a_training_signal_if_an_advantage_can_differ_from_0() -> None:
    config = GrpoConfig(overlong=OverlongConfig(buffer_tokens=20))
    alike, overlong = scored(1, 1), replace(scored(1, 1), lengths=(80, 95))
    assert [
        has_training_signal(group, config, max_tokens=100) for group in (alike, overlong, scored(1, 0))
    ] == [
        False,
        True,
        True,
    ]
    assert not has_training_signal(overlong, GrpoConfig(), max_tokens=100)


# --- difficulty ------------------------------------------------------------------------------------


def test_difficulty_is_off_by_default() -> None:
    weights = difficulty_weights([0.1, 1.0, 0.5], ["a", "b", "a"], DifficultyConfig())
    assert weights == [1.0, 1.0, 1.0]


def test_hard_groups_by_hand() -> None:
    config = DifficultyConfig(group_exponent=1)
    # difficulties 0.5, 1, 0: mean 0.5
    assert difficulty_weights([0.5, 0.0, 1.0], ["a", "a", "b"], config) == pytest.approx([1, 2, 0])
    # squared: 0.25, 1, 0, mean 1.25 / 3
    config = DifficultyConfig(group_exponent=2)
    assert difficulty_weights([0.5, 0.0, 1.0], ["a", "a", "b"], config) == pytest.approx([0.6, 2.4, 0])


def test_hard_tasks_by_hand() -> None:
    # means by task: a 0.25, b 0.75; difficulties 0.75, 0.75, 0.25: mean 1.75 / 3
    weights = difficulty_weights([0.5, 0.0, 0.75], ["a", "a", "b"], DifficultyConfig(task_exponent=1))
    assert weights == pytest.approx([0.75 * 3 / 1.75, 0.75 * 3 / 1.75, 0.25 * 3 / 1.75])


def test_difficulty_weights_multiply_and_have_a_mean_of_one() -> None:
    config = DifficultyConfig(group_exponent=1, task_exponent=1)
    # groups 0.5, 1, 0.25 times tasks 0.75, 0.75, 0.25: 0.375, 0.75, 0.0625
    weights = difficulty_weights([0.5, 0.0, 0.75], ["a", "a", "b"], config)
    assert weights == pytest.approx([value * 3 / 1.1875 for value in (0.375, 0.75, 0.0625)])
    assert sum(weights) == pytest.approx(3)


def test_all_groups_weigh_the_same_when_everything_is_solved() -> None:
    config = DifficultyConfig(group_exponent=1, task_exponent=2)
    assert difficulty_weights([1.0, 1.0], ["a", "b"], config) == [1.0, 1.0]
    assert difficulty_weights([3.0, 1.0], ["a", "b"], config) == [
        1.0,
        1.0,
    ]  # from a user's own reward function


def test_a_reward_below_zero_is_as_hard_as_zero() -> None:
    assert difficulty_weights([-4.0, 0.0], ["a", "a"], DifficultyConfig(group_exponent=1)) == [1.0, 1.0]


# --- batches ---------------------------------------------------------------------------------------


def test_by_default_a_batch_is_grpo_group_by_group() -> None:
    groups = [scored(1, 0, 0, 1), scored(0.3, 0.1 + 0.2, 0.3), scored(0.2, 0.4, 0.9, task="counting")]
    found = batch_advantages(groups, GrpoConfig(), max_tokens=100)
    assert found == [group_advantages(group.rewards, tolerance=1e-6, estimator="grpo") for group in groups]
    assert found[1] == [0.0, 0.0, 0.0]


def test_the_estimator_comes_from_the_configuration() -> None:
    assert advantages(scored(1, 0), advantage="rloo") == [[1.0, -1.0]]
    assert advantages(scored(1, 0), advantage="dr_grpo") == [[0.5, -0.5]]


def test_the_tolerance_comes_from_the_configuration() -> None:
    assert advantages(scored(0.5, 0.6), reward_tolerance=0.2) == [[0.0, 0.0]]


def test_overlong_completions_lose_reward() -> None:
    # two right completions of 80 and 100 tokens: rewards 1 and 1 - 0.4
    found = advantages(scored(1, 1, lengths=(80, 100)), overlong={"buffer_tokens": 20, "penalty": 0.4})
    assert found[0] == pytest.approx([0.2, -0.2])


def test_the_kl_is_subtracted_from_the_reward() -> None:
    # rewards 1 - 0.1 * 2 and 0 - 0.1 * -1
    found = advantages(scored(1, 0), kl=[[2.0, -1.0]], kl_in="reward", kl_coef=0.1)
    assert found[0] == pytest.approx([0.35, -0.35])


def test_a_kl_of_weight_0_is_not_needed() -> None:
    assert advantages(scored(1, 0), kl_in="reward", kl_coef=0.0) == [[0.5, -0.5]]


@pytest.mark.parametrize("estimator", sorted(ADVANTAGES))
def test_a_task_weight_acts_under_every_estimator(estimator: str) -> None:
    groups = [scored(1, 0, task="jigsaw"), scored(1, 0, task="counting")]
    plain = advantages(*groups, advantage=estimator)
    found = advantages(*groups, advantage=estimator, task_weights={"counting": 3.0})
    assert found[0] == plain[0]
    assert found[1] == pytest.approx([3 * value for value in plain[1]])


@pytest.mark.parametrize("estimator", ["dr_grpo", "rloo"])
def test_under_linear_estimators_a_task_weight_equals_a_weight_on_the_reward(estimator: str) -> None:
    (found,) = advantages(scored(0.2, 0.4, 0.9), advantage=estimator, task_weights={"jigsaw": 2.5})
    (expected,) = advantages(scored(0.5, 1.0, 2.25), advantage=estimator)
    assert found == pytest.approx(expected)


def test_hard_groups_weigh_more_by_their_unshaped_rewards() -> None:
    # Mean rewards 0.5 and 0.25, difficulties 0.5 and 0.75: weights 0.8 and 1.2. The second group's overlong punishment
    # is the same for both completions and changes neither its advantages nor its difficulty.
    groups = [scored(1, 0), scored(0.5, 0, lengths=(100, 100))]
    found = advantages(*groups, difficulty={"group_exponent": 1}, overlong={"buffer_tokens": 20})
    assert found == [pytest.approx([0.4, -0.4]), pytest.approx([0.3, -0.3])]


def test_hard_tasks_weigh_more_in_a_batch() -> None:
    groups = [scored(1, 0), scored(0.5, 0, task="counting")]
    found = advantages(*groups, difficulty={"task_exponent": 1})
    assert found == [pytest.approx([0.4, -0.4]), pytest.approx([0.3, -0.3])]


def test_a_masked_completion_has_no_advantage_but_stays_in_the_mean() -> None:
    group = scored(1, 0, 0.5, cut=(1,))
    assert advantages(group, mask_truncated=True) == [[0.5, 0.0, 0.0]]
    assert advantages(group) == [[0.5, -0.5, 0.0]]
