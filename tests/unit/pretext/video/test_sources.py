"""`pretext.video.sources`: videos are found in folders and at URLs, and read from both."""

import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretext.video import VideoError, probe, read_frames
from pretext.video.frames import FrameSpec
from pretext.video.inspect_video import inspect
from pretext.video.sources import find_videos
from tests.unit.pretext.made import grey_frames, moving_frames

Encode = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of empty files; names alone decide which are videos."""
    for name in ("b/c/DEEP.MP4", "a.mkv", "b/x.webm", "z.m4v", "z.ts", "z.mov", "z.avi", "b/text.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("notes.txt", "._hidden.mp4", "mp4"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    return tmp_path


NAMES = ["a.mkv", "b/c/DEEP.MP4", "b/text.mp4", "b/x.webm", "z.avi", "z.m4v", "z.mov", "z.ts"]


def test_videos_are_found_at_any_depth_in_order(folder: Path) -> None:
    assert find_videos(folder) == [str(folder / name) for name in NAMES]


def test_a_url_of_a_folder_gives_urls(folder: Path) -> None:
    assert find_videos(f"file://{folder}") == [f"file://{folder / name}" for name in NAMES]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere", "nowhere: there is no such folder"),
        ("a.mkv", "a.mkv: there is no such folder"),
        ("file://{}/nowhere", "there is no such folder"),
        ("nonsense://a/b", "nonsense://a/b: cannot be listed"),
    ],
)
def test_a_missing_folder_is_named_in_the_error(folder: Path, place: str, words: str) -> None:
    place = place.format(folder) if "://" in place else str(folder / place)
    with pytest.raises(ValueError, match=words):
        find_videos(place)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_file_by_url_gives_the_same_bytes(encode: Encode, tmp_path: Path, name: str, reader: Any) -> None:
    tick = Fraction(1, 30) if name == "a.avi" else Fraction(1, 1000)
    path = encode(name, moving_frames(60), np.arange(60) / 30, tick=tick)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(path, f"in/{name}")
    here = probe(path, reader)
    wanted = [3, 30, 31, 59]
    frames = read_frames(path, wanted, height_px=32, width_px=96, reader=here.reader)
    for url in (f"file://{path}", f"zip://in/{name}::{tmp_path / 'x.zip'}"):
        info = probe(url, reader)
        assert (info.path, info.num_frames, info.reader) == (url, 60, here.reader)
        np.testing.assert_array_equal(info.frame_times_s, here.frame_times_s)
        again = read_frames(url, wanted, height_px=32, width_px=96, reader=info.reader)
        np.testing.assert_array_equal(again, frames)


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("url", ["file:///nowhere/a.mp4", "nonsense://a/b.mp4", "zip://a.mp4::/nowhere.zip"])
def test_a_url_that_cannot_be_read_is_a_video_error(url: str, reader: Any) -> None:
    with pytest.raises(VideoError, match="cannot be read") as caught:
        probe(url, reader)
    assert caught.value.path == url


def test_a_damaged_file_by_url_is_a_video_error(encode: Encode, small: FrameSpec) -> None:
    path = encode("a.mp4", grey_frames(40), np.arange(40) / 10)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(VideoError):
        inspect(f"file://{path}", small)
    path.write_bytes(b"")
    with pytest.raises(VideoError):
        inspect(f"file://{path}", small)


def test_linked_folders_are_followed_and_hidden_ones_are_not(folder: Path, tmp_path: Path) -> None:
    before = find_videos(folder)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.mp4").touch()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)  # a loop of links
    (folder / ".trash").mkdir()
    (folder / ".trash" / "thrown_away.mp4").touch()
    found = set(find_videos(folder)) - set(before)
    assert {Path(path).name for path in found} == {"linked.mp4"}
