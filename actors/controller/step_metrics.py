"""The metrics of a step's groups, and the time that the parts of a step take. Pure."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean

from actors.messages import Group
from learner.algorithm import advantages
from vocabulary.metrics import GROUPS_WITHOUT_SPREAD, MEAN_REWARD, STEP_TOKENS


def step_metrics(groups: Sequence[Group], reward_tolerance: float) -> dict[str, float]:
    """Return the metrics of all groups sampled for a step, by metric name, overall and per task.

    `vocabulary/metrics.py` gives each one's meaning. All but the counts are means over rollouts or over groups.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    metrics = {
        MEAN_REWARD: fmean(rollout.reward for rollout in rollouts),
        "valid/mean": fmean(rollout.valid for rollout in rollouts),
        GROUPS_WITHOUT_SPREAD: fmean(not has_spread(group, reward_tolerance) for group in groups),
        "completion/tokens": fmean(len(rollout.token_ids) for rollout in rollouts),
        "completion/cut": fmean(rollout.finish_reason == "length" for rollout in rollouts),
        "completion/reward_failed": fmean(rollout.reward_failed for rollout in rollouts),
        "prompt/tokens": fmean(group.prompt.meta.num_tokens for group in groups),
        "step/completions": float(len(rollouts)),
        STEP_TOKENS: float(
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


def batch_metrics(step: int, groups: Sequence[Group], sampled: Sequence[Group]) -> dict[str, float]:
    """Return how the trained groups came about: their staleness, and how many groups were sampled and refilled.

    Args:
        sampled: all groups generated for the step, in order; the first ones are those before any refill.
    """
    first = {group.prompt.meta.index for group in sampled[: len(groups)]}
    return {
        "staleness/mean": fmean(step - group.policy_version for group in groups),
        "groups/drawn": float(len(sampled)),
        "groups/refilled": float(sum(group.prompt.meta.index not in first for group in groups)),
    }


def has_spread(group: Group, tolerance: float) -> bool:
    """Return whether the rewards differ enough to train on; see learner.algorithm.advantages.has_spread."""
    return advantages.has_spread(_rewards(group), tolerance=tolerance)


def _rewards(group: Group) -> list[float]:
    return [rollout.reward for rollout in group.rollouts]


class Stopwatch:
    """A stopwatch for the parts of a step, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds that the block takes to those of `part`."""
        started = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started
