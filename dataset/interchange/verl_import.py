r"""Importing data in VideoSSR's published layout, made for training with verl: rows that name rendered frames.

A row holds the question as chat messages, lists of frame files, and the truth:

    data_source   "grounding", "counting" or "jigsaw"; also "shuffled", which a published generator wrote for jigsaw
    prompt        [{"role": "system", "content": ...}, {"role": "user", "content": "<video>\nWhen ...?"}]
    videos        [{"video": [file, ...], "sample_fps": 2.0, "min_pixels": 16384, "max_pixels": 65536}]
    reward_model  {"style": "rule", "ground_truth": "12.5-26.2"}

The system message is not imported, because it is a setting of the run (`data.system_prompt`).
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataset.interchange.export import new_folder
from dataset.interchange.verl_export import VIDEO
from dataset.store import Card, DatasetError, write_dataset
from pretext.recipe import IMAGES, Recipe
from pretext.video.frames import FrameSpec, fit_size
from pretext.video.info import Skipped
from reward import is_valid
from reward.parsing import parse_order

_SUFFIXES = (".parquet", ".jsonl", ".json")
_COLUMNS = ("data_source", "prompt", "videos", "reward_model")
_TASKS = {"grounding": "grounding", "counting": "counting", "jigsaw": "jigsaw", "shuffled": "jigsaw"}
_ROWS_PER_BATCH = 1000

logger = logging.getLogger(__name__)

_Pixels = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Message(_Part):
    role: str
    content: str


class _Video(_Part):
    video: Annotated[list[str], Field(min_length=1)]
    sample_fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    min_pixels: _Pixels | None = None
    max_pixels: _Pixels | None = None


class _Truth(_Part):
    ground_truth: Annotated[str, Field(coerce_numbers_to_str=True)]  # JSON may hold the number 341562


class _Row(_Part):
    data_source: str
    prompt: list[_Message]
    videos: Annotated[list[_Video], Field(min_length=1)]
    reward_model: _Truth


class _Unusable(ValueError):
    """A row from which no recipe can be made. The message says why."""


def import_verl(sources: Sequence[Path], out: Path, *, root: Path | None = None) -> Card:
    """Write a dataset with the rows in `sources`, and return its card.

    Each row becomes a recipe with reader=IMAGES. The question is kept word for word, and the i-th frame of a clip is at
    i / sample_fps seconds, as in the source. Models merge frames in pairs, so a clip with an odd number of frames shows
    its last frame twice, like Qwen's own video utilities. Dropping it could lose a shape that counts.

    A row that cannot be used is skipped, and listed in rejected.parquet as "FILE row N" (N from 0).

    Args:
        sources: .parquet, .jsonl and .json files, and folders of them.
        root: folder to look for frame files in, if a row's path is from another machine; None for the folder of the
            source file. The path is tried under `root`, then without its first folder, its first two, and so on.

    Raises:
        DatasetError: a source cannot be read, no row can be used, or `out` is not empty.
    """
    files = [file for source in sources for file in _files(source)]
    skipped: list[Skipped] = []
    with new_folder(out) as folder:
        card = write_dataset(
            folder,
            _recipes(files, root, skipped),  # Fills `skipped`, which is written after the recipes.
            skipped=skipped,
            reader=IMAGES,
            imported_from=", ".join(str(source.absolute()) for source in sources),
        )
        if card.num_samples == 0:
            first = f" The first, {skipped[0].path}: {skipped[0].reason}" if skipped else ""
            raise DatasetError(
                f"{card.imported_from}: none of {len(skipped)} rows can be used.{first}"
                " If the frames are elsewhere on this machine, name their folder as root."
            )
    logger.info(
        "Imported %s to %s: %d samples, %d skipped", card.imported_from, out, card.num_samples, len(skipped)
    )
    return card


def _files(source: Path) -> list[Path]:
    """Return the source itself, or the files in it at any depth, except hidden ones."""
    if source.is_dir():
        files = sorted(
            path for path in source.rglob("*") if path.suffix in _SUFFIXES and not path.name.startswith(".")
        )
        if not files:
            raise DatasetError(f"{source}: holds no {', '.join(_SUFFIXES)} file. Name a folder that does.")
    elif source.suffix not in _SUFFIXES:
        raise DatasetError(f"{source}: must be a folder or end in {', '.join(_SUFFIXES)}.")
    elif not source.is_file():
        raise DatasetError(f"{source}: there is no such file.")
    else:
        files = [source]
    for file in files:
        if file.suffix == ".parquet":
            _check_parquet(file)
    return files


def _check_parquet(file: Path) -> None:
    try:
        missing = set(_COLUMNS) - set(pq.read_schema(file).names)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from None
    if missing:
        raise DatasetError(
            f"{file}: has no column {', '.join(sorted(missing))}. VideoSSR's layout has {', '.join(_COLUMNS)}."
        )


def _recipes(files: Sequence[Path], root: Path | None, skipped: list[Skipped]) -> Iterator[Recipe]:
    for file in files:
        frame_files = _FrameFiles(root or file.parent)
        for number, row in enumerate(_rows(file)):
            try:
                yield _recipe(row, frame_files, file.name, number)
            except _Unusable as error:
                skipped.append(Skipped(f"{file} row {number}", str(error)))


def _rows(file: Path) -> Iterator[Any]:
    """Yield the rows of a file in any format. A line that is not JSON is yielded as text, which is no valid row."""
    try:
        if file.suffix == ".parquet":
            for batch in pq.ParquetFile(file).iter_batches(_ROWS_PER_BATCH, columns=list(_COLUMNS)):
                yield from batch.to_pylist()
            return
        with file.open(encoding="utf-8") as lines:
            is_list = lines.read(4096).lstrip().startswith("[")
            lines.seek(0)
            yield from json.load(lines) if is_list else (_parsed(line) for line in lines if line.strip())
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _unreadable(file, error) from None


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def _unreadable(file: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{file}: cannot be read ({str(error).splitlines()[0]}).")


def _recipe(raw: Any, frame_files: "_FrameFiles", source: str, number: int) -> Recipe:
    try:
        row = _Row.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise _Unusable(f"{'.'.join(map(str, first['loc'])) or 'row'}: {first['msg']}") from None
    task, truth = _task(row), row.reward_model.ground_truth.strip()
    _check_truth(task, truth, len(row.videos))
    content = _content(row)
    clips = [_clip(video, frame_files) for video in row.videos]
    # Store the folder that all files share once, and their names relative to it.
    common = os.path.commonpath([os.path.dirname(file) for clip in clips for file in clip["files"]])
    for clip in clips:
        clip["files"] = [os.path.relpath(file, common) for file in clip["files"]]
    return Recipe(
        task=task,
        video=common,
        reader=IMAGES,
        frame_indices=(),
        frame_times_s=(),
        height_px=clips[0]["height_px"],
        width_px=clips[0]["width_px"],
        params={"clips": clips, "content": content, "source": source},
        seed=number,  # Nothing is drawn at random, but rows with different seeds have different ids.
        truth=truth,
    )


def _task(row: _Row) -> str:
    if row.data_source not in _TASKS:
        raise _Unusable(f"data_source {row.data_source!r}: not one of {', '.join(_TASKS)}")
    return _TASKS[row.data_source]


def _check_truth(task: str, truth: str, num_clips: int) -> None:
    try:
        is_valid(task, truth, truth)
    except ValueError:
        raise _Unusable(f"ground_truth {truth!r}: not an answer of {task}") from None
    if task == "jigsaw" and len(parse_order(truth) or ()) != num_clips:
        raise _Unusable(
            f"ground_truth {truth!r}: an order of {len(parse_order(truth) or ())} clips, and there are {num_clips}"
        )


def _content(row: _Row) -> list[str | int]:
    """Return the user's message in reading order, with the number of each clip in its place."""
    questions = [message.content for message in row.prompt if message.role == "user"]
    if len(questions) != 1:
        raise _Unusable(f"prompt: has {len(questions)} user messages, not one")
    pieces = questions[0].split(VIDEO)
    if len(pieces) - 1 != len(row.videos):
        raise _Unusable(f"prompt: has {len(pieces) - 1} {VIDEO}, and there are {len(row.videos)} videos")
    content: list[str | int] = [pieces[0]]
    for clip, piece in enumerate(pieces[1:]):
        content += [clip, piece]
    return [piece for piece in content if piece != ""]


def _clip(video: _Video, frame_files: "_FrameFiles") -> dict[str, Any]:
    files = [frame_files.find(name) for name in video.video]
    if len(files) % 2:
        files.append(files[-1])
    limits = {"min_pixels": video.min_pixels, "max_pixels": video.max_pixels}
    try:
        spec = FrameSpec(**{name: value for name, value in limits.items() if value is not None})
    except ValidationError as error:
        raise _Unusable(f"videos: {error.errors()[0]['msg']}") from None
    try:
        with Image.open(files[0]) as image:
            height_px, width_px = fit_size(image.height, image.width, spec)
    except (OSError, Image.DecompressionBombError) as error:
        raise _Unusable(f"{files[0]}: cannot be read as an image ({error})") from None
    return {
        "files": files,
        "times_s": [round(place / video.sample_fps, 4) for place in range(len(files))],
        "height_px": height_px,
        "width_px": width_px,
    }


class _FrameFiles:
    """A finder of frame files whose names may come from another machine.

    Args:
        root: see `import_verl`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._found: dict[str, Path] = {}  # folder on this machine by folder as named in a row

    def find(self, name: str) -> str:
        """Return the absolute path of a file. Each folder is searched for once.

        `/data/48frames/ID/0.jpg` is searched for at that path, then as data/48frames/ID/0.jpg, 48frames/ID/0.jpg and
        ID/0.jpg under the root, but not as 0.jpg alone, because frames of any video may have that name.
        """
        named = PurePosixPath(name.removeprefix("file://"))
        known = self._found.get(str(named.parent))
        if known is not None and os.path.isfile(known / named.name):
            return str(known / named.name)
        parts = named.parts[1:] if named.is_absolute() else named.parts
        starts = range(max(1, len(parts) - 1))
        for path in [Path(named).absolute(), *(self._root.joinpath(*parts[start:]) for start in starts)]:
            if os.path.isfile(path):  # Unlike Path.is_file, this never raises.
                self._found[str(named.parent)] = path.parent
                return str(path)
        raise _Unusable(f"{name!r}: does not exist, and was not found under {self._root}")
