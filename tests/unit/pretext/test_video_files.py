"""`pretext.video`: times, sizes and pixels of real files, and plain words for those that cannot be used."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretext import video
from pretext.recipe import Frames
from pretext.video import VideoError, probe, read_frames

Encode = Callable[..., Path]
Draw = Callable[[int], Frames]

UNEVEN_S = np.cumsum([0.5, *([0.04] * 20), *([0.2] * 10), *([0.05] * 9)]).round(3)  # the first frame at 0.5 s


@pytest.fixture(params=["decord", "pyav"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pyav":
        monkeypatch.setattr(video, "_open_decord", lambda path: None)
    return str(request.param)


def test_times_are_the_presentation_times_from_the_first_frame_on(
    encode: Encode, grey_steps: Draw, backend: str
) -> None:
    info = probe(encode("uneven.mp4", grey_steps(40), UNEVEN_S))
    assert (info.backend, info.num_frames, info.height_px, info.width_px) == (backend, 40, 64, 64)
    np.testing.assert_allclose(info.frame_times_s, UNEVEN_S - 0.5, atol=1e-3)
    assert info.duration_s == pytest.approx((UNEVEN_S[-1] - 0.5) * 40 / 39, abs=1e-3)


def test_each_index_gives_its_own_frame_resized(encode: Encode, grey_steps: Draw, backend: str) -> None:
    path = encode("uneven.mkv", grey_steps(40), UNEVEN_S)
    indices = [0, 1, 7, 8, 25, 39]
    frames = read_frames(path, indices, height_px=32, width_px=96)
    assert frames.shape == (6, 32, 96, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_allclose(frames.mean((1, 2, 3)), 10 + 3 * np.array(indices), atol=0.9)


@pytest.mark.parametrize("indices", [[3, 2], [1, 1], [-1, 0]])
def test_indices_must_rise(encode: Encode, grey_steps: Draw, indices: list[int]) -> None:
    path = encode("short.mp4", grey_steps(5), np.arange(5) / 10)
    with pytest.raises(ValueError, match="ascending"):
        read_frames(path, indices, height_px=32, width_px=32)


def test_a_frame_that_is_not_there_is_said_to_be_missing(
    encode: Encode, grey_steps: Draw, backend: str
) -> None:
    path = encode("short.mp4", grey_steps(5), np.arange(5) / 10)
    with pytest.raises(VideoError, match="has no frame 5"):
        read_frames(path, [0, 5], height_px=32, width_px=32)


def test_damage_in_the_middle_is_found_when_those_frames_are_read(encode: Encode, backend: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3)).astype(np.uint8)
    path = encode("damaged.mp4", noise, np.arange(60) / 30)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 4] = bytes(len(data) // 4)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="is damaged: decoding stopped after"):
        read_frames(path, range(60), height_px=64, width_px=64)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"not a video\n", "cannot be read as a video"),
        ("absent.mp4", None, "No such file"),
    ],
)
def test_what_is_no_video_is_named_with_its_reason(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=reason) as caught:
        probe(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # Ray sends it so


def test_a_single_frame_is_no_video(encode: Encode, grey_steps: Draw) -> None:
    with pytest.raises(VideoError, match="single frame"):
        probe(encode("one.mp4", grey_steps(1), [0.0]))


ODD = {
    "audio_only.mp4": "has no video stream",
    "bikes_rot90.mp4": (250, 640, 272),
    "car_truncated_faststart.mp4": "is damaged",
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


@pytest.mark.parametrize("name", ODD)
def test_odd_genuine_videos_are_read_or_refused_and_nothing_is_printed(
    shared_videos: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    expected = ODD[name]
    if isinstance(expected, str):
        with pytest.raises(VideoError, match=expected):
            probe(shared_videos / "odd" / name)
    else:
        info = probe(shared_videos / "odd" / name)
        assert (info.num_frames, info.height_px, info.width_px) == expected
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "odd/bikes_rot90.mp4",
        "odd/rotated_90_3frames.mov",
        "odd/h264_10bit_30frames.mp4",
        "odd/variable_rate_72frames.mp4",
        "real/asl_school.mkv",
        "real/nasa_13013.mp4",
        "real/mma_test.mp4",
    ],
)
def test_both_backends_agree_on_times_and_pixels(
    shared_videos: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Rotation, ten bits, uneven rates, a late first frame, two video streams."""
    infos, frames = [], []
    for hidden in (False, True):
        if hidden:
            monkeypatch.setattr(video, "_open_decord", lambda path: None)
        infos.append(probe(shared_videos / name))
        last = infos[-1].num_frames - 1
        frames.append(
            read_frames(shared_videos / name, [0, last // 2, last], height_px=96, width_px=64).astype(int)
        )
    assert [info.backend for info in infos] == ["decord", "pyav"]
    np.testing.assert_allclose(infos[0].frame_times_s, infos[1].frame_times_s, atol=2e-3)
    assert np.abs(frames[0] - frames[1]).mean() < (4.0 if "10bit" in name else 1.0)  # of 255


@pytest.mark.parametrize("name", ["mma_test.avi", "mma_skeleton_1080p.avi"])
def test_avi_which_has_no_presentation_times_gets_even_ones(shared_videos: Path, name: str) -> None:
    info = probe(shared_videos / "real" / name)
    assert info.backend == "pyav"  # decord gives times of -1e17 s
    steps = np.diff(info.frame_times_s)
    np.testing.assert_allclose(steps, np.median(steps), atol=1e-3)
