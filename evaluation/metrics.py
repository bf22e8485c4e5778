"""Mean scores of held-out samples at one point of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class StageScores:
    """Mean scores at one point of a run, each in [0, 1]."""

    greedy: float  # mean reward of the greedy completions
    sampled: float  # mean reward of the sampled completions
    valid: float  # share of sampled completions that are valid
    samples: int  # number of held-out samples


def stage_scores(
    greedy: Sequence[tuple[float, bool]], sampled: Sequence[tuple[float, bool]], num_samples: int
) -> StageScores:
    """Return the means of (reward, valid) pairs, one pair per completion."""
    return StageScores(
        greedy=fmean(reward for reward, _ in greedy),
        sampled=fmean(reward for reward, _ in sampled),
        valid=fmean(valid for _, valid in sampled),
        samples=num_samples,
    )
