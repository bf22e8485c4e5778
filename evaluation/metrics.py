"""What an evaluation's answers amount to."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class StageScores:
    """Mean scores at one stage of a run, each in [0, 1]."""

    greedy: float
    sampled: float
    valid: float  # share of sampled answers that have the task's form
    samples: int


def stage_scores(
    greedy: Sequence[tuple[float, bool]], sampled: Sequence[tuple[float, bool]], num_samples: int
) -> StageScores:
    """Means of (reward, valid) pairs."""
    return StageScores(
        greedy=fmean(reward for reward, _ in greedy),
        sampled=fmean(reward for reward, _ in sampled),
        valid=fmean(valid for _, valid in sampled),
        samples=num_samples,
    )
