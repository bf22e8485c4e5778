"""`dataset.view.thumbnails`: the dashboard's images of a sample."""

import io

import numpy as np
from PIL import Image

from dataset.view.thumbnails import thumbnails
from pretext.recipe import Clip, Recipe, Sample

SHAPE = {
    "kind": "circle",
    "frame": 1,
    "x_px": 300,
    "y_px": 200,
    "radius_px": 40,
    "angle": 0,
    "rgb": [255, 0, 0],
}


def sample(task: str, answer: str, params: dict, clips: int, size: tuple[int, int] = (32, 48)) -> Sample:
    times = tuple(0.5 * number for number in range(4))
    recipe = Recipe(task, "a.mp4", "pyav", (0, 1, 2, 3), times, *size, params, 0, answer)
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.full((*size, 3), 60, np.uint8)
    made = tuple(Clip(frames, np.array(times) + 10 * number) for number in range(clips))
    return Sample(recipe, made, (0, "?"))


def test_large_frames_are_scaled_down_with_their_boxes() -> None:
    (clip,) = thumbnails(sample("counting", "1,0,0", {"shapes": [SHAPE]}, 1, (480, 640)))
    assert clip.label == "Video"
    assert clip.true_place is None
    assert [frame.edited for frame in clip.frames] == [False, True, False, False]
    assert [frame.time_s for frame in clip.frames] == [0.0, 0.5, 1.0, 1.5]
    shown = [Image.open(io.BytesIO(frame.webp)) for frame in clip.frames]
    assert {(image.size, image.format) for image in shown} == {((320, 240), "WEBP")}
    greys = [np.asarray(image.convert("L")).mean() for image in shown]
    assert np.allclose(greys, [0, 60, 120, 180], atol=2)  # Each frame is in its own place.
    (box,) = clip.frames[1].boxes
    assert (box.left, box.top, box.width, box.height, box.label) == (130, 80, 40, 40, "circle")
    assert not clip.frames[0].boxes


def test_small_frames_keep_their_size_and_clips_have_their_true_places() -> None:
    clips = thumbnails(sample("jigsaw", "213", {}, 3))
    assert [clip.label for clip in clips] == ["Clip 1", "Clip 2", "Clip 3"]
    assert [clip.true_place for clip in clips] == [1, 0, 2]
    assert clips[2].frames[0].time_s == 20.0
    assert Image.open(io.BytesIO(clips[0].frames[0].webp)).size == (48, 32)
