"""A learner step stored as a file, so that two trainers in two environments do the same work.

Standard library and numpy only, because the other trainer's environment imports this module too.
"""

import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Seconds:
    """A point in time, or a duration."""

    clock: float
    core: float  # processor time of this process, all its threads


@dataclass(frozen=True)
class StepJob:
    """A batch of prompts with fixed completions and rewards, trained on repeatedly.

    Nothing is generated, so that only training is measured.
    """

    model: str  # Hugging Face folder
    frames: str  # .npz: frames [num_prompts, num_frames, height, width, 3] uint8, times_s [num_prompts, num_frames]
    system: str
    question: str
    completions: list[list[list[int]]]  # token ids [num_prompts][n][length], end-of-turn token included
    rewards: list[list[float]]  # [num_prompts][n]
    num_steps: int  # number of measured optimiser steps; one warm-up step precedes them
    learning_rate: float

    @property
    def num_prompts(self) -> int:
        """Number of prompts in the batch."""
        return len(self.completions)

    @property
    def group_size(self) -> int:
        """Number of completions per prompt."""
        return len(self.completions[0])

    @property
    def num_completions(self) -> int:
        """Number of completions in the batch."""
        return self.num_prompts * self.group_size

    def load_frames(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """Return (frames, times_s), with the shapes given at `frames`."""
        with np.load(self.frames) as arrays:
            return arrays["frames"], arrays["times_s"]

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "StepJob":
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text()))


class StepClock:
    """A clock for steps, and for the preparation of their inputs, in wall-clock and processor seconds."""

    def __init__(self) -> None:
        self._steps: list[Seconds] = []
        self._prepared: list[Seconds] = []
        self._started = self._mark = _now()

    def start_step(self) -> None:
        """Start timing a step."""
        self._started = _now()

    def end_step(self) -> None:
        """End the step."""
        self._steps.append(_since(self._started))

    def start_preparing(self) -> None:
        """Start timing the preparation of a step's inputs."""
        self._mark = _now()

    def end_preparing(self) -> None:
        """End the preparation."""
        self._prepared.append(_since(self._mark))

    def report(self, job: StepJob, *, loss: float, grad_norm: float, prompt_tokens: int) -> dict[str, Any]:
        """Return the median step's figures as JSON values. The first step, which warms up, is left out.

        The figures `training_...` exclude the preparation of inputs, which happens once per step.

        Args:
            job: the job that was run.
            loss: loss of the first step.
            grad_norm: norm of the first step's gradient, before clipping.
            prompt_tokens: number of tokens of a prompt.
        """
        step, prepare = _median(self._steps[1:]), _median(self._prepared[1:])
        number = job.num_completions
        return {
            "completions_per_second": number / step.clock,
            "completions_per_core_second": number / step.core,
            "training_completions_per_second": number / (step.clock - prepare.clock),
            "training_completions_per_core_second": number / (step.core - prepare.core),
            "seconds": {"clock": step.clock, "core": step.core, "preparing": prepare.core},
            "loss": loss,
            "grad_norm": grad_norm,
            "prompt_tokens": prompt_tokens,
            "load_average": os.getloadavg()[0],
        }


def _now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


def _since(start: Seconds) -> Seconds:
    now = _now()
    return Seconds(now.clock - start.clock, now.core - start.core)


def _median(parts: list[Seconds]) -> Seconds:
    return Seconds(
        statistics.median(part.clock for part in parts), statistics.median(part.core for part in parts)
    )
