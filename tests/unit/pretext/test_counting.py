"""`pretext.tasks.counting`: what is drawn is what is counted, seen from the pixels alone."""

from itertools import combinations
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pretext.recipe import Recipe
from pretext.tasks.counting import QUESTION, Counting, CountingParams
from pretext.tasks.shapes import Kind, Shape
from pretext.video import VideoInfo
from reward import score

SIZES = [(64, 64), (192, 320)]


def make(seed: int, params: CountingParams, size: tuple[int, int] = (64, 64), num_frames: int = 8) -> Recipe:
    info = VideoInfo("x.mp4", num_frames, num_frames / 2, *size, np.arange(num_frames) / 2, "decord")
    return Counting().make(info, np.arange(num_frames), size, params, seed)


def outlines(frame: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    changed = (frame != 128).any(-1).astype(np.uint8)
    contours, _ = cv2.findContours(changed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return list(contours)


def kind_of(outline: NDArray[np.int32]) -> str:
    """By how much of its bounding box it fills: a square all, a circle pi / 4, a triangle half."""
    left, top, width, height = cv2.boundingRect(outline)
    mask = np.zeros((height, width), np.uint8)
    cv2.drawContours(mask, [outline - (left, top)], -1, 1, cv2.FILLED)
    return min(
        {"square": 1.0, "circle": 0.785, "triangle": 0.53}.items(), key=lambda k: abs(k[1] - mask.mean())
    )[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colours", ["random", "family"])
def test_counting_the_pixels_gives_the_answer(
    size: tuple[int, int], colours: Literal["random", "family"]
) -> None:
    """Each connected patch of changed pixels is a shape; the same patch on frames in a row is one of them."""
    grey = np.full((8, *size, 3), 128, np.uint8)
    for seed in range(30):
        recipe = make(seed, CountingParams(colours=colours), size)
        (clip,) = Counting().render(recipe, grey).clips
        found: list[str] = []
        previous: set[tuple[str, tuple[int, ...]]] = set()
        for frame in clip.frames:
            current = {(kind_of(outline), tuple(cv2.boundingRect(outline))) for outline in outlines(frame)}
            found += [kind for kind, _ in current - previous]
            previous = current
        counts = [found.count(kind) for kind in ("circle", "square", "triangle")]
        assert ",".join(map(str, counts)) == recipe.answer
        assert score("counting", recipe.answer, recipe.answer) == 1.0
    assert (grey == 128).all()


def test_shapes_keep_within_the_frame_their_run_and_their_size() -> None:
    runs = set()
    for seed in range(60):
        for entry in make(seed, CountingParams(), (192, 320)).params["shapes"]:
            shape = Shape(**entry)
            assert 0 <= shape.first <= shape.last < 8
            assert 0 <= shape.left_px <= 320 - shape.size_px
            assert 0 <= shape.top_px <= 192 - shape.size_px
            assert round(0.2 * 192) <= shape.size_px <= round(0.3 * 192)
            runs.add(shape.last - shape.first + 1)
    assert runs == {1, 2, 3}


def test_no_two_shapes_can_be_taken_for_one() -> None:
    for seed in range(60):
        shapes = [Shape(**entry) for entry in make(seed, CountingParams()).params["shapes"]]
        assert all(a.clear_of(b) and b.clear_of(a) for a, b in combinations(shapes, 2))


@pytest.mark.parametrize(
    ("kind", "first", "left", "clear"),
    [
        ("circle", 3, 40, False),  # the same frames and place
        ("circle", 3, 51, True),  # the same frames, a pixel between
        ("circle", 3, 50, False),  # touching
        ("square", 5, 40, False),  # the next frame, the same place
        ("square", 6, 40, True),  # a frame between
        ("circle", 6, 40, False),  # a frame between, but of one kind: it would have come back
    ],
)
def test_what_counts_as_two(kind: Kind, first: int, left: int, clear: bool) -> None:
    one = Shape("circle", 3, 4, 40, 10, 10, [255, 0, 0])
    other = Shape(kind, first, first + 1, left, 10, 10, [255, 0, 0])
    assert one.clear_of(other) is other.clear_of(one) is clear


def test_every_count_comes() -> None:
    answers = [make(seed, CountingParams(min_shapes=0, max_shapes=2)).answer for seed in range(200)]
    assert {answer.split(",")[2] for answer in answers} == {"0", "1", "2"}
    assert len(set(answers)) == 27


def test_impossible_params_are_refused() -> None:
    with pytest.raises(ValueError, match=r"find no room on 8 frames of 64x64\. Lower"):
        make(0, CountingParams(min_shapes=9, max_shapes=9, min_size=0.8, max_size=0.9))
    with pytest.raises(ValueError, match="max_run=3: above num_frames=2"):
        Counting().check(CountingParams(), 2)
    with pytest.raises(ValidationError, match="min_shapes=4: above max_shapes=3"):
        CountingParams(min_shapes=4)


def test_the_question_is_short() -> None:
    assert QUESTION.isascii()
    assert len(QUESTION) <= 110
