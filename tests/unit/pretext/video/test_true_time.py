"""Times are the source's own: truths match the real times of the altered frames, as found in the pixels."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pretext.recipe import Frames, Recipe, Sample
from pretext.stream import make_recipe, render
from pretext.tasks import TASKS
from pretext.video import VideoError, VideoInfo, probe
from pretext.video.frames import FrameSpec, SampledVideo, sample_video
from pretext.video.inspect_video import inspect
from reward.rules import interval_iou
from tests.unit.pretext.made import moving_frames, plain_frames, plain_times

Encode = Callable[..., Path]

GROUNDING = TASKS["grounding"]
INVERTED = GROUNDING.Params(perturbations=("invert",))
NUM_FRAMES = 300
RNG = np.random.default_rng(3)
RATES: dict[str, NDArray[np.float64]] = {
    "constant": np.arange(NUM_FRAMES) / 25,
    "ntsc": np.arange(NUM_FRAMES) * 1001 / 30000,
    "slow and late": 7.3 + np.arange(NUM_FRAMES) / 5,
    "variable": np.cumsum(RNG.choice([0.02, 0.05, 0.15], NUM_FRAMES)),
    "slowing": 1.5 + np.cumsum(np.linspace(0.02, 0.2, NUM_FRAMES)),
}


def true_interval(sample: Sample, every: Frames, times_s: NDArray[np.float64]) -> tuple[float, float]:
    """Find the altered interval in the pixels alone: a frame that is not in the video is an inverted one.

    The altered part ends when the next frame that is shown begins; after the last, one mean step later.
    """
    numbers = {image.tobytes(): number for number, image in enumerate(every)}
    (clip,) = sample.clips
    altered = np.array([image.tobytes() not in numbers for image in clip.frames])
    shown_s = np.array(
        [
            times_s[numbers[(~image if is_altered else image).tobytes()]]
            for image, is_altered in zip(clip.frames, altered, strict=True)
        ]
    )
    np.testing.assert_allclose(clip.times_s, shown_s, atol=2e-4)
    places = np.flatnonzero(altered)
    assert places.tolist() == list(range(places[0], places[-1] + 1))
    after = places[-1] + 1
    end_s = shown_s[after] if after < len(shown_s) else shown_s[-1] + np.diff(shown_s).mean()
    return float(shown_s[places[0]]), float(end_s)


def assert_same_but_for_rounding(answer: str, truth: tuple[float, float]) -> None:
    """Check that the IoU is 1 after the real interval is rounded the same way."""
    said = tuple(float(end) for end in answer.split("-"))
    assert np.abs(np.subtract(said, truth)).max() <= 0.0502
    length = truth[1] - truth[0]
    assert interval_iou(said, truth) >= (length - 0.1005) / (length + 0.1005)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *(("a.mp4", rate) for rate in RATES),
        ("a.mkv", "slow and late"),
        ("a.mkv", "variable"),
        ("a.ts", "variable"),
    ],
)
def test_truths_are_the_real_times_of_the_altered_frames(encode: Encode, name: str, rate: str) -> None:
    path = encode(name, moving_frames(NUM_FRAMES), RATES[rate])
    spec = FrameSpec(min_pixels=4096, max_pixels=4096)
    video = inspect(str(path), spec)
    every, times_s = plain_frames(path, height_px=64, width_px=64), plain_times(path)
    # compared with the times that were encoded
    np.testing.assert_allclose(times_s, RATES[rate] - RATES[rate][0], atol=1.1e-3)
    answers = set()
    for index in range(12):
        recipe = _recipe(video, index)
        truth = true_interval(render(recipe), every, times_s)
        assert_same_but_for_rounding(recipe.truth, truth)
        answers.add(recipe.truth)
    assert len(answers) > 6


def test_a_segment_at_the_very_end_lasts_one_mean_step_longer(encode: Encode) -> None:
    path = encode("a.mp4", moving_frames(60), np.arange(60) / 10)
    video = inspect(str(path), FrameSpec(num_frames=10, window=1.0, min_pixels=4096, max_pixels=4096))
    params = GROUNDING.Params(perturbations=("invert",), segment=(4, 4))
    answers = {
        tuple(GROUNDING.edited(recipe)[0]): recipe.truth
        for recipe in (_recipe(video, index, params) for index in range(60))
    }
    assert answers[6, 7, 8, 9] == "3.9-6.3"  # frames 3, 9, ... 57 at 10 per second, steps of 0.6 s
    assert answers[0, 1, 2, 3] == "0.3-2.7"


def test_the_paper_clock_is_the_published_convention() -> None:
    """It takes every (270 // 48)-th frame from the 15th on, with the times i * 10 / 48 s."""
    info = VideoInfo("x.mp4", 300, 10.0, 64, 64, np.arange(300) / 30, "pyav")
    video = sample_video(info, FrameSpec(clock="paper"))
    assert video.indices.tolist() == [15 + 5 * number for number in range(48)]
    np.testing.assert_allclose(video.times_s, [number * 10 / 48 for number in range(48)])
    with pytest.raises(VideoError, match="only 45 frames in its middle, not 48"):
        sample_video(
            VideoInfo("x.mp4", 50, 5.0, 64, 64, np.arange(50) / 10, "pyav"), FrameSpec(clock="paper")
        )


def test_on_genuine_videos_our_clock_is_right_and_the_paper_clock_is_not(
    real_videos: list[tuple[SampledVideo, Frames]],
) -> None:
    """The published clock has a mean IoU of 0.54 on these 20 clips (240 samples), and 43 % are below 0.5."""
    overlaps: dict[str, list[float]] = {"source": [], "paper": []}
    for found, _ in real_videos:
        info = probe(found.path)
        times_s = _true_times(found, info)
        for clock in ("source", "paper"):
            video = sample_video(info, FrameSpec(clock=clock))  # type: ignore[arg-type]
            shown_s = times_s[video.indices]
            bounds_s = np.append(shown_s, shown_s[-1] + np.diff(shown_s).mean())
            for index in range(12):
                recipe = _recipe(video, index)
                (edited,) = GROUNDING.edited(recipe)
                truth = float(bounds_s[edited[0]]), float(bounds_s[edited[-1] + 1])
                said = tuple(float(end) for end in recipe.truth.split("-"))
                overlaps[clock].append(interval_iou(said, truth))
                if clock == "source":
                    assert_same_but_for_rounding(recipe.truth, truth)
    assert np.mean(overlaps["source"]) > 0.95
    assert np.mean(overlaps["paper"]) < 0.8
    assert np.mean(np.array(overlaps["paper"]) < 0.5) > 0.1


def test_on_genuine_videos_the_altered_pixels_are_where_the_truth_says(
    real_videos: list[tuple[SampledVideo, Frames]],
) -> None:
    for number, (video, frames) in enumerate(real_videos):
        if len({image.tobytes() for image in frames}) < len(frames):
            continue  # In a still video, frames do not identify themselves.
        recipe = _recipe(video, number)
        sample = GROUNDING.render(recipe, frames, None)
        assert_same_but_for_rounding(recipe.truth, true_interval(sample, frames, video.times_s))


def _true_times(video: SampledVideo, info: VideoInfo) -> NDArray[np.float64]:
    """Return presentation times by simply reading all packets; for AVI, by its frame rate."""
    import av

    with av.open(video.path) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, av.VideoStream)
        if container.format.name == "avi":
            return np.arange(info.num_frames) / float(stream.average_rate or 0)
        base = stream.time_base or Fraction(0)
        pts = sorted(
            packet.pts
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size and not packet.is_discard
        )
    if len(pts) != info.num_frames:  # VP8 frames that are only for reference are packets too.
        return plain_times(video.path)
    return (np.array(pts) - pts[0]) * float(base)


def _recipe(video: SampledVideo, index: int, params: Any = INVERTED) -> Recipe:
    return make_recipe(
        index, videos=[video], mix={"grounding": 1}, params_by_task={"grounding": params}, seed=1
    )
