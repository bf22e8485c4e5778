"""`pretext.images`: samples whose frames are image files."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pretext.recipe import IMAGES, Recipe
from pretext.stream import render
from pretext.video import VideoError
from tests.unit.pretext.made import moving_frames

FRAMES = moving_frames(4, 32, 48)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    for number, frame in enumerate(FRAMES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    clips = [
        {"files": ["2.png", "3.png"], "times_s": [0.0, 0.5], "height_px": 32, "width_px": 48},
        {"files": ["0.png", "1.png"], "times_s": [0.0, 0.7], "height_px": 16, "width_px": 24},
    ]
    return Recipe(
        task="jigsaw",
        video=str(tmp_path),
        reader=IMAGES,
        frame_indices=(),
        frame_times_s=(),
        height_px=32,
        width_px=48,
        params={"clips": clips, "content": ["before", 0, "between", 1, "after"]},
        seed=0,
        truth="21",
    )


def test_files_are_read_in_their_colours_and_resized(recipe: Recipe) -> None:
    sample = render(Recipe.from_json(recipe.to_json()))
    assert sample.content == ("before", 0, "between", 1, "after")
    np.testing.assert_array_equal(sample.clips[0].frames, FRAMES[2:])
    halved = FRAMES[:2].reshape(2, 16, 2, 24, 2, 3).mean((2, 4))
    np.testing.assert_allclose(sample.clips[1].frames, halved, atol=0.51)
    assert sample.clips[1].times_s.tolist() == [0.0, 0.7]


@pytest.mark.parametrize(
    ("name", "words"), [("no.png", "does not exist"), ("text.png", "cannot be read as an image")]
)
def test_a_file_that_cannot_be_read_is_named(recipe: Recipe, name: str, words: str) -> None:
    (Path(recipe.video) / "text.png").write_text("no image")
    clips = [recipe.params["clips"][0] | {"files": ["0.png", name]}]
    broken = replace(recipe, params=recipe.params | {"clips": clips})
    with pytest.raises(VideoError, match=f"{name}: {words}"):
        render(broken)
