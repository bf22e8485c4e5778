"""Building a dataset with Ray Data, on all cores and nodes.

    find videos ──► inspect each in a sandbox ──► usable and skipped videos ──► draw recipes ──► write

Inspected videos are saved to DATASET/work every few seconds, and an interrupted build resumes from there. The video of
a recipe depends only on the recipe's number, the settings and the sorted list of usable videos, so any number of
workers gives the same bytes.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataset.sandbox import INSPECT, RETRYABLE_REASONS, TIMEOUT_S, Sandbox
from dataset.scan import none_usable
from dataset.store import (
    CARD,
    SKIPPED_SCHEMA,
    VIDEO_SCHEMA,
    BuildSettings,
    Card,
    Dataset,
    DatasetError,
    Videos,
    skipped_table,
    videos_table,
    write_dataset,
)
from pretext.recipe import Recipe
from pretext.stream import make_recipe, task_at
from pretext.tasks import TASKS
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Skipped
from pretext.video.sources import FolderError, find_videos

logger = logging.getLogger(__name__)

# VideoSSR-30K: 4 x 3000 grounding (its four anomalies take turns), 12 000 jigsaws of 6 clips, 6000 counting.
PAPER_MIX: Mapping[str, float] = {"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2}
PAPER_COUNT = 30_000

_MAX_VIDEOS_PER_BLOCK = 8  # number of videos that a worker takes at a time
_RECIPES_PER_BLOCK = 2000
_SAMPLES_PER_REPORT = 1000


@dataclass(frozen=True)
class BuildProgress:
    """The progress of a build."""

    stage: Literal["videos", "samples"]
    done: int
    total: int
    num_skipped: int  # videos


ReportBuild = Callable[[BuildProgress], None]


def build(
    settings: BuildSettings,
    paths: Sequence[str],
    out: Path,
    *,
    report: ReportBuild,
    timeout_s: float = TIMEOUT_S,
    inspect: str = INSPECT,
    save_every_s: float = 10.0,
) -> Card:
    """Build the dataset `out`, or resume an interrupted build of it. Needs a running Ray.

    Args:
        paths: the videos, from `find_all`.
        timeout_s: time limit for one video; a video that takes longer is skipped.
        inspect: the function that inspects a video, as "module:name".
        save_every_s: how many seconds of inspection an interrupted build may lose.

    Raises:
        DatasetError: there is no usable video, no sample can be made with the settings, or `out` holds an unfinished
            build with other frame settings.
    """
    work = _BuildFolder(out, settings)
    left = [path for path in paths if path not in work.done]
    logger.info(
        "Building %s: %d videos, %d of them inspected before", out, len(paths), len(paths) - len(left)
    )
    found = _inspected(left, settings, timeout_s, inspect) if left else iter(())
    work.collect(found, len(paths) - len(left), len(paths), save_every_s, report)
    videos, skipped = work.results(paths)
    if not videos.num_rows:
        raise DatasetError(f"--videos={' '.join(settings.videos)}: {none_usable(skipped, settings.frames)}")
    tasks = [name for name, weight in settings.mix.items() if weight > 0]
    count = videos.num_rows * len(tasks) if settings.count is None else settings.count

    def reported(recipes: Iterator[Recipe]) -> Iterator[Recipe]:
        for number, recipe in enumerate(recipes, 1):
            if number % _SAMPLES_PER_REPORT == 0 or number == count:
                report(BuildProgress("samples", number, count, len(skipped)))
            yield recipe

    card = write_dataset(
        out,
        reported(draw(settings, videos, count)),
        videos=videos,
        skipped=skipped,
        reader=settings.frames.reader,
        settings=settings,
    )
    work.remove()
    logger.info("Built %s: %d samples of %d videos, %d skipped", out, count, videos.num_rows, len(skipped))
    return card


def existing_dataset(settings: BuildSettings, out: Path) -> Dataset | None:
    """Return the complete dataset at `out`, or None. Raises DatasetError if it has other settings."""
    if not (out / CARD).exists():
        return None
    dataset = Dataset(out)
    if dataset.card.settings != settings:
        raise DatasetError(
            f"{out}: holds a dataset with other settings (see {CARD}). Name a folder that does not exist."
        )
    return dataset


def check(settings: BuildSettings) -> None:
    """Raise DatasetError for settings from which no sample can be made."""
    try:
        task_at(0, settings.mix)
        for name, weight in settings.mix.items():
            if weight > 0:
                TASKS[name].check(settings.params_by_task[name], settings.frames.num_frames)
    except ValueError as error:
        raise DatasetError(str(error)) from None


def find_all(folders: Sequence[str]) -> list[str]:
    """Return the videos in all `folders`, sorted. Raises DatasetError if there are none."""
    try:
        paths = sorted({path for folder in folders for path in find_videos(folder)})
    except FolderError as error:
        raise DatasetError(f"--videos={error}") from None
    if not paths:
        raise DatasetError(
            f"--videos={' '.join(folders)}: holds no video. Name a folder with mp4, mkv, mov, avi, webm, m4v or "
            "ts files."
        )
    return paths


class _BuildFolder:
    """The folder DATASET/work, which keeps the inspected videos of an unfinished build.

    Raises:
        DatasetError: `out` holds an unfinished build with other frame settings, or something else.
    """

    def __init__(self, out: Path, settings: BuildSettings) -> None:
        self._folder = out / "work"
        record = self._folder / "settings.json"
        if record.exists():
            # Inspected videos are kept, so the frame settings must be the same. Recipes are drawn again.
            before = BuildSettings.model_validate_json(record.read_text())
            if before.frames != settings.frames:
                raise DatasetError(
                    f"{out}: holds an unfinished build with other frame settings. Finish it with those, or "
                    "name another folder."
                )
        elif out.exists() and any(out.iterdir()):
            raise DatasetError(
                f"{out}: is not empty, and holds no dataset. Name a folder that does not exist."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        record.write_text(settings.model_dump_json())
        self._videos = [pq.read_table(path) for path in sorted(self._folder.glob("videos-*.parquet"))]
        skipped = [pq.read_table(path) for path in sorted(self._folder.glob("rejected-*.parquet"))]
        self._skipped = [
            table.filter([not reason.startswith(RETRYABLE_REASONS) for reason in table["reason"].to_pylist()])
            for table in skipped
        ]
        self._num_skipped = sum(table.num_rows for table in self._skipped)
        self.done = {path for table in [*self._videos, *self._skipped] for path in table["path"].to_pylist()}

    def collect(
        self,
        found: Iterator[SampledVideo | Skipped],
        done: int,
        total: int,
        save_every_s: float,
        report: ReportBuild,
    ) -> None:
        """Collect the results of inspection and save them every few seconds. `done` videos were saved before."""
        usable: list[SampledVideo] = []
        skipped: list[Skipped] = []
        saved = time.monotonic()
        report(BuildProgress("videos", done, total, self._num_skipped))
        try:
            for number, entry in enumerate(found, done + 1):
                if isinstance(entry, Skipped):
                    logger.debug("Skipped %s: %s", entry.path, entry.reason)
                    skipped.append(entry)
                else:
                    usable.append(entry)
                report(BuildProgress("videos", number, total, self._num_skipped + len(skipped)))
                if time.monotonic() - saved > save_every_s:
                    self._save(usable, skipped)
                    usable, skipped, saved = [], [], time.monotonic()
        finally:  # An interrupted build loses only what workers have not returned yet.
            self._save(usable, skipped)

    def results(self, paths: Sequence[str]) -> tuple[pa.Table, list[Skipped]]:
        """Return the usable videos and the skipped ones among `paths`, both sorted by path."""
        videos, skipped = (
            table.filter(pc.is_in(table["path"], value_set=pa.array(paths))).sort_by("path").combine_chunks()
            for table in (
                pa.concat_tables([VIDEO_SCHEMA.empty_table(), *self._videos]),
                pa.concat_tables([SKIPPED_SCHEMA.empty_table(), *self._skipped]),
            )
        )
        return videos, [Skipped(row["path"], row["reason"]) for row in skipped.to_pylist()]

    def remove(self) -> None:
        """Delete the folder. Call this when the dataset is complete."""
        shutil.rmtree(self._folder)

    def _save(self, usable: Sequence[SampledVideo], skipped: Sequence[Skipped]) -> None:
        self._num_skipped += len(skipped)
        for name, tables, table in (
            ("videos", self._videos, videos_table(usable)),
            ("rejected", self._skipped, skipped_table(skipped)),
        ):
            if table.num_rows:
                path = self._folder / f"{name}-{len(tables):06d}.parquet"
                pq.write_table(table, path.with_suffix(".partial"))
                path.with_suffix(".partial").rename(path)
                tables.append(table)


def _inspected(
    paths: Sequence[str], settings: BuildSettings, timeout_s: float, inspect: str
) -> Iterator[SampledVideo | Skipped]:
    """Inspect videos on all CPUs of the Ray cluster, and yield each result when it is ready."""
    import ray

    num_cpus = _prepare_ray_data(in_order=False)  # One slow video must not hold back the others' results.
    per_block = max(1, min(_MAX_VIDEOS_PER_BLOCK, len(paths) // (4 * num_cpus)))
    rows = ray.data.from_items(
        [{"path": path} for path in paths], override_num_blocks=-(-len(paths) // per_block)
    ).map_batches(
        _inspect_batch,
        fn_kwargs={"spec": settings.frames, "timeout_s": timeout_s, "inspect": inspect},
        batch_size=None,
        batch_format="pyarrow",
    )
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            if row["video"] is None:
                yield Skipped(row["path"], row["reason"])
            else:
                yield Videos(pa.Table.from_pylist([row["video"]], VIDEO_SCHEMA))[0]


_INSPECTED_SCHEMA = pa.schema(
    [("path", pa.string()), ("reason", pa.string()), ("video", pa.struct(list(VIDEO_SCHEMA)))]
)


def _inspect_batch(batch: pa.Table, *, spec: FrameSpec, timeout_s: float, inspect: str) -> pa.Table:
    """Return a table with _INSPECTED_SCHEMA for the videos at `batch["path"]`; runs in a Ray worker."""
    rows: list[dict[str, Any]] = []
    for path in batch["path"].to_pylist():
        found = _worker_sandbox(inspect, timeout_s).call(path, spec)
        if isinstance(found, Skipped):
            rows.append({"path": path, "reason": found.reason, "video": None})
        else:
            rows.append({"path": path, "reason": None, "video": videos_table([found]).to_pylist()[0]})
    return pa.Table.from_pylist(rows, _INSPECTED_SCHEMA)


@lru_cache
def _worker_sandbox(inspect: str, timeout_s: float) -> Sandbox:
    """Return the sandbox of this Ray worker process; its child ends with it."""
    return Sandbox(inspect, timeout_s)


def draw(settings: BuildSettings, videos: pa.Table, count: int) -> Iterator[Recipe]:
    """Draw recipes on all CPUs of the Ray cluster, and yield them in order.

    Raises DatasetError if the settings allow no sample from these videos.
    """
    import ray

    _prepare_ray_data(in_order=True)
    rows = ray.data.range(count, override_num_blocks=-(-count // _RECIPES_PER_BLOCK)).map_batches(
        _draw_batch,
        fn_kwargs={"settings": settings, "videos": ray.put(videos)},
        batch_size=None,
        batch_format="pyarrow",
    )
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            if row["recipe"] is None:
                raise DatasetError(row["problem"])
            yield Recipe.from_json(row["recipe"])


def _draw_batch(batch: pa.Table, *, settings: BuildSettings, videos: Any) -> pa.Table:
    """Return the recipes with the numbers `batch["id"]` as JSON, or the reason for none; runs in a Ray worker."""
    import ray

    table = Videos(ray.get(videos))  # This makes no copy: all processes of a node read the same memory.
    recipes: list[str | None] = []
    problem = None
    for number in batch["id"].to_pylist():
        try:
            recipe = make_recipe(
                number,
                videos=table,
                mix=settings.mix,
                params_by_task=settings.params_by_task,
                seed=settings.seed,
            )
        except ValueError as error:  # The settings are wrong; the driver reports it.
            problem = str(error)
            recipes.append(None)
            break
        recipes.append(recipe.to_json())
    text = pa.string()
    return pa.table({"recipe": pa.array(recipes, text), "problem": pa.array([problem] * len(recipes), text)})


def _prepare_ray_data(*, in_order: bool) -> int:
    """Silence Ray Data, choose whether its results keep their order, and return the cluster's number of CPUs."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = in_order
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
