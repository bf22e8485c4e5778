"""Video files to frames with their real presentation times.

Both readers number the frames in the order of presentation, apply the rotation that the file asks for and
convert colours almost alike, so an index means the same frame in either. A pixel is taken to be square. Where
a file has several video streams, FFmpeg's "best" one is read.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames
from pretext.video import decord_reader, pyav_reader
from pretext.video.info import Reader, VideoError, VideoInfo
from pretext.video.sources import is_url

__all__ = ["Reader", "Video", "VideoError", "VideoInfo", "open_video", "probe", "read_frames"]


class Video:
    """An open video."""

    def __init__(self, opened: pyav_reader.PyavVideo | decord_reader.DecordVideo) -> None:
        self._opened = opened

    @property
    def info(self) -> VideoInfo:
        """Frame times and size; `info.reader` says what reads it. Raises VideoError."""
        return self._opened.info

    def read(
        self,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        height_px: int,
        width_px: int,
        cover: bool = False,
    ) -> Frames:
        """The frames at ascending `indices`: [len(indices), height_px, width_px, 3] uint8, RGB.

        They are stretched to that size, or with `cover` scaled till they cover it, and their middle taken. The
        same arguments give the same bytes. Raises VideoError where one of them cannot be decoded.
        """
        wanted = [int(index) for index in indices]
        if wanted != sorted(set(wanted)) or (wanted and wanted[0] < 0):
            raise ValueError(f"indices {wanted}: must be ascending, distinct and not negative.")
        frames = np.empty((len(wanted), height_px, width_px, 3), np.uint8)
        if wanted:
            found = self._opened.read(wanted, height_px=height_px, width_px=width_px, cover=cover)
            for slot, image in found:
                frames[slot] = image
        return frames


@contextmanager
def open_video(
    path: str | os.PathLike[str], reader: Reader = "pyav", *, rough: bool = False
) -> Iterator[Video]:
    """A path or URL; with "decord", PyAV takes over where decord cannot read the file.

    With `rough`, frames are the right ones but not to the pixel: enough to see what a video is like, and whether
    it is sound, for less work. Raises VideoError.
    """
    path = os.fspath(path)
    if not is_url(path) and not os.path.exists(path):
        raise VideoError(path, "is not there")
    if not is_url(path) and os.path.isfile(path) and os.path.getsize(path) == 0:
        raise VideoError(path, "is empty")
    decord_video = decord_reader.open_video(path) if reader == "decord" else None
    if decord_video is not None:
        yield Video(decord_video)
        return
    with pyav_reader.open_video(path, rough=rough) as pyav_video:
        yield Video(pyav_video)


def probe(path: str | os.PathLike[str], reader: Reader = "pyav") -> VideoInfo:
    """Frame times and size of a video. A damaged frame shows when it is read. Raises VideoError."""
    with open_video(path, reader) as video:
        return video.info


def read_frames(
    path: str | os.PathLike[str],
    indices: Sequence[int] | NDArray[np.int64],
    *,
    height_px: int,
    width_px: int,
    reader: Reader = "pyav",
    cover: bool = False,
) -> Frames:
    """`Video.read` of a video that is opened for it."""
    with open_video(path, reader) as video:
        return video.read(indices, height_px=height_px, width_px=width_px, cover=cover)
