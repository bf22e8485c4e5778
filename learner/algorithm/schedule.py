"""The learning rate over a run, as a factor on `learner.learning_rate`. Standard library only."""

import math
from collections.abc import Callable

from learner.config import ScheduleConfig


def constant(progress: float, min_ratio: float) -> float:
    """Return 1 throughout."""
    return 1.0


def cosine(progress: float, min_ratio: float) -> float:
    """Return half a cosine, from 1 at progress 0 down to `min_ratio` at progress 1."""
    return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, Callable[[float, float], float]] = {"constant": constant, "cosine": cosine}


def lr_factor(step: int, *, total_steps: int, config: ScheduleConfig) -> float:
    """Return the factor on the learning rate in step `step`, counted from 0.

    The warm-up rises linearly and does not start at 0, which would waste a step: with 3 warm-up steps the factors are
    1/4, 2/4, 3/4, then 1. The schedule after it is spread over the remaining steps, so the last step still trains, a
    little above `min_ratio`.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return SCHEDULES[config.kind](min(progress, 1.0), config.min_ratio)
