"""What an evaluation's answers amount to, beside what guessing would earn."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reward import score


@dataclass(frozen=True)
class StageScores:
    """Mean scores at one stage of a run, each in [0, 1]."""

    greedy: float
    sampled: float
    valid: float  # share of sampled answers that have the task's form
    samples: int


@dataclass(frozen=True)
class Floor:
    """What no watching at all would earn."""

    random: float  # an answer drawn from the task's own answers
    best_constant: float  # the one answer that earns most


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


def floor(task: str, truths: Sequence[str]) -> Floor:
    """Random guessing and the best constant answer, from the true answers of the same samples.

    Random: each sample answered with every other sample's answer, averaged. Constant: the best of all the
    distinct answers, given to every sample.
    """
    means = {guess: fmean(score(task, guess, truth) for truth in truths) for guess in sorted(set(truths))}
    total = sum(means[guess] * len(truths) for guess in truths) - len(truths)  # less each with itself, 1.0
    pairs = len(truths) * (len(truths) - 1)
    return Floor(random=total / pairs if pairs else 0.0, best_constant=max(means.values()))
