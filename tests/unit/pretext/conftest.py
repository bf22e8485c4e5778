"""Small real videos, written by PyAV into the test's folder, and the genuine ones beside the checkout."""

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
    """The genuine videos beside the checkout; a test that asks for them is skipped where there are none."""
    if not SHARED_VIDEOS.is_dir():
        pytest.skip(f"{SHARED_VIDEOS} is not here: these tests want genuine videos")
    return SHARED_VIDEOS


@pytest.fixture(scope="session")
def real_videos(shared_videos: Path) -> list[tuple[SampledVideo, Frames]]:
    """Every genuine clip, sampled by REAL_SPEC, with its frames; decoded once for all tests."""
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
    """encode(name, frames, times_s, **more): a file in the test's folder, H.264 unless told otherwise."""

    def write(name: str, *arguments: Any, **more: Any) -> Path:
        return write_video(tmp_path / name, *arguments, **{"options": X264} | more)

    return write


@pytest.fixture
def grey_steps() -> Callable[[int], Frames]:
    """grey_steps(n): n flat 64x64 frames, the i-th of grey level 10 + 3 i, so that a frame names itself."""
    return partial(grey_frames)
