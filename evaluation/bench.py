"""A bench on disk: VIUBench's nine columns, each a dataset of its own, made from any videos.

BENCH/bench.json      what it was made from; written last, so where it stands the bench is complete
      counting_easy/  a dataset, as `videossr data build` makes them
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
from evaluation.viubench import COLUMNS, Column
from pretext.randomness import generator
from pretext.recipe import Recipe
from pretext.stream import make_recipe
from pretext.tasks import TASKS
from pretext.tasks.task import TaskParams
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Rejected

BENCH = "bench.json"
Report = Callable[[int, int], None]  # (columns done, columns in all)


class BenchSettings(BaseModel, frozen=True, extra="forbid"):
    """All that a bench follows from: the same settings and videos, the same questions."""

    videos: tuple[str, ...]  # folders or URLs
    samples_per_column: Annotated[int, Field(ge=1)] = 200
    seed: Annotated[int, Field(ge=0)] = 0
    frames: FrameSpec = FrameSpec()


class BenchCard(BaseModel, frozen=True, extra="forbid"):
    """What stands in bench.json."""

    version: Literal[1] = 1
    columns: tuple[str, ...]
    settings: BenchSettings


@dataclass(frozen=True)
class Questions:
    """What a model is asked under one heading of the table."""

    name: str
    label: str
    task: str
    recipes: tuple[Recipe, ...]
    params: TaskParams | None = None  # None where nobody knows them
    published: float | None = None  # VideoSSR-8B's, percent; None for what is no column of VIUBench


def check_bench(settings: BenchSettings, out: Path) -> BenchCard | None:
    """Before any video is looked at; the card of a bench that is complete already.

    Raises:
        DatasetError: the columns cannot be made of so many frames, or `out` holds something else.
    """
    num_frames = settings.frames.num_frames
    problems = []
    for column in COLUMNS:
        try:
            TASKS[column.task].check(column.params, num_frames)
        except ValueError as error:
            problems.append(f"--frames={num_frames}: {column.task} {column.label}: {error}")
    if problems:
        raise DatasetError("\n".join([*problems, "VIUBench has 48 frames; 96 do as well."]))
    if (out / CARD).exists():
        raise DatasetError(f"{out}: holds a dataset. Name a folder that is not there yet.")
    if not (out / BENCH).exists():
        return None
    card = _card(out)
    if card.settings != settings:
        raise DatasetError(f"{out}: holds another bench (see {BENCH}). Name a folder that is not there yet.")
    return card


def build_bench(
    videos: Sequence[SampledVideo],
    rejected: Sequence[Rejected],
    out: Path,
    *,
    settings: BenchSettings,
    report: Report = lambda done, total: None,
) -> BenchCard:
    """Makes the nine columns; those that are complete already are kept.

    Args:
        videos: at least one, each looked at (`dataset.scan.scan`).
        rejected: those that were set aside; every column lists them.

    Raises:
        DatasetError: as `check_bench`; no sample of a column can be made of these videos; or `out` holds a column
            made with other settings or of other videos.
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
                rejected=rejected,
                reader=settings.frames.reader,
                settings=wanted,
            )
        report(number, len(COLUMNS))
    card = BenchCard(columns=tuple(column.name for column in COLUMNS), settings=settings)
    partial = out / f"{BENCH}.partial"
    partial.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(out / BENCH)
    return card


def load_questions(folder: Path, limit: int | None = None) -> tuple[Questions, ...]:
    """The columns of a bench, in order; or the tasks of a dataset, and of each file that one was imported from.

    Args:
        limit: only so many of the first samples of each.

    Raises:
        DatasetError: the folder holds neither, or no sample.
    """
    if (folder / BENCH).exists():
        known = {column.name: column for column in COLUMNS}
        return tuple(_of_column(folder, known[name], limit) for name in _card(folder).columns)
    if any((folder / column.name).is_dir() for column in COLUMNS):
        raise DatasetError(
            f"{folder}: the bench is not complete (no {BENCH}). Run its `videossr bench build` again."
        )
    if not (folder / CARD).exists():
        raise DatasetError(
            f"{folder}: holds neither a bench nor a dataset (no {BENCH}, no {CARD}). Make one with "
            "`videossr bench build`."
        )
    found = Dataset(folder)
    # Imported data keeps apart what came in files of its own: a benchmark has one for each setting.
    by_heading: dict[tuple[str, str], list[Recipe]] = {}
    for recipe in found:
        kept = by_heading.setdefault((recipe.task, Path(recipe.params.get("source", "")).stem), [])
        if limit is None or len(kept) < limit:
            kept.append(recipe)
    if not by_heading:
        raise DatasetError(f"{folder}: the dataset is empty. Name one that has samples.")
    settings = found.card.settings
    return tuple(
        Questions(
            f"{task}/{source}" if source else task,
            source,
            task,
            tuple(recipes),
            None if settings is None else settings.params_by_task[task],
        )
        for (task, source), recipes in sorted(by_heading.items())
    )


def _of_column(folder: Path, column: Column, limit: int | None) -> Questions:
    found = Dataset(folder / column.name)
    count = len(found) if limit is None else min(limit, len(found))
    recipes = tuple(found[number] for number in range(count))
    return Questions(column.name, column.label, column.task, recipes, column.params, column.published)


def _card(folder: Path) -> BenchCard:
    try:
        card = BenchCard.model_validate_json((folder / BENCH).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise DatasetError(
            f"{folder / BENCH}: cannot be read ({error}). Build the bench again, in a new folder."
        ) from None
    if card.columns != tuple(column.name for column in COLUMNS):
        raise DatasetError(
            f"{folder / BENCH}: lists other columns than VIUBench's nine. Build it again, in a new folder."
        )
    return card


def _column_settings(settings: BenchSettings, column: Column) -> BuildSettings:
    # Columns must not share their draws: two grounding columns would have the same segments.
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


def _recipes(column: Column, settings: BuildSettings, videos: Sequence[SampledVideo]) -> list[Recipe]:
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
        raise DatasetError(f"{folder}: was made with other settings (see {CARD}). Name a new folder.")
    if [video.path for video in kept.videos()] != [video.path for video in videos]:
        raise DatasetError(f"{folder}: was made of other videos than there are now. Name a new folder.")
