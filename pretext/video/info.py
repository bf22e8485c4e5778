"""What is known of a video, and the error of one that cannot be used."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reader = Literal["pyav", "decord"]

_MOST_PIXELS = 8192 * 8192  # of a frame; a damaged header can claim more than fits into memory


class VideoError(ValueError):
    """A video that cannot be used: `path`, and `reason` in plain words."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Rejected:
    """A video that was set aside."""

    path: str
    reason: str  # in plain words


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What has to be known of a video to choose frames from it."""

    path: str
    num_frames: int
    duration_s: float  # from the first frame to the end of the last, which is given the mean length
    height_px: int  # as shown, after rotation
    width_px: int
    frame_times_s: NDArray[np.float64]  # [num_frames], strictly rising from 0
    reader: Reader  # what read it


def make_info(
    path: str, times_s: NDArray[np.float64], *, height_px: int, width_px: int, reader: Reader
) -> VideoInfo:
    """VideoInfo of frames shown at `times_s`, [num_frames] from 0. Raises VideoError for a single frame."""
    if len(times_s) < 2:
        raise VideoError(path, "has a single frame")
    times_s = times_s.round(4)  # decord's are float32; 0.1 ms is finer than any frame rate
    duration_s = float(times_s[-1]) * len(times_s) / (len(times_s) - 1)
    return VideoInfo(path, len(times_s), round(duration_s, 4), height_px, width_px, times_s, reader)


def check_size(path: str, height_px: int, width_px: int) -> None:
    """Raises VideoError for a frame size that no camera makes."""
    if height_px < 1 or width_px < 1:
        raise VideoError(path, "does not say how large its frames are")
    if height_px * width_px > _MOST_PIXELS:
        raise VideoError(path, f"claims frames of {width_px}x{height_px}, more than can be read")


def scaled_size(size: tuple[int, int], height_px: int, width_px: int, *, cover: bool) -> tuple[int, int]:
    """The (height, width) that a frame of `size` is scaled to before its middle is taken. See `Video.read`."""
    if not cover:
        return height_px, width_px
    height, width = size
    scale = max(height_px / height, width_px / width)
    return max(height_px, round(height * scale)), max(width_px, round(width * scale))
