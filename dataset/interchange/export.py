"""Rendering datasets to image files, for other trainers.

    verl         OUT/train.parquet in the layout of VideoSSR's verl fork (see `verl_export`); OUT/frames/
    jsonl        OUT/samples.jsonl, one sample per line, with file names relative to OUT; OUT/frames/
    webdataset   OUT/shard-000000.tar and so on, with ID.json, and ID.CLIP.FRAME.jpg for every frame

Every frame of a sample, edited or not, is encoded once with the same settings. Its file name is its place in the order
of presentation: OUT/frames/ID/00000.jpg is the first frame that the model is shown.
"""

import json
import logging
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
from pretext.video.info import Skipped

Format = Literal["verl", "jsonl", "webdataset"]
Images = Sequence[Sequence[bytes]]  # JPEG files, by clip and frame
WriteSample = Callable[[int, Sample, Images], None]  # with the sample's number, from 0

logger = logging.getLogger(__name__)

SYSTEM_PROMPT = "Answer directly."
SAMPLES_PER_SHARD = 500
_JPEG_QUALITY = 95
_CACHE_BYTES = 2**29  # of decoded frames
_ROWS_PER_GROUP = 500


@dataclass(frozen=True)
class ExportResult:
    """The outcome of an export."""

    num_samples: int  # number of samples written
    skipped: tuple[Skipped, ...]  # each as "sample ID of VIDEO", in order


def export_dataset(
    dataset: Dataset,
    out: Path,
    *,
    format: Format,
    system: str = SYSTEM_PROMPT,
    samples_per_shard: int = SAMPLES_PER_SHARD,
    report: Callable[[int, int], None] | None = None,
) -> ExportResult:
    """Render every sample into `out`, in the dataset's order. `out` appears when it is complete.

    A sample whose frames cannot be read is skipped and named in the result.

    Args:
        system: system message of verl's prompts; empty for none.
        samples_per_shard: number of samples in each shard of webdataset.
        report: called with (samples done, samples in all).

    Raises:
        DatasetError: `out` is not empty or cannot be written, or no sample could be rendered.
    """
    if samples_per_shard < 1:
        raise DatasetError(f"samples_per_shard={samples_per_shard}: must be at least 1. Raise it.")
    skipped: list[Skipped] = []
    cache = FrameCache(_CACHE_BYTES)
    with new_folder(out) as folder:
        with _writer(format, folder, out.absolute(), system, samples_per_shard) as write:
            for number, recipe in enumerate(dataset):
                try:
                    sample = render(recipe, cache)
                    write(number, sample, [[_jpeg(frame) for frame in clip.frames] for clip in sample.clips])
                except VideoError as error:
                    skipped.append(Skipped(f"sample {recipe.id} of {error.path}", error.reason))
                if report is not None:
                    report(number + 1, len(dataset))
        if len(skipped) == len(dataset):
            first = f" The first, {skipped[0].path}: {skipped[0].reason}." if skipped else ""
            raise DatasetError(
                f"{dataset.folder}: none of its {len(dataset)} samples can be rendered.{first}"
            )
    logger.info(
        "Exported %s to %s: %d samples, %d skipped",
        dataset.folder,
        out,
        len(dataset) - len(skipped),
        len(skipped),
    )
    return ExportResult(len(dataset) - len(skipped), tuple(skipped))


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to write to, OUT.partial, which becomes `out` at the end, and is removed after an error.

    Raises DatasetError if `out` is not empty, or something cannot be read or written.
    """
    out = Path(os.path.realpath(out))  # a folder cannot replace a symbolic link
    try:
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise DatasetError(f"{out}: is not empty. Name a new folder, or remove it first.")
        partial_out = out.with_name(out.name + ".partial")
        if partial_out.exists():
            raise DatasetError(
                f"{partial_out}: is left over from an export or import that did not finish. Remove it."
            )
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
) -> AbstractContextManager[WriteSample]:
    match format:
        case "verl":
            return _verl(folder, final, system)
        case "jsonl":
            return _jsonl(folder)
        case "webdataset":
            return _webdataset(folder, samples_per_shard)


@contextmanager
def _verl(folder: Path, final: Path, system: str) -> Iterator[WriteSample]:
    """Write train.parquet, a group of rows at a time. Its rows name frame files by their final paths, below `final`."""
    rows: list[dict[str, Any]] = []
    with pq.ParquetWriter(folder / "train.parquet", SCHEMA, compression="zstd") as parquet:

        def flush() -> None:
            if rows:
                parquet.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows.clear()

        def write(number: int, sample: Sample, images: Images) -> None:
            files = [[str(final / name) for name in names] for names in _write_frames(folder, sample, images)]
            rows.append(verl_row(number, sample, files, system))
            if len(rows) == _ROWS_PER_GROUP:
                flush()

        yield write
        flush()


@contextmanager
def _jsonl(folder: Path) -> Iterator[WriteSample]:
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as lines:

        def write(number: int, sample: Sample, images: Images) -> None:
            record = _record(sample, _write_frames(folder, sample, images))
            lines.write(json.dumps(record) + "\n")

        yield write


@contextmanager
def _webdataset(folder: Path, samples_per_shard: int) -> Iterator[WriteSample]:
    with ShardWriter(folder, samples_per_shard) as shards:
        yield partial(_write_to_shard, shards)


def _write_to_shard(shards: ShardWriter, number: int, sample: Sample, images: Images) -> None:
    names = [[f"{clip}.{frame:05d}.jpg" for frame in range(len(files))] for clip, files in enumerate(images)]
    members = [
        member for clip, files in zip(names, images, strict=True) for member in zip(clip, files, strict=True)
    ]
    shards.write(sample.recipe.id, _record(sample, names), members)


def _record(sample: Sample, files: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return a sample as JSON values. Its truth, in "answer", uses the clock of its `times_s`."""
    recipe = sample.recipe
    return {
        "id": recipe.id,
        "task": recipe.task,
        "question": question_text(sample),
        "content": list(sample.content),
        "answer": recipe.truth,
        "clips": [
            {"files": list(names), "times_s": [round(time_s, 4) for time_s in clip.times_s.tolist()]}
            for names, clip in zip(files, sample.clips, strict=True)
        ],
    }


def _write_frames(folder: Path, sample: Sample, images: Images) -> list[list[str]]:
    """Write a sample's frames, numbered in order of presentation. Returns their names within `folder`, by clip."""
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
    """Encode a frame, [height, width, 3] uint8, RGB, as JPEG. All exports encode frames here."""
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    assert done
    return bytes(encoded)
