"""PyAV: exactly the wanted frames, with as little decoding as that allows.

A first pass over the packets, without decoding, gives every frame's presentation time and the key frames. A
second one decodes from the key frame before a wanted frame on, leaves whole groups of pictures out where none
of theirs is wanted, has the decoder drop unwanted frames that no other refers to, and scales the wanted ones
straight from the decoder's colours. If a wanted frame then does not come, all of the video is decoded.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pretext.recipe import Frames
from pretext.video.info import VideoError, VideoInfo, check_size, make_info, scaled_size
from pretext.video.sources import opened

av.logging.set_level(None)

# Bit-exact and with accurate rounding: the same bytes on every processor.
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# Whose frames that no other frame refers to can be dropped one by one. (HEVC's may be referred to by frames of
# higher temporal layers; the others' decoders take the setting at their start only, or not at all.)
_DROPPING = frozenset({"h264", "mpeg4", "mpeg2video"})
_ROUGH = {"skip_loop_filter": "all"}  # blocks keep their edges: a quarter of the work of H.264, half of VP8's
_SHOWN_VP8 = 0x10  # bit of the first byte; a frame that is for reference only has it cleared
_MOST_MISSING = 1.1  # a header that promises this times the length read, and 1 s more, is of a longer file


@dataclass(frozen=True)
class _Timeline:
    """When frames are shown, in units of the stream's time base, both ascending."""

    pts: NDArray[np.int64]  # [num_frames]
    key_pts: NDArray[np.int64]  # [num_key_frames]
    end: int  # when the last frame has been shown for as long as the file says
    told: bool  # decoded frames say which of these times is theirs; else only counting tells (AVI)


class PyavVideo:
    """An open video."""

    def __init__(self, path: str, container: av.container.InputContainer, stream: VideoStream) -> None:
        self._path, self._container, self._stream = path, container, stream
        self._timeline = _timeline(path, container, stream)

    @cached_property
    def info(self) -> VideoInfo:
        """Frame times and size, without decoding more than a frame. Raises VideoError."""
        timeline, stream = self._timeline, self._stream
        _check_complete(self._path, self._container, stream, timeline)
        first = next(self._decode(timeline.pts[:1].tolist(), [0]))[1]
        times_s = (timeline.pts - timeline.pts[0]) * float(stream.time_base or 0)
        if not (np.diff(times_s) > 0).all():
            raise VideoError(self._path, "its frames have no usable presentation times")
        height_px, width_px = _upright_size(first)
        return make_info(self._path, times_s, height_px=height_px, width_px=width_px, reader="pyav")

    def read(
        self, wanted: Sequence[int], *, height_px: int, width_px: int, cover: bool
    ) -> Iterator[tuple[int, Frames]]:
        """(place in `wanted`, frame) as they are decoded, each [height_px, width_px, 3]. See `read_frames`."""
        pts = self._timeline.pts
        if wanted[-1] >= len(pts):
            raise VideoError(
                self._path, f"has no frame {wanted[-1]}: the file has changed since it was probed"
            )
        reformatter = VideoReformatter()
        for slot, frame in self._decode(pts[list(wanted)].tolist(), wanted):
            yield slot, _scaled(reformatter, frame, height_px, width_px, cover=cover)

    def _decode(self, pts: list[int], numbers: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        if not self._timeline.told:
            return _decode_by_number(self._path, numbers)
        return _decode(self._path, self._container, self._stream, self._timeline, pts)


@contextmanager
def open_video(path: str, *, rough: bool = False) -> Iterator[PyavVideo]:
    """Reads the packets of a file, and decodes nothing yet; see `video.open_video`. Raises VideoError."""
    with _opened(path) as (container, stream):
        if rough:
            stream.codec_context.options = _ROUGH
        yield PyavVideo(path, container, stream)


@contextmanager
def _opened(path: str) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """The best video stream of a file; what FFmpeg cannot read becomes a VideoError."""
    try:
        with opened(path) as source, av.open(source, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(path, "has no video stream")
            assert isinstance(stream, VideoStream)
            if stream.codec_context is None:
                raise VideoError(path, "is of a codec that cannot be decoded here")
            check_size(path, stream.codec_context.height, stream.codec_context.width)
            stream.codec_context.thread_count = 1  # workers are many; threads of each would be in their way
            yield container, stream
    except (av.FFmpegError, OSError, ImportError, ValueError) as error:  # most FFmpeg errors are OSErrors
        if isinstance(error, VideoError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(path, f"cannot be read as a video ({reason})") from error


def _timeline(path: str, container: av.container.InputContainer, stream: VideoStream) -> _Timeline:
    """From the packets alone."""
    shown: list[int] = []
    keys: list[int] = []
    end = before = None
    broken = False
    # AVI has no presentation times, and FFmpeg makes wrong ones up. Its decoding times, sorted, are theirs.
    told = container.format.name != "avi"
    is_vp8 = stream.codec_context.name.startswith(("vp8", "libvpx-vp8"))
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            broken = packet.is_corrupt
            if broken:  # in a broadcast, a gap that the recording goes on after: its frame cannot be had
                continue
            time = packet.pts if told else packet.dts
            if time is None:
                raise VideoError(path, "its frames have no presentation times")
            if before is not None and packet.dts is not None and (before - packet.dts) * packet.time_base > 1:
                raise VideoError(
                    path, f"its clock starts anew after {len(shown)} frames: cut it in two there"
                )
            before = packet.dts
            if packet.is_keyframe:
                keys.append(time)
            if not packet.is_discard and not (is_vp8 and not bytes(packet)[0] & _SHOWN_VP8):
                shown.append(time)
                end = max(end or time, time + (packet.duration or 0))
    except av.FFmpegError as error:
        raise VideoError(path, f"is damaged: it can be followed for {len(shown)} frames only") from error
    if broken:
        raise VideoError(path, f"is cut off after {len(shown)} frames")
    if end is None:
        raise VideoError(path, "has no frames")
    pts, key_pts = np.array(sorted(shown), np.int64), np.array(sorted(keys), np.int64)
    if (np.diff(pts) <= 0).any():
        raise VideoError(path, "its frames have no usable presentation times")
    return _Timeline(pts, key_pts, end, told)


def _check_complete(
    path: str, container: av.container.InputContainer, stream: VideoStream, timeline: _Timeline
) -> None:
    """Raises VideoError where the file was longer once: its header tells of more than it holds."""
    entries = stream.index_entries
    num_entries = len(entries)
    if num_entries and container.size > 0:
        last = max((entries[i] for i in range(max(0, num_entries - 64), num_entries)), key=lambda e: e.pos)
        if last.pos + last.size > container.size:
            raise VideoError(path, f"is cut off: {len(timeline.pts)} frames are left")
    time_base = float(stream.time_base or 0)
    start_s, end_s = timeline.pts[0] * time_base, timeline.end * time_base
    if end_s - start_s + 1 < _promised_s(container, stream, start_s) / _MOST_MISSING:
        raise VideoError(path, f"is cut off or damaged: {len(timeline.pts)} frames are left")


def _promised_s(container: av.container.InputContainer, stream: VideoStream, start_s: float) -> float:
    """How long the header says that the video is from its first frame on; 0 where it does not say."""
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    try:  # Matroska's, as "00:00:10.333000000", is counted from 0 however late the video starts
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        end_s = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (KeyError, ValueError):
        alone = len(container.streams) == 1  # sound may be longer than its pictures
        end_s = (container.duration or 0) / av.time_base if alone else 0.0
    return end_s - start_s


def _decode(
    path: str,
    container: av.container.InputContainer,
    stream: VideoStream,
    timeline: _Timeline,
    wanted: list[int],
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(place in `wanted`, frame), for each of the ascending presentation times `wanted`."""
    missing = dict(zip(wanted, count(), strict=False))
    try:
        for frame in _decode_sparingly(container, stream, timeline, wanted):
            if frame.pts in missing and not frame.is_corrupt:
                yield missing.pop(frame.pts), frame
    except av.FFmpegError:
        pass  # damage that the way over all frames may get round, or will name
    if not missing:
        return
    for frame in _decode_all(path):
        if frame.pts in missing and not frame.is_corrupt:
            yield missing.pop(frame.pts), frame
            if not missing:
                return
    lost_s = float((min(missing) - timeline.pts[0]) * (stream.time_base or 0))
    raise VideoError(
        path, f"is damaged: {len(missing)} wanted frame(s) do not decode, the first at {lost_s:.1f} s"
    )


def _decode_sparingly(
    container: av.container.InputContainer, stream: VideoStream, timeline: _Timeline, wanted: list[int]
) -> Iterator[av.VideoFrame]:
    """Frames that hold all of `wanted`, if the file is as its packets say."""
    drops = stream.codec_context.name in _DROPPING
    groups = np.searchsorted(timeline.key_pts, wanted, side="right")  # number of the group of pictures
    starts = np.flatnonzero(np.diff(groups) > 1) + 1  # those before which a whole group can be left out
    targets = set(wanted)
    for run in np.split(np.arange(len(wanted)), starts):
        group = int(groups[run[0]])
        key = int(timeline.key_pts[group - 1]) if group > 0 else int(timeline.pts[0])
        container.seek(key, stream=stream, backward=True)
        last = wanted[int(run[-1])]
        for packet in container.demux(stream):
            if drops:
                keep = packet.pts in targets or packet.size == 0
                stream.codec_context.skip_frame = "DEFAULT" if keep else "NONREF"
            frames = packet.decode()
            yield from frames
            if any(frame.pts is not None and frame.pts >= last for frame in frames):
                break
    if drops:
        stream.codec_context.skip_frame = "DEFAULT"


def _decode_all(path: str) -> Iterator[av.VideoFrame]:
    """Every frame, in the order of presentation. Opens the file anew: not every format can be wound back."""
    with _opened(path) as (container, stream):
        num_decoded = 0
        try:
            for frame in container.decode(stream):
                assert isinstance(frame, av.VideoFrame)
                yield frame
                num_decoded += 1
        except av.FFmpegError as error:
            raise VideoError(path, f"is damaged: decoding stopped after {num_decoded} frames") from error


def _decode_by_number(path: str, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
    """(place in `wanted`, frame) where only counting tells which frame is which."""
    slots = {number: slot for slot, number in enumerate(wanted)}
    for number, frame in enumerate(_decode_all(path)):
        if number in slots:
            yield slots[number], frame
        if number == wanted[-1]:
            return
    raise VideoError(path, f"is damaged: frame {wanted[-1]} and those after it do not decode")


def _upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    turned = frame.rotation % 180 != 0
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def _scaled(
    reformatter: VideoReformatter,
    frame: av.VideoFrame,
    height_px: int,
    width_px: int,
    *,
    cover: bool,
) -> Frames:
    """A frame as it is meant to be shown, [height_px, width_px, 3] uint8; PyAV's rotation is counter-clockwise."""
    height, width = scaled_size(_upright_size(frame), height_px, width_px, cover=cover)
    turned = frame.rotation % 180 != 0
    small = reformatter.reformat(
        frame,
        width=height if turned else width,
        height=width if turned else height,
        format="gbrp",  # planes: FFmpeg packs pixels slowly when it scales
        interpolation=_SCALING,
        threads=1,
    )
    green, blue, red = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(small.height, plane.line_size)[:, : small.width]
        for plane in small.planes
    )
    image = np.rot90(cv2.merge((red, green, blue)), round(frame.rotation / 90))
    top, left = (height - height_px) // 2, (width - width_px) // 2
    return np.asarray(image[top : top + height_px, left : left + width_px], np.uint8)
