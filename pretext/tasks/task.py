"""What a pretext task is. `pretext.tasks.TASKS` holds them all."""

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
    """The knobs of a task, as the configuration gives them. Each task has its own subclass."""


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"{list(ends)}: the first number is above the second. Exchange them.")
    return ends


# Ranges, both ends included: [8, 16].
Whole = Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], AfterValidator(_rising)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Real = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]


class Unsuitable(ValueError):
    """A video of which no honest sample can be made: the anomaly would not show in it."""


@dataclass(frozen=True)
class Material:
    """What a sample is drawn from."""

    video: SampledVideo
    other: SampledVideo | None = None  # another video, for samples that mix two; None where there is none
    turn: int = 0  # the sample's number among those of its task, so that kinds can take turns


P = TypeVar("P", bound=TaskParams)


class Task(ABC, Generic[P]):
    """Makes recipes and renders them. Chance is in `draw` alone; `render` is a pure function.

    To add a task: write a subclass in a file of its own, put it into `pretext.tasks.TASKS`, and its rule into
    `reward.RULES` under the same name. docs/tasks.md goes through one.
    """

    name: ClassVar[str]
    Params: type[P]

    @abstractmethod
    def check(self, params: P, num_frames: int) -> None:
        """Raises ValueError, saying what to change, where no sample of `num_frames` frames can be made."""

    @abstractmethod
    def draw(self, material: Material, params: P, rng: np.random.Generator) -> tuple[dict[str, Any], str]:
        """What is done to the frames, as JSON values for the recipe, and the true answer.

        Raises Unsuitable where this video does not lend itself to it.
        """

    @abstractmethod
    def render(self, recipe: Recipe, frames: Frames, borrowed: Frames | None) -> Sample:
        """The sample, from the source's frames at `recipe.frame_indices`, which are left unchanged.

        `frames` is [num_frames, recipe.height_px, recipe.width_px, 3] uint8, RGB; `borrowed` what
        `borrows` asked for.
        """

    def borrows(self, recipe: Recipe) -> FrameKey | None:
        """Frames of another video that `render` needs; most need none."""
        return None

    def edited(self, recipe: Recipe) -> list[list[int]]:
        """Per clip as shown, the frames that were tampered with: for people who look at a sample."""
        return []

    def make(self, material: Material, params: P, seed: int) -> Recipe:
        """A recipe from the frames of `material.video`, fully determined by the arguments.

        Raises ValueError as `check` and Unsuitable as `draw` does.
        """
        video = material.video
        self.check(params, len(video.indices))
        drawn, answer = self.draw(material, params, generator(seed, self.name))
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
            answer=answer,
        )
