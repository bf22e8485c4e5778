"""The PyAV reader: exactly the wanted frames, with as little decoding as possible.

A first pass over the packets, without decoding, gives every frame's presentation time and the key frames. A second pass
starts decoding at the key frame before a wanted frame, leaves out groups of pictures without wanted frames, makes
the decoder drop unwanted frames that no other frame refers to, and scales the wanted ones directly from the decoder's
colour format. If a wanted frame is then missing, the whole video is decoded.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pretext.recipe import Frames
from pretext.video.info import Video, VideoError, VideoInfo, check_size, make_info, scaled_size
from pretext.video.sources import opened

av.logging.set_level(None)
logger = logging.getLogger(__name__)

# Bit-exact, with accurate rounding: every processor gives the same bytes.
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
# Codecs whose decoders can drop single frames that no other frame refers to. Frames of higher temporal layers may refer
# to HEVC's; the other decoders read the setting only at their start, or not at all.
_CODECS_THAT_DROP = frozenset({"h264", "mpeg4", "mpeg2video"})
# Without the loop filter blocks keep their edges. That saves a quarter of the work for H.264, and half for VP8.
_ROUGH_OPTIONS = {"skip_loop_filter": "all"}
_VP8_SHOWN_BIT = 0x10  # of a packet's first byte; cleared in a frame that is only for reference
# A file counts as cut off if its header promises more than this ratio times the length that was read plus 1 s.
_MAX_PROMISED_RATIO = 1.1
_NUM_LAST_INDEX_ENTRIES = 64  # number of entries searched for the one with the last position in the file


@dataclass(frozen=True)
class _Timeline:
    """Presentation times of the frames, in units of the stream's time base, ascending."""

    pts: NDArray[np.int64]  # [num_frames]
    key_pts: NDArray[np.int64]  # [num_key_frames]
    end: int  # presentation time of the last frame plus its duration
    has_pts: bool  # decoded frames carry these times; otherwise frames must be counted (AVI)


class PyavVideo(Video):
    """A video that PyAV has opened."""

    def __init__(self, path: str, container: av.container.InputContainer, stream: VideoStream) -> None:
        self._path, self._container, self._stream = path, container, stream
        self._timeline = _timeline(path, container, stream)

    def _probe(self) -> VideoInfo:
        timeline, stream = self._timeline, self._stream
        _check_complete(self._path, self._container, stream, timeline)
        first = next(self._decode(timeline.pts[:1].tolist(), [0]))[1]
        times_s = (timeline.pts - timeline.pts[0]) * float(stream.time_base or 0)
        if not (np.diff(times_s) > 0).all():
            raise VideoError(self._path, "its frames have no usable presentation times")
        height_px, width_px = _upright_size(first)
        return make_info(self._path, times_s, height_px=height_px, width_px=width_px, reader="pyav")

    def _decode_scaled(
        self, wanted: Sequence[int], *, height_px: int, width_px: int, cover: bool
    ) -> Iterator[tuple[int, Frames]]:
        pts = self._timeline.pts
        if wanted[-1] >= len(pts):
            raise VideoError(
                self._path, f"has no frame {wanted[-1]}: the file has changed since it was probed"
            )
        reformatter = VideoReformatter()
        for slot, frame in self._decode(pts[list(wanted)].tolist(), wanted):
            yield slot, _scaled(reformatter, frame, height_px, width_px, cover=cover)

    def _decode(self, pts: list[int], numbers: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        if not self._timeline.has_pts:
            return _decode_by_number(self._path, numbers)
        return _decode(self._path, self._container, self._stream, self._timeline, pts)


@contextmanager
def open_video(path: str, *, rough: bool = False) -> Iterator[PyavVideo]:
    """Read the packets of a file without decoding them. See `reader.open_video`. Raises VideoError."""
    with _opened(path) as (container, stream):
        if rough:
            stream.codec_context.options = _ROUGH_OPTIONS
        yield PyavVideo(path, container, stream)


@contextmanager
def _opened(path: str) -> Iterator[tuple[av.container.InputContainer, VideoStream]]:
    """Open the best video stream of a file. FFmpeg's errors become VideoError."""
    try:
        with opened(path) as source, av.open(source, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError(path, "has no video stream")
            assert isinstance(stream, VideoStream)
            if stream.codec_context is None:
                raise VideoError(path, "has a codec that cannot be decoded here")
            check_size(path, stream.codec_context.height, stream.codec_context.width)
            stream.codec_context.thread_count = 1  # Parallelism comes from the number of workers.
            yield container, stream
    except (av.FFmpegError, OSError, ImportError, ValueError) as error:  # Most FFmpeg errors are OSErrors.
        if isinstance(error, VideoError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(path, f"cannot be read as a video ({reason})") from error


def _timeline(path: str, container: av.container.InputContainer, stream: VideoStream) -> _Timeline:
    """Return the timeline, read from the packets alone. Raises VideoError."""
    shown: list[int] = []
    keys: list[int] = []
    end = before = None
    broken = False
    # AVI has no presentation times, and FFmpeg invents wrong ones. The sorted decoding times are the right ones.
    has_pts = container.format.name != "avi"
    is_vp8 = stream.codec_context.name.startswith(("vp8", "libvpx-vp8"))
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            broken = packet.is_corrupt
            if broken:  # A broadcast can have a gap and continue after it; only that frame is lost.
                continue
            time = packet.pts if has_pts else packet.dts
            if time is None:
                raise VideoError(path, "its frames have no presentation times")
            if before is not None and packet.dts is not None and (before - packet.dts) * packet.time_base > 1:
                raise VideoError(
                    path, f"its timestamps restart after {len(shown)} frames: split the file there"
                )
            before = packet.dts
            if packet.is_keyframe:
                keys.append(time)
            if not packet.is_discard and not (is_vp8 and not bytes(packet)[0] & _VP8_SHOWN_BIT):
                shown.append(time)
                end = max(end or time, time + (packet.duration or 0))
    except av.FFmpegError as error:
        raise VideoError(path, f"is damaged: only its first {len(shown)} frames can be parsed") from error
    if broken:
        raise VideoError(path, f"is cut off after {len(shown)} frames")
    if end is None:
        raise VideoError(path, "has no frames")
    pts, key_pts = np.array(sorted(shown), np.int64), np.array(sorted(keys), np.int64)
    if (np.diff(pts) <= 0).any():
        raise VideoError(path, "its frames have no usable presentation times")
    return _Timeline(pts, key_pts, end, has_pts)


def _check_complete(
    path: str, container: av.container.InputContainer, stream: VideoStream, timeline: _Timeline
) -> None:
    """Raise VideoError if the header promises more than the file holds, because then the file is cut off."""
    entries = stream.index_entries
    num_entries = len(entries)
    if num_entries and container.size > 0:
        last = max(
            (entries[i] for i in range(max(0, num_entries - _NUM_LAST_INDEX_ENTRIES), num_entries)),
            key=lambda e: e.pos,
        )
        if last.pos + last.size > container.size:
            raise VideoError(path, f"is cut off: {len(timeline.pts)} frames are left")
    time_base = float(stream.time_base or 0)
    start_s, end_s = timeline.pts[0] * time_base, timeline.end * time_base
    if end_s - start_s + 1 < _promised_s(container, stream, start_s) / _MAX_PROMISED_RATIO:
        raise VideoError(path, f"is cut off or damaged: {len(timeline.pts)} frames are left")


def _promised_s(container: av.container.InputContainer, stream: VideoStream, start_s: float) -> float:
    """Return the duration from the first frame on according to the header; 0 if it does not say."""
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    try:  # Matroska writes "00:00:10.333000000", counted from 0 however late the video starts.
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        end_s = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (KeyError, ValueError):
        alone = len(container.streams) == 1  # With sound, the container may last longer than the video.
        end_s = (container.duration or 0) / av.time_base if alone else 0.0
    return end_s - start_s


def _decode(
    path: str,
    container: av.container.InputContainer,
    stream: VideoStream,
    timeline: _Timeline,
    wanted: list[int],
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield (place in `wanted`, frame) for each of the ascending presentation times `wanted`."""
    missing = dict(zip(wanted, count(), strict=False))
    try:
        for frame in _decode_sparingly(container, stream, timeline, wanted):
            if frame.pts in missing and not frame.is_corrupt:
                yield missing.pop(frame.pts), frame
    except av.FFmpegError:
        pass  # Decoding everything, below, may get past the damage; if not, it reports it.
    if not missing:
        return
    logger.debug("%s: %d wanted frames are missing; decoding everything", path, len(missing))
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
    """Yield frames that include all of `wanted`, if the packets describe the file correctly."""
    drops = stream.codec_context.name in _CODECS_THAT_DROP
    # groups[i] is the number of the group of pictures of wanted[i].
    groups = np.searchsorted(timeline.key_pts, wanted, side="right")
    starts = np.flatnonzero(np.diff(groups) > 1) + 1  # where in `wanted` groups are skipped
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
    """Yield every frame in order of presentation. Opens the file again, as not every format can seek to its start."""
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
    """Yield (place in `wanted`, frame), with the frames identified by counting them."""
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
    """Return a frame upright, [height_px, width_px, 3] uint8. PyAV's rotation is counter-clockwise."""
    height, width = scaled_size(_upright_size(frame), height_px, width_px, cover=cover)
    turned = frame.rotation % 180 != 0
    small = reformatter.reformat(
        frame,
        width=height if turned else width,
        height=width if turned else height,
        format="gbrp",  # planes, because FFmpeg packs pixels slowly when it scales
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
