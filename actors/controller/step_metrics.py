"""What a step's groups say about the policy, and what a step waited for. Pure."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from actors.messages import Group
from learner.algorithm import advantages


def step_metrics(groups: Sequence[Group], reward_tolerance: float) -> dict[str, float]:
    """Means over the rollouts of all groups drawn for a step, overall and per task, by metric name.

    `reward/TASK` and `reward/mean`: mean reward. `spread/TASK`: mean over groups of max - min.
    `valid/TASK`: share of answers of the task's form. `groups/without_spread`: share of groups whose rewards
    differ by no more than `reward_tolerance`, which train nothing. `completion/tokens`: mean length.
    `completion/cut`: share that ran into the length limit. `completion/reward_failed`: share for which the user's
    own reward failed. `step/tokens`: of prompts and completions, as the engine sees them: a prompt counts for
    each of its completions.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    metrics = {
        "reward/mean": fmean(rollout.reward for rollout in rollouts),
        "valid/mean": fmean(rollout.valid for rollout in rollouts),
        "groups/without_spread": fmean(not has_spread(group, reward_tolerance) for group in groups),
        "completion/tokens": fmean(len(rollout.token_ids) for rollout in rollouts),
        "completion/cut": fmean(rollout.finish_reason == "length" for rollout in rollouts),
        "completion/reward_failed": fmean(rollout.reward_failed for rollout in rollouts),
        "prompt/tokens": fmean(group.prompt.meta.num_tokens for group in groups),
        "step/completions": float(len(rollouts)),
        "step/tokens": float(
            sum(group.prompt.meta.num_tokens * len(group.rollouts) for group in groups)
            + sum(len(rollout.token_ids) for rollout in rollouts)
        ),
    }
    for task in sorted({group.prompt.meta.task for group in groups}):
        mine = [group for group in groups if group.prompt.meta.task == task]
        metrics[f"reward/{task}"] = fmean(rollout.reward for group in mine for rollout in group.rollouts)
        metrics[f"valid/{task}"] = fmean(rollout.valid for group in mine for rollout in group.rollouts)
        metrics[f"spread/{task}"] = fmean(max(_rewards(group)) - min(_rewards(group)) for group in mine)
    return metrics


def batch_metrics(step: int, groups: Sequence[Group], drawn: Sequence[Group]) -> dict[str, float]:
    """How the trained groups came about.

    `staleness/mean`: steps between the policy that sampled a group and the one that is trained on it.
    `groups/drawn`: sampled for the step. `groups/refilled`: trained ones that stand in the place of another.
    """
    first = {group.prompt.meta.index for group in drawn[: len(groups)]}
    return {
        "staleness/mean": fmean(step - group.policy_version for group in groups),
        "groups/drawn": float(len(drawn)),
        "groups/refilled": float(sum(group.prompt.meta.index not in first for group in groups)),
    }


def has_spread(group: Group, tolerance: float) -> bool:
    """Whether the group trains anything; see learner.algorithm.advantages.has_spread."""
    return advantages.has_spread(_rewards(group), tolerance=tolerance)


def _rewards(group: Group) -> list[float]:
    return [rollout.reward for rollout in group.rollouts]


class Stopwatch:
    """Seconds per phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the body's seconds to `phase`."""
        started = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started
