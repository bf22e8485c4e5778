"""Measure speed, size and memory of making pretext data, against the published procedure (`benchmarks/published.py`).

    python -m benchmarks.data --videos DIR [--only sampling|dataset|rendering|memory]

Figures are the CPU seconds of all threads of this process. The two procedures take turns on every video, so that ratios
also hold on a busy machine.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import decord
import numpy as np
import psutil

from benchmarks import published
from dataset.store import BuildSettings, videos_table, write_dataset
from pretext.recipe import Frames, Recipe
from pretext.scenes import draw_videos
from pretext.stream import make_recipe, render
from pretext.tasks import TASKS
from pretext.tasks.counting import CountingParams
from pretext.tasks.grounding import DESCRIPTIONS, GroundingParams
from pretext.tasks.task import Material
from pretext.video import open_video
from pretext.video.cache import FrameCache
from pretext.video.frames import FrameSpec, SampledVideo, sample_video
from pretext.video.inspect_video import inspect
from pretext.video.sources import find_videos

MIX: Mapping[str, float] = {"grounding": 1, "jigsaw": 1, "counting": 1}
_NUM_RENDERINGS = 20
_MEMORY_SAMPLES = 10_000


class CpuClock:
    """A clock of the CPU seconds of our procedure and of the published one."""

    def __init__(self) -> None:
        self.ours = 0.0
        self.published = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the block's CPU seconds to `name`, "ours" or "published"."""
        started = time.process_time()
        yield
        setattr(self, name, getattr(self, name) + time.process_time() - started)

    @property
    def ratio(self) -> float:
        """The published procedure's CPU seconds divided by ours."""
        return self.published / self.ours


def usable(videos: list[str], folder: Path) -> list[str]:
    """Return the videos that both procedures can read."""
    found = []
    for video in videos:
        try:
            published.sample(video, folder / "trial")
            inspect(video, FrameSpec())
        except (ValueError, decord.DECORDError) as error:  # VideoError is a ValueError
            print(f"skipped: {Path(video).name} ({str(error).splitlines()[0][:60]})")
        else:
            found.append(video)
        finally:
            shutil.rmtree(folder / "trial", ignore_errors=True)
    return found


def sampling(videos: list[str], folder: Path) -> None:
    """Measure reading 48 frames from a video file."""
    total = CpuClock()
    print(f"\nsampling: CPU-s per video\n{'':28}{'published':>10}{'ours':>8}{'ratio':>7}")
    for number, video in enumerate(videos):
        clock = CpuClock()
        with clock.timed("published"):
            published.sample(video, folder / "sampling" / str(number))
        with clock.timed("ours"):
            sample(video)
        total.published += clock.published
        total.ours += clock.ours
        print(f"{Path(video).name:28}{clock.published:10.3f}{clock.ours:8.3f}{clock.ratio:7.2f}")
    each = 1 / len(videos)
    print(f"{'mean':28}{total.published * each:10.3f}{total.ours * each:8.3f}{total.ratio:7.2f}")


def sample(path: str) -> Frames:
    """Return exactly 48 frames of a video."""
    with open_video(path) as opened:
        video = sample_video(opened.info, FrameSpec())
        return opened.read(video.indices, height_px=video.height_px, width_px=video.width_px)


def dataset(videos: list[str], folder: Path) -> None:
    """Measure making a sample of each task from every video, then rendering every prompt once."""
    build, rendering = CpuClock(), CpuClock()
    rng = np.random.default_rng(0)
    sampled: list[SampledVideo] = []
    for number, video in enumerate(videos):
        with build.timed("published"):
            saved = published.sample(video, folder / "dataset" / str(number))
            published.ground(saved, rng)
            published.count(saved, rng)
        with build.timed("ours"):
            sampled.append(inspect(video, FrameSpec()))
        with rendering.timed("published"):
            for _ in TASKS:
                published.load(saved.files, (sampled[-1].height_px, sampled[-1].width_px))
    with build.timed("ours"):
        recipes = draw(sampled, len(videos) * len(TASKS))
        settings = BuildSettings(videos=(str(folder),), mix=dict(MIX))
        write_dataset(folder / "ours", recipes, videos=videos_table(sampled), settings=settings)
    with rendering.timed("ours"):
        cache = FrameCache(2**30)
        for recipe in recipes:
            render(recipe, cache)
    num = len(recipes)
    print(
        f"\nwhole mixed dataset, {num} samples of {len(videos)} cold videos\n"
        f"{'':28}{'published':>10}{'ours':>8}{'ratio':>7}"
    )
    print(f"{'made, CPU-s':28}{build.published:10.2f}{build.ours:8.2f}{build.ratio:7.2f}")
    both = CpuClock()
    both.published, both.ours = build.published + rendering.published, build.ours + rendering.ours
    print(f"{'and rendered once, CPU-s':28}{both.published:10.2f}{both.ours:8.2f}{both.ratio:7.2f}")
    theirs, ours = (size_of(folder / name) / num for name in ("dataset", "ours"))
    print(f"{'on disk, bytes per sample':28}{theirs:10.0f}{ours:8.0f}{theirs / ours:7.0f}")


def draw(videos: list[SampledVideo], count: int) -> list[Recipe]:
    """Return `count` recipes of all tasks."""
    return [make_recipe(number, videos=videos, mix=MIX, params_by_task={}, seed=0) for number in range(count)]


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rendering() -> None:
    """Measure rendering one prompt from 256x256 frames in memory, for every task and anomaly, on one core."""
    cv2.setNumThreads(1)
    counts = (24, 48, 96)
    print(
        f"\nrendering one prompt, 256x256, CPU-ms by number of frames\n{'':28}"
        + "".join(f"{n:>8}" for n in counts)
    )
    slowest = 0.0
    for name, make in samples_of_each_kind():
        took = []
        for num_frames in counts:
            recipe = make(num_frames)
            frames = np.random.default_rng(0).integers(0, 256, (num_frames, 256, 256, 3)).astype(np.uint8)
            took.append(cpu_ms(recipe, frames))
        slowest = max(slowest, took[1])
        print(f"{name:28}" + "".join(f"{ms:8.1f}" for ms in took))
    print(f"slowest at 48 frames: {slowest:.1f} ms")


def samples_of_each_kind() -> Iterator[tuple[str, Callable[[int], Recipe]]]:
    """Yield (name, function from a number of frames to a recipe) for each task and anomaly."""

    def video(num_frames: int, path: str) -> SampledVideo:
        numbers = np.arange(num_frames)
        return SampledVideo(path, "pyav", num_frames / 2, numbers, numbers / 2.0, 256, 256)

    def maker(task: str, params: object) -> Callable[[int], Recipe]:
        def make(num_frames: int) -> Recipe:
            material = Material(video(num_frames, "a"), video(num_frames, "b"))
            return TASKS[task].make(material, params, 0)

        return make

    yield "counting", maker("counting", CountingParams(min_distance=4))
    yield "jigsaw", maker("jigsaw", TASKS["jigsaw"].Params())
    for name in DESCRIPTIONS:
        yield (
            f"grounding {name}",
            maker("grounding", GroundingParams(perturbations=(name,), segment=(16, 16))),
        )


def cpu_ms(recipe: Recipe, frames: Frames) -> float:
    """Return the mean CPU milliseconds of rendering a recipe."""
    task = TASKS[recipe.task]
    borrows = task.borrows(recipe)
    borrowed = None if borrows is None else frames[: len(borrows.indices)]
    task.render(recipe, frames, borrowed)
    started = time.process_time()
    for _ in range(_NUM_RENDERINGS):
        task.render(recipe, frames, borrowed)
    return (time.process_time() - started) / _NUM_RENDERINGS * 1e3


def memory(folder: Path) -> None:
    """Measure memory of a worker that decodes and renders many samples; its cache holds a tenth of the videos."""
    draw_videos(folder / "scenes", count=40, seed=0)
    spec = FrameSpec(num_frames=48, min_pixels=4096, max_pixels=4096)
    videos = [inspect(video, spec) for video in find_videos(folder / "scenes")]
    params = {"grounding": GroundingParams(perturbations=tuple(DESCRIPTIONS))}
    cache = FrameCache(4 * 48 * 64 * 64 * 3)
    process = psutil.Process(os.getpid())
    print("\nnumber of samples, memory of the worker in MiB")
    for number in range(_MEMORY_SAMPLES + 1):
        if number % 1000 == 0:
            print(f"{number:8}{process.memory_info().rss / 2**20:10.1f}")
        render(make_recipe(number, videos=videos, mix=MIX, params_by_task=params, seed=0), cache)


def main() -> None:
    """Run the selected measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", help="folder of clips, required for sampling and dataset")
    parser.add_argument("--only", choices=("sampling", "dataset", "rendering", "memory"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in (None, "sampling", "dataset"):
            if options.videos is None:
                parser.error("--videos=DIR is required for sampling and dataset: name a folder of clips.")
            videos = usable(find_videos(options.videos), folder)
            if options.only in (None, "sampling"):
                sampling(videos, folder)
            if options.only in (None, "dataset"):
                dataset(videos, folder)
        if options.only in (None, "rendering"):
            rendering()
        if options.only in (None, "memory"):
            memory(folder)


if __name__ == "__main__":
    main()
