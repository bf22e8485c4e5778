"""Which frames of a video the model sees, and at what size."""

from dataclasses import dataclass
from itertools import product
from math import ceil, log, sqrt
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from pretext.video import Reader, VideoError, VideoInfo
from pretext.video.frame_stats import Traits
from vocabulary.over_http import OverHttp

_SAME_TIME_S = 1e-3  # frame times are rounded to 0.1 ms: a frame that starts "exactly then" must count


class FrameSpec(BaseModel, frozen=True, extra="forbid"):
    """How frames are taken. The defaults are VideoSSR's (arXiv 2511.06281), but for the clock.

    `clock="paper"` is the published generator's account of time, for comparison: every k-th frame of the
    middle 90 %, told as if the frames were spread over the whole duration.
    """

    # even: models merge frames in pairs
    num_frames: Annotated[int, Field(ge=2, multiple_of=2), OverHttp(largest=256)] = 48
    # the middle part of the video that is used
    window: Annotated[float, Field(gt=0, le=1), OverHttp(largest=1)] = 0.9
    min_pixels: Annotated[int, Field(ge=1), OverHttp(largest=768 * 768)] = 128 * 128
    max_pixels: Annotated[int, Field(ge=1), OverHttp(largest=768 * 768)] = 256 * 256
    # of height and width: patch size x spatial merge
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
    """The frames of a video that samples are made from."""

    path: str
    reader: Reader
    duration_s: float  # of the whole video
    indices: NDArray[np.int64]  # [num_frames], ascending
    times_s: NDArray[np.float64]  # [num_frames], what the model is told
    height_px: int  # the size that the frames are read at
    width_px: int
    traits: Traits | None = None  # what the frames look like; None where nobody has looked


def sample_video(info: VideoInfo, spec: FrameSpec) -> SampledVideo:
    """Chooses the frames of a video, and their size. Raises VideoError where it has too few."""
    if spec.clock == "paper":
        indices, times_s = _paper_frames(info, spec)
    else:
        indices = frame_indices(info, spec)
        times_s = info.frame_times_s[indices]
    height_px, width_px = fit_size(info.height_px, info.width_px, spec)
    return SampledVideo(info.path, info.reader, info.duration_s, indices, times_s, height_px, width_px)


def fit_size(height_px: int, width_px: int, spec: FrameSpec) -> tuple[int, int]:
    """The (height, width) to resize frames to: near the video's aspect, both multiples of `multiple_of`.

    The area is never above `max_pixels`, and at least `min_pixels` where a size near the aspect allows it.
    Of the four sizes round the ideal one, the least distorting that keeps these limits is taken.

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
    """The whole numbers below and above `ideal`, from 1 to `most`."""
    return min(max(int(ideal), 1), most), min(max(ceil(ideal), 1), most)


def frame_indices(info: VideoInfo, spec: FrameSpec) -> NDArray[np.int64]:
    """The frames to take, [num_frames] ascending: those on screen at the middle of equal steps of time.

    The middle `window` of the duration is cut into `num_frames` equal steps, and the frame shown at the
    middle of each is taken: the last one whose presentation time is not later. So it is uniform in time
    also where the frame rate varies. Raises VideoError where that would take a frame twice.

    10 s at 10 frames per second, num_frames=4, window=0.8: steps of 2 s from 1 s on, whose middles 2, 4, 6
    and 8 s show frames 20, 40, 60 and 80.
    """
    step_s = info.duration_s * spec.window / spec.num_frames
    start_s = info.duration_s * (1 - spec.window) / 2
    wanted_s = start_s + (np.arange(spec.num_frames) + 0.5) * step_s
    indices = np.searchsorted(info.frame_times_s, wanted_s + _SAME_TIME_S, side="right").astype(np.int64) - 1
    num_distinct = len(np.unique(indices))
    if num_distinct < spec.num_frames:
        raise VideoError(
            info.path,
            f"shows only {num_distinct} different frames at {spec.num_frames} evenly spaced times "
            f"(it has {info.num_frames} in {info.duration_s:.1f} s)",
        )
    return indices


def _paper_frames(info: VideoInfo, spec: FrameSpec) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices and told times by the published generator's convention (see FrameSpec)."""
    margin = round((1 - spec.window) / 2, 9)  # 0.05, where floats give 0.04999999999999999
    start, end = int(info.num_frames * margin), int(info.num_frames * (1 - margin))
    step = (end - start) // spec.num_frames
    if step < 1:
        raise VideoError(info.path, f"has only {end - start} frames in its middle, not {spec.num_frames}")
    numbers = np.arange(spec.num_frames)
    return start + numbers * step, numbers * info.duration_s / spec.num_frames
