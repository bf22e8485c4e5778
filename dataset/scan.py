"""A folder of videos, looked at by all cores of this machine: which can be used, and why the others cannot."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from dataset.sandbox import Guard
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Rejected
from pretext.video.sources import find_videos

Report = Callable[[int, int], None]  # (videos done, videos in all)


@dataclass(frozen=True)
class Scan:
    """What a folder holds, in the order of the paths."""

    usable: tuple[SampledVideo, ...]
    rejected: tuple[Rejected, ...]


def scan(
    folder: str | os.PathLike[str],
    spec: FrameSpec,
    *,
    num_workers: int | None = None,
    report: Report | None = None,
) -> Scan:
    """Inspects every video of `folder`; a bad one only adds to `rejected`.

    Raises ValueError where there is no such folder.
    """
    paths = find_videos(folder)
    usable: list[SampledVideo] = []
    rejected: list[Rejected] = []
    for number, found in enumerate(_inspected(paths, spec, num_workers or os.cpu_count() or 1)):
        if isinstance(found, Rejected):
            rejected.append(found)
        else:
            usable.append(found)
        if report is not None:
            report(number + 1, len(paths))
    return Scan(tuple(usable), tuple(rejected))


def none_usable(rejected: Sequence[Rejected], frames: FrameSpec) -> str:
    """What there is to say where no video can be used."""
    reasons = "".join(f"\n  {Path(entry.path).name}: {entry.reason}" for entry in rejected[:5])
    return (
        f"holds no usable video ({len(rejected)} set aside). Name a folder with mp4, mkv, mov, avi, webm, m4v or ts "
        f"files of at least {frames.num_frames} frames.{reasons}"
    )


def _inspected(paths: Sequence[str], spec: FrameSpec, num_workers: int) -> Iterator[SampledVideo | Rejected]:
    """In the order of `paths`."""
    num_workers = max(1, min(num_workers, len(paths)))
    guards: SimpleQueue[Guard] = SimpleQueue()

    def inspect(path: str) -> SampledVideo | Rejected:
        guard = guards.get()
        try:
            found: SampledVideo | Rejected = guard.call(path, spec)
            return found
        finally:
            guards.put(guard)

    with ExitStack() as stack:
        for _ in range(num_workers):
            guards.put(stack.enter_context(Guard()))
        # Threads: each only waits for its child. Entered last, so that it is left before the guards are.
        pool = stack.enter_context(ThreadPoolExecutor(num_workers))
        yield from pool.map(inspect, paths)
