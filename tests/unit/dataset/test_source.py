"""`dataset.source`: whole videos are held out, including those of imported samples and those mixed into others."""

from pathlib import Path

import numpy as np
import pytest

from dataset.source import DatasetSource, videos_of
from dataset.store import write_dataset
from pretext.recipe import IMAGES, Recipe
from pretext.source import Split
from pretext.stream import make_recipe
from pretext.tasks.grounding import GroundingParams
from pretext.video.frames import SampledVideo

SPLITS: tuple[Split, Split] = ("train", "held_out")


def swaps(folder: Path) -> str:
    """Write a hundred samples of ten videos, each with a part of another video."""
    numbers = np.arange(48)
    videos = [SampledVideo(f"{i}.mp4", "pyav", 24.0, numbers, numbers / 2.0, 64, 64) for i in range(10)]
    params = {"grounding": GroundingParams(perturbations=("swap",))}
    mix = {"grounding": 1.0}
    write_dataset(
        folder, [make_recipe(i, videos=videos, mix=mix, params_by_task=params, seed=0) for i in range(100)]
    )
    return str(folder)


def imported(folder: Path) -> str:
    """Write two samples of each of five imported videos."""
    recipes = []
    for number in range(10):
        files = [f"{number // 2}/{frame}.jpg" for frame in range(8)]
        clip = {"files": files, "times_s": list(range(8)), "height_px": 64, "width_px": 64}
        params = {"clips": [clip], "content": [0, "When?"]}
        recipes.append(Recipe("grounding", "/frames", IMAGES, (), (), 64, 64, params, number, "1.0-2.0"))
    write_dataset(folder, recipes, imported_from="here")
    return str(folder)


def shown(source: DatasetSource, split: Split) -> set[str]:
    recipes = [source.recipe(split, index) for index in range(200)]
    return {video for recipe in recipes for video in videos_of(recipe)}


@pytest.mark.parametrize("make", [swaps, imported])
def test_no_video_is_in_both_splits(make: object, tmp_path: Path) -> None:
    source = DatasetSource(make(tmp_path / "made"), 0.4, 0)  # type: ignore[operator]
    train, held_out = (shown(source, split) for split in SPLITS)
    assert train
    assert held_out
    assert not train & held_out
    assert (source.num_videos("train"), source.num_videos("held_out")) == (len(train), len(held_out))


def test_the_videos_of_imported_samples_are_their_image_folders(tmp_path: Path) -> None:
    source = DatasetSource(imported(tmp_path / "made"), 0.2, 0)
    assert shown(source, "train") | shown(source, "held_out") == {f"/frames/{i}" for i in range(5)}
    assert (source.num_videos("train"), source.num_videos("held_out")) == (4, 1)


def test_both_splits_have_all_samples_if_no_video_can_be_held_out(tmp_path: Path) -> None:
    source = DatasetSource(imported(tmp_path / "made"), 0.0, 0)
    assert shown(source, "train") == shown(source, "held_out")


def test_every_sample_comes_once_per_epoch_in_a_new_order(tmp_path: Path) -> None:
    folder = imported(tmp_path / "made")
    source, again = DatasetSource(folder, 0.2, 7), DatasetSource(folder, 0.2, 7)
    seeds = [source.recipe("train", index).seed for index in range(24)]
    assert seeds == [again.recipe("train", index).seed for index in reversed(range(24))][::-1]
    epochs = [seeds[:8], seeds[8:16], seeds[16:]]
    assert all(sorted(epoch) == sorted(seeds[:8]) for epoch in epochs)
    assert epochs[0] == sorted(epochs[0])  # The first epoch is in stored order.
    assert epochs[1] != epochs[0]
    assert epochs[2] != epochs[1]
