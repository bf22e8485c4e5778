"""Pictures are read only from a run's folder."""

import os
import threading
from pathlib import Path

import pytest

from dashboard.services import frames
from dashboard.services.frames import FrameRefused, FramesBusy, read_frame


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "frames").mkdir(parents=True)
    (folder / "frames/0.webp").write_bytes(b"picture")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "run-2").mkdir()
    (tmp_path / "run-2/0.png").write_bytes(b"secret")
    return folder


PATHS_OUTSIDE = (
    "../secret.png",
    "frames/../../secret.png",
    "/etc/a.png",
    "..\\secret.png",
    "../run-2/0.png",
    "a\0.png",
    "frames/../../run/frames/0.webp",
)


@pytest.mark.parametrize("file", PATHS_OUTSIDE)
def test_paths_outside_are_refused(run: Path, file: str) -> None:
    with pytest.raises(FrameRefused, match="is outside"):
        read_frame(str(run), file)


def test_links_are_followed_only_inside_the_folder(run: Path) -> None:
    (run / "frames/out.png").symlink_to("../../secret.png")
    (run / "outside").symlink_to("..")
    (run / "frames/in.webp").symlink_to("0.webp")
    for file in ("frames/out.png", "outside/secret.png"):
        with pytest.raises(FrameRefused, match="leads outside"):
            read_frame(str(run), file)
    assert read_frame(str(run), "frames/in.webp") == (b"picture", "image/webp")


def test_other_files_are_refused(run: Path) -> None:
    (run / "config.yaml").write_text("secret: 1")
    (run / "folder.png").mkdir()
    os.mkfifo(run / "pipe.png")
    for file, words in (
        ("config.yaml", "not a picture"),
        ("folder.png", r"cannot be read|not a file"),
        ("pipe.png", "not a file"),
        ("9.png", "cannot be read"),
        ("", "not a picture"),
    ):
        with pytest.raises(FrameRefused, match=words):
            read_frame(str(run), file)


def test_a_large_file_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_BYTES", 6)
    with pytest.raises(FrameRefused, match="larger than 6"):
        read_frame(str(run), "frames/0.webp")


def test_a_bucket_is_read_and_nothing_outside_it(run: Path) -> None:
    address = run.as_uri()
    (run / "frames/out.webp").symlink_to("../../secret.png")
    assert read_frame(address, "frames/0.webp") == (b"picture", "image/webp")
    for file in (*PATHS_OUTSIDE, "0.png::file:///etc/x.png"):
        with pytest.raises(FrameRefused, match="is outside"):
            read_frame(address, file)
    with pytest.raises(FrameRefused, match="leads outside"):
        read_frame(address, "frames/out.webp")
    for elsewhere in (address, "nothing://bucket/run"):
        with pytest.raises(FrameRefused, match="cannot be read"):
            read_frame(elsewhere, "frames/1.png")


def test_a_bucket_that_hangs_blocks_a_limited_number_of_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(frames, "_bucket_readers", places)
    monkeypatch.setattr(frames, "_BUSY_TIMEOUT_S", 0.05)
    for _ in range(2):  # a failed read frees its place
        with pytest.raises(FrameRefused, match="cannot be read"):
            read_frame("nothing://bucket/run", "frames/0.png")
    with places, pytest.raises(FramesBusy, match="too slow"):
        read_frame("nothing://bucket/run", "frames/0.png")
