"""Where a run's recipes come from: the stream here, or a stored dataset (`dataset.source`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pretext.recipe import Recipe
from pretext.stream import make_recipe
from pretext.tasks.task import TaskParams
from pretext.video.frames import SampledVideo

Split = Literal["train", "held_out"]


class RecipeSource(Protocol):
    """Recipe number `index` of a split is the same whoever asks, and whenever."""

    def recipe(self, split: Split, index: int, task: str | None = None) -> Recipe:
        """Any number from 0 on; of the given task, or of whichever task's turn it is."""
        ...


@dataclass(frozen=True)
class StreamSource:
    """Recipes made as they are asked for, without end."""

    videos: Mapping[Split, Sequence[SampledVideo]]
    mix: Mapping[str, float]
    params_by_task: Mapping[str, TaskParams]
    seed: int

    def recipe(self, split: Split, index: int, task: str | None = None) -> Recipe:
        return make_recipe(
            index,
            videos=self.videos[split],
            mix=self.mix,
            params_by_task=self.params_by_task,
            # Splits differ in their videos; the seed differs too, for folders too small to hold any out.
            seed=2 * self.seed + (split == "held_out"),
            task=task,
        )
