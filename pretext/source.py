"""The source of a run's recipes: the endless stream, defined here, or a stored dataset (`dataset.source`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pretext.recipe import Recipe
from pretext.stream import make_recipe
from pretext.tasks.task import TaskParams
from pretext.video.frames import SampledVideo

Split = Literal["train", "held_out"]


class RecipeSource(Protocol):
    """A numbered sequence of recipes. Recipe `index` of a split is the same in every process and at any time."""

    def recipe(self, split: Split, index: int, task: str | None = None) -> Recipe:
        """Return recipe `index`, from 0, of the given task; without one, of the task that the mix has at `index`."""
        ...


@dataclass(frozen=True)
class StreamSource:
    """An endless source that makes each recipe when it is requested."""

    videos: Mapping[Split, Sequence[SampledVideo]]
    mix: Mapping[str, float]
    params_by_task: Mapping[str, TaskParams]
    seed: int

    def recipe(self, split: Split, index: int, task: str | None = None) -> Recipe:
        """Return recipe `index` of a split; see RecipeSource."""
        return make_recipe(
            index,
            videos=self.videos[split],
            mix=self.mix,
            params_by_task=self.params_by_task,
            # The splits have different videos. The seed differs too, for folders too small to hold any video out.
            seed=2 * self.seed + (split == "held_out"),
            task=task,
        )
