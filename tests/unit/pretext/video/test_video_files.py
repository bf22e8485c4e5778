"""`pretext.video`: files that are cut off, damaged or no videos raise VideoError with a plain reason."""

import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pretext.video import VideoError, probe, read_frames
from pretext.video.frames import FrameSpec
from pretext.video.inspect_video import inspect
from tests.unit.pretext.made import X264, grey_frames, moving_frames

Encode = Callable[..., Path]

FASTSTART = {"movflags": "faststart"}  # The header comes first, so that a file that is cut off still has one.


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"not a video\n", "cannot be read as a video"),
        ("absent.mp4", None, "does not exist"),
    ],
)
def test_a_file_that_is_no_video_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes | None, reason: str, reader: Any
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=reason) as caught:
        probe(tmp_path / name, reader)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # It is sent between processes.


def test_a_single_frame_is_no_video(encode: Encode) -> None:
    with pytest.raises(VideoError, match="single frame"):
        probe(encode("one.mp4", grey_frames(1), [0.0]))


@pytest.mark.parametrize(
    ("name", "share"),
    [
        *[(name, share) for name in ("cut.mp4", "cut.avi") for share in (0.3, 0.6, 0.9)],
        # found by the length that the header promises
        *[(name, share) for name in ("cut.mkv", "cut.webm") for share in (0.3, 0.6)],
    ],
)
def test_a_cut_off_file_is_found_before_any_sample_is_made(encode: Encode, name: str, share: float) -> None:
    """Even if only unwanted frames are missing, the remaining video has another length."""
    noise = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3)).astype(np.uint8)
    options: dict[str, Any] = {"container_options": FASTSTART} if name == "cut.mp4" else {}
    if name == "cut.avi":
        options = {"codec": "mpeg4", "pix_fmt": "yuv420p", "options": {"bf": "2"}, "tick": Fraction(1, 25)}
    if name == "cut.webm":
        options = {"codec": "libvpx-vp9", "pix_fmt": "yuv420p", "options": {"g": "20", "cpu-used": "8"}}
    path = encode(name, noise, np.arange(100) / 25, **options)
    assert probe(path).num_frames == 100
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VideoError, match=r"is cut off"):
        probe(path)


def test_damage_in_the_middle_is_found_when_those_frames_are_read(encode: Encode) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3)).astype(np.uint8)
    path = encode("damaged.mp4", noise, np.arange(60) / 30)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 4] = bytes(len(data) // 4)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"is damaged: (decoding stopped after|\d+ wanted frame)"):
        read_frames(path, range(60), height_px=64, width_px=64)
    assert read_frames(path, [0, 1], height_px=64, width_px=64).any()  # Frames before the damage are fine.


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("a.mp4", {"container_options": FASTSTART}),
        ("a.mkv", {}),
        ("a.ts", {}),
        ("a.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuv420p", "options": {"cpu-used": "8", "g": "12"}}),
        ("a.avi", {"codec": "mpeg4", "pix_fmt": "yuv420p", "options": {"bf": "2"}, "tick": Fraction(1, 25)}),
        (
            "hevc.mp4",
            {"codec": "libx265", "pix_fmt": "yuv420p", "options": {"x265-params": "log-level=none"}},
        ),
        ("b.mp4", {"options": X264 | {"bf": "0"}}),
    ],
)
def test_mutated_files_are_read_or_refused(
    encode: Encode, small: FrameSpec, name: str, more: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Random changed bytes, many of them in the header, lead only to VideoError, and print nothing."""
    path = encode(name, moving_frames(40), np.arange(40) / 25, **more)
    inspect(str(path), small)
    capfd.readouterr()
    data = path.read_bytes()
    rng = np.random.default_rng(7)
    reasons = []
    for number in range(12):
        mutated = np.frombuffer(data, np.uint8).copy()
        span = min(len(data), 600) if number % 2 else len(data)
        places = rng.integers(0, span, int(rng.integers(1, 40)))
        mutated[places] = rng.integers(0, 256, len(places))
        path.write_bytes(mutated.tobytes())
        try:
            video = inspect(str(path), small)
            assert len(video.indices) == small.num_frames
        except VideoError as error:
            reasons.append(error.reason)
    assert reasons
    assert all(reasons)
    assert capfd.readouterr() == ("", "")


ODD: dict[str, str | tuple[int, int, int]] = {
    "audio_only.mp4": "has no video stream",
    "bikes_rot90.mp4": (250, 640, 272),
    "car_truncated_faststart.mp4": "is cut off after 171 frames",
    "corrupted.mp4": "is damaged",
    "h264_10bit_30frames.mp4": (30, 200, 200),
    "hevc_10frames.mp4": (10, 128, 128),
    "no_duration_vp9.webm": (74, 720, 1280),
    "one_frame.webm": "has a single frame",
    "rotated_90_3frames.mov": (3, 568, 320),
    "short_57frames.mp4": (57, 256, 340),
    "text.mp4": "cannot be read as a video",
    "variable_rate_72frames.mp4": (72, 1080, 1920),
    "zero_byte.mp4": "is empty",
}


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("name", ODD)
def test_odd_genuine_videos_are_read_or_refused_and_nothing_is_printed(
    shared_videos: Path, capfd: pytest.CaptureFixture[str], name: str, reader: Any
) -> None:
    path, expected = shared_videos / "odd" / name, ODD[name]
    if isinstance(expected, str):
        with pytest.raises(VideoError, match=expected):
            _read_all(path, reader)
    else:
        info = probe(path, reader)
        assert (info.num_frames, info.height_px, info.width_px) == expected
    assert capfd.readouterr() == ("", "")


def _read_all(path: Path, reader: Any) -> None:
    info = probe(path, reader)
    read_frames(path, range(info.num_frames), height_px=32, width_px=32, reader=info.reader)


@pytest.mark.parametrize("name", ["mma_test.avi", "mma_skeleton_1080p.avi"])
def test_avi_has_no_presentation_times_and_gets_even_ones(shared_videos: Path, name: str) -> None:
    steps = np.diff(probe(shared_videos / "real" / name).frame_times_s)
    np.testing.assert_allclose(steps, np.median(steps), atol=1e-3)


def test_a_recording_that_lost_a_packet_is_read(encode: Encode) -> None:
    """Broadcasts have gaps: a missing 188-byte packet costs a frame or two, not the video."""
    path = encode("gap.ts", moving_frames(120), np.arange(120) / 25, pix_fmt="yuv420p")
    data = path.read_bytes()
    middle = len(data) // 188 // 2 * 188
    path.write_bytes(data[:middle] + data[middle + 188 :])
    info = probe(path)
    assert 110 <= info.num_frames < 120
    assert info.duration_s == pytest.approx(4.8, abs=0.1)


def test_two_recordings_in_one_file_are_refused_because_timestamps_restart(encode: Encode) -> None:
    path = encode("one.ts", moving_frames(100), np.arange(100) / 25, pix_fmt="yuv420p")
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(VideoError, match=r"its timestamps restart after \d+ frames"):
        probe(path)


def test_a_last_frame_that_is_shown_long_is_not_taken_for_a_cut(encode: Encode, tmp_path: Path) -> None:
    """Slides and screen recordings end like this: the file lasts much longer than its last frame's start."""
    path = encode("slides.mp4", moving_frames(40), np.arange(40) / 10)
    with av.open(str(path)) as source, av.open(str(tmp_path / "long.mp4"), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        last = max(packets, key=lambda packet: packet.pts)
        last.duration = round(20 / stream.time_base)
        for packet in packets:
            packet.stream = copy
            target.mux(packet)
    assert probe(tmp_path / "long.mp4").num_frames == 40
