"""A dataset on disk: a card, recipes, the videos they are made of, and those set aside.

DATASET/dataset.json       what it was made from, and how many samples it has
        recipes.parquet    one sample a row, in order
        videos.parquet     one usable video a row
        rejected.parquet   path, reason and backend of each video that was set aside
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from pretext.recipe import IMAGES, Recipe
from pretext.tasks import TaskSettings
from pretext.video.frame_stats import Traits
from pretext.video.frames import FrameSpec, SampledVideo
from pretext.video.info import Rejected

CARD = "dataset.json"
_ROWS_AT_ONCE = 10_000
_COMPRESSION = "zstd"

RECIPES = pa.schema(
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
VIDEOS = pa.schema(
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
REJECTED = pa.schema([("path", pa.string()), ("reason", pa.string()), ("backend", pa.string())])


class DatasetError(ValueError):
    """What is wrong with a dataset, or with what was asked of it: name, rule, fix."""


class BuildSettings(TaskSettings, frozen=True, extra="forbid"):
    """All that a dataset follows from: the same settings and videos, the same samples."""

    videos: tuple[str, ...]  # folders or URLs
    mix: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    count: Annotated[int, Field(ge=1)] | None = None  # None: a sample of each task for every usable video
    seed: Annotated[int, Field(ge=0)] = 0
    frames: FrameSpec = FrameSpec()


class Card(BaseModel, frozen=True, extra="forbid"):
    """What stands in dataset.json."""

    version: Literal[1] = 1
    num_samples: int
    num_videos: int
    num_rejected: int
    settings: BuildSettings | None = None  # None where it was imported
    imported_from: str | None = None


class Dataset:
    """A dataset that is complete on disk. Samples are numbered from 0.

    Raises:
        DatasetError: the folder holds none.
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
        for batch in self._recipes.to_batches(max_chunksize=_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                yield _recipe(row)

    def find(self, name: str) -> Recipe:
        """The sample of that id, or of that number. Raises DatasetError."""
        number = self._recipes["id"].index(name).as_py()
        if number < 0 and name.isdecimal() and int(name) < len(self):
            number = int(name)
        if number < 0:
            raise DatasetError(
                f"{name!r}: {self.folder} has no such sample. Give an id, or a number from 0 to {len(self) - 1}."
            )
        return self[number]

    def seen(self) -> set[str]:
        """The paths of all videos that were looked at."""
        tables = (
            _read(self.folder / "videos.parquet", VIDEOS),
            _read(self.folder / "rejected.parquet", REJECTED),
        )
        return {path for table in tables for path in table["path"].to_pylist()}

    def one_of_each_kind(self) -> list[Recipe]:
        """The first sample of each task, and of each anomaly."""
        first: dict[tuple[str, str], Recipe] = {}
        for recipe in self:
            first.setdefault((recipe.task, recipe.params.get("perturbation", "")), recipe)
        return list(first.values())

    def tasks(self) -> list[str]:
        """The task of each sample."""
        return self._column("task")

    def answers(self) -> dict[str, list[str]]:
        """The true answers, by task."""
        by_task: dict[str, list[str]] = {}
        for task, answer in zip(self.tasks(), self._column("answer"), strict=True):
            by_task.setdefault(task, []).append(answer)
        return by_task

    def videos(self) -> "Videos":
        """The usable videos; none for imported data."""
        return Videos(_read(self.folder / "videos.parquet", VIDEOS))

    def rejected(self) -> list[Rejected]:
        """The videos that were set aside."""
        rows = _read(self.folder / "rejected.parquet", REJECTED).to_pylist()
        return [Rejected(row["path"], row["reason"]) for row in rows]

    @cached_property
    def _recipes(self) -> pa.Table:
        table = _read(self.folder / "recipes.parquet", RECIPES)
        if table.num_rows != len(self):
            raise DatasetError(
                f"{self.folder}: {CARD} tells of {len(self)} samples, recipes.parquet holds {table.num_rows}. Build "
                "it anew."
            )
        return table

    def _column(self, name: str) -> list[Any]:
        values: list[Any] = self._recipes[name].to_pylist()
        return values


class Videos(Sequence[SampledVideo]):
    """Rows of videos.parquet as SampledVideo, each made when it is asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, number: Any) -> Any:
        row = self._table.slice(range(len(self))[number], 1).to_pylist()[0]
        traits = Traits(row["colour"], row["mirrored"], row["turned"], tuple(row["motion"]))
        return SampledVideo(
            path=row["path"],
            reader=row["reader"],
            duration_s=row["duration_s"],
            indices=np.array(row["indices"], np.int64),
            times_s=np.array(row["times_s"], np.float64),
            height_px=row["height_px"],
            width_px=row["width_px"],
            traits=traits,
        )


def write_dataset(
    folder: Path,
    recipes: Iterable[Recipe],
    *,
    videos: pa.Table | None = None,
    rejected: Sequence[Rejected] = (),
    reader: str = "pyav",
    settings: BuildSettings | None = None,
    imported_from: str | None = None,
) -> Card:
    """Writes everything, the card last: where it stands, the dataset is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    num_samples = _write_recipes(folder / "recipes.parquet", recipes)
    videos = VIDEOS.empty_table() if videos is None else videos
    with _whole(folder / "videos.parquet") as path:
        pq.write_table(videos, path, compression=_COMPRESSION)
    with _whole(folder / "rejected.parquet") as path:
        pq.write_table(rejected_table(rejected, reader), path, compression=_COMPRESSION)
    card = Card(
        num_samples=num_samples,
        num_videos=videos.num_rows,
        num_rejected=len(rejected),
        settings=settings,
        imported_from=imported_from,
    )
    with _whole(folder / CARD) as path:
        path.write_text(card.model_dump_json(indent=2) + "\n")
    return card


def videos_table(videos: Iterable[SampledVideo]) -> pa.Table:
    """Rows of videos.parquet."""
    rows = []
    for video in videos:
        assert video.traits is not None  # `inspect` looks at every video
        row = asdict(video) | asdict(video.traits)
        del row["traits"]
        rows.append(row | {"indices": video.indices.tolist(), "times_s": video.times_s.tolist()})
    return pa.Table.from_pylist(rows, VIDEOS)


_BACKENDS = {"pyav": "pyav", "decord": "decord, pyav", IMAGES: "opencv"}  # what tried, in this order


def rejected_table(rejected: Iterable[Rejected], reader: str = "pyav") -> pa.Table:
    """Rows of rejected.parquet; `reader` is the one that was asked for."""
    rows = [{"path": entry.path, "reason": entry.reason, "backend": _BACKENDS[reader]} for entry in rejected]
    return pa.Table.from_pylist(rows, REJECTED)


def recipe_row(recipe: Recipe) -> dict[str, Any]:
    """A row of recipes.parquet."""
    row = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    return row | {
        "id": recipe.id,
        "params": json.dumps(recipe.params, sort_keys=True, separators=(",", ":")),
        "frame_indices": list(recipe.frame_indices),
        "frame_times_s": list(recipe.frame_times_s),
    }


def _recipe(row: dict[str, Any]) -> Recipe:
    values = {field.name: row[field.name] for field in fields(Recipe)}
    values["params"] = json.loads(row["params"])
    values["frame_indices"] = tuple(row["frame_indices"])
    values["frame_times_s"] = tuple(row["frame_times_s"])
    return Recipe(**values)


def _write_recipes(target: Path, recipes: Iterable[Recipe]) -> int:
    num_rows = 0
    rows: list[dict[str, Any]] = []
    with _whole(target) as path, pq.ParquetWriter(path, RECIPES, compression=_COMPRESSION) as writer:

        def flush() -> None:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, RECIPES))
                rows.clear()

        for recipe in recipes:
            rows.append(recipe_row(recipe))
            num_rows += 1
            if len(rows) == _ROWS_AT_ONCE:
                flush()
        flush()
    return num_rows


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        return pq.read_table(path, schema=schema)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read ({str(error).splitlines()[0]}).") from None


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` when all is written, so that half a file is never found."""
    partial = path.with_name(path.name + ".partial")
    yield partial
    partial.replace(path)
