"""`dataset.scan`: several processes inspect a mixed folder, and results are in order of path."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.damaged import damage
from dataset.scan import scan
from pretext.video.frames import FrameSpec
from tests.unit.pretext.conftest import SHARED_VIDEOS
from tests.unit.pretext.made import X264, moving_frames, write_video

SPEC = FrameSpec(num_frames=8, min_pixels=4096, max_pixels=4096)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    long, short = moving_frames(40), moving_frames(7)
    for name in ("deep/er/GOOD.MP4", "a.mkv", "b.mp4", "z.ts"):
        write_video(tmp_path / name, long, np.arange(40) / 10, options=X264)
    write_video(tmp_path / "short.mp4", short, np.arange(7) / 10)
    cut = write_video(
        tmp_path / "cut.mp4", long, np.arange(40) / 10, container_options={"movflags": "faststart"}
    )
    cut.write_bytes(cut.read_bytes()[:-3000])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.avi").touch()
    (tmp_path / "notes.txt").write_text("not a video")
    (tmp_path / "._hidden.mp4").write_text("not a video")
    (tmp_path / "folder.mp4").mkdir()
    return tmp_path


@pytest.mark.parametrize("num_workers", [1, 3])
def test_usable_videos_are_found_and_others_are_skipped(folder: Path, num_workers: int) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    reports: list[tuple[int, int]] = []
    found = scan(
        folder, SPEC, num_workers=num_workers, report=lambda done, total: reports.append((done, total))
    )
    usable = [str(Path(video.path).relative_to(folder)) for video in found.usable]
    assert usable == ["a.mkv", "b.mp4", "deep/er/GOOD.MP4", "z.ts"]
    assert all(video.frame_stats is not None for video in found.usable)
    assert [(Path(bad.path).name, bad.reason[:10]) for bad in found.skipped] == [
        ("cut.mp4", "is cut off"),
        ("empty.avi", "is empty"),
        ("short.mp4", "shows only"),
        ("text.mp4", "cannot be "),
    ]
    assert reports == [(number, 8) for number in range(1, 9)]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_without_videos_gives_nothing(tmp_path: Path) -> None:
    found = scan(tmp_path, SPEC)
    assert (found.usable, found.skipped) == ((), ())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: there is no such folder"):
        scan(tmp_path / "nowhere", SPEC)


def test_odd_genuine_videos_are_usable_or_skipped() -> None:
    if not SHARED_VIDEOS.is_dir():
        pytest.skip(f"{SHARED_VIDEOS} does not exist: this test needs genuine videos")
    found = scan(SHARED_VIDEOS / "odd", FrameSpec(num_frames=24))
    assert [Path(video.path).name for video in found.usable] == [
        "bikes_rot90.mp4",
        "h264_10bit_30frames.mp4",
        "no_duration_vp9.webm",
        "short_57frames.mp4",
    ]
    assert len(found.skipped) == 9  # One is skipped because its frames come in bursts.


def test_damaged_copies_are_usable_or_skipped_and_nothing_else(tmp_path: Path) -> None:
    """`benchmarks/damaged.py` does the same with two thousand copies."""
    sound = write_video(tmp_path / "sound.mp4", moving_frames(40), np.arange(40) / 10, options=X264)
    originals = sorted((SHARED_VIDEOS / "real").iterdir()) if SHARED_VIDEOS.is_dir() else [sound]
    rng = np.random.default_rng(0)
    for number in range(40):
        original = originals[number % len(originals)]
        (tmp_path / f"{number:02d}{original.suffix}").write_bytes(damage(original.read_bytes(), rng))
    found = scan(tmp_path, SPEC)
    assert len(found.usable) + len(found.skipped) == 41
    assert str(sound) in [video.path for video in found.usable]
    assert len(found.skipped) > 10
    assert all(entry.reason and "inspecting it failed" not in entry.reason for entry in found.skipped)
