"""Datasets rendered to image files, for other trainers.

    verl         OUT/train.parquet in the layout of VideoSSR's verl fork (see `dataset.interchange.verl_export`), OUT/frames/
    jsonl        OUT/samples.jsonl, one sample a line, its files named relative to OUT; OUT/frames/
    webdataset   OUT/shard-000000.tar and so on: ID.json, and ID.CLIP.FRAME.jpg for every frame

Every frame of a sample, altered or not, is encoded once and alike, and its file is named by its place alone:
OUT/frames/ID/00000.jpg is the first frame that the model is shown.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from dataset.interchange.verl_export import SCHEMA, question_text, verl_row
from dataset.interchange.webdataset import ShardWriter
from dataset.store import Dataset, DatasetError
from pretext.recipe import Frames, Sample
from pretext.stream import render
from pretext.video import VideoError
from pretext.video.cache import FrameCache
from pretext.video.info import Rejected

Format = Literal["verl", "jsonl", "webdataset"]
Report = Callable[[int, int], None]  # (samples done, samples in all)
Images = Sequence[Sequence[bytes]]  # JPEG files, by clip and frame
Write = Callable[[int, Sample, Images], None]  # of the sample of that number, from 0

SYSTEM_PROMPT = "Answer directly."
SAMPLES_PER_SHARD = 500
_QUALITY = 95
_CACHE_BYTES = 2**29  # of decoded frames
_ROWS_AT_ONCE = 500


@dataclass(frozen=True)
class Exported:
    """What became of a dataset's samples."""

    num_samples: int  # written
    failed: tuple[Rejected, ...]  # "sample ID of VIDEO", in order


def export_dataset(
    dataset: Dataset,
    out: Path,
    *,
    format: Format,
    system: str = SYSTEM_PROMPT,
    samples_per_shard: int = SAMPLES_PER_SHARD,
    report: Report | None = None,
) -> Exported:
    """Renders every sample into `out`, in the dataset's order; where it stands, it is complete.

    A sample whose frames cannot be read is left out and named in the result.

    Args:
        system: the system message of verl's prompts; none where it is empty.
        samples_per_shard: of webdataset's shards.

    Raises:
        DatasetError: `out` is not empty or cannot be written, or no sample could be rendered.
    """
    if samples_per_shard < 1:
        raise DatasetError(f"samples_per_shard={samples_per_shard}: a shard holds at least 1. Raise it.")
    failed: list[Rejected] = []
    cache = FrameCache(_CACHE_BYTES)
    with new_folder(out) as folder:
        with _writer(format, folder, out.absolute(), system, samples_per_shard) as write:
            for number, recipe in enumerate(dataset):
                try:
                    sample = render(recipe, cache)
                    write(number, sample, [[_jpeg(frame) for frame in clip.frames] for clip in sample.clips])
                except VideoError as error:
                    failed.append(Rejected(f"sample {recipe.id} of {error.path}", error.reason))
                if report is not None:
                    report(number + 1, len(dataset))
        if len(failed) == len(dataset):
            first = f" The first, {failed[0].path}: {failed[0].reason}." if failed else ""
            raise DatasetError(
                f"{dataset.folder}: none of its {len(dataset)} samples can be rendered.{first}"
            )
    return Exported(len(dataset) - len(failed), tuple(failed))


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write to, OUT.partial, which becomes `out` when all is written and is removed on an error.

    Raises DatasetError where `out` is not empty, or something cannot be read or written.
    """
    out = Path(os.path.realpath(out))  # a folder cannot replace a link to one
    try:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise DatasetError(f"{out}: is not empty. Name a new folder, or remove it first.")
        partial_out = out.with_name(out.name + ".partial")
        if partial_out.exists():
            raise DatasetError(f"{partial_out}: is left from a run that did not finish. Remove it.")
        partial_out.mkdir(parents=True)
        try:
            yield partial_out
            partial_out.replace(out)
        except BaseException:
            shutil.rmtree(partial_out, ignore_errors=True)
            raise
    except OSError as error:
        raise DatasetError(f"{error.filename or out}: {error.strerror or error}") from None


def _writer(
    format: Format, folder: Path, final: Path, system: str, samples_per_shard: int
) -> AbstractContextManager[Write]:
    match format:
        case "verl":
            return _verl(folder, final, system)
        case "jsonl":
            return _jsonl(folder)
        case "webdataset":
            return _webdataset(folder, samples_per_shard)


@contextmanager
def _verl(folder: Path, final: Path, system: str) -> Iterator[Write]:
    """train.parquet, written a group of rows at a time; it names frames by where they will lie in the end."""
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(folder / "train.parquet", SCHEMA, compression="zstd") as parquet:

        def flush() -> None:
            if rows:
                parquet.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows.clear()

        def write(number: int, sample: Sample, images: Images) -> None:
            files = [[str(final / name) for name in names] for names in _write_frames(folder, sample, images)]
            rows.append(verl_row(number, sample, files, system))
            if len(rows) == _ROWS_AT_ONCE:
                flush()

        yield write
        flush()


@contextmanager
def _jsonl(folder: Path) -> Iterator[Write]:
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as lines:

        def write(number: int, sample: Sample, images: Images) -> None:
            record = _record(sample, _write_frames(folder, sample, images))
            lines.write(json.dumps(record) + "\n")

        yield write


@contextmanager
def _webdataset(folder: Path, samples_per_shard: int) -> Iterator[Write]:
    with ShardWriter(folder, samples_per_shard) as shards:
        yield partial(_write_to_shard, shards)


def _write_to_shard(shards: ShardWriter, number: int, sample: Sample, images: Images) -> None:
    names = [[f"{clip}.{frame:05d}.jpg" for frame in range(len(files))] for clip, files in enumerate(images)]
    members = [
        member for clip, files in zip(names, images, strict=True) for member in zip(clip, files, strict=True)
    ]
    shards.write(sample.recipe.id, _record(sample, names), members)


def _record(sample: Sample, files: Sequence[Sequence[str]]) -> dict[str, Any]:
    """A sample as JSON values, its answer on the clock of its `times_s`."""
    recipe = sample.recipe
    return {
        "id": recipe.id,
        "task": recipe.task,
        "question": question_text(sample),
        "content": list(sample.content),
        "answer": recipe.answer,
        "clips": [
            {"files": list(names), "times_s": [round(time_s, 4) for time_s in clip.times_s.tolist()]}
            for names, clip in zip(files, sample.clips, strict=True)
        ],
    }


def _write_frames(folder: Path, sample: Sample, images: Images) -> list[list[str]]:
    """Writes a sample's frames, counted through in the order of presentation; their names in `folder`, by clip."""
    names: list[list[str]] = [[] for _ in images]
    own = f"frames/{sample.recipe.id}"
    (folder / own).mkdir(parents=True, exist_ok=True)
    num_written = 0
    for clip in (part for part in sample.content if isinstance(part, int)):
        for image in images[clip]:
            names[clip].append(f"{own}/{num_written:05d}.jpg")
            (folder / names[clip][-1]).write_bytes(image)
            num_written += 1
    return names


def _jpeg(frame: Frames) -> bytes:
    """A frame, [height, width, 3] uint8, RGB, as a JPEG file: the one place where frames are encoded."""
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    assert done
    return bytes(encoded)
