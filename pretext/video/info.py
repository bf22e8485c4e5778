"""Facts about a video, the base class of an open video, and the error for an unusable one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames

Reader = Literal["pyav", "decord"]

_MAX_FRAME_PIXELS = 8192 * 8192  # a damaged header can claim more than fits into memory


class VideoError(ValueError):
    """A video that cannot be used, with its `path` and the `reason` as a phrase for users."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Skipped:
    """A video that was left out, or a row or sample of an import or export."""

    path: str  # path of the video, or a description of the row or sample
    reason: str  # phrase for users


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """The facts about a video that are needed to choose frames from it."""

    path: str
    num_frames: int
    duration_s: (
        float  # from the first frame to the end of the last, which is taken to last as long as the mean one
    )
    height_px: int  # as shown, after rotation
    width_px: int
    frame_times_s: NDArray[np.float64]  # [num_frames], strictly rising from 0
    reader: Reader  # the reader that opened the video


class Video(ABC):
    """An open video. Each reader has its own subclass."""

    @cached_property
    def info(self) -> VideoInfo:
        """Frame times and size; `info.reader` names the reader. Raises VideoError."""
        return self._probe()

    def read(
        self,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        height_px: int,
        width_px: int,
        cover: bool = False,
    ) -> Frames:
        """Return the frames at ascending `indices`: [len(indices), height_px, width_px, 3] uint8, RGB.

        Frames are stretched to that size. With `cover` they are scaled to cover it, and cropped to their middle.
        The same arguments give the same bytes. Raises VideoError if one of the frames cannot be decoded.
        """
        wanted = [int(index) for index in indices]
        if wanted != sorted(set(wanted)) or (wanted and wanted[0] < 0):
            raise ValueError(f"indices {wanted}: must be ascending, distinct and not negative.")
        frames = np.empty((len(wanted), height_px, width_px, 3), np.uint8)
        if wanted:
            found = self._decode_scaled(wanted, height_px=height_px, width_px=width_px, cover=cover)
            for slot, image in found:
                frames[slot] = image
        return frames

    @abstractmethod
    def _probe(self) -> VideoInfo:
        """Return frame times and size. Raises VideoError."""

    @abstractmethod
    def _decode_scaled(
        self, wanted: Sequence[int], *, height_px: int, width_px: int, cover: bool
    ) -> Iterator[tuple[int, Frames]]:
        """Yield (place in `wanted`, frame) in any order, each [height_px, width_px, 3]. Raises VideoError."""


def make_info(
    path: str, times_s: NDArray[np.float64], *, height_px: int, width_px: int, reader: Reader
) -> VideoInfo:
    """Return the VideoInfo of frames shown at `times_s`, [num_frames] from 0. Raises VideoError for one frame."""
    if len(times_s) < 2:
        raise VideoError(path, "has a single frame")
    times_s = times_s.round(4)  # decord's times are float32; 0.1 ms is finer than any frame rate.
    duration_s = float(times_s[-1]) * len(times_s) / (len(times_s) - 1)
    return VideoInfo(path, len(times_s), round(duration_s, 4), height_px, width_px, times_s, reader)


def check_size(path: str, height_px: int, width_px: int) -> None:
    """Raise VideoError for an impossible frame size."""
    if height_px < 1 or width_px < 1:
        raise VideoError(path, "does not say how large its frames are")
    if height_px * width_px > _MAX_FRAME_PIXELS:
        raise VideoError(path, f"claims frames of {width_px}x{height_px}, more than can be read")


def scaled_size(size: tuple[int, int], height_px: int, width_px: int, *, cover: bool) -> tuple[int, int]:
    """Return the (height, width) to which a frame of `size` is scaled before it is cropped. See `Video.read`."""
    if not cover:
        return height_px, width_px
    height, width = size
    scale = max(height_px / height, width_px / width)
    return max(height_px, round(height * scale)), max(width_px, round(width * scale))
