"""`pretext.tasks.grounding`: exactly the frames of the segment are altered, as the recipe says."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from pretext.recipe import Frames, Recipe
from pretext.stream import make_recipe, render
from pretext.tasks import perturb
from pretext.tasks.grounding import (
    DESCRIPTIONS,
    Grounding,
    GroundingParams,
    Perturbation,
    interval,
    question,
)
from pretext.tasks.task import Material, Unsuitable
from pretext.video.frames import FrameSpec
from pretext.video.inspect_video import inspect
from reward import score
from tests.unit.pretext.made import grey_frames, moving_frames, sampled

Encode = Callable[..., Path]

TASK = Grounding()
ALL: tuple[Perturbation, ...] = get_args(Perturbation)
FRAMES = moving_frames(48, 64, 96)
NUMBERS = {image.tobytes(): number for number, image in enumerate(FRAMES)}
VIDEO = sampled(48, (64, 96), frames=FRAMES)
OTHER_FRAMES = moving_frames(48, 64, 96, seed=9)
OTHER = sampled(48, (64, 96), path="other.mp4", frames=OTHER_FRAMES)


def make(perturbation: Perturbation, seed: int, params: GroundingParams | None = None) -> Recipe:
    params = (params or GroundingParams()).model_copy(update={"perturbations": (perturbation,)})
    return TASK.make(Material(VIDEO, OTHER), params, seed)


def rendered(recipe: Recipe) -> Frames:
    """Render the sample's frames; borrowed frames come from OTHER_FRAMES."""
    key = TASK.borrows(recipe)
    (clip,) = TASK.render(recipe, FRAMES, None if key is None else OTHER_FRAMES[list(key.indices)]).clips
    np.testing.assert_array_equal(clip.times_s, VIDEO.times_s)
    return clip.frames


def untouched(recipe: Recipe) -> Frames:
    """Return what the frames outside the segment should become, computed with OpenCV."""
    match recipe.params["perturbation"]:
        case "rotate_90" | "rotate_270":
            return FRAMES[:, :, 16:80]
        case "zoom_in" | "zoom_out":
            size = round(96 / recipe.params["strength"]), round(64 / recipe.params["strength"])
            return np.stack([cv2.resize(cv2.resize(frame, size), (96, 64)) for frame in FRAMES])
    return FRAMES


@pytest.mark.parametrize("perturbation", ALL)
def test_the_segment_is_altered_and_nothing_else(perturbation: Perturbation) -> None:
    before = FRAMES.copy()
    for seed in range(12):
        recipe = make(perturbation, seed)
        segment = list(range(recipe.params["first"], recipe.params["last"] + 1))
        assert TASK.edited(recipe) == [segment]
        change = np.abs(rendered(recipe).astype(int) - untouched(recipe)).mean((1, 2, 3))
        outside = np.delete(change, segment)
        assert (outside == 0).all()
        # The first frame of a freeze is unchanged; the next one is held back.
        held = [int(change[k] == 0) for k in segment]
        assert sum(held) == 0 or perturbation == "stutter"
        assert held[-1] == 0
        assert change[segment].mean() > 1.0
        assert rendered(recipe).flags.c_contiguous
    np.testing.assert_array_equal(before, FRAMES)


@pytest.mark.parametrize("perturbation", ALL)
def test_a_recipe_survives_json_and_renders_the_same_bytes(perturbation: Perturbation) -> None:
    recipe = make(perturbation, 3)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    np.testing.assert_array_equal(rendered(again), rendered(recipe))


@pytest.mark.parametrize("perturbation", ["zoom_in", "zoom_out", "blur", "saturation", "noise"])
def test_one_strength_holds_for_a_whole_segment(perturbation: Perturbation) -> None:
    """A still picture is altered the same way in every frame, except that noise is new in each."""
    still = np.repeat(FRAMES[:1], 48, axis=0)
    low, high = getattr(GroundingParams(), perturbation)
    strengths = set()
    for seed in range(12):
        recipe = make(perturbation, seed)
        (clip,) = TASK.render(recipe, still, None).clips
        part = clip.frames[recipe.params["first"] : recipe.params["last"] + 1].astype(int)
        if perturbation == "noise":
            spreads = [(image - still[0]).std() for image in part]
            assert max(spreads) / min(spreads) < 1.05
            assert len({image.tobytes() for image in part}) == len(part)
        else:
            assert (part == part[0]).all()
        assert low <= recipe.params["strength"] <= high
        strengths.add(recipe.params["strength"])
    assert len(strengths) > 9


def test_shuffling_leaves_no_frame_in_place_and_loses_none() -> None:
    for seed in range(100):
        recipe = make("shuffle", seed)
        first, last = recipe.params["first"], recipe.params["last"]
        shown = [_number(image) for image in rendered(recipe)]
        assert sorted(shown) == list(range(48))
        assert all(shown[place] != place for place in range(first, last + 1))


def test_a_stutter_shows_two_to_five_frames_each_held() -> None:
    numbers = Counter[int]()
    for seed in range(100):
        recipe = make("stutter", seed)
        shown = [_number(image) for image in rendered(recipe)]
        part = shown[recipe.params["first"] : recipe.params["last"] + 1]
        numbers[len(set(part))] += 1
        assert part == sorted(part)
        assert part[0] == recipe.params["first"]  # not a later frame
        assert all(number <= place for place, number in enumerate(part, recipe.params["first"]))
        lengths = Counter(part).values()
        assert max(lengths) - min(lengths) <= 1
    assert set(numbers) == {2, 3, 4, 5}


def test_channel_swaps_use_every_order_that_changes_something() -> None:
    orders = Counter(tuple(make("channel_swap", seed).params["order"]) for seed in range(200))
    assert set(orders) == {(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}
    assert min(orders.values()) > 20


@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (128, 64)])
def test_a_swap_shows_the_other_video_covering_the_frame(
    encode: Encode, small: FrameSpec, shape: tuple[int, int]
) -> None:
    """The other video's grey levels identify its frames, and black bars mark the part that must be cropped."""
    mine = encode("mine.mp4", grey_frames(60), np.arange(60) / 10)
    pixels = np.broadcast_to(np.zeros(3, np.uint8), (60, *shape, 3)).copy()
    top, left = (shape[0] - 64) // 2, (shape[1] - 64) // 2
    pixels[:, top : top + 64, left : left + 64] = grey_frames(60)
    other = encode("other.mp4", pixels, np.arange(60) / 10)
    videos = [inspect(str(mine), small), inspect(str(other), small)]
    params = GroundingParams(perturbations=("swap",), segment=(3, 5))
    (recipe,) = (
        found
        for found in (
            make_recipe(
                index, videos=videos, mix={"grounding": 1}, params_by_task={"grounding": params}, seed=0
            )
            for index in range(2)
        )
        if found.video == str(mine)
    )
    (clip,) = render(recipe).clips
    first, last = recipe.params["first"], recipe.params["last"]
    assert recipe.params["other"]["video"] == str(other)
    assert recipe.params["other"]["reader"] == "pyav"
    levels = clip.frames[:, 20:44, 20:44].mean((1, 2, 3))
    np.testing.assert_allclose(levels, 10 + 3 * videos[0].indices, atol=1.5)  # Both show the same moments.
    assert clip.frames[first : last + 1, :, 3:-3].min() > 5  # Its bars are cut off.


def test_a_swap_cannot_be_drawn_with_one_video() -> None:
    params = GroundingParams(perturbations=("swap",))
    with pytest.raises(Unsuitable, match=r"x\.mp4: swap would not show"):
        TASK.make(Material(VIDEO), params, 0)
    with pytest.raises(ValueError, match="no sample of grounding can be made from 50 videos in a row"):
        make_recipe(0, videos=[VIDEO], mix={"grounding": 1}, params_by_task={"grounding": params}, seed=0)


GREY = np.repeat(FRAMES.mean(-1, keepdims=True).astype(np.uint8), 3, axis=-1)
SYMMETRIC = np.maximum(FRAMES, FRAMES[:, :, ::-1])
ROUND = np.maximum(FRAMES, FRAMES[:, ::-1, ::-1])
STILL = np.repeat(FRAMES[:1], 48, axis=0)


@pytest.mark.parametrize(
    ("perturbation", "frames"),
    [
        ("channel_swap", GREY),
        ("grayscale", GREY),
        ("saturation", GREY),
        ("shuffle", STILL),
        ("stutter", STILL),
        ("mirror", SYMMETRIC),
        ("rotate_180", ROUND),
    ],
)
def test_an_anomaly_that_would_not_show_is_drawn_on_another_video(
    perturbation: Perturbation, frames: Frames
) -> None:
    dull = sampled(48, (64, 96), path="dull.mp4", frames=frames)
    params = GroundingParams(perturbations=(perturbation,))
    with pytest.raises(Unsuitable, match=rf"dull\.mp4: {perturbation} would not show in it"):
        TASK.make(Material(dull), params, 0)
    for index in range(10):
        recipe = make_recipe(
            index,
            videos=[dull, VIDEO],
            mix={"grounding": 1},
            params_by_task={"grounding": params},
            seed=0,
        )
        assert recipe.video == "x.mp4"
    with pytest.raises(ValueError, match=r"50 videos in a row; the last: dull\.mp4"):
        make_recipe(0, videos=[dull], mix={"grounding": 1}, params_by_task={"grounding": params}, seed=0)
    TASK.make(Material(replace(dull, frame_stats=None)), params, 0)  # It counts as visible without them.
    # Without thresholds it is drawn.
    TASK.make(Material(dull), params.model_copy(update={"min_change": 0.0, "min_motion": 0.0}), 0)


def test_only_a_moving_segment_is_shuffled() -> None:
    frames = FRAMES.copy()
    frames[:24] = frames[0]
    video = sampled(48, (64, 96), frames=frames)
    params = GroundingParams(perturbations=("shuffle",), segment=(8, 8), min_motion=5.0)
    firsts = {TASK.make(Material(video), params, seed).params["first"] for seed in range(60)}
    assert min(firsts) > 16
    assert max(firsts) == 40


def test_the_anomalies_take_turns() -> None:
    params = GroundingParams(perturbations=ALL)
    drawn = Counter(
        make_recipe(
            index,
            videos=[VIDEO, OTHER],
            mix={"grounding": 2, "jigsaw": 1},
            params_by_task={"grounding": params},
            seed=4,
        ).params.get("perturbation")
        for index in range(3 * 30)
    )
    del drawn[None]
    assert drawn == dict.fromkeys(ALL, 4)


def test_all_lengths_and_places_are_equally_frequent_and_never_the_whole_video() -> None:
    video = sampled(8)
    params = GroundingParams(segment=(2, 7))
    segments = Counter(
        (recipe.params["first"], recipe.params["last"])
        for recipe in (TASK.make(Material(video), params, seed) for seed in range(1500))
    )
    assert set(segments) == {(a, b) for a in range(8) for b in range(a + 1, 8) if b - a <= 6}
    lengths = Counter[int]()
    for (first, last), count in segments.items():
        lengths[last - first + 1] += count
    assert all(180 < lengths[length] < 320 for length in range(2, 8))


@pytest.mark.parametrize("perturbation", ALL)
def test_the_question_describes_the_anomaly_only_if_asked_to(perturbation: Perturbation) -> None:
    told = question(make(perturbation, 0).params)
    silent = question(make(perturbation, 0, GroundingParams(describe=False)).params)
    assert DESCRIPTIONS[perturbation] in told
    assert (
        silent == "One part of the video was altered. When? Reply only start-end in seconds, like 12.5-20.0."
    )
    for text in (told, silent):
        assert text.isascii()
        assert len(text) <= 130
    sample = TASK.render(make("mirror", 0), FRAMES, None)
    assert sample.content == (0, question({"perturbation": "mirror", "describe": True}))


@pytest.mark.parametrize(
    ("start_s", "end_s", "written"),
    [
        (0.0, 1.0, "0.0-1.0"),
        (1.52, 1.56, "1.5-1.6"),
        (1.51, 1.54, "1.51-1.54"),
        (1.5112, 1.5141, "1.511-1.514"),
    ],
)
def test_intervals_are_written_with_as_many_decimals_as_they_need(
    start_s: float, end_s: float, written: str
) -> None:
    assert interval(start_s, end_s) == written
    assert score("grounding", written, written) == 1.0


def test_an_interval_too_short_to_be_written_makes_no_sample() -> None:
    with pytest.raises(Unsuitable, match="shorter than 1 ms"):
        interval(1.0, 1.0002)


def test_impossible_params_are_refused() -> None:
    with pytest.raises(ValueError, match=r"segment=\[8, 16\]: must end below num_frames=8.*Set its end to 7"):
        TASK.check(GroundingParams(), 8)
    with pytest.raises(ValueError, match=r"stutter=\[2, 5\]: a segment of 4 frames.*Set its end to 3"):
        TASK.check(GroundingParams(segment=(4, 6), perturbations=("stutter",)), 48)
    with pytest.raises(ValueError, match=r"segment=\[1, \.\.\.\]: one frame cannot be shuffled"):
        TASK.check(GroundingParams(segment=(1, 6), perturbations=("shuffle",)), 48)
    TASK.check(GroundingParams(segment=(1, 47)), 48)
    for field, value, words in [
        ("segment", (9, 8), "first number must not exceed the second"),
        ("segment", (0, 8), "greater than or equal to 1"),
        ("zoom_in", (1.3, float("inf")), "finite"),
        ("noise", (0.0, 10.0), "greater than 0"),
        ("perturbations", (), "at least 1 item"),
        ("perturbations", ("wobble",), "Input should be 'channel_swap'"),
        ("zoom", (1.0, 2.0), "Extra inputs"),
    ]:
        with pytest.raises(ValidationError, match=words):
            GroundingParams.model_validate({field: value})


def test_a_recipe_with_an_unknown_anomaly_is_refused() -> None:
    recipe = make("mirror", 0)
    stranger = replace(recipe, params=recipe.params | {"perturbation": "wobble"})
    with pytest.raises(ValueError, match="'wobble': is unknown"):
        TASK.render(stranger, FRAMES, None)


def test_a_zoom_leaves_other_frames_as_the_function_does() -> None:
    for zoom in (perturb.zoom_in, perturb.zoom_out):
        all_outside = zoom(FRAMES, slice(0, 0), 1.4)
        np.testing.assert_array_equal(zoom(FRAMES, slice(40, 48), 1.4)[:40], all_outside[:40])


def _number(image: Frames) -> int:
    """Return which of FRAMES the image is."""
    return NUMBERS[image.tobytes()]
