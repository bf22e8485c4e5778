"""Opening a video with either reader, and reading its frames."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pretext.recipe import Frames
from pretext.video.info import Reader, Video, VideoError, VideoInfo
from pretext.video.sources import is_url

logger = logging.getLogger(__name__)


@contextmanager
def open_video(
    path: str | os.PathLike[str], reader: Reader = "pyav", *, rough: bool = False
) -> Iterator[Video]:
    """Open a path or URL. With "decord", PyAV takes over if decord cannot read the file correctly.

    Args:
        rough: decode the right frames with slightly wrong pixels, which takes less work: enough to see what a video
            looks like, and whether it is damaged.

    Raises VideoError.
    """
    # Imported here, so that a configuration can be checked without loading the decoders.
    from pretext.video import pyav_reader

    path = os.fspath(path)
    if not is_url(path) and not os.path.exists(path):
        raise VideoError(path, "does not exist")
    if not is_url(path) and os.path.isfile(path) and os.path.getsize(path) == 0:
        raise VideoError(path, "is empty")
    if reader == "decord":
        from pretext.video import decord_reader

        decord_video = decord_reader.open_video(path)
        if decord_video is not None:
            yield decord_video
            return
        logger.debug("%s: decord would read it wrongly; PyAV takes over", path)
    with pyav_reader.open_video(path, rough=rough) as pyav_video:
        yield pyav_video


def probe(path: str | os.PathLike[str], reader: Reader = "pyav") -> VideoInfo:
    """Return frame times and size of a video. Damaged frames show only when they are read. Raises VideoError."""
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
    """Open a video and return `Video.read(indices, ...)`."""
    with open_video(path, reader) as video:
        return video.read(indices, height_px=height_px, width_px=width_px, cover=cover)
