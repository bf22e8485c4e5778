"""Video files to frames with their real presentation times.

Both readers number the frames in the order of presentation, apply the rotation that the file asks for and
convert colours almost alike, so an index means the same frame in either. A pixel is taken to be square. Where
a file has several video streams, FFmpeg's "best" one is read.
"""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames
from pretext.video import decord_reader, pyav_reader
from pretext.video.info import Reader, VideoError, VideoInfo
from pretext.video.sources import is_url

__all__ = ["Reader", "VideoError", "VideoInfo", "probe", "read_frames"]


def probe(path: str | os.PathLike[str], reader: Reader = "pyav") -> VideoInfo:
    """Frame times and size of a video; `VideoInfo.reader` says what read it.

    With "decord", PyAV takes over where decord cannot read the file. A damaged frame shows when it is read.
    Raises VideoError.
    """
    path = os.fspath(path)
    if not is_url(path) and os.path.isfile(path) and os.path.getsize(path) == 0:
        raise VideoError(path, "is empty")
    info = decord_reader.probe(path) if reader == "decord" else None
    return info or pyav_reader.probe(path)


def read_frames(
    path: str | os.PathLike[str],
    indices: Sequence[int] | NDArray[np.int64],
    *,
    height_px: int,
    width_px: int,
    reader: Reader = "pyav",
    cover: bool = False,
) -> Frames:
    """The frames at ascending `indices`: [len(indices), height_px, width_px, 3] uint8, RGB.

    They are stretched to that size, or with `cover` scaled till they cover it, and their middle taken. The
    same arguments give the same bytes. Raises VideoError where one of them cannot be decoded.
    """
    path = os.fspath(path)
    wanted = [int(index) for index in indices]
    if wanted != sorted(set(wanted)) or (wanted and wanted[0] < 0):
        raise ValueError(f"indices {wanted}: must be ascending, distinct and not negative.")
    frames = np.empty((len(wanted), height_px, width_px, 3), np.uint8)
    if wanted:
        read = decord_reader.read_frames if reader == "decord" else pyav_reader.read_frames
        for slot, image in read(path, wanted, height_px=height_px, width_px=width_px, cover=cover):
            frames[slot] = image
    return frames
