"""Inspecting a folder of videos on all cores of this machine: usable videos, and reasons for skipping others."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from dataset.sandbox import Sandbox
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Skipped
from pretext.video.sources import find_videos

logger = logging.getLogger(__name__)

_MAX_NAMED_REASONS = 5


@dataclass(frozen=True)
class Scan:
    """The videos of a folder, in order of their paths."""

    usable: tuple[SampledVideo, ...]
    skipped: tuple[Skipped, ...]


def scan(
    folder: str | os.PathLike[str],
    spec: FrameSpec,
    *,
    num_workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Scan:
    """Inspect every video in `folder`, at any depth; an unusable one is skipped.

    Args:
        num_workers: number of child processes; None for one per core.
        report: called with (videos done, videos in all).

    Raises FolderError if there is no such folder.
    """
    paths = find_videos(folder)
    usable: list[SampledVideo] = []
    skipped: list[Skipped] = []
    for number, found in enumerate(_inspected(paths, spec, num_workers or os.cpu_count() or 1)):
        if isinstance(found, Skipped):
            logger.debug("Skipped %s: %s", found.path, found.reason)
            skipped.append(found)
        else:
            usable.append(found)
        if report is not None:
            report(number + 1, len(paths))
    logger.info("Inspected %s: %d usable videos, %d skipped", folder, len(usable), len(skipped))
    return Scan(tuple(usable), tuple(skipped))


def none_usable(skipped: Sequence[Skipped], frames: FrameSpec) -> str:
    """Return the error text for a folder without usable videos, with the first reasons."""
    reasons = "".join(
        f"\n  {Path(entry.path).name}: {entry.reason}" for entry in skipped[:_MAX_NAMED_REASONS]
    )
    return (
        f"holds no usable video ({len(skipped)} skipped). Name a folder with mp4, mkv, mov, avi, webm, m4v or ts "
        f"files of at least {frames.num_frames} frames.{reasons}"
    )


def _inspected(paths: Sequence[str], spec: FrameSpec, num_workers: int) -> Iterator[SampledVideo | Skipped]:
    """Inspect the videos at `paths` and yield the results in the same order."""
    num_workers = max(1, min(num_workers, len(paths)))
    idle: SimpleQueue[Sandbox] = SimpleQueue()

    def inspect(path: str) -> SampledVideo | Skipped:
        sandbox = idle.get()
        try:
            found: SampledVideo | Skipped = sandbox.call(path, spec)
            return found
        finally:
            idle.put(sandbox)

    with ExitStack() as stack:
        for _ in range(num_workers):
            idle.put(stack.enter_context(Sandbox()))
        # Threads suffice, because each only waits for its child. The pool ends first, because it is entered last.
        pool = stack.enter_context(ThreadPoolExecutor(num_workers))
        yield from pool.map(inspect, paths)
