"""The base class of the pretext tasks. `pretext.tasks.TASKS` holds all of them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, Field

from pretext.randomness import generator
from pretext.recipe import Frames, Recipe, Sample
from pretext.video.cache import FrameKey
from pretext.video.frames import SampledVideo


class TaskParams(BaseModel, frozen=True, extra="forbid"):
    """The parameters of a task, set in the configuration. Each task has its own subclass."""


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"{list(ends)}: the first number must not exceed the second. Exchange them.")
    return ends


# Ranges with both ends included: [8, 16].
_AtLeastOne = Annotated[int, Field(ge=1)]
_AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]
IntRange = Annotated[tuple[_AtLeastOne, _AtLeastOne], AfterValidator(_rising)]
FloatRange = Annotated[tuple[_AboveZero, _AboveZero], AfterValidator(_rising)]


class Unsuitable(ValueError):
    """A video from which no valid sample can be made, for example because an anomaly would not show."""


@dataclass(frozen=True)
class Material:
    """The videos that a sample is drawn from."""

    video: SampledVideo
    other: SampledVideo | None = None  # another video, for samples that mix two; None if there is only one
    turn: int = 0  # number of the sample within its task, for tasks whose kinds take turns


P = TypeVar("P", bound=TaskParams)


class Task(ABC, Generic[P]):
    """A pretext task: makes recipes and renders them. Only `draw` is random; `render` is a pure function.

    To add a task, write a subclass in its own file, and add it to `pretext.tasks.TASKS` and its rule to `reward.RULES`,
    under the same name. docs/tasks.md explains an example.
    """

    name: ClassVar[str]
    Params: type[P]

    @abstractmethod
    def check(self, params: P, num_frames: int) -> None:
        """Raise ValueError, saying what to change, if no sample of `num_frames` frames can be made."""

    @abstractmethod
    def draw(self, material: Material, params: P, rng: np.random.Generator) -> tuple[dict[str, Any], str]:
        """Return the edits of the frames, as JSON values for the recipe, and the truth.

        Raises Unsuitable if no valid sample can be made from this video.
        """

    @abstractmethod
    def render(self, recipe: Recipe, frames: Frames, borrowed: Frames | None) -> Sample:
        """Return the sample.

        Args:
            frames: the source's frames at `recipe.frame_indices`, [num_frames, recipe.height_px, recipe.width_px, 3]
                uint8, RGB; read-only.
            borrowed: the frames that `borrows` asked for, or None.
        """

    def borrows(self, recipe: Recipe) -> FrameKey | None:
        """Return the key of the frames of another video that `render` needs; None for most tasks."""
        return None

    def edited(self, recipe: Recipe) -> list[list[int]]:
        """Return the edited frames of each clip as shown, for people who look at a sample; empty if there are none."""
        return []

    def make(self, material: Material, params: P, seed: int) -> Recipe:
        """Return a recipe from the frames of `material.video`. Equal arguments give equal recipes.

        Raises ValueError like `check`, and Unsuitable like `draw`.
        """
        video = material.video
        self.check(params, len(video.indices))
        drawn, truth = self.draw(material, params, generator(seed, self.name))
        return Recipe(
            task=self.name,
            video=video.path,
            reader=video.reader,
            frame_indices=tuple(video.indices.tolist()),
            frame_times_s=tuple(video.times_s.tolist()),
            height_px=video.height_px,
            width_px=video.width_px,
            params=drawn,
            seed=seed,
            truth=truth,
        )
