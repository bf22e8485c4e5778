"""A stored dataset as the source of a run's recipes."""

import os
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dataset.store import Dataset, DatasetError
from pretext.randomness import generator
from pretext.recipe import IMAGES, Recipe
from pretext.source import Split


class DatasetSource:
    """An endless source that repeats a dataset's samples: first in stored order, then in a new random order each time.

    Whole videos are held out for evaluation, never single samples of a video. If a dataset has too few videos to hold
    one out, the training samples are used for evaluation too.

    Args:
        held_out_share: share of the dataset's videos to hold out, from 0 to below 1.

    Raises:
        DatasetError: the folder holds no dataset, or one without samples.
    """

    def __init__(self, folder: str, held_out_share: float, seed: int) -> None:
        self._folder, self._share, self._seed = folder, held_out_share, seed
        if not len(self._dataset):
            raise DatasetError(f"{folder}: has no sample. Build another dataset.")

    def __reduce__(self) -> Any:  # Workers read the files themselves.
        return DatasetSource, (self._folder, self._share, self._seed)

    @property
    def mix(self) -> dict[str, float]:
        """The number of samples of each task."""
        return {task: float(number) for task, number in sorted(Counter(self._dataset.tasks()).items())}

    @cached_property
    def max_clips(self) -> int:
        """The largest number of clips in one sample."""
        return max(
            len(recipe.params.get("shown", recipe.params.get("clips", [0]))) for recipe in self._dataset
        )

    def num_videos(self, split: Split) -> int:
        """Return the number of videos that the split's samples are made from."""
        return len({video for number in self._numbers(split, None) for video in self._origins[number]})

    def missing_tasks(self, split: Split) -> list[str]:
        """Return the tasks of the dataset without a sample in the split."""
        return [task for task in self.mix if not len(self._numbers(split, task))]

    def recipe(self, split: Split, index: int, task: str | None = None) -> Recipe:
        """Return recipe `index` of a split; see `pretext.source.RecipeSource`."""
        numbers = self._numbers(split, task)
        if not len(numbers):
            raise ValueError(f"{self._folder}: no sample of {task or 'any task'} among the {split} videos.")
        epoch, place = divmod(index, len(numbers))
        if epoch:
            place = int(
                generator(self._seed, "epoch", split, task or "", epoch).permutation(len(numbers))[place]
            )
        return self._dataset[int(numbers[place])]

    @cached_property
    def _dataset(self) -> Dataset:
        return Dataset(Path(self._folder))

    @cached_property
    def _origins(self) -> list[tuple[str, ...]]:
        return [videos_of(recipe) for recipe in self._dataset]

    @cached_property
    def _by_split(self) -> dict[Split, dict[str | None, np.ndarray]]:
        tasks = np.array(self._dataset.tasks())
        videos = sorted({video for shown in self._origins for video in shown})
        num_held_out = min(round(len(videos) * self._share), len(videos) - 1)
        chosen = generator(self._seed, "held out").permutation(len(videos))[:num_held_out]
        held_out = {videos[number] for number in chosen}
        counts = np.array([sum(video in held_out for video in shown) for shown in self._origins])
        whole = np.array([len(shown) for shown in self._origins])
        # A sample that mixes videos of both splits is in neither.
        members: dict[Split, np.ndarray] = {
            "train": np.flatnonzero(counts == 0),
            "held_out": np.flatnonzero(counts == (whole if num_held_out else 0)),
        }
        return {
            split: {None: numbers} | {str(task): numbers[tasks[numbers] == task] for task in np.unique(tasks)}
            for split, numbers in members.items()
        }

    def _numbers(self, split: Split, task: str | None) -> np.ndarray:
        return self._by_split[split].get(task, np.array([], int))


def videos_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the videos that a sample shows; for an imported sample, the folders of its images."""
    if recipe.reader == IMAGES:
        folders = {os.path.dirname(name) for clip in recipe.params["clips"] for name in clip["files"]}
        return tuple(sorted(os.path.join(recipe.video, folder) for folder in folders))
    other = recipe.params.get("other")
    return (recipe.video,) if other is None else (recipe.video, other["video"])
