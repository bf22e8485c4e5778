"""`pretext.tasks.counting`: the shapes in the pixels are the shapes that count."""

from collections import Counter
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pretext.recipe import Frames, Recipe
from pretext.tasks.counting import QUESTION, Counting, CountingParams
from pretext.tasks.shapes import KINDS, Kind, Shape, draw_shape
from pretext.tasks.task import Material
from reward import score
from tests.unit.pretext.made import sampled

TASK = Counting()
EASY = CountingParams()
HARD = CountingParams(frames_per_kind=(1, 4), shapes_per_frame=(1, 4))
GREY = 128


def make(
    seed: int, params: CountingParams = EASY, size: tuple[int, int] = (192, 320), num_frames: int = 48
) -> Recipe:
    return TASK.make(Material(sampled(num_frames, size)), params, seed)


def drawn_on_grey(recipe: Recipe, num_frames: int = 48) -> Frames:
    grey = np.full((num_frames, recipe.height_px, recipe.width_px, 3), GREY, np.uint8)
    (clip,) = TASK.render(recipe, grey, None).clips
    assert (grey == GREY).all()
    return clip.frames


def visible_share(shape: Shape, frame: Frames) -> float:
    """Return the visible share of a shape, compared with the shape drawn alone. Fails if it is not wholly inside."""
    height, width = frame.shape[:2]
    room = 2 * shape.radius_px
    field = np.full((1, height + 2 * room, width + 2 * room, 3), GREY, np.uint8)
    draw_shape(field, replace(shape, frame=0, x_px=shape.x_px + room, y_px=shape.y_px + room))
    field[0, room : room + height, room : room + width] = GREY
    assert (field == GREY).all()
    alone = np.full((1, *frame.shape), GREY, np.uint8)
    draw_shape(alone, replace(shape, frame=0))
    belongs = (alone[0] != GREY).any(-1)
    return float((alone[0] == frame).all(-1)[belongs].mean())


@pytest.mark.parametrize("size", [(192, 320), (320, 192), (256, 256), (64, 64), (32, 64)])
@pytest.mark.parametrize("params", [EASY, HARD], ids=["easy", "hard"])
def test_every_counted_shape_is_visible_and_every_visible_shape_is_counted(
    params: CountingParams, size: tuple[int, int]
) -> None:
    for seed in range(20):
        recipe = make(seed, params, size)
        frames = drawn_on_grey(recipe)
        shapes = [Shape(**entry) for entry in recipe.params["shapes"]]
        assert min(visible_share(shape, frames[shape.frame]) for shape in shapes) >= 0.9
        counts = Counter(shape.kind for shape in shapes)
        assert recipe.truth == ",".join(str(counts[kind]) for kind in KINDS)
        assert score("counting", recipe.truth, recipe.truth) == 1.0
        touched = np.flatnonzero((frames != GREY).any((1, 2, 3))).tolist()
        assert TASK.edited(recipe) == [touched] == [sorted({shape.frame for shape in shapes})]


@pytest.mark.parametrize("size", [(192, 320), (256, 256), (96, 160)])
def test_counting_the_outlines_gives_the_truth(size: tuple[int, int]) -> None:
    """Each connected patch of changed pixels is a shape. Its kind follows from the share of its circle it fills."""
    for seed in range(12):
        recipe = make(seed, HARD, size)
        found = Counter(_kind_of(outline) for frame in drawn_on_grey(recipe) for outline in _outlines(frame))
        assert ",".join(str(found[kind]) for kind in KINDS) == recipe.truth


@pytest.mark.parametrize(("params", "most"), [(EASY, 3), (HARD, 4)], ids=["easy", "hard"])
def test_totals_are_distributed_as_published(params: CountingParams, most: int) -> None:
    """Frames per kind and shapes per frame are uniform, which gives the exact distribution of the totals."""
    expected: Counter[int] = Counter()
    for num_frames in range(1, most + 1):
        for numbers in product(range(1, most + 1), repeat=num_frames):
            expected[sum(numbers)] += 1 / most / most**num_frames  # type: ignore[assignment]
    found: list[Counter[int]] = [Counter(), Counter(), Counter()]
    num_draws = 700
    per_frame: Counter[int] = Counter()
    frames: Counter[int] = Counter()
    for seed in range(num_draws):
        recipe = make(seed, params, (256, 256))
        for counter, said in zip(found, recipe.truth.split(","), strict=True):
            counter[int(said)] += 1
        groups = Counter((shape["kind"], shape["frame"]) for shape in recipe.params["shapes"])
        per_frame.update(groups.values())
        frames.update(Counter(kind for kind, _ in groups).values())
    together = found[0] + found[1] + found[2]
    assert set(together) == set(expected)
    for counter, draws in [*((counter, num_draws) for counter in found), (together, 3 * num_draws)]:
        for total, share in expected.items():
            spread = 4.5 * np.sqrt(share * (1 - share) * draws)
            assert abs(counter[total] - share * draws) <= spread + 1
    for counter in (per_frame, frames):
        assert set(counter) == set(range(1, most + 1))
        assert max(counter.values()) < 1.2 * min(counter.values())


@pytest.mark.parametrize("params", [EASY, HARD, CountingParams(min_distance=1)])
def test_appearances_of_a_kind_keep_their_distance_and_no_frame_shows_two_kinds(
    params: CountingParams,
) -> None:
    nearest = []
    for seed in range(100):
        groups = {(entry["kind"], entry["frame"]) for entry in make(seed, params).params["shapes"]}
        assert len({frame for _, frame in groups}) == len(groups)
        for kind in KINDS:
            nearest += np.diff(sorted(frame for k, frame in groups if k == kind)).tolist()
    assert min(nearest) == params.min_distance


def test_sizes_and_places_fill_their_ranges() -> None:
    shapes = [
        Shape(**entry)
        for seed in range(150)
        for entry in make(seed, CountingParams(size=(0.2, 0.3))).params["shapes"]
    ]
    diameters = [2 * shape.radius_px / 192 for shape in shapes]
    assert 0.19 < min(diameters) < 0.21
    assert 0.29 < max(diameters) < 0.31
    assert {shape.frame for shape in shapes} == set(range(48))
    assert min(shape.x_px - shape.radius_px for shape in shapes) < 3
    assert max(shape.x_px + shape.radius_px for shape in shapes) > 316
    assert len({shape.angle for shape in shapes}) > 200


@pytest.mark.parametrize(
    ("frame", "x", "clear"), [(3, 40, False), (3, 61, False), (3, 62, True), (4, 40, True)]
)
def test_shapes_are_clear_of_each_other_at_a_distance_or_on_other_frames(
    frame: int, x: int, clear: bool
) -> None:
    one = Shape("circle", 3, 40, 50, 10, 0, [255, 0, 0])
    other = Shape("circle", frame, x, 50, 10, 0, [255, 0, 0])
    assert one.clear_of(other) is other.clear_of(one) is clear


def test_impossible_params_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not fit on frames of 64x64\. Lower"):
        make(0, CountingParams(shapes_per_frame=(9, 9), size=(0.5, 0.6)), (64, 64))
    with pytest.raises(ValueError, match=r"frames_per_kind=\[1, 3\]: with min_distance=9 .* there are 8"):
        make(0, EASY, num_frames=8)
    with pytest.raises(ValueError, match="shapes must leave room"):
        make(0, CountingParams(size=(0.2, 0.7)))
    TASK.check(HARD, 48)
    for field, value, words in [
        ("frames_per_kind", (3, 1), "first number must not exceed the second"),
        ("shapes_per_frame", (0, 3), "greater than or equal to 1"),
        ("min_distance", 0, "greater than or equal to 1"),
        ("size", (-0.1, 0.3), "greater than 0"),
        ("colours", "random", "Extra inputs"),
    ]:
        with pytest.raises(ValidationError, match=words):
            CountingParams.model_validate({field: value})


def test_the_question_is_short() -> None:
    assert QUESTION.isascii()
    assert len(QUESTION) <= 110
    assert TASK.render(make(0), np.zeros((48, 192, 320, 3), np.uint8), None).content == (0, QUESTION)


def _outlines(frame: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    changed = (frame != GREY).any(-1).astype(np.uint8)
    contours, _ = cv2.findContours(changed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return list(contours)  # type: ignore[arg-type]


def _kind_of(outline: NDArray[np.int32]) -> Kind:
    """Return the kind, by its share of the smallest circle around it: circle 1, square 2 / pi, triangle 0.41."""
    _, radius = cv2.minEnclosingCircle(outline)
    share = cv2.contourArea(outline) / (np.pi * radius**2)
    ideals: dict[Kind, float] = {"circle": 0.97, "square": 0.637, "triangle": 0.413}
    return min(ideals, key=lambda kind: abs(ideals[kind] - share))
