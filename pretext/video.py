"""Video files to frames with their real presentation times.

Decord decodes where it can, PyAV where decord cannot. Both number the frames in the order of presentation,
apply the rotation that the file asks for and convert colours almost alike, so an index means the same frame
in either. Frames are resized here, one by one, with OpenCV's INTER_AREA (pixel averaging where it shrinks); a
pixel is taken to be square. Where a file has several video streams, FFmpeg's "best" one is read.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import av
import cv2
import decord
import numpy as np
from av.video.stream import VideoStream
from decord import DECORDError
from numpy.typing import NDArray

from pretext.recipe import Frames

decord.logging.set_level(decord.logging.QUIET)
av.logging.set_level(None)

Backend = Literal["decord", "pyav"]
_LONGEST_S = 1e6  # decord gives times near -1e17 where a file has none (AVI)


class VideoError(ValueError):
    """A video that cannot be used: `path`, and `reason` in plain words."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What has to be known of a video to make recipes from it."""

    path: str
    num_frames: int
    duration_s: float  # from the first frame to the end of the last, which is given the mean length
    height_px: int  # as shown, after rotation
    width_px: int
    frame_times_s: NDArray[np.float64]  # [num_frames], strictly rising from 0
    backend: Backend  # what read it


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Frame times and size of a video, its first and last frame having been decoded as a trial.

    Damage between the two shows when the frames are read (PyAV's videos are decoded whole here, as nothing
    else gives their frame count). Raises VideoError.
    """
    path = os.fspath(path)
    return _probe_decord(path) or _probe_pyav(path)


def read_frames(
    path: str | os.PathLike[str], indices: Sequence[int] | NDArray[np.int64], *, height_px: int, width_px: int
) -> Frames:
    """The frames at ascending `indices`, resized: [len(indices), height_px, width_px, 3] uint8, RGB.

    Raises VideoError where one of them cannot be decoded.
    """
    path = os.fspath(path)
    wanted = [int(index) for index in indices]
    if wanted != sorted(set(wanted)) or (wanted and wanted[0] < 0):
        raise ValueError(f"indices {wanted}: must be ascending, distinct and not negative.")
    frames = np.empty((len(wanted), height_px, width_px, 3), np.uint8)
    for slot, image in enumerate(_images(path, wanted)):
        frames[slot] = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return frames


def _images(path: str, wanted: list[int]) -> Iterator[Frames]:
    """The frames at `wanted`, [height, width, 3] each, one at a time as a 4K frame takes 25 MB."""
    reader = _open_decord(path)
    done = 0
    if reader is not None and (not wanted or wanted[-1] < len(reader)):
        try:
            for index in wanted:
                image = reader[index].asnumpy()
                yield image
                done += 1
            return
        except DECORDError:  # PyAV goes on from there, or says what is wrong
            pass
    for index, frame in enumerate(_decode_pyav(path)):
        if done == len(wanted):
            return
        if index == wanted[done]:
            yield _upright(frame)
            done += 1
    if done < len(wanted):
        raise VideoError(path, f"has no frame {wanted[done]}: the file has changed since it was probed")


def _probe_decord(path: str) -> VideoInfo | None:
    reader = _open_decord(path)
    if reader is None:
        return None
    try:
        height, width, _ = reader[0].shape
        reader[len(reader) - 1]
    except DECORDError:
        return None
    return _info(path, _decord_times(reader), height, width, "decord")


def _probe_pyav(path: str) -> VideoInfo:
    times: list[float | None] = []
    height = width = 0
    for frame in _decode_pyav(path):
        times.append(frame.time)
        if len(times) == 1:
            turned = frame.rotation % 180 != 0
            height, width = (frame.width, frame.height) if turned else (frame.height, frame.width)
    known = np.array([time for time in times if time is not None], np.float64)
    # Where a file has no presentation times (AVI), FFmpeg's guesses come out of order but the frames do not.
    known.sort()
    if len(known) != len(times) or not _rising(known):
        raise VideoError(path, "its frames have no usable presentation times")
    return _info(path, known - known[0], height, width, "pyav")


def _info(path: str, times: NDArray[np.float64], height: int, width: int, backend: Backend) -> VideoInfo:
    if len(times) < 2:
        raise VideoError(path, "has a single frame")
    times = times.round(4)  # decord's are float32; 0.1 ms is finer than any frame rate
    duration_s = float(times[-1]) * len(times) / (len(times) - 1)
    return VideoInfo(path, len(times), round(duration_s, 4), height, width, times, backend)


def _rising(times: NDArray[np.float64]) -> bool:
    return bool(
        len(times) and np.isfinite(times).all() and (np.diff(times) > 0).all() and times[-1] < _LONGEST_S
    )


def _open_decord(path: str) -> Any | None:
    """A decord reader (decord has no types), or None where its account of the file cannot be trusted.

    The file's header is read with PyAV first: decord writes to stderr where a file is no video at all, and
    its frame count can differ from the header's.
    """
    with _stream(path) as (_, stream):
        num_frames = stream.frames  # 0 where the header does not say
    try:
        reader = decord.VideoReader(path, num_threads=1)
    except (DECORDError, RuntimeError):
        return None
    if num_frames not in (0, len(reader)) or not _rising(_decord_times(reader)):
        return None
    return reader


def _decord_times(reader: Any) -> NDArray[np.float64]:
    starts: NDArray[np.float64] = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
    counted: NDArray[np.float64] = starts - starts[0]
    return counted


@contextmanager
def _stream(path: str) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """The best video stream of a file; what FFmpeg cannot read becomes a VideoError."""
    try:
        if os.path.getsize(path) == 0:
            raise VideoError(path, "is empty")
        with av.open(path) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(path, "has no video stream")
            assert isinstance(stream, VideoStream)
            yield container, stream
    except (av.FFmpegError, OSError) as error:  # most FFmpeg errors are OSErrors too
        reason = error.strerror or str(error)
        raise VideoError(path, f"cannot be read as a video ({reason})") from error


def _decode_pyav(path: str) -> Iterator[av.VideoFrame]:
    num_decoded = 0
    with _stream(path) as (container, stream):
        try:
            for frame in container.decode(stream):
                yield frame
                num_decoded += 1
        except av.FFmpegError as error:
            raise VideoError(path, f"is damaged: decoding stopped after {num_decoded} frames") from error
    if num_decoded == 0:
        raise VideoError(path, "has no frames")


def _upright(frame: av.VideoFrame) -> Frames:
    """A frame as it is meant to be shown, [height, width, 3] uint8; PyAV's rotation is counter-clockwise."""
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)), dtype=np.uint8)
