"""Tests of BackgroundUploads. A slow file is a named pipe, whose writer waits until the test reads it."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.record.background_uploads import BackgroundUploads
from store.files import Files


@pytest.fixture
def uploads(tmp_path: Path) -> BackgroundUploads:
    return BackgroundUploads(Files(str(tmp_path)))


def slow_file(folder: Path, name: str) -> Path:
    """Create a named pipe at the path of the file `name` and return it. Its writer waits until the test reads it."""
    pipe = folder / f"{name}.new"
    os.mkfifo(pipe)
    return pipe


def nothing() -> None:
    pass


def test_then_is_called_once_all_files_of_a_batch_are_written(
    uploads: BackgroundUploads, tmp_path: Path
) -> None:
    def written(name: str) -> bool:
        return (tmp_path / name).exists()

    slow = slow_file(tmp_path, "b")
    there: list[list[str]] = []
    names = ["a", "b", "c"]
    uploads.write(dict.fromkeys(names, b"x"), lambda: there.append([name for name in names if written(name)]))
    eventually(lambda: written("a"))
    assert not written("c")
    assert there == []
    assert slow.read_bytes() == b"x"
    uploads.close(10)
    assert there == [names]
    assert (tmp_path / "c").read_bytes() == b"x"


def test_then_is_not_called_for_a_batch_that_fails(uploads: BackgroundUploads, tmp_path: Path) -> None:
    (tmp_path / "b").touch()  # a file where a folder is needed
    called: list[str] = []
    uploads.write({"a": b"x", "b/c": b"x"}, lambda: called.append("first"))
    eventually(lambda: bool(uploads._failures))
    with pytest.raises(OSError, match="b"):
        uploads.write({"d": b"x"}, lambda: called.append("second"))
    uploads.close(10)  # the error was raised once already
    assert called == ["second"]  # the other batch was written


def test_the_last_error_is_raised_by_close(uploads: BackgroundUploads, tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    uploads.write({"b/c": b"x"}, nothing)
    with pytest.raises(OSError, match="b"):
        uploads.close(10)


def test_a_batch_is_refused_when_too_many_are_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.record.background_uploads._MAX_WAITING", 2)
    monkeypatch.setattr("actors.record.background_uploads._NUM_THREADS", 1)
    uploads = BackgroundUploads(Files(str(tmp_path)))
    slow = slow_file(tmp_path, "0")
    called: list[str] = []
    uploads.write({"0": b"x"}, lambda: called.append("0"))
    eventually(lambda: uploads._waiting.qsize() == 0)
    for name in ("1", "2"):
        uploads.write({name: b"x"}, lambda name=name: called.append(name))  # type: ignore[misc]
    with pytest.raises(OSError, match="is slower than the run: frames are left out"):
        uploads.write({"3": b"x"}, lambda: called.append("3"))
    assert slow.read_bytes() == b"x"
    uploads.close(10)
    assert called == ["0", "1", "2"]  # in order, because there is one thread
    assert not (tmp_path / "3").exists()


def test_close_waits_no_longer_than_its_timeout_and_then_is_not_called_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.record.background_uploads._NUM_THREADS", 1)
    uploads = BackgroundUploads(Files(str(tmp_path)))
    slow = slow_file(tmp_path, "0")
    called: list[str] = []
    uploads.write({"0": b"x"}, lambda: called.append("0"))
    uploads.write({"1": b"x"}, lambda: called.append("1"))
    with pytest.raises(OSError, match=r"did not take the last frames within 0\.1 s"):
        uploads.close(0.1)
    assert slow.read_bytes() == b"x"
    for thread in uploads._threads:
        thread.join(600)
    assert called == []
    assert not (tmp_path / "1").exists()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
