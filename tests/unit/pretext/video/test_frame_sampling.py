"""`pretext.video.frames`: which frames are sampled, and at which size."""

import random
from math import log

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pretext.video import VideoError, VideoInfo
from pretext.video.frames import FrameSpec, fit_size, frame_indices


def info_at(times_s: NDArray[np.float64]) -> VideoInfo:
    duration_s = float(times_s[-1]) * len(times_s) / (len(times_s) - 1)
    return VideoInfo("x.mp4", len(times_s), duration_s, 64, 64, times_s, "pyav")


def test_the_frame_at_the_middle_of_each_step_is_taken() -> None:
    spec = FrameSpec(num_frames=4, window=0.8)
    assert frame_indices(info_at(np.arange(100) / 10), spec).tolist() == [20, 40, 60, 80]


def test_videos_of_uneven_rate_are_sampled_evenly_in_time() -> None:
    rng = np.random.default_rng(0)
    times_s = np.concatenate([[0.0], np.cumsum(rng.uniform(0.01, 0.2, 999))])
    info = info_at(times_s)
    indices = frame_indices(info, FrameSpec())
    step_s = info.duration_s * 0.9 / 48
    wanted_s = info.duration_s * 0.05 + (np.arange(48) + 0.5) * step_s
    assert (times_s[indices] <= wanted_s + 1e-3).all()
    assert (times_s[indices + 1] > wanted_s).all()


def test_a_video_with_too_few_frames_is_refused_with_its_numbers() -> None:
    with pytest.raises(
        VideoError, match=r"x.mp4: shows only \d+ different frames at 48 .* \(it has 40 in 4.0 s\)"
    ):
        frame_indices(info_at(np.arange(40) / 10), FrameSpec())
    assert len(frame_indices(info_at(np.arange(57) / 6), FrameSpec())) == 48


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1080, 1920, (192, 320)),
        (1920, 1080, (320, 192)),
        (64, 64, (128, 128)),
        (256, 256, (256, 256)),
        (480, 640, (224, 288)),
        (10, 10_000, (32, 2048)),
    ],
)
def test_sizes_worked_out_by_hand(height: int, width: int, expected: tuple[int, int]) -> None:
    assert fit_size(height, width, FrameSpec()) == expected


def test_sizes_keep_the_limits_and_stay_near_the_aspect_ratio() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        multiple = rng.choice([1, 14, 16, 28, 32])
        low = rng.randrange(multiple**2, 256**2)
        spec = FrameSpec(min_pixels=low, max_pixels=4 * low, multiple_of=multiple)
        height, width = rng.randrange(1, 4000), rng.randrange(1, 4000)
        fitted = fit_size(height, width, spec)
        assert fitted[0] % multiple == fitted[1] % multiple == 0
        assert 0 < fitted[0] * fitted[1] <= spec.max_pixels
        if min(fitted) >= 4 * multiple:
            assert fitted[0] * fitted[1] >= spec.min_pixels
            assert abs(log(fitted[0] / fitted[1] * width / height)) < 0.25
        assert fit_size(width, height, spec) == fitted[::-1] or height == width


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_frames", 7, "multiple of 2"),
        ("num_frames", 0, "greater than or equal to 2"),
        ("window", 0.0, "greater than 0"),
        ("window", 1.1, "less than or equal to 1"),
        ("max_pixels", 1000, "no 32x32 block fits"),
        ("min_pixels", 70_000, "above max_pixels=65536"),
        ("clock", "wall", "'source' or 'paper'"),
        ("reader", "ffmpeg", "'pyav' or 'decord'"),
        ("frames", 8, "Extra inputs"),
    ],
)
def test_a_bad_spec_is_refused(field: str, value: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FrameSpec.model_validate({field: value})
