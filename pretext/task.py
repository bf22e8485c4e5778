"""What a pretext task is. `pretext.tasks.TASKS` holds them all."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from pretext.randomness import generator
from pretext.recipe import Frames, Recipe, Sample
from pretext.video import VideoInfo


class TaskParams(BaseModel, frozen=True, extra="forbid"):
    """The knobs of a task, as the configuration gives them. Each task has its own subclass."""


P = TypeVar("P", bound=TaskParams)


class Task(ABC, Generic[P]):
    """Makes recipes and renders them. Chance is in `draw` alone; `render` is a pure function.

    To add a task: write a subclass in a file of its own, put it into `pretext.tasks.TASKS`, and its rule into
    `reward.RULES` under the same name.
    """

    name: ClassVar[str]
    Params: type[P]

    @abstractmethod
    def check(self, params: P, num_frames: int) -> None:
        """Raises ValueError, saying what to change, where no sample of `num_frames` frames can be made."""

    @abstractmethod
    def draw(
        self, times_s: NDArray[np.float64], size: tuple[int, int], params: P, rng: np.random.Generator
    ) -> tuple[dict[str, Any], str]:
        """What is done to the frames shown at `times_s`, as JSON values for the recipe, and the true answer.

        `size` is the frames' (height, width) in pixels.
        """

    @abstractmethod
    def render(self, recipe: Recipe, frames: Frames) -> Sample:
        """The sample, from the source's frames at `recipe.frame_indices`, which are left unchanged.

        `frames` is [num_frames, recipe.height_px, recipe.width_px, 3] uint8, RGB.
        """

    def make(
        self, info: VideoInfo, indices: NDArray[np.int64], size: tuple[int, int], params: P, seed: int
    ) -> Recipe:
        """A recipe from the frames of `info` at `indices`, fully determined by the arguments.

        Raises ValueError as `check` does.
        """
        self.check(params, len(indices))
        times_s = info.frame_times_s[indices]
        drawn, answer = self.draw(times_s, size, params, generator(seed, self.name))
        return Recipe(
            task=self.name,
            video=info.path,
            frame_indices=tuple(indices.tolist()),
            frame_times_s=tuple(times_s.tolist()),
            height_px=size[0],
            width_px=size[1],
            params=drawn,
            seed=seed,
            answer=answer,
        )
