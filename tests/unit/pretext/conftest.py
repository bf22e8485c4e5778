"""Small real videos, written by PyAV into the test's folder."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pretext.frames import FrameSpec
from pretext.recipe import Frames

OPTIONS = {"crf": "4", "preset": "veryfast", "bf": "2", "g": "12"}  # B-frames, and several key frames

Encode = Callable[..., Path]

SHARED_VIDEOS = Path(__file__).resolve().parents[4] / "shared" / "videos"


@pytest.fixture
def shared_videos() -> Path:
    """The genuine videos beside the checkout; a test that asks for them is skipped where there are none."""
    if not SHARED_VIDEOS.is_dir():
        pytest.skip(f"{SHARED_VIDEOS} is not here: these tests want genuine videos")
    return SHARED_VIDEOS


@pytest.fixture
def small() -> FrameSpec:
    return FrameSpec(num_frames=8, min_pixels=64 * 64, max_pixels=64 * 64)


@pytest.fixture
def encode(tmp_path: Path) -> Encode:
    """encode(name, frames, times_s): an H.264 file whose frames are presented at these times."""

    def write(name: str, frames: Frames, times_s: Sequence[float]) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options=OPTIONS)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv444p"
            stream.codec_context.time_base = Fraction(1, 1000)
            for image, time_s in zip(frames, times_s, strict=True):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def grey_steps() -> Callable[[int], Frames]:
    """grey_steps(n): n flat 64x64 frames, the i-th of grey level 10 + 3 i, so that a frame names itself."""

    def draw(num_frames: int) -> Frames:
        levels = 10 + 3 * np.arange(num_frames)
        return np.broadcast_to(levels[:, None, None, None], (num_frames, 64, 64, 3)).astype(np.uint8)

    return draw
