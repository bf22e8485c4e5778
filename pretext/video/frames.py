"""Frame sampling: which frames of a video the model sees, and at which size."""

from dataclasses import dataclass
from itertools import product
from math import ceil, log, sqrt
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from pretext.video.frame_stats import FrameStats
from pretext.video.info import Reader, VideoError, VideoInfo
from vocabulary.over_http import OverHttp

# Frame times are rounded to 0.1 ms, so a frame that starts exactly at a wanted time may appear to start later.
_TIME_TOLERANCE_S = 1e-3


class FrameSpec(BaseModel, frozen=True, extra="forbid"):
    """How frames are sampled. The defaults are VideoSSR's (arXiv 2511.06281), except for the clock.

    `clock="paper"` reproduces the published generator's times, for comparison: it takes every k-th frame of the middle
    90 %, with times as if the frames were spread over the whole duration.
    """

    # even, because models merge frames in pairs
    num_frames: Annotated[int, Field(ge=2, multiple_of=2), OverHttp(largest=256)] = 48
    # share of the video that is used, around its middle
    window: Annotated[float, Field(gt=0, le=1), OverHttp(largest=1)] = 0.9
    min_pixels: Annotated[int, Field(ge=1), OverHttp(largest=768 * 768)] = 128 * 128
    max_pixels: Annotated[int, Field(ge=1), OverHttp(largest=768 * 768)] = 256 * 256
    # of height and width: patch size x spatial merge size
    multiple_of: Annotated[int, Field(ge=1), OverHttp(largest=256)] = 32
    clock: Annotated[Literal["source", "paper"], OverHttp(choice=True)] = "source"
    reader: Annotated[Reader, OverHttp(choice=True)] = "pyav"

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.max_pixels < self.multiple_of**2:
            raise ValueError(
                f"max_pixels={self.max_pixels}: no {self.multiple_of}x{self.multiple_of} block fits. "
                f"Set it to {self.multiple_of**2} or more."
            )
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels={self.min_pixels}: above max_pixels={self.max_pixels}. Lower it.")
        return self


@dataclass(frozen=True, eq=False)
class SampledVideo:
    """A video with the choice of frames from which samples are made."""

    path: str
    reader: Reader
    duration_s: float  # of the whole video
    indices: NDArray[np.int64]  # [num_frames], ascending
    times_s: NDArray[np.float64]  # [num_frames], times of the frames as given to the model
    height_px: int  # the size at which the frames are read
    width_px: int
    frame_stats: FrameStats | None = None  # None if the frames were not measured


def sample_video(info: VideoInfo, spec: FrameSpec) -> SampledVideo:
    """Choose the frames of a video and their size. Raises VideoError if it has too few."""
    if spec.clock == "paper":
        indices, times_s = _paper_frames(info, spec)
    else:
        indices = frame_indices(info, spec)
        times_s = info.frame_times_s[indices]
    height_px, width_px = fit_size(info.height_px, info.width_px, spec)
    return SampledVideo(info.path, info.reader, info.duration_s, indices, times_s, height_px, width_px)


def fit_size(height_px: int, width_px: int, spec: FrameSpec) -> tuple[int, int]:
    """Return the (height, width) to resize frames to: near the video's aspect ratio, multiples of `multiple_of`.

    The area never exceeds `max_pixels`, and is at least `min_pixels` if a size near the aspect ratio allows it.
    Of the four sizes around the ideal one, it returns the one within these limits that distorts least.

    >>> fit_size(1080, 1920, FrameSpec())  # the ideal would be 192 x 341.3
    (192, 320)
    """
    area = min(max(height_px * width_px, spec.min_pixels), spec.max_pixels)
    scale = sqrt(area / (height_px * width_px)) / spec.multiple_of
    most_blocks = spec.max_pixels // spec.multiple_of**2
    rows, columns = (_nearby(height_px * scale, most_blocks), _nearby(width_px * scale, most_blocks))
    sizes = [(r * spec.multiple_of, c * spec.multiple_of) for r, c in product(rows, columns)]
    allowed = [(h, w) for h, w in sizes if h * w <= spec.max_pixels]

    def badness(size: tuple[int, int]) -> tuple[bool, float, int]:
        h, w = size
        return h * w < spec.min_pixels, abs(log(h / w * width_px / height_px)), -h * w

    return min(allowed, key=badness)


def _nearby(ideal: float, most: int) -> tuple[int, int]:
    """Return the whole numbers below and above `ideal`, limited to 1 to `most`."""
    return min(max(int(ideal), 1), most), min(max(ceil(ideal), 1), most)


def frame_indices(info: VideoInfo, spec: FrameSpec) -> NDArray[np.int64]:
    """Return the frames to take, [num_frames] ascending: those on screen at the middle of equal steps of time.

    The middle `window` of the duration is cut into `num_frames` equal steps. At the middle of each step, the frame
    on screen is the last one whose presentation time is not later. So sampling is uniform in time even if the frame
    rate varies. Raises VideoError if a frame would be taken twice.

    For 10 s at 10 frames per second with num_frames=4 and window=0.8, steps of 2 s start at 1 s; their middles at 2, 4,
    6 and 8 s show frames 20, 40, 60 and 80.
    """
    step_s = info.duration_s * spec.window / spec.num_frames
    start_s = info.duration_s * (1 - spec.window) / 2
    wanted_s = start_s + (np.arange(spec.num_frames) + 0.5) * step_s
    indices = (
        np.searchsorted(info.frame_times_s, wanted_s + _TIME_TOLERANCE_S, side="right").astype(np.int64) - 1
    )
    num_distinct = len(np.unique(indices))
    if num_distinct < spec.num_frames:
        raise VideoError(
            info.path,
            f"shows only {num_distinct} different frames at {spec.num_frames} evenly spaced times "
            f"(it has {info.num_frames} in {info.duration_s:.1f} s)",
        )
    return indices


def _paper_frames(info: VideoInfo, spec: FrameSpec) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return indices and times by the published generator's convention (see FrameSpec)."""
    margin = round((1 - spec.window) / 2, 9)  # 0.05, not 0.04999999999999999
    start, end = int(info.num_frames * margin), int(info.num_frames * (1 - margin))
    step = (end - start) // spec.num_frames
    if step < 1:
        raise VideoError(info.path, f"has only {end - start} frames in its middle, not {spec.num_frames}")
    numbers = np.arange(spec.num_frames)
    return start + numbers * step, numbers * info.duration_s / spec.num_frames
