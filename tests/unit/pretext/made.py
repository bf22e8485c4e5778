"""Test material: frames that identify themselves, small files of any codec, and sampled videos without a file."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pretext.recipe import Frames
from pretext.video import pyav_reader
from pretext.video.frame_stats import FrameStats, measure_frames
from pretext.video.frames import SampledVideo
from pretext.video.sources import opened

X264 = {"crf": "4", "preset": "veryfast", "bf": "2", "g": "12"}  # B-frames, and several key frames
_TICK = Fraction(1, 1000)


def write_video(
    path: Path,
    frames: Frames,
    times_s: Sequence[float] | NDArray[np.float64],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv444p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    tick: Fraction = _TICK,
) -> Path:
    """Write a file of this codec with frames at these presentation times, as far as its format can store them."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(
            codec, rate=round(1 / tick) if tick != _TICK else 30, options=options or {}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = tick
        for image, time_s in zip(frames, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round(float(time_s) / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grey_frames(num_frames: int, step: int = 3) -> Frames:
    """Return flat 64x64 frames, the i-th of grey level 10 + step * i, which identifies it."""
    levels = 10 + step * np.arange(num_frames)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, 64, 64, 3)).astype(np.uint8)


def moving_frames(num_frames: int, height: int = 64, width: int = 64, seed: int = 0) -> Frames:
    """Return a soft coloured pattern that drifts by about a pixel per frame. No frame, mirrored or turned, repeats."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (1 + height // 8, 2 + (width + num_frames) // 8, 3)).astype(np.uint8)
    field = cv2.resize(rough, (width + num_frames, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([field[:, number : number + width] for number in range(num_frames)])


def plain_decode(path: str | Path) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield (presentation time, frame) for every frame that FFmpeg decodes, from the first to the last."""
    with opened(str(path)) as source, av.open(source) as container:
        stream = container.streams.best("video")
        assert stream is not None
        for frame in container.decode(stream):
            assert isinstance(frame, av.VideoFrame)
            yield float(frame.pts * frame.time_base), frame  # type: ignore[operator]


def plain_frames(
    path: str | Path,
    *,
    height_px: int,
    width_px: int,
    wanted: Sequence[int] | None = None,
    cover: bool = False,
) -> Frames:
    """Return all frames, or the wanted ones, by decoding everything; scaled like the reader. A slow reference."""
    reformatter = VideoReformatter()
    numbers = None if wanted is None else {int(number) for number in wanted}
    return np.stack(
        [
            pyav_reader._scaled(reformatter, frame, height_px, width_px, cover=cover)
            for number, (_, frame) in enumerate(plain_decode(path))
            if numbers is None or number in numbers
        ]
    )


def plain_times(path: str | Path) -> NDArray[np.float64]:
    """Return the presentation times of all frames, from the first."""
    times_s = np.array([time_s for time_s, _ in plain_decode(path)])
    return times_s - times_s[0]


def sampled(
    num_frames: int = 48,
    size: tuple[int, int] = (64, 64),
    *,
    path: str = "x.mp4",
    times_s: NDArray[np.float64] | None = None,
    frame_stats: FrameStats | None = None,
    frames: Frames | None = None,
) -> SampledVideo:
    """Return a sampled video without a file; `frames` gives it their statistics."""
    times_s = np.arange(num_frames) / 2 if times_s is None else times_s
    return SampledVideo(
        path=path,
        reader="pyav",
        duration_s=float(times_s[-1]) * num_frames / (num_frames - 1),
        indices=np.arange(num_frames),
        times_s=times_s,
        height_px=size[0],
        width_px=size[1],
        frame_stats=frame_stats if frames is None else measure_frames(frames),
    )
