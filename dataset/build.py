"""Building a dataset with Ray Data: over all cores and nodes, resumable, the same on any number of workers.

    find videos ──► inspect each (in a guarded process) ──► videos, rejected ──► draw recipes ──► write

What has been inspected is kept in DATASET/work as it comes, so a build that is stopped goes on from there. Which
recipe number is made of which video depends on the settings and on the sorted list of usable videos alone.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataset.sandbox import INSPECT, MISHAPS, TIMEOUT_S, Guard
from dataset.scan import none_usable
from dataset.store import (
    CARD,
    REJECTED,
    VIDEOS,
    BuildSettings,
    Card,
    Dataset,
    DatasetError,
    Videos,
    rejected_table,
    videos_table,
    write_dataset,
)
from pretext.recipe import Recipe
from pretext.stream import make_recipe, task_at
from pretext.tasks import TASKS
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Rejected
from pretext.video.sources import find_videos

# VideoSSR-30K: 4 x 3000 grounding (its four anomalies take turns), 12 000 jigsaws of 6, 6000 counting.
PAPER_MIX: Mapping[str, float] = {"grounding": 0.4, "jigsaw": 0.4, "counting": 0.2}
PAPER_COUNT = 30_000

_MOST_PER_BLOCK = 8  # videos one worker is given at a time
_RECIPES_PER_BLOCK = 2000


@dataclass(frozen=True)
class Progress:
    """How far a build is."""

    stage: str  # "videos" or "samples"
    done: int
    total: int
    num_rejected: int


Report = Callable[[Progress], None]


def build(
    settings: BuildSettings,
    paths: Sequence[str],
    out: Path,
    *,
    report: Report,
    timeout_s: float = TIMEOUT_S,
    inspect: str = INSPECT,
    save_every_s: float = 10.0,
) -> Card:
    """Builds DATASET `out`, or goes on with it; needs a running Ray.

    Args:
        paths: the videos, as `find` gives them.
        timeout_s: for one video; a decode that takes longer is ended, and the video set aside.
        inspect: what looks at a video, as "module:name".
        save_every_s: how much looking at videos a build that is stopped may lose.

    Raises:
        DatasetError: no usable video, settings that make no sample, or `out` holds an unfinished build with
            other frame settings.
    """
    work = Work(out, settings)
    left = [path for path in paths if path not in work.done]
    found = _inspected(left, settings, timeout_s, inspect) if left else iter(())
    work.collect(found, len(paths) - len(left), len(paths), save_every_s, report)
    videos, rejected = work.found(paths)
    if not videos.num_rows:
        raise DatasetError(f"--videos={' '.join(settings.videos)}: {none_usable(rejected, settings.frames)}")
    tasks = [name for name, weight in settings.mix.items() if weight > 0]
    count = videos.num_rows * len(tasks) if settings.count is None else settings.count

    def reported(recipes: Iterator[Recipe]) -> Iterator[Recipe]:
        for number, recipe in enumerate(recipes, 1):
            if number % 1000 == 0 or number == count:
                report(Progress("samples", number, count, len(rejected)))
            yield recipe

    card = write_dataset(
        out,
        reported(draw(settings, videos, count)),
        videos=videos,
        rejected=rejected,
        reader=settings.frames.reader,
        settings=settings,
    )
    work.remove()
    return card


def built_already(settings: BuildSettings, out: Path) -> Dataset | None:
    """The dataset that stands at `out`, if it is complete. Raises DatasetError where it is another."""
    if not (out / CARD).exists():
        return None
    dataset = Dataset(out)
    if dataset.card.settings != settings:
        raise DatasetError(f"{out}: holds another dataset (see {CARD}). Name a folder that is not there yet.")
    return dataset


def check(settings: BuildSettings) -> None:
    """Raises DatasetError for settings of which no sample can be made."""
    try:
        task_at(0, settings.mix)
        for name, weight in settings.mix.items():
            if weight > 0:
                TASKS[name].check(settings.params_by_task[name], settings.frames.num_frames)
    except ValueError as error:
        raise DatasetError(str(error)) from None


def find(folders: Sequence[str]) -> list[str]:
    """The videos in all of `folders`, sorted. Raises DatasetError where there is none."""
    try:
        paths = sorted({path for folder in folders for path in find_videos(folder)})
    except ValueError as error:
        raise DatasetError(f"--videos={error}") from None
    if not paths:
        raise DatasetError(
            f"--videos={' '.join(folders)}: holds no video. Name a folder with mp4, mkv, mov, avi, webm, m4v or "
            "ts files."
        )
    return paths


class Work:
    """What a build has inspected so far, in DATASET/work.

    Raises:
        DatasetError: an unfinished build with other frame settings stands there.
    """

    def __init__(self, out: Path, settings: BuildSettings) -> None:
        self._folder = out / "work"
        self._settings = settings
        record = self._folder / "settings.json"
        if record.exists():
            # What is drawn may change; what is looked at must not.
            before = BuildSettings.model_validate_json(record.read_text())
            if before.frames != settings.frames:
                raise DatasetError(
                    f"{out}: holds an unfinished build with other frame settings. Finish it with those, or "
                    "name another folder."
                )
        elif out.exists() and any(out.iterdir()):
            raise DatasetError(
                f"{out}: is not empty, and holds no dataset. Name a folder that is not there yet."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        record.write_text(settings.model_dump_json())
        self._videos = [pq.read_table(path) for path in sorted(self._folder.glob("videos-*.parquet"))]
        self._rejected = [pq.read_table(path) for path in sorted(self._folder.glob("rejected-*.parquet"))]
        # What hung or died may go better now.
        self._rejected = [
            table.filter([not reason.startswith(MISHAPS) for reason in table["reason"].to_pylist()])
            for table in self._rejected
        ]
        self._num_rejected = sum(table.num_rows for table in self._rejected)
        self.done = {path for table in [*self._videos, *self._rejected] for path in table["path"].to_pylist()}

    def collect(
        self,
        found: Iterator[SampledVideo | Rejected],
        done: int,
        total: int,
        save_every_s: float,
        report: Report,
    ) -> None:
        """Takes what inspecting gives, and saves it every few seconds; `done` videos are there already."""
        usable: list[SampledVideo] = []
        rejected: list[Rejected] = []
        saved = time.monotonic()
        report(Progress("videos", done, total, self._num_rejected))
        try:
            for number, entry in enumerate(found, done + 1):
                if isinstance(entry, Rejected):
                    rejected.append(entry)
                else:
                    usable.append(entry)
                report(Progress("videos", number, total, self._num_rejected + len(rejected)))
                if time.monotonic() - saved > save_every_s:
                    self._save(usable, rejected)
                    usable, rejected, saved = [], [], time.monotonic()
        finally:  # also when it is interrupted; only what workers have not given back yet is lost
            self._save(usable, rejected)

    def found(self, paths: Sequence[str]) -> tuple[pa.Table, list[Rejected]]:
        """(usable, set aside) of the videos at `paths`, both in order of path."""
        videos, rejected = (
            table.filter(pc.is_in(table["path"], value_set=pa.array(paths))).sort_by("path").combine_chunks()
            for table in (
                pa.concat_tables([VIDEOS.empty_table(), *self._videos]),
                pa.concat_tables([REJECTED.empty_table(), *self._rejected]),
            )
        )
        return videos, [Rejected(row["path"], row["reason"]) for row in rejected.to_pylist()]

    def remove(self) -> None:
        """To be called when the dataset is complete."""
        shutil.rmtree(self._folder)

    def _save(self, usable: Sequence[SampledVideo], rejected: Sequence[Rejected]) -> None:
        self._num_rejected += len(rejected)
        for name, tables, table in (
            ("videos", self._videos, videos_table(usable)),
            ("rejected", self._rejected, rejected_table(rejected)),
        ):
            if table.num_rows:
                path = self._folder / f"{name}-{len(tables):06d}.parquet"
                pq.write_table(table, path.with_suffix(".partial"))
                path.with_suffix(".partial").rename(path)
                tables.append(table)


def _inspected(
    paths: Sequence[str], settings: BuildSettings, timeout_s: float, inspect: str
) -> Iterator[SampledVideo | Rejected]:
    """As they are done, on all CPUs of the Ray cluster."""
    import ray

    num_cpus = _prepare_ray_data(in_order=False)  # one slow video must not hold the others' results back
    per_block = max(1, min(_MOST_PER_BLOCK, len(paths) // (4 * num_cpus)))
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
                yield Rejected(row["path"], row["reason"])
            else:
                yield Videos(pa.Table.from_pylist([row["video"]], VIDEOS))[0]


_INSPECTED = pa.schema([("path", pa.string()), ("reason", pa.string()), ("video", pa.struct(list(VIDEOS)))])


def _inspect_batch(batch: pa.Table, *, spec: FrameSpec, timeout_s: float, inspect: str) -> pa.Table:
    """Paths to what was found there."""
    rows: list[dict[str, Any]] = []
    for path in batch["path"].to_pylist():
        found = _guard(inspect, timeout_s).call(path, spec)
        if isinstance(found, Rejected):
            rows.append({"path": path, "reason": found.reason, "video": None})
        else:
            rows.append({"path": path, "reason": None, "video": videos_table([found]).to_pylist()[0]})
    return pa.Table.from_pylist(rows, _INSPECTED)


@lru_cache
def _guard(inspect: str, timeout_s: float) -> Guard:
    """One for each Ray worker process; its child ends with it."""
    return Guard(inspect, timeout_s)


def draw(settings: BuildSettings, videos: pa.Table, count: int) -> Iterator[Recipe]:
    """The recipes, in order; drawn by all CPUs of the Ray cluster."""
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
    """Recipe numbers to recipes."""
    import ray

    table = Videos(ray.get(videos))  # not copied: all processes of a node read the same memory
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
        except ValueError as error:  # the settings', for the driver to say
            problem = str(error)
            recipes.append(None)
            break
        recipes.append(recipe.to_json())
    text = pa.string()
    return pa.table({"recipe": pa.array(recipes, text), "problem": pa.array([problem] * len(recipes), text)})


def _prepare_ray_data(*, in_order: bool) -> int:
    """Ray Data shows nothing (our own progress is shown) and gives results in order or not; the CPUs there are."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = in_order
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
