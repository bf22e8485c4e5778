"""`pretext.tasks.jigsaw`: the right frames in the right clips, clocks from 0, and all orders equally likely."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from pretext.recipe import Recipe
from pretext.tasks.jigsaw import Jigsaw, JigsawParams, question
from pretext.tasks.task import Material
from reward import score
from reward.parsing import parse_order
from tests.unit.pretext.made import sampled

TASK = Jigsaw()


def times(num_frames: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(num_frames).choice([0.3, 0.5, 0.9], num_frames)).round(3)


def make(num_clips: int, seed: int, num_frames: int = 48, gap: int = 0) -> Recipe:
    video = sampled(num_frames, (32, 32), times_s=times(num_frames))
    return TASK.make(Material(video), JigsawParams(num_clips=num_clips, gap=gap), seed)


@pytest.mark.parametrize(
    ("num_clips", "num_frames", "gap"),
    [
        (6, 48, 0),
        (8, 48, 0),
        (2, 48, 0),
        (3, 48, 0),
        (4, 48, 0),
        (12, 48, 0),
        (12, 48, 2),
        (10, 40, 0),
        (9, 18, 0),
        (7, 42, 0),
        (6, 48, 2),
        (6, 48, 6),
        (8, 48, 4),
        (3, 18, 2),
    ],
)
def test_clips_in_the_order_of_the_truth_are_the_video_again(
    num_clips: int, num_frames: int, gap: int
) -> None:
    """Except for the gaps: a gap of frames at each cut, and half of it at both ends."""
    frames = np.broadcast_to(np.arange(num_frames)[:, None, None, None], (num_frames, 32, 32, 3))
    frames = frames.astype(np.uint8)
    length = num_frames // num_clips
    kept = [k for k in range(num_frames) if gap // 2 <= k % length < length - gap // 2]
    for seed in range(20):
        recipe = make(num_clips, seed, num_frames, gap)
        sample = TASK.render(recipe, frames, None)
        in_order = [sample.clips[number - 1] for number in parse_order(recipe.truth) or ()]
        assert np.concatenate([clip.frames[:, 0, 0, 0] for clip in in_order]).tolist() == kept
        assert score("jigsaw", recipe.truth, recipe.truth) == 1.0
        assert TASK.edited(recipe) == []
        for clip in sample.clips:
            assert len(clip.frames) == length - gap
            true_s = times(num_frames)[clip.frames[:, 0, 0, 0]]
            np.testing.assert_allclose(clip.times_s, true_s - true_s[0])
            assert clip.times_s[0] == 0.0


def test_the_example_in_the_class_docstring_is_right() -> None:
    """The parts are shown in the order 3rd, 1st, 2nd."""
    answers = {tuple(make(3, seed).params["shown"]): make(3, seed).truth for seed in range(50)}
    assert answers[2, 0, 1] == "231"


def test_all_orders_are_equally_frequent_including_the_true_one() -> None:
    counts = Counter(make(3, seed).truth for seed in range(1200))
    assert len(counts) == 6
    assert all(150 < count < 250 for count in counts.values())


def test_the_content_names_each_clip_before_it() -> None:
    sample = TASK.render(make(3, 0), np.zeros((48, 32, 32, 3), np.uint8), None)
    assert sample.content == ("Clip 1:", 0, "Clip 2:", 1, "Clip 3:", 2, question(3))


@pytest.mark.parametrize("num_clips", range(2, 10))
def test_the_question_is_short_and_its_example_has_the_right_form(num_clips: int) -> None:
    text = question(num_clips)
    assert text.isascii()
    assert len(text) <= 110
    example = text.split()[-1].rstrip(".")
    assert score("jigsaw", example, example) == 1.0
    assert len(example) == num_clips


def test_impossible_params_are_refused() -> None:
    for num_clips in (5, 7, 9):
        with pytest.raises(ValueError, match=f"num_clips={num_clips}: 48 frames cannot be cut"):
            make(num_clips, 0)
    with pytest.raises(ValueError, match=r"num_clips=6: 18 frames .* multiple of 12"):
        make(6, 0, 18)
    with pytest.raises(ValueError, match=r"gap=8: clips of 8 frames would lose all of them\. Set it to 6"):
        make(6, 0, gap=8)
    make(6, 0, gap=6)
    for field, value, words in [
        ("num_clips", 1, "greater than or equal to 2"),
        ("num_clips", 13, "less than or equal to 12"),
        ("gap", 3, "multiple of 2"),
        ("gap", -2, "greater than or equal to 0"),
    ]:
        with pytest.raises(ValidationError, match=words):
            JigsawParams.model_validate({field: value})
