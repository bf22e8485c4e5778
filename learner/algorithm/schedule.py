"""The learning rate's course over a run, as a factor on `learner.learning_rate`. Standard library."""

import math
from collections.abc import Callable

from learner.config import ScheduleConfig


def constant(progress: float, min_ratio: float) -> float:
    """1, wherever the run stands."""
    return 1.0


def cosine(progress: float, min_ratio: float) -> float:
    """Half a cosine from 1 (progress 0) down to `min_ratio` (progress 1)."""
    return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, Callable[[float, float], float]] = {"constant": constant, "cosine": cosine}


def lr_factor(step: int, *, total_steps: int, config: ScheduleConfig) -> float:
    """What the learning rate is multiplied by in step `step`, counted from 0.

    The warm-up rises linearly and never starts at 0, which would waste a step: with 3 warm-up steps the factors
    are 1/4, 2/4, 3/4, then 1. The course after it is spread over the steps that are left, so the last step still
    trains, a little above `min_ratio`.
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return SCHEDULES[config.kind](min(progress, 1.0), config.min_ratio)
