"""Fixtures: small videos that PyAV encodes into the test's folder, and genuine videos next to the checkout."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pretext.recipe import Frames
from pretext.video import probe, read_frames
from pretext.video.frame_stats import measure_frames
from pretext.video.frames import FrameSpec, SampledVideo, sample_video
from tests.unit.pretext.made import X264, grey_frames, write_video

Encode = Callable[..., Path]

SHARED_VIDEOS = Path(__file__).resolve().parents[4] / "shared" / "videos"
REAL_SPEC = FrameSpec(min_pixels=64 * 64, max_pixels=96 * 96)


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """Return the folder of genuine videos next to the checkout; without it, the test is skipped."""
    if not SHARED_VIDEOS.is_dir():
        pytest.skip(f"{SHARED_VIDEOS} does not exist: this test needs genuine videos")
    return SHARED_VIDEOS


@pytest.fixture(scope="session")
def real_videos(shared_videos: Path) -> list[tuple[SampledVideo, Frames]]:
    """Return every genuine video, sampled with REAL_SPEC, and its frames; decoded once for all tests."""
    found = []
    for path in sorted((shared_videos / "real").iterdir()):
        video = sample_video(probe(path), REAL_SPEC)
        frames = read_frames(path, video.indices, height_px=video.height_px, width_px=video.width_px)
        frames.flags.writeable = False
        found.append((replace(video, frame_stats=measure_frames(frames)), frames))
    return found


@pytest.fixture
def small() -> FrameSpec:
    return FrameSpec(num_frames=8, min_pixels=64 * 64, max_pixels=64 * 64)


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """Return encode(name, frames, times_s, **more), which writes a file into the test's folder, by default H.264."""

    def write(name: str, *arguments: Any, **more: Any) -> Path:
        return write_video(tmp_path / name, *arguments, **{"options": X264} | more)

    return write


@pytest.fixture
def grey_steps() -> Callable[[int], Frames]:
    """Return grey_steps(n): n flat 64x64 frames, the i-th of grey level 10 + 3 i, which identifies it."""
    return partial(grey_frames)
