"""`learner.advantages`: by hand, against numpy, and the groups that must say nothing."""

import numpy as np
import pytest

from learner.advantages import group_advantages


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        # mean 0.5, squared deviations sum to 1, std = sqrt(1 / 3)
        ((1, 0, 0, 1), (0.8660254, -0.8660254, -0.8660254, 0.8660254)),
        # mean 0.5, deviations -0.3, -0.1, 0.4, std = sqrt(0.26 / 2)
        ((0.2, 0.4, 0.9), (-0.8320503, -0.2773501, 1.1094004)),
        # of two, each is half the gap off the mean and the std is the gap / sqrt(2)
        ((0.25, 0.75), (-0.7071068, 0.7071068)),
    ],
)
def test_values_by_hand(rewards: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert group_advantages(rewards, tolerance=1e-6) == pytest.approx(expected, abs=5e-6)


def test_epsilon_is_added_to_the_std() -> None:
    gap = 2e-6  # the std of two rewards is their gap / sqrt(2), here about as large as epsilon
    low, high = group_advantages((0.0, gap), tolerance=1e-6)
    assert high == pytest.approx((gap / 2) / (gap / 2**0.5 + 1e-6), rel=1e-12)
    assert low == -high


def test_random_groups_against_numpy() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 8, 64):
        rewards = rng.random(size)
        slow = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)
        assert group_advantages(rewards.tolist(), tolerance=1e-6) == pytest.approx(slow.tolist(), abs=1e-12)


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
def test_a_group_of_equal_rewards_gets_exactly_zero(rewards: tuple[float, ...]) -> None:
    assert group_advantages(rewards, tolerance=1.001e-6) == [0.0] * len(rewards)


def test_a_continuous_reward_that_differs_a_little_still_counts() -> None:
    advantages = group_advantages((0.5, 0.5, 0.5, 0.5001), tolerance=1e-6)
    assert advantages[3] == pytest.approx(1.5, rel=0.03)
    assert sum(advantages) == pytest.approx(0, abs=1e-9)


def test_one_completion_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        group_advantages((1.0,), tolerance=0.0)
