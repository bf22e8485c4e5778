"""A folder of videos: which can be used, and why the others cannot."""

import os
from dataclasses import dataclass
from pathlib import Path

from pretext.frames import FrameSpec, frame_indices
from pretext.video import VideoError, VideoInfo, probe

SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts"})


@dataclass(frozen=True)
class Rejected:
    """A video that was set aside."""

    path: str
    reason: str  # in plain words


@dataclass(frozen=True)
class Scan:
    """What a folder holds, in the order of the paths."""

    usable: tuple[VideoInfo, ...]
    rejected: tuple[Rejected, ...]


def find_videos(folder: str | os.PathLike[str]) -> list[Path]:
    """The video files in `folder`, at any depth: absolute paths, sorted. Hidden files are passed over.

    Raises ValueError where there is no such folder.
    """
    root = Path(folder).absolute()
    if not root.is_dir():
        raise ValueError(f"{folder}: there is no such folder. Name one that holds videos.")
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def scan(folder: str | os.PathLike[str], spec: FrameSpec) -> Scan:
    """Probes every video of `folder`; usable are those that `spec`'s frames can be taken from.

    Raises ValueError as `find_videos` does; a bad video only adds to `rejected`.
    """
    usable: list[VideoInfo] = []
    rejected: list[Rejected] = []
    for path in find_videos(folder):
        try:
            info = probe(path)
            frame_indices(info, spec)
        except VideoError as error:
            rejected.append(Rejected(str(path), error.reason))
        else:
            usable.append(info)
    return Scan(tuple(usable), tuple(rejected))
