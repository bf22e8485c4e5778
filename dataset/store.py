"""The files of a dataset: a card, the recipes, the videos they are made from, and the videos that were skipped.

DATASET/dataset.json       the settings it was built with, and its numbers of samples and videos
        recipes.parquet    one row per sample, in order
        videos.parquet     one row per usable video
        rejected.parquet   path, reason and backend of each skipped video
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from pretext.recipe import IMAGES, Recipe
from pretext.tasks import TaskSettings
from pretext.video.frame_stats import FrameStats
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Skipped

CARD = "dataset.json"
_ROWS_PER_BATCH = 10_000
_COMPRESSION = "zstd"

# The column names are those of `Recipe.to_stored`.
RECIPE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("answer", pa.string()),
        ("video", pa.string()),
        ("reader", pa.string()),
        ("frame_indices", pa.list_(pa.int32())),
        ("frame_times_s", pa.list_(pa.float64())),
        ("height_px", pa.int32()),
        ("width_px", pa.int32()),
        ("params", pa.string()),  # JSON
        ("seed", pa.int64()),
    ]
)
VIDEO_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("reader", pa.string()),
        ("duration_s", pa.float64()),
        ("indices", pa.list_(pa.int64())),
        ("times_s", pa.list_(pa.float64())),
        ("height_px", pa.int32()),
        ("width_px", pa.int32()),
        ("colour", pa.float64()),
        ("mirrored", pa.float64()),
        ("turned", pa.float64()),
        ("motion", pa.list_(pa.float64())),
    ]
)
SKIPPED_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string()), ("backend", pa.string())])


class DatasetError(ValueError):
    """An unusable dataset, or a request that a dataset cannot fulfil. The message gives name, rule and fix."""


class BuildSettings(TaskSettings, frozen=True, extra="forbid"):
    """All settings that determine a dataset's content: the same settings and videos give the same samples."""

    videos: tuple[str, ...]  # folders or URLs
    mix: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    count: Annotated[int, Field(ge=1)] | None = None  # None: one of each task from every video
    seed: Annotated[int, Field(ge=0)] = 0
    frames: FrameSpec = FrameSpec()


class Card(BaseModel, frozen=True, extra="forbid", validate_by_name=True):
    """The content of dataset.json."""

    version: Literal[1] = 1
    num_samples: int
    num_videos: int
    # "num_rejected" is the name in files.
    num_skipped: int = Field(validation_alias="num_rejected", serialization_alias="num_rejected")
    settings: BuildSettings | None = None  # None for an imported dataset
    imported_from: str | None = None


class Dataset:
    """A complete dataset on disk. Samples are numbered from 0.

    Raises:
        DatasetError: the folder holds no dataset, or an unfinished one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.card = Card.model_validate_json((folder / CARD).read_text())
        except FileNotFoundError:
            unfinished = " Its build was not finished: run it again." if (folder / "work").is_dir() else ""
            raise DatasetError(
                f"{folder}: holds no dataset (no {CARD}).{unfinished or ' Make one with `videossr data build`.'}"
            ) from None
        except (OSError, ValidationError) as error:
            raise DatasetError(f"{folder / CARD}: cannot be read ({error}).") from None

    def __len__(self) -> int:
        return self.card.num_samples

    def __getitem__(self, number: int) -> Recipe:
        return _recipe(self._recipes.slice(range(len(self))[number], 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Recipe]:
        for batch in self._recipes.to_batches(max_chunksize=_ROWS_PER_BATCH):
            for row in batch.to_pylist():
                yield _recipe(row)

    def find(self, name: str) -> Recipe:
        """Return the sample with this id or number. Raises DatasetError if there is none."""
        number = self._recipes["id"].index(name).as_py()
        if number < 0 and name.isdecimal() and int(name) < len(self):
            number = int(name)
        if number < 0:
            raise DatasetError(
                f"{name!r}: {self.folder} has no such sample. Give an id, or a number from 0 to {len(self) - 1}."
            )
        return self[number]

    def inspected_paths(self) -> set[str]:
        """Return the paths of all videos that the build inspected, usable or skipped."""
        tables = (
            _read(self.folder / "videos.parquet", VIDEO_SCHEMA),
            _read(self.folder / "rejected.parquet", SKIPPED_SCHEMA),
        )
        return {path for table in tables for path in table["path"].to_pylist()}

    def one_of_each_kind(self) -> list[Recipe]:
        """Return the first sample of each task, and of each anomaly."""
        first: dict[tuple[str, str], Recipe] = {}
        for recipe in self:
            first.setdefault((recipe.task, recipe.params.get("perturbation", "")), recipe)
        return list(first.values())

    def tasks(self) -> list[str]:
        """Return the task of each sample, in order."""
        return self._column("task")

    def truths(self) -> dict[str, list[str]]:
        """Return the truths of all samples, by task."""
        by_task: dict[str, list[str]] = {}
        for task, truth in zip(self.tasks(), self._column("answer"), strict=True):
            by_task.setdefault(task, []).append(truth)
        return by_task

    def videos(self) -> "Videos":
        """Return the usable videos; imported datasets have none."""
        return Videos(_read(self.folder / "videos.parquet", VIDEO_SCHEMA))

    def skipped(self) -> list[Skipped]:
        """Return the skipped videos, or the skipped rows of an import."""
        rows = _read(self.folder / "rejected.parquet", SKIPPED_SCHEMA).to_pylist()
        return [Skipped(row["path"], row["reason"]) for row in rows]

    @cached_property
    def _recipes(self) -> pa.Table:
        table = _read(self.folder / "recipes.parquet", RECIPE_SCHEMA)
        if table.num_rows != len(self):
            raise DatasetError(
                f"{self.folder}: {CARD} says {len(self)} samples, but recipes.parquet holds {table.num_rows}. "
                "Build the dataset again."
            )
        return table

    def _column(self, name: str) -> list[Any]:
        values: list[Any] = self._recipes[name].to_pylist()
        return values


class Videos(Sequence[SampledVideo]):
    """A table of videos (VIDEO_SCHEMA) as a sequence; each SampledVideo is made when it is accessed."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, number: Any) -> Any:
        row = self._table.slice(range(len(self))[number], 1).to_pylist()[0]
        return SampledVideo(
            path=row["path"],
            reader=row["reader"],
            duration_s=row["duration_s"],
            indices=np.array(row["indices"], np.int64),
            times_s=np.array(row["times_s"], np.float64),
            height_px=row["height_px"],
            width_px=row["width_px"],
            frame_stats=FrameStats(row["colour"], row["mirrored"], row["turned"], tuple(row["motion"])),
        )


def write_dataset(
    folder: Path,
    recipes: Iterable[Recipe],
    *,
    videos: pa.Table | None = None,
    skipped: Sequence[Skipped] = (),
    reader: str = "pyav",
    settings: BuildSettings | None = None,
    imported_from: str | None = None,
) -> Card:
    """Write all files of a dataset and return its card. The card comes last: a folder with one is complete.

    Args:
        videos: the usable videos, with VIDEO_SCHEMA; see `videos_table`.
        skipped: read after `recipes` is exhausted, so the iterator may still add to it.
        reader: the reader that the recipes name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    num_samples = _write_recipes(folder / "recipes.parquet", recipes)
    videos = VIDEO_SCHEMA.empty_table() if videos is None else videos
    with _written_whole(folder / "videos.parquet") as path:
        pq.write_table(videos, path, compression=_COMPRESSION)
    with _written_whole(folder / "rejected.parquet") as path:
        pq.write_table(skipped_table(skipped, reader), path, compression=_COMPRESSION)
    card = Card(
        num_samples=num_samples,
        num_videos=videos.num_rows,
        num_skipped=len(skipped),
        settings=settings,
        imported_from=imported_from,
    )
    with _written_whole(folder / CARD) as path:
        path.write_text(card.model_dump_json(indent=2, by_alias=True) + "\n")
    return card


def videos_table(videos: Iterable[SampledVideo]) -> pa.Table:
    """Return a table with VIDEO_SCHEMA, one row per video."""
    rows = []
    for video in videos:
        assert video.frame_stats is not None  # `inspect` measures every video
        row = asdict(video) | asdict(video.frame_stats)
        del row["frame_stats"]
        rows.append(row | {"indices": video.indices.tolist(), "times_s": video.times_s.tolist()})
    return pa.Table.from_pylist(rows, VIDEO_SCHEMA)


# For each requested reader, the libraries that tried to read a skipped video, in order.
_BACKENDS = {"pyav": "pyav", "decord": "decord, pyav", IMAGES: "opencv"}


def skipped_table(skipped: Iterable[Skipped], reader: str = "pyav") -> pa.Table:
    """Return a table with SKIPPED_SCHEMA. `reader` is the reader that was requested."""
    rows = [{"path": entry.path, "reason": entry.reason, "backend": _BACKENDS[reader]} for entry in skipped]
    return pa.Table.from_pylist(rows, SKIPPED_SCHEMA)


def recipe_row(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as a row with RECIPE_SCHEMA."""
    return recipe.to_stored() | {
        "id": recipe.id,
        "params": json.dumps(recipe.params, sort_keys=True, separators=(",", ":")),
        "frame_indices": list(recipe.frame_indices),
        "frame_times_s": list(recipe.frame_times_s),
    }


def _recipe(row: dict[str, Any]) -> Recipe:
    del row["id"]
    return Recipe.from_stored(row | {"params": json.loads(row["params"])})


def _write_recipes(target: Path, recipes: Iterable[Recipe]) -> int:
    num_rows = 0
    rows: list[dict[str, Any]] = []
    with (
        _written_whole(target) as path,
        pq.ParquetWriter(path, RECIPE_SCHEMA, compression=_COMPRESSION) as writer,
    ):

        def flush() -> None:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, RECIPE_SCHEMA))
                rows.clear()

        for recipe in recipes:
            rows.append(recipe_row(recipe))
            num_rows += 1
            if len(rows) == _ROWS_PER_BATCH:
                flush()
        flush()
    return num_rows


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(path, schema=schema)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read ({str(error).splitlines()[0]}).") from None


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` at the end, so that readers never find half a file."""
    partial = path.with_name(path.name + ".partial")
    yield partial
    partial.replace(path)
