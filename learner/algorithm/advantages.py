"""From rewards to advantages: what each completion of a batch weighs in the update. Standard library.

rewards ─ overlong punishment ─ KL ──► estimator (within a group) ──► × task weight × difficulty
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
    def rewards(self) -> Sequence[float]: ...  # as the rule gave them

    @property
    def lengths(self) -> Sequence[int]: ...  # tokens, end-of-turn token included

    @property
    def truncated(self) -> Sequence[bool]: ...  # cut at max_tokens


# --- estimators: one group's rewards to its advantages ------------------------------------------------


def dr_grpo(rewards: Sequence[float]) -> list[float]:
    """reward - mean (arXiv 2503.20783). Rewards (1, 0, 0, 1) give ±0.5."""
    mean = math.fsum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def grpo(rewards: Sequence[float]) -> list[float]:
    """(reward - mean) / (std + 1e-6), std with n - 1 in the denominator (arXiv 2402.03300, section 4.1.2).

    Rewards (1, 0, 0, 1) have std 0.5774, so advantages are ±0.8660.
    """
    deviations = dr_grpo(rewards)
    std = math.sqrt(math.fsum(deviation**2 for deviation in deviations) / (len(rewards) - 1))
    return [deviation / (std + STD_EPSILON) for deviation in deviations]


def rloo(rewards: Sequence[float]) -> list[float]:
    """reward - mean of the others' (leave one out, arXiv 2402.14740). Rewards (1, 0, 0, 1) give ±2/3."""
    total = math.fsum(rewards)
    return [reward - (total - reward) / (len(rewards) - 1) for reward in rewards]


ADVANTAGES: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
}


def has_spread(rewards: Sequence[float], *, tolerance: float) -> bool:
    """Whether a group says which answer is better: its rewards differ by more than `tolerance`."""
    return max(rewards) - min(rewards) > tolerance


def group_advantages(rewards: Sequence[float], *, tolerance: float, estimator: str = "grpo") -> list[float]:
    """The advantages within one group; exactly 0 where it has no spread, by whichever estimator.

    Dividing float residue by a tiny std would invent advantages.
    """
    if len(rewards) < 2:
        raise ValueError(f"a group of {len(rewards)} completion(s) has no spread: GRPO needs at least 2.")
    if not has_spread(rewards, tolerance=tolerance):
        return [0.0] * len(rewards)
    return ADVANTAGES[estimator](rewards)


# --- rewards as they are trained on -------------------------------------------------------------------


def overlong_share(length: int, *, max_tokens: int, buffer_tokens: int) -> float:
    """Share of the overlong punishment that a completion of `length` tokens gets (arXiv 2503.14476, eq. 13).

    0 up to `max_tokens` - `buffer_tokens`, from there rising linearly to 1 at `max_tokens`. With 100 and 20:
    80 tokens get 0, 90 get 0.5.
    """
    if buffer_tokens == 0:
        return 0.0
    return min(1.0, max(0.0, (length - (max_tokens - buffer_tokens)) / buffer_tokens))


def shaped_rewards(group: ScoredGroup, config: GrpoConfig, *, max_tokens: int) -> list[float]:
    """Rewards less the overlong punishment."""
    overlong = config.overlong
    return [
        reward
        - overlong.penalty
        * overlong_share(length, max_tokens=max_tokens, buffer_tokens=overlong.buffer_tokens)
        for reward, length in zip(group.rewards, group.lengths, strict=True)
    ]


# --- what a group counts in the batch -----------------------------------------------------------------


def difficulty_weights(
    mean_rewards: Sequence[float], tasks: Sequence[str], config: DifficultyConfig
) -> list[float]:
    """One weight per group that multiplies its advantages: hard groups and hard tasks count for more.

    VITAL's DGRPO (arXiv 2508.04416) has the idea: within multi-task training, a weight for the difficulty of the
    task and one for that of the sample, both told by the rewards. The formula is ours, not theirs: difficulty is
    1 - mean reward (held to [0, 1]), of the group and of its task's groups in this batch; each to a power, the
    product scaled to mean 1 over the batch, so that the size of a step stays.

    Example: groups with mean rewards 0.5 and 0.0 and a group exponent of 1 weigh 2/3 and 4/3.

    Args:
        mean_rewards: one per group, of the rules' rewards, before any shaping.
        tasks: one per group.
    """
    of_task = _mean_by_task(mean_rewards, tasks)
    weights = [
        _difficulty(mean) ** config.group_exponent * _difficulty(of_task[task]) ** config.task_exponent
        for mean, task in zip(mean_rewards, tasks, strict=True)
    ]
    total = math.fsum(weights)
    if total == 0:  # all is solved: nothing is harder than the rest
        return [1.0] * len(weights)
    return [weight * len(weights) / total for weight in weights]


def _difficulty(mean_reward: float) -> float:
    return min(1.0, max(0.0, 1.0 - mean_reward))  # a user's own reward may leave [0, 1]


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
    """The advantages of every completion of a batch, group by group.

    A task's weight multiplies the advantages. For `dr_grpo` and `rloo` that is a weight on the reward; `grpo`
    divides by the std and would cancel one. A completion that `mask_truncated` leaves out has advantage 0, but its
    reward stays in its group's mean and std, as in TRL and DAPO.

    Args:
        groups: the whole batch, since difficulty is relative to it.
        max_tokens: the longest completion the sampler allows.
        completion_kl: per group and completion, the KL to the reference summed over tokens; where, and only
            where, `config.kl_in_reward`. Note that `grpo` divides it by the std too, `dr_grpo` and `rloo` do not.
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
    """Whether the group's advantages can be other than 0."""
    return _may_differ(shaped_rewards(group, config, max_tokens=max_tokens), config)


def _may_differ(rewards: Sequence[float], config: GrpoConfig) -> bool:
    """Spread, judged before a KL is taken off where the estimator divides by the std.

    Where all answers earn the same, the KL's noise would be all there is, blown up to advantages near 1. The other
    estimators leave it as small as it is, and there the KL holds such groups back as it does the rest.
    """
    if config.kl_in_reward and config.advantage != "grpo":
        return True
    return has_spread(rewards, tolerance=config.reward_tolerance)
