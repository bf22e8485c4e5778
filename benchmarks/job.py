"""One learner step as a file, so that two trainers in two environments are given the same work.

Standard library and numpy only: the environment of the other trainer reads this too.
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
    """A moment, or a time between two."""

    clock: float
    core: float  # that a processor was at work for this process, all its threads


@dataclass(frozen=True)
class StepJob:
    """A batch of prompts with given completions and rewards, trained on over and over.

    Nothing is generated: the completions stand in a table, so that what is measured is training alone.
    """

    model: str  # Hugging Face folder
    frames: str  # .npz: frames [num_prompts, num_frames, height, width, 3] uint8, times_s [num_prompts, num_frames]
    system: str
    question: str
    completions: list[list[list[int]]]  # token ids [num_prompts][n][length], end-of-turn token included
    rewards: list[list[float]]  # [num_prompts][n]
    num_steps: int  # measured optimiser steps; one more goes before them
    learning_rate: float

    @property
    def num_prompts(self) -> int:
        return len(self.completions)

    @property
    def group_size(self) -> int:
        return len(self.completions[0])

    @property
    def num_completions(self) -> int:
        """Completions that one step trains on."""
        return self.num_prompts * self.group_size

    def load_frames(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
        """(frames, times_s), shapes as above."""
        with np.load(self.frames) as arrays:
            return arrays["frames"], arrays["times_s"]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "StepJob":
        return cls(**json.loads(path.read_text()))


class StepClock:
    """Seconds of steps, and of their part that prepares inputs: the clock's, and the core's spent on this process."""

    def __init__(self) -> None:
        self._steps: list[Seconds] = []
        self._prepared: list[Seconds] = []
        self._started = self._mark = _now()

    def start_step(self) -> None:
        self._started = _now()

    def end_step(self) -> None:
        self._steps.append(_since(self._started))

    def start_preparing(self) -> None:
        self._mark = _now()

    def end_preparing(self) -> None:
        self._prepared.append(_since(self._mark))

    def report(self, job: StepJob, *, loss: float, grad_norm: float, prompt_tokens: int) -> dict[str, Any]:
        """Figures as JSON values, of the median step; the first step of all warms up and is left out.

        `training_...` leaves out the preparing of inputs. A step prepares its inputs once.

        Args:
            loss, grad_norm: of the first step, the norm before clipping.
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
