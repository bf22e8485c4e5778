"""The decord reader, which VideoSSR used; kept for comparison. It decodes at full size and resizes afterwards."""

from collections.abc import Iterator, Sequence
from typing import Any

import av
import cv2
import decord
import numpy as np
from decord import DECORDError
from numpy.typing import NDArray

from pretext.recipe import Frames
from pretext.video.info import Video, VideoError, VideoInfo, check_size, make_info, scaled_size
from pretext.video.sources import opened

decord.logging.set_level(decord.logging.QUIET)

_MAX_TIME_S = 1e6  # decord gives times near -1e17 for a file without times (AVI)


class DecordVideo(Video):
    """A video that decord has opened."""

    def __init__(self, path: str, reader: Any) -> None:
        self._path, self._reader = path, reader

    def _probe(self) -> VideoInfo:
        try:  # Check that the first and the last frame decode.
            height_px, width_px, _ = self._reader[0].shape
            self._reader[len(self._reader) - 1]
        except DECORDError as error:
            raise VideoError(self._path, "is damaged: its first or last frame does not decode") from error
        times_s = _times(self._reader)
        return make_info(self._path, times_s, height_px=height_px, width_px=width_px, reader="decord")

    def _decode_scaled(
        self, wanted: Sequence[int], *, height_px: int, width_px: int, cover: bool
    ) -> Iterator[tuple[int, Frames]]:
        if wanted[-1] >= len(self._reader):
            raise VideoError(
                self._path, f"has no frame {wanted[-1]}: the file has changed since it was probed"
            )
        for slot, index in enumerate(wanted):
            try:
                image = self._reader[index].asnumpy()  # One at a time: a 4K frame takes 25 MB.
            except DECORDError as error:
                raise VideoError(self._path, f"is damaged: decoding stopped at frame {index}") from error
            height, width = scaled_size(image.shape[:2], height_px, width_px, cover=cover)
            scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            top, left = (height - height_px) // 2, (width - width_px) // 2
            yield slot, scaled[top : top + height_px, left : left + width_px]


def open_video(path: str) -> DecordVideo | None:
    """Open a video, or return None if decord would read it wrongly. Raises VideoError if the file is no video."""
    reader = _open(path)
    return None if reader is None else DecordVideo(path, reader)


def _open(path: str) -> Any | None:
    """Return a decord reader (decord has no types), or None if its frame count or times are wrong.

    PyAV reads the file's header first, because decord writes to stderr for a file that is no video, and because its
    frame count can differ from the header's.
    """
    try:
        with opened(path) as source:
            with av.open(source, metadata_errors="replace") as container:
                stream = container.streams.best("video")
                if stream is None:
                    raise VideoError(path, "has no video stream")
                assert isinstance(stream, av.VideoStream)
                if stream.codec_context is None:
                    raise VideoError(path, "has a codec that cannot be decoded here")
                check_size(path, stream.codec_context.height, stream.codec_context.width)
                num_frames = stream.frames  # 0 if the header does not say
                if not isinstance(source, str):
                    source.seek(0)
            reader = decord.VideoReader(source, num_threads=1)
    except (av.FFmpegError, OSError, ImportError, ValueError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(
            path, f"cannot be read as a video ({getattr(error, 'strerror', None) or error})"
        ) from error
    except (DECORDError, RuntimeError):
        return None
    if num_frames not in (0, len(reader)) or not _rising(_times(reader)):
        return None
    return reader


def _times(reader: Any) -> NDArray[np.float64]:
    starts: NDArray[np.float64] = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
    return np.asarray(starts - starts[0])


def _rising(times_s: NDArray[np.float64]) -> bool:
    return bool(
        len(times_s)
        and np.isfinite(times_s).all()
        and (np.diff(times_s) > 0).all()
        and times_s[-1] < _MAX_TIME_S
    )
