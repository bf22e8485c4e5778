"""A benchmark on disk: VIUBench's nine columns, each a dataset, built from any videos.

BENCH/bench.json      the settings that it was built with; written last, so a folder with it is complete
      counting_easy/  a dataset, as `videossr data build` makes it
      ...
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from dataset.store import (
    CARD,
    BuildSettings,
    Dataset,
    DatasetError,
    videos_table,
    write_dataset,
)
from evaluation.viubench import COLUMNS, PaperColumn
from pretext.randomness import generator
from pretext.recipe import Recipe
from pretext.stream import make_recipe
from pretext.tasks import TASKS
from pretext.tasks.task import TaskParams
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Skipped

BENCH = "bench.json"
OnColumnsDone = Callable[[int, int], None]  # called with (number of finished columns, number of columns)


class BenchSettings(BaseModel, frozen=True, extra="forbid"):
    """The settings of a benchmark. The same settings and videos give the same questions."""

    videos: tuple[str, ...]  # folders or URLs
    samples_per_column: Annotated[int, Field(ge=1)] = 200
    seed: Annotated[int, Field(ge=0)] = 0
    frames: FrameSpec = FrameSpec()


class BenchCard(BaseModel, frozen=True, extra="forbid"):
    """The content of bench.json."""

    version: Literal[1] = 1
    columns: tuple[str, ...]
    settings: BenchSettings


@dataclass(frozen=True)
class LoadedColumn:
    """A column of a benchmark as loaded from disk: one of VIUBench's, or the samples of one task of a dataset."""

    name: str
    label: str  # setting of the task, for people; "" if there is none
    task: str
    recipes: tuple[Recipe, ...]
    params: TaskParams | None = None  # settings that the recipes were drawn with; None: not known
    published: float | None = (
        None  # score of VideoSSR-8B in the paper, percent; None: not a column of VIUBench
    )


def check_bench(settings: BenchSettings, out: Path) -> BenchCard | None:
    """Check settings before any video is inspected. Return the card if this benchmark is complete already.

    Raises:
        DatasetError: the columns cannot be built from this number of frames, or `out` holds something else.
    """
    num_frames = settings.frames.num_frames
    problems = []
    for column in COLUMNS:
        try:
            TASKS[column.task].check(column.params, num_frames)
        except ValueError as error:
            problems.append(f"--frames={num_frames}: {column.task} {column.label}: {error}")
    if problems:
        raise DatasetError("\n".join([*problems, "VIUBench has 48 frames; 96 are possible too."]))
    if (out / CARD).exists():
        raise DatasetError(f"{out}: holds a dataset. Name a folder that does not exist yet.")
    if not (out / BENCH).exists():
        return None
    card = _card(out)
    if card.settings != settings:
        raise DatasetError(
            f"{out}: holds a benchmark with other settings (see {BENCH}). Name a folder that does not exist yet."
        )
    return card


def build_bench(
    videos: Sequence[SampledVideo],
    skipped: Sequence[Skipped],
    out: Path,
    *,
    settings: BenchSettings,
    report: OnColumnsDone = lambda done, total: None,
) -> BenchCard:
    """Build the nine columns. Columns that are complete already are kept.

    Args:
        videos: at least one, each inspected by `dataset.scan.scan`.
        skipped: videos that cannot be used; every column lists them.

    Raises:
        DatasetError: as `check_bench`; no sample of a column can be made from these videos; or `out` holds a column
            built with other settings or from other videos.
    """
    complete = check_bench(settings, out)
    if complete is not None:
        return complete
    table = videos_table(videos)
    for number, column in enumerate(COLUMNS, 1):
        folder = out / column.name
        wanted = _column_settings(settings, column)
        if (folder / CARD).exists():
            _check_kept(folder, wanted, videos)
        else:
            recipes = _recipes(column, wanted, videos)
            write_dataset(
                folder,
                recipes,
                videos=table,
                skipped=skipped,
                reader=settings.frames.reader,
                settings=wanted,
            )
        report(number, len(COLUMNS))
    card = BenchCard(columns=tuple(column.name for column in COLUMNS), settings=settings)
    partial = out / f"{BENCH}.partial"
    partial.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(out / BENCH)
    return card


def load_columns(folder: Path, limit: int | None = None) -> tuple[LoadedColumn, ...]:
    """Return the columns of a benchmark in order, or those of a dataset: one per task and imported file.

    Args:
        limit: largest number of samples per column; the first ones are taken.

    Raises:
        DatasetError: the folder is neither a benchmark nor a dataset, or holds no sample.
    """
    if (folder / BENCH).exists():
        known = {column.name: column for column in COLUMNS}
        return tuple(_load_column(folder, known[name], limit) for name in _card(folder).columns)
    if any((folder / column.name).is_dir() for column in COLUMNS):
        raise DatasetError(
            f"{folder}: the benchmark is not complete (no {BENCH}). Run its `videossr bench build` again."
        )
    if not (folder / CARD).exists():
        raise DatasetError(
            f"{folder}: holds neither a benchmark nor a dataset (no {BENCH}, no {CARD}). Build one with "
            "`videossr bench build`."
        )
    found = Dataset(folder)
    # Each imported file becomes its own column, because benchmarks have one file per setting.
    by_column: dict[tuple[str, str], list[Recipe]] = {}
    for recipe in found:
        kept = by_column.setdefault((recipe.task, Path(recipe.params.get("source", "")).stem), [])
        if limit is None or len(kept) < limit:
            kept.append(recipe)
    if not by_column:
        raise DatasetError(f"{folder}: the dataset is empty. Name one that has samples.")
    settings = found.card.settings
    return tuple(
        LoadedColumn(
            f"{task}/{source}" if source else task,
            source,
            task,
            tuple(recipes),
            None if settings is None else settings.params_by_task[task],
        )
        for (task, source), recipes in sorted(by_column.items())
    )


def _load_column(folder: Path, column: PaperColumn, limit: int | None) -> LoadedColumn:
    found = Dataset(folder / column.name)
    count = len(found) if limit is None else min(limit, len(found))
    recipes = tuple(found[number] for number in range(count))
    return LoadedColumn(column.name, column.label, column.task, recipes, column.params, column.published)


def _card(folder: Path) -> BenchCard:
    try:
        card = BenchCard.model_validate_json((folder / BENCH).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise DatasetError(
            f"{folder / BENCH}: cannot be read ({error}). Build the benchmark again, in a new folder."
        ) from None
    if card.columns != tuple(column.name for column in COLUMNS):
        raise DatasetError(
            f"{folder / BENCH}: lists columns other than VIUBench's nine. Build the benchmark again, in a new folder."
        )
    return card


def _column_settings(settings: BenchSettings, column: PaperColumn) -> BuildSettings:
    # With one seed for all, every grounding column would draw the same segments.
    seed = int(generator(settings.seed, "viubench", column.name).integers(2**53))
    values = {
        "videos": settings.videos,
        "mix": {column.task: 1.0},
        "count": settings.samples_per_column,
        "seed": seed,
        "frames": settings.frames,
        column.task: column.params,
    }
    return BuildSettings.model_validate(values)


def _recipes(column: PaperColumn, settings: BuildSettings, videos: Sequence[SampledVideo]) -> list[Recipe]:
    assert settings.count is not None
    try:
        return [
            make_recipe(
                index,
                videos=videos,
                mix=settings.mix,
                params_by_task=settings.params_by_task,
                seed=settings.seed,
                task=column.task,
            )
            for index in range(settings.count)
        ]
    except ValueError as error:
        raise DatasetError(f"{column.task} {column.label}: {error}. Use other videos.") from None


def _check_kept(folder: Path, settings: BuildSettings, videos: Sequence[SampledVideo]) -> None:
    kept = Dataset(folder)
    if kept.card.settings != settings:
        raise DatasetError(f"{folder}: was built with other settings (see {CARD}). Name a new folder.")
    if [video.path for video in kept.videos()] != [video.path for video in videos]:
        raise DatasetError(f"{folder}: was built from other videos. Name a new folder.")
