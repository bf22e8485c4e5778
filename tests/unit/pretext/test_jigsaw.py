"""`pretext.tasks.jigsaw`: the right frames in the right clips, clocks from 0, all orders alike."""

from collections import Counter

import numpy as np
import pytest

from pretext.recipe import Recipe
from pretext.tasks.jigsaw import Jigsaw, JigsawParams, question
from pretext.video import VideoInfo
from reward import score

TIMES_S = np.cumsum([0.0, *([0.5] * 9), *([0.3] * 8)]).round(3)


def make(num_clips: int, seed: int, num_frames: int = 18) -> Recipe:
    info = VideoInfo("x.mp4", 18, 8.0, 64, 64, TIMES_S, "decord")
    return Jigsaw().make(info, np.arange(num_frames), (32, 32), JigsawParams(num_clips=num_clips), seed)


@pytest.mark.parametrize("num_clips", [3, 9])
def test_put_in_the_answers_order_the_clips_are_the_video_again(num_clips: int) -> None:
    frames = np.broadcast_to(np.arange(18)[:, None, None, None], (18, 32, 32, 3)).astype(np.uint8)
    for seed in range(20):
        recipe = make(num_clips, seed)
        sample = Jigsaw().render(recipe, frames)
        in_order = [sample.clips[int(digit) - 1] for digit in recipe.answer]
        shown = np.concatenate([clip.frames[:, 0, 0, 0] for clip in in_order])
        assert shown.tolist() == list(range(18))
        assert score("jigsaw", recipe.answer, recipe.answer) == 1.0
        for clip in sample.clips:
            assert clip.times_s[0] == 0.0
            true_s = TIMES_S[clip.frames[:, 0, 0, 0]]
            np.testing.assert_allclose(clip.times_s, true_s - true_s[0])


def test_the_example_of_the_class_holds() -> None:
    """Shown 3rd, 1st, 2nd."""
    answers = {tuple(make(3, seed).params["shown"]): make(3, seed).answer for seed in range(50)}
    assert answers[2, 0, 1] == "231"


def test_all_orders_come_equally_often_the_true_one_included() -> None:
    counts = Counter(make(3, seed).answer for seed in range(1200))
    assert len(counts) == 6
    assert all(150 < count < 250 for count in counts.values())


def test_the_content_names_each_clip_before_it() -> None:
    sample = Jigsaw().render(make(3, 0), np.zeros((18, 32, 32, 3), np.uint8))
    assert sample.content == ("Clip 1:", 0, "Clip 2:", 1, "Clip 3:", 2, question(3))


@pytest.mark.parametrize("num_clips", range(2, 10))
def test_the_question_is_short_and_its_example_is_of_the_right_form(num_clips: int) -> None:
    text = question(num_clips)
    assert text.isascii()
    assert len(text) <= 110
    example = text.split()[-1].rstrip(".")
    assert score("jigsaw", example, example) == 1.0
    assert len(example) == num_clips


@pytest.mark.parametrize("num_clips", [2, 4, 6])
def test_clips_must_come_out_even(num_clips: int) -> None:
    with pytest.raises(ValueError, match=f"num_clips={num_clips}: 18 frames cannot be cut"):
        make(num_clips, 0)
