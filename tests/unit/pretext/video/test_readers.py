"""The readers of `pretext.video`: an index gives exactly its frame, with as little decoding as possible."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pretext.recipe import Frames
from pretext.stream import make_recipe
from pretext.tasks import TASKS
from pretext.video import VideoError, probe, pyav_reader, read_frames
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.inspect_video import inspect
from tests.unit.pretext.made import X264, grey_frames, moving_frames, plain_frames, plain_times

Encode = Callable[..., Path]

# The first frame is at 0.5 s.
UNEVEN_S = np.cumsum([0.5, *np.random.default_rng(0).choice([0.04, 0.08, 0.2], 149)])
EVEN_S = np.arange(150) / 25
FEW_SHAPES = {"counting": TASKS["counting"].Params(frames_per_kind=(1, 1))}
LATE_REFERENCES = {"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}


@dataclass(frozen=True)
class Kind:
    """A kind of video file."""

    name: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    uneven: bool = True  # The format can store uneven frame times.
    skips: bool = True  # The file lists its key frames, so frames far from wanted ones are not decoded.
    movflags: str = ""


KINDS = (
    Kind("h264.mp4", "libx264", X264, "yuv444p"),
    Kind("open_groups.mkv", "libx264", X264 | {"x264-params": "open-gop=1"}),
    Kind("fragments.mp4", "libx264", X264, movflags="frag_keyframe+empty_moov"),
    Kind("h264.mov", "libx264", X264, movflags="faststart"),
    Kind("hevc.mp4", "libx265", {"x265-params": "log-level=none:keyint=15:bframes=3:open-gop=1"}),
    Kind("vp8.webm", "libvpx", LATE_REFERENCES),
    Kind("vp9.webm", "libvpx-vp9", LATE_REFERENCES),
    Kind("vp9.mp4", "libvpx-vp9", LATE_REFERENCES),
    Kind("av1.mkv", "libsvtav1", {"g": "20", "preset": "10", "svtav1-params": "lp=1"}),
    Kind("mpeg4.mp4", "mpeg4", {"bf": "2", "g": "12"}, uneven=False),
    Kind("mpeg4.avi", "mpeg4", {"bf": "2", "g": "12"}, uneven=False, skips=False),
    Kind("h264.avi", "libx264", X264, uneven=False, skips=False),
    Kind("mpeg2.ts", "mpeg2video", {"bf": "2", "g": "12"}, uneven=False, skips=False),
    Kind("h264.ts", "libx264", X264, skips=False),
)


@pytest.fixture
def num_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count decoded frames: [by decoding sparingly, by decoding everything]."""
    counts = [0, 0]
    for place, name in enumerate(("_decode_sparingly", "_decode_all")):
        original = getattr(pyav_reader, name)

        def counted(
            *arguments: object, place: int = place, original: Callable[..., object] = original
        ) -> object:
            for frame in original(*arguments):  # type: ignore[attr-defined]
                counts[place] += 1
                yield frame

        monkeypatch.setattr(pyav_reader, name, counted)
    return counts


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_frames_by_index_equal_those_of_decoding_everything(
    encode: Encode, num_decoded: list[int], kind: Kind, capfd: pytest.CaptureFixture[str]
) -> None:
    if kind.codec not in av.codecs_available:
        pytest.skip(f"PyAV was built without {kind.codec}")
    times_s = UNEVEN_S if kind.uneven else EVEN_S
    path = encode(
        kind.name,
        moving_frames(150),
        times_s,
        codec=kind.codec,
        options=kind.options,
        pix_fmt=kind.pix_fmt,
        container_options={"movflags": kind.movflags} if kind.movflags else None,
        **({} if kind.uneven else {"tick": Fraction(1, 25)}),
    )
    capfd.readouterr()
    info = probe(path)
    every = plain_frames(path, height_px=32, width_px=96)
    assert info.num_frames == len(every) == 150
    np.testing.assert_allclose(info.frame_times_s, times_s - times_s[0], atol=1e-3)
    assert len(np.unique(every.reshape(150, -1), axis=0)) == 150  # A wrong frame would be noticed.

    num_decoded[:] = 0, 0
    few = [3, 71, 72, 140]
    np.testing.assert_array_equal(read_frames(path, few, height_px=32, width_px=96), every[few])
    if kind.skips:
        assert len(few) <= num_decoded[0] < 75
        assert num_decoded[1] == 0
    rng = np.random.default_rng(1)
    for _ in range(12):
        some = np.sort(rng.choice(150, int(rng.integers(1, 12)), replace=False))
        np.testing.assert_array_equal(read_frames(path, some, height_px=32, width_px=96), every[some])
    assert capfd.readouterr() == ("", "")


def test_frames_of_genuine_videos_equal_those_of_decoding_everything(
    real_videos: list[tuple[SampledVideo, Frames]], shared_videos: Path
) -> None:
    assert len(real_videos) == 20
    for video, frames in real_videos:
        every = plain_frames(
            video.path,
            height_px=video.height_px,
            width_px=video.width_px,
            wanted=video.indices.tolist(),
        )
        np.testing.assert_array_equal(frames, every, err_msg=video.path)


@pytest.mark.parametrize("name", ["bikes_rot90.mp4", "rotated_90_3frames.mov", "h264_10bit_30frames.mp4",
                                  "variable_rate_72frames.mp4", "hevc_10frames.mp4"])  # fmt: skip
def test_frames_of_odd_genuine_videos_equal_those_of_decoding_everything(
    shared_videos: Path, name: str
) -> None:
    path = shared_videos / "odd" / name
    info = probe(path)
    wanted = sorted({0, info.num_frames // 2, info.num_frames - 1})
    np.testing.assert_allclose(info.frame_times_s, plain_times(path), atol=1e-3)
    np.testing.assert_array_equal(
        read_frames(path, wanted, height_px=96, width_px=64),
        plain_frames(path, height_px=96, width_px=64, wanted=wanted),
    )


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_each_index_gives_its_own_frame_resized(encode: Encode, reader: str) -> None:
    path = encode("uneven.mkv", grey_frames(40), UNEVEN_S[:40])
    info = probe(path, reader)  # type: ignore[arg-type]
    assert (info.reader, info.num_frames, info.height_px, info.width_px) == (reader, 40, 64, 64)
    np.testing.assert_allclose(info.frame_times_s, UNEVEN_S[:40] - 0.5, atol=1e-3)
    assert info.duration_s == pytest.approx((UNEVEN_S[39] - 0.5) * 40 / 39, abs=1e-3)
    indices = [0, 1, 7, 8, 25, 39]
    frames = read_frames(path, indices, height_px=32, width_px=96, reader=reader)  # type: ignore[arg-type]
    assert frames.shape == (6, 32, 96, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_allclose(frames.mean((1, 2, 3)), 10 + 3 * np.array(indices), atol=0.9)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (32, 96), (96, 32), (33, 47), (200, 64)])
def test_cover_takes_the_middle_and_distorts_nothing(
    encode: Encode, reader: str, height: int, width: int
) -> None:
    """The expected frame is the middle of the source, cut out and scaled with OpenCV."""
    source = moving_frames(8, 64, 128)
    path = encode("wide.mp4", source, np.arange(8) / 10)
    (frame,) = read_frames(path, [3], height_px=height, width_px=width, cover=True, reader=reader)  # type: ignore[arg-type]
    scale = max(height / 64, width / 128)
    matrix = np.array([[1 / scale, 0, 64 - width / 2 / scale], [0, 1 / scale, 32 - height / 2 / scale]])
    matrix[:, 2] += 0.5 / scale - 0.5  # coordinates are those of pixel centres
    expected = cv2.warpAffine(
        cv2.GaussianBlur(source[3], (0, 0), max(0.01, 0.4 / scale)) if scale < 1 else source[3],
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    assert np.abs(frame.astype(int) - expected).mean() < 12  # Odd sizes differ by half a pixel.
    (stretched,) = read_frames(path, [3], height_px=height, width_px=width)
    if abs(height / width - 0.5) > 0.1:
        assert np.abs(stretched.astype(int) - expected).mean() > 16


def test_cover_changes_nothing_for_the_shape_of_the_source(encode: Encode) -> None:
    path = encode("wide.mp4", moving_frames(8, 64, 128), np.arange(8) / 10)
    both = [read_frames(path, [0, 5], height_px=32, width_px=64, cover=cover) for cover in (False, True)]
    np.testing.assert_array_equal(both[0], both[1])


@pytest.mark.parametrize("name", ["asl_school.mkv", "nasa_13013.mp4", "mma_test.mp4", "bikes_rot90.mp4",
                                  "h264_10bit_30frames.mp4"])  # fmt: skip
def test_decord_agrees_on_times_and_nearly_on_pixels(shared_videos: Path, name: str) -> None:
    """The files have rotation, ten bits, uneven rates, a late first frame, or two video streams."""
    (path,) = shared_videos.rglob(name)
    infos = [probe(path, "decord"), probe(path, "pyav")]
    assert [info.reader for info in infos] == ["decord", "pyav"]
    np.testing.assert_allclose(infos[0].frame_times_s, infos[1].frame_times_s, atol=2e-3)
    wanted = [0, infos[0].num_frames // 2, infos[0].num_frames - 1]
    height_px, width_px = infos[0].height_px, infos[0].width_px
    by_decord = read_frames(path, wanted, height_px=height_px, width_px=width_px, reader="decord").astype(int)
    by_pyav = read_frames(path, wanted, height_px=height_px, width_px=width_px)
    assert np.abs(by_decord - by_pyav).mean() < (6.0 if "10bit" in name else 1.5)  # on a scale of 0 to 255


def test_pyav_takes_over_if_decord_reads_a_file_wrongly(encode: Encode) -> None:
    """AVI has no presentation times, and decord returns times such as -1e17 s."""
    path = encode("a.avi", grey_frames(40), np.arange(40) / 10, tick=Fraction(1, 10))
    info = probe(path, "decord")
    assert info.reader == "pyav"
    np.testing.assert_allclose(info.frame_times_s, np.arange(40) / 10, atol=1e-3)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_the_recipe_names_its_reader(encode: Encode, small: FrameSpec, reader: str) -> None:
    path = encode("a.mp4", moving_frames(40), np.arange(40) / 10)
    video = inspect(str(path), small.model_copy(update={"reader": reader}))
    recipe = make_recipe(0, videos=[video], mix={"counting": 1}, params_by_task=FEW_SHAPES, seed=0)
    assert video.reader == recipe.reader == reader


@pytest.mark.parametrize("indices", [[3, 2], [1, 1], [-1, 0]])
def test_indices_must_rise(encode: Encode, indices: list[int]) -> None:
    path = encode("short.mp4", grey_frames(5), np.arange(5) / 10)
    with pytest.raises(ValueError, match="ascending"):
        read_frames(path, indices, height_px=32, width_px=32)
    assert read_frames(path, [], height_px=32, width_px=32).shape == (0, 32, 32, 3)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
def test_a_missing_frame_is_named(encode: Encode, reader: str) -> None:
    for name, tick in (("short.mp4", Fraction(1, 1000)), ("short.avi", Fraction(1, 10))):
        path = encode(name, grey_frames(5), np.arange(5) / 10, tick=tick)
        with pytest.raises(VideoError, match="has no frame 5"):
            read_frames(path, [0, 5], height_px=32, width_px=32, reader=reader)  # type: ignore[arg-type]
