"""From rewards to advantages: how much the update raises or lowers each completion. Standard library only.

rewards - overlong punishment - KL ──► estimator (within a group) ──► × task weight × difficulty weight
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from learner.config import DifficultyConfig, GrpoConfig

STD_EPSILON = 1e-6


class ScoredGroup(Protocol):
    """The scored completions of one prompt, all sequences of the same length n."""

    @property
    def task(self) -> str: ...

    @property
    def rewards(self) -> Sequence[float]: ...  # the rule's, before any shaping

    @property
    def lengths(self) -> Sequence[int]: ...  # tokens, end-of-turn token included

    @property
    def truncated(self) -> Sequence[bool]: ...  # cut at max_tokens


# --- estimators: one group's rewards to its advantages ------------------------------------------------


def dr_grpo(rewards: Sequence[float]) -> list[float]:
    """Return reward - mean (arXiv 2503.20783). Rewards (1, 0, 0, 1) give ±0.5."""
    mean = math.fsum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def grpo(rewards: Sequence[float]) -> list[float]:
    """Return (reward - mean) / (std + 1e-6), std with n - 1 in the denominator (arXiv 2402.03300, section 4.1.2).

    Rewards (1, 0, 0, 1) have a std of 0.5774, so the advantages are ±0.8660.
    """
    deviations = dr_grpo(rewards)
    std = math.sqrt(math.fsum(deviation**2 for deviation in deviations) / (len(rewards) - 1))
    return [deviation / (std + STD_EPSILON) for deviation in deviations]


def rloo(rewards: Sequence[float]) -> list[float]:
    """Return reward - mean of the others (leave one out, arXiv 2402.14740). Rewards (1, 0, 0, 1) give ±2/3."""
    total = math.fsum(rewards)
    return [reward - (total - reward) / (len(rewards) - 1) for reward in rewards]


ADVANTAGES: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
}


def has_spread(rewards: Sequence[float], *, tolerance: float) -> bool:
    """Return whether a group's rewards differ by more than `tolerance`, so that some completion is better."""
    return max(rewards) - min(rewards) > tolerance


def group_advantages(rewards: Sequence[float], *, tolerance: float, estimator: str = "grpo") -> list[float]:
    """Return the advantages within one group: under every estimator exactly 0 if the group has no spread.

    Otherwise rounding residue, divided by a tiny std, would become advantages.

    Raises:
        ValueError: the group has fewer than 2 completions.
    """
    if len(rewards) < 2:
        raise ValueError(
            f"a group of {len(rewards)} completion(s) has nothing to compare: GRPO needs at least 2."
        )
    if not has_spread(rewards, tolerance=tolerance):
        return [0.0] * len(rewards)
    return ADVANTAGES[estimator](rewards)


# --- shaped rewards -----------------------------------------------------------------------------------


def overlong_share(length: int, *, max_tokens: int, buffer_tokens: int) -> float:
    """Return the share of the overlong punishment for a completion of `length` tokens (arXiv 2503.14476, eq. 13).

    The share is 0 up to `max_tokens` - `buffer_tokens` and rises linearly to 1 at `max_tokens`. With 100 and 20, a
    completion of 80 tokens gets 0 and one of 90 gets 0.5.
    """
    if buffer_tokens == 0:
        return 0.0
    return min(1.0, max(0.0, (length - (max_tokens - buffer_tokens)) / buffer_tokens))


def shaped_rewards(group: ScoredGroup, config: GrpoConfig, *, max_tokens: int) -> list[float]:
    """Return a group's rewards minus the overlong punishment."""
    overlong = config.overlong
    return [
        reward
        - overlong.penalty
        * overlong_share(length, max_tokens=max_tokens, buffer_tokens=overlong.buffer_tokens)
        for reward, length in zip(group.rewards, group.lengths, strict=True)
    ]


# --- weight of a group in the batch -------------------------------------------------------------------


def difficulty_weights(
    mean_rewards: Sequence[float], tasks: Sequence[str], config: DifficultyConfig
) -> list[float]:
    """Return one weight per group, a factor on its advantages: hard groups and hard tasks weigh more.

    The idea is that of VITAL's DGRPO (arXiv 2508.04416): weigh by the difficulty of the task and of the sample, both
    measured by rewards. The formula is ours. Difficulty is 1 - mean reward, clamped to [0, 1], of the group and of its
    task's groups in the batch. Each is raised to its exponent, and the products are scaled to a mean of 1 over the
    batch, so that the size of a step stays the same.

    Example: groups with mean rewards 0.5 and 0.0 and a group exponent of 1 weigh 2/3 and 4/3.

    Args:
        mean_rewards: mean of each group's rewards, before any shaping.
        tasks: task of each group.
    """
    of_task = _mean_by_task(mean_rewards, tasks)
    weights = [
        _difficulty(mean) ** config.group_exponent * _difficulty(of_task[task]) ** config.task_exponent
        for mean, task in zip(mean_rewards, tasks, strict=True)
    ]
    total = math.fsum(weights)
    if total == 0:  # everything is solved, so no group is harder than another
        return [1.0] * len(weights)
    return [weight * len(weights) / total for weight in weights]


def _difficulty(mean_reward: float) -> float:
    return min(1.0, max(0.0, 1.0 - mean_reward))  # a user's own reward may be outside [0, 1]


def _mean_by_task(values: Sequence[float], tasks: Sequence[str]) -> Mapping[str, float]:
    by_task: dict[str, list[float]] = {}
    for value, task in zip(values, tasks, strict=True):
        by_task.setdefault(task, []).append(value)
    return {task: math.fsum(of_task) / len(of_task) for task, of_task in by_task.items()}


# --- the batch ----------------------------------------------------------------------------------------


def batch_advantages(
    groups: Sequence[ScoredGroup],
    config: GrpoConfig,
    *,
    max_tokens: int,
    completion_kl: Sequence[Sequence[float]] | None = None,
) -> list[list[float]]:
    """Return the advantages of every completion of a batch, group by group.

    A task's weight multiplies the advantages, not the rewards: `grpo` divides by the std, which would cancel a weight
    on the rewards. For `dr_grpo` and `rloo` the two are the same. A completion that `mask_truncated` leaves out has
    advantage 0, but its reward stays in its group's mean and std, as in TRL and DAPO.

    Args:
        groups: the whole batch, because difficulty is relative to it.
        max_tokens: longest completion that an engine may generate, tokens.
        completion_kl: the KL to the reference of every completion of every group, summed over its tokens. Given if and
            only if `config.kl_in_reward`. `grpo` divides it by the std too; `dr_grpo` and `rloo` do not.
    """
    assert (completion_kl is not None) == config.kl_in_reward
    weights = difficulty_weights(
        [math.fsum(group.rewards) / len(group.rewards) for group in groups],
        [group.task for group in groups],
        config.difficulty,
    )
    batch = []
    for index, (group, weight) in enumerate(zip(groups, weights, strict=True)):
        rewards = shaped_rewards(group, config, max_tokens=max_tokens)
        if completion_kl is not None and _may_differ(rewards, config):
            pairs = zip(rewards, completion_kl[index], strict=True)
            rewards = [reward - config.kl_coef * kl for reward, kl in pairs]
        factor = weight * config.task_weights.get(group.task, 1.0)
        advantages = group_advantages(rewards, tolerance=config.reward_tolerance, estimator=config.advantage)
        masked = [config.mask_truncated and cut for cut in group.truncated]
        batch.append([0.0 if out else factor * value for value, out in zip(advantages, masked, strict=True)])
    return batch


def has_training_signal(group: ScoredGroup, config: GrpoConfig, *, max_tokens: int) -> bool:
    """Return whether any of the group's advantages can be other than 0."""
    return _may_differ(shaped_rewards(group, config, max_tokens=max_tokens), config)


def _may_differ(rewards: Sequence[float], config: GrpoConfig) -> bool:
    """Return whether advantages may differ within a group, given its rewards before the KL is subtracted.

    `grpo` divides by the std. If all completions have the same reward, it would scale the noise of the KL up to
    advantages near 1, so such a group counts as one without spread. The other estimators do not divide, so the KL acts
    on every group.
    """
    if config.kl_in_reward and config.advantage != "grpo":
        return True
    return has_spread(rewards, tolerance=config.reward_tolerance)
