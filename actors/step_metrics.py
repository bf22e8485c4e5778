"""What a step's groups say about the policy. Pure."""

from collections.abc import Sequence
from statistics import fmean

from actors.messages import Group


def step_metrics(groups: Sequence[Group], reward_tolerance: float) -> dict[str, float]:
    """Means over the step's rollouts, overall and per task, by metric name.

    `reward/TASK` and `reward/mean`: mean reward. `spread/TASK`: mean over groups of max - min.
    `valid/TASK`: share of answers of the task's form. `groups/without_spread`: share of groups whose rewards
    differ by no more than `reward_tolerance`, which train nothing. `completion/tokens`: mean length.
    `completion/cut`: share that ran into the length limit. `step/tokens`: of prompts and completions, as the
    engine sees them: a prompt counts for each of its completions.
    """
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    spreads = [_spread(group) for group in groups]
    metrics = {
        "reward/mean": fmean(rollout.reward for rollout in rollouts),
        "valid/mean": fmean(rollout.valid for rollout in rollouts),
        "groups/without_spread": fmean(spread <= reward_tolerance for spread in spreads),
        "completion/tokens": fmean(len(rollout.token_ids) for rollout in rollouts),
        "completion/cut": fmean(rollout.finish_reason == "length" for rollout in rollouts),
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
        metrics[f"spread/{task}"] = fmean(_spread(group) for group in mine)
    return metrics


def _spread(group: Group) -> float:
    rewards = [rollout.reward for rollout in group.rollouts]
    return max(rewards) - min(rewards)
