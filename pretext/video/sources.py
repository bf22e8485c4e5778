"""Finding and opening videos, at local paths and at URLs of every scheme that fsspec reads (s3, gs, hdfs, ...)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts"})


class FolderError(ValueError):
    """A folder whose videos cannot be listed."""

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder, reason)
        self.folder, self.reason = folder, reason

    def __str__(self) -> str:
        return f"{self.folder}: {self.reason}"


def is_url(path: str) -> bool:
    """Return whether `path` is a URL, such as s3://bucket/a.mp4, and not a local file."""
    return "://" in path


def absolute(path: str) -> str:
    """Return the absolute form of a local path, or the URL unchanged."""
    return path if is_url(path) else os.path.abspath(os.path.expanduser(path))


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Yield the object that a reader opens: the path itself, or for a URL an open binary file.

    Raises OSError, or ImportError if the scheme needs a package that is not installed.
    """
    if not is_url(path):
        yield path
        return
    import fsspec

    with fsspec.open(path, "rb") as file:
        yield file


def find_videos(folder: str | os.PathLike[str]) -> list[str]:
    """Return the video files in `folder`, at any depth: absolute paths or URLs, sorted. Hidden files are left out.

    Raises FolderError if there is no such folder, or its scheme cannot be read.
    """
    folder = os.fspath(folder)
    if is_url(folder):
        return _find_remote(folder)
    root = absolute(folder)
    if not os.path.isdir(root):
        raise FolderError(folder, "there is no such folder. Name one that holds videos.")
    return sorted(_walk(root))


def _walk(root: str) -> Iterator[str]:
    """Yield the video files below `root`. Links to folders are followed, and each folder is visited once."""
    seen = set()
    for folder, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = os.path.join(folder, name)
            if _is_video(name) and os.path.isfile(path):
                yield path


def _find_remote(url: str) -> list[str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        found = system.find(path) if system.isdir(path) else None
    except (ImportError, OSError, ValueError) as error:  # fsspec raises ValueError for an unknown scheme.
        raise FolderError(url, f"cannot be listed ({error}).") from None
    if found is None:
        raise FolderError(url, "there is no such folder. Name one that holds videos.")
    return sorted(system.unstrip_protocol(name) for name in found if _is_video(name))


def _is_video(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
