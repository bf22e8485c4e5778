"""`pretext.tasks.grounding`: the interval is the time of the frames that were really altered."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pretext.frames import FrameSpec
from pretext.recipe import Frames, Recipe
from pretext.stream import make_recipe, render
from pretext.tasks.grounding import QUESTION, Grounding, GroundingParams, Perturbation, interval
from pretext.video import VideoInfo, probe
from reward import score

Encode = Callable[..., Path]
Draw = Callable[[int], Frames]

UNEVEN_S = np.cumsum([0.25, *([0.04] * 30), *([0.2] * 20), *([0.08] * 29)]).round(3)
ALL_FOUR = ("channel_swap", "mirror", "zoom_out", "rotate_180")


def test_the_interval_is_that_of_the_altered_frames_at_a_variable_frame_rate(
    encode: Encode, grey_steps: Draw, small: FrameSpec
) -> None:
    """A frame's grey level names its source frame, hence its time; black corners show an alteration."""
    info = probe(encode("uneven.mp4", grey_steps(80), UNEVEN_S))
    true_times_s = UNEVEN_S - UNEVEN_S[0]
    params = GroundingParams(perturbations=("zoom_out",), min_segment=1, max_segment=7)
    seen = set()
    for index in range(40):
        recipe = make_recipe(
            index,
            videos=[info],
            mix={},
            params_by_task={"grounding": params},
            spec=small,
            seed=1,
            task="grounding",
        )
        (clip,) = render(recipe).clips
        sources = ((clip.frames[:, 32, 32, 0].astype(int) - 10) / 3).round().astype(int)
        np.testing.assert_allclose(clip.times_s, true_times_s[sources], atol=2e-3)
        altered = np.flatnonzero(clip.frames[:, 0, 0, 0] == 0)
        assert altered.tolist() == list(range(altered[0], altered[-1] + 1))
        after = altered[-1] + 1
        end_s = true_times_s[sources[after]] if after < 8 else clip.times_s[-1] + np.diff(clip.times_s).mean()
        start, end = map(float, recipe.answer.split("-"))
        assert start == pytest.approx(true_times_s[sources[altered[0]]], abs=0.051)
        assert end == pytest.approx(end_s, abs=0.051)
        seen.add((int(altered[0]), len(altered)))
        assert score("grounding", recipe.answer, recipe.answer) == 1.0
    assert len(seen) > 20
    assert {1, 7} <= {length for _, length in seen}


@pytest.mark.parametrize("perturbation", ALL_FOUR)
def test_the_segment_is_altered_and_the_rest_is_untouched(perturbation: Perturbation) -> None:
    frames = np.random.default_rng(0).integers(1, 256, (8, 64, 64, 3)).astype(np.uint8)
    before = frames.copy()
    task, params = Grounding(), GroundingParams(perturbations=(perturbation,), min_segment=2, max_segment=4)
    recipe = _recipe(task, params, seed=3)
    sample = task.render(recipe, frames)
    differs = (sample.clips[0].frames != frames).any((1, 2, 3))
    assert np.flatnonzero(differs).tolist() == list(range(recipe.params["first"], recipe.params["last"] + 1))
    np.testing.assert_array_equal(frames, before)
    assert sample.content == (0, QUESTION)


def test_all_perturbations_lengths_and_places_come_and_never_the_whole_video() -> None:
    params = GroundingParams(min_segment=2, max_segment=7)
    drawn = [_recipe(Grounding(), params, seed).params for seed in range(400)]
    assert {entry["perturbation"] for entry in drawn} == set(ALL_FOUR)
    segments = {(entry["first"], entry["last"]) for entry in drawn}
    assert segments == {(a, b) for a in range(8) for b in range(a + 1, 8) if b - a <= 6}
    factors = [entry["factor"] for entry in drawn if "factor" in entry]
    assert min(factors) >= 0.5
    assert max(factors) <= 0.75
    assert all(sorted(entry["order"]) == [0, 1, 2] != entry["order"] for entry in drawn if "order" in entry)


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


def test_impossible_params_are_refused() -> None:
    with pytest.raises(ValueError, match=r"max_segment=16: must be below num_frames=8.*Set it to 7 or less"):
        Grounding().check(GroundingParams(), 8)
    with pytest.raises(ValidationError, match="min_segment=9: above max_segment=8"):
        GroundingParams(min_segment=9, max_segment=8)
    with pytest.raises(ValidationError, match=r"min_zoom=0\.9"):
        GroundingParams(min_zoom=0.9)
    with pytest.raises(ValidationError, match="perturbations"):
        GroundingParams(perturbations=())


def test_the_question_is_short() -> None:
    assert QUESTION.isascii()
    assert len(QUESTION) <= 110


def _recipe(task: Grounding, params: GroundingParams, seed: int) -> Recipe:
    info = VideoInfo("x.mp4", 8, 4.0, 64, 64, np.arange(8) / 2, "decord")
    return task.make(info, np.arange(8), (64, 64), params, seed)
