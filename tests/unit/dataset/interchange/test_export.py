"""`dataset.interchange.export`: the frames and records that other trainers read."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset.interchange.export import Format, export_dataset, new_folder
from dataset.store import Dataset, DatasetError, write_dataset
from pretext.images import read_image
from pretext.stream import render
from reward import score
from reward.rules import interval_iou
from tests.unit.dataset.samples import scenes_dataset, uneven_dataset

JPEG_ERROR = (
    12.0  # mean difference of a pixel value, of 255, that one encoding of noisy 64x64 frames may make
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scenes_dataset(tmp_path_factory.mktemp("scenes"))


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "train.parquet").to_pylist()
    return rows


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_verl_rows_match_the_sample(scenes: Dataset, tmp_path: Path) -> None:
    before = contents(scenes.folder.parent)
    seen: list[tuple[int, int]] = []
    done = export_dataset(
        scenes, tmp_path / "out", format="verl", report=lambda *numbers: seen.append(numbers)
    )
    assert (done.num_samples, done.skipped) == (9, ())
    assert seen == [(number, 9) for number in range(1, 10)]
    assert contents(scenes.folder.parent) == before  # Sources and dataset are only read.
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    rows = rows_of(tmp_path / "out")
    assert [row["data_source"] for row in rows] == [recipe.task for recipe in scenes]
    assert {row["data_source"] for row in rows} == {"grounding", "jigsaw", "counting"}
    for number, (row, recipe) in enumerate(zip(rows, scenes, strict=True)):
        sample = render(recipe)
        system, user = row["prompt"]
        assert system == {"role": "system", "content": "Answer directly."}
        assert (user["role"], user["content"].count("<video>")) == ("user", len(row["videos"]))
        assert row["ability"] == "video_understanding"
        assert row["reward_model"]["style"] == "rule"
        assert row["extra_info"]["index"] == number
        assert row["extra_info"]["id"] == recipe.id
        assert row["extra_info"]["seed"] == recipe.seed
        assert json.loads(row["extra_info"]["params"]) == recipe.params
        for video, clip in zip(row["videos"], sample.clips, strict=True):
            shown = np.stack([read_image(file) for file in video["video"]]).astype(float)
            assert shown.shape == clip.frames.shape
            assert np.abs(shown - clip.frames).mean() < JPEG_ERROR
            steps_s = np.diff(clip.times_s)
            assert video["sample_fps"] == pytest.approx(1 / steps_s.mean())
            assert video["min_pixels"] <= clip.frames[0, :, :, 0].size <= video["max_pixels"]


def test_only_the_image_distinguishes_an_edited_frame(scenes: Dataset, tmp_path: Path) -> None:
    export_dataset(scenes, tmp_path / "out", format="verl")
    for row in rows_of(tmp_path / "out"):
        files = [Path(file) for video in row["videos"] for file in video["video"]]
        assert [file.name for file in files] == [f"{number:05d}.jpg" for number in range(12)]
        assert {file.parent.name for file in files} == {row["extra_info"]["id"]}
        ways = set()
        for file in files:
            with Image.open(file) as image:
                ways.add((str(image.quantization), str(sorted(image.info)), image.mode, image.size))
        assert len(ways) == 1


def test_intervals_are_on_the_clock_that_verl_counts(tmp_path: Path) -> None:
    """Light frames are altered, and verl puts frame i at i / sample_fps. The source's own clock would be wrong."""
    dataset = uneven_dataset(tmp_path, count=20)
    export_dataset(dataset, tmp_path / "out", format="verl")
    unshifted = []
    for row, recipe in zip(rows_of(tmp_path / "out"), dataset, strict=True):
        (video,) = row["videos"]
        light = [read_image(file).mean() > 127 for file in video["video"]]
        altered = np.flatnonzero(light)
        true_s = (altered[0] / video["sample_fps"], (altered[-1] + 1) / video["sample_fps"])
        exported_s = tuple(map(float, row["reward_model"]["ground_truth"].split("-")))
        assert exported_s == pytest.approx(true_s, abs=0.0501)  # rounded to one decimal
        unshifted.append(interval_iou(tuple(map(float, recipe.truth.split("-"))), true_s))
    assert np.mean(unshifted) < 0.8


def test_the_system_message_can_be_left_out(scenes: Dataset, tmp_path: Path) -> None:
    export_dataset(scenes, tmp_path / "out", format="verl", system="")
    assert [message["role"] for message in rows_of(tmp_path / "out")[0]["prompt"]] == ["user"]


def test_jsonl_keeps_the_clock_of_the_source(scenes: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_dataset(scenes, out, format="jsonl")
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    for line, recipe in zip(lines, scenes, strict=True):
        sample = render(recipe)
        assert list(line) == ["id", "task", "question", "content", "answer", "clips"]
        assert (line["id"], line["task"], line["answer"]) == (recipe.id, recipe.task, recipe.truth)
        assert tuple(line["content"]) == sample.content
        assert line["question"].count("<video>") == len(sample.clips)
        for exported, clip in zip(line["clips"], sample.clips, strict=True):
            np.testing.assert_allclose(exported["times_s"], clip.times_s, atol=1e-4)
            shown = np.stack([read_image(str(out / file)) for file in exported["files"]]).astype(float)
            assert np.abs(shown - clip.frames).mean() < JPEG_ERROR


def test_shards_hold_complete_samples(scenes: Dataset, tmp_path: Path) -> None:
    export_dataset(scenes, tmp_path / "jsonl", format="jsonl")
    for out in ("out", "again"):
        export_dataset(scenes, tmp_path / out, format="webdataset", samples_per_shard=4)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    shards = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in shards] == [f"shard-{number:06d}.tar" for number in range(3)]
    keys: list[list[str]] = []
    for path in shards:
        keys.append([])
        with tarfile.open(path) as shard:
            members = {member.name: shard.extractfile(member) for member in shard}
            assert {(m.mtime, m.uid, m.gid, m.uname) for m in shard.getmembers()} == {(0, 0, 0, "")}
        with tarfile.open(path) as shard:
            for name in members:
                key, _, ending = name.partition(".")
                if ending != "json":
                    # The members of a sample follow each other, with its record first.
                    assert key == keys[-1][-1]
                    continue
                keys[-1].append(key)
                record = json.loads(shard.extractfile(name).read())  # type: ignore[union-attr]
                frames = [file for clip in record["clips"] for file in clip["files"]]
                assert [f"{key}.{file}" for file in frames] == [
                    other for other in members if other.startswith(key) and other != name
                ]
                plain = tmp_path / "jsonl" / "frames" / key
                for number, file in enumerate(frames):
                    image = shard.extractfile(f"{key}.{file}")
                    assert image is not None
                    assert image.read() == (plain / f"{number:05d}.jpg").read_bytes()
    assert keys == [[recipe.id for recipe in list(scenes)[start : start + 4]] for start in (0, 4, 8)]


@pytest.mark.parametrize("format", get_args(Format))
def test_a_missing_video_is_named_and_costs_only_its_samples(tmp_path: Path, format: Format) -> None:
    dataset = scenes_dataset(tmp_path, count=9)
    lost = dataset[0].video
    Path(lost).unlink()
    done = export_dataset(dataset, tmp_path / "out", format=format)
    assert done.num_samples + len(done.skipped) == 9
    assert [entry.path for entry in done.skipped] == [
        f"sample {recipe.id} of {lost}" for recipe in dataset if recipe.video == lost
    ]
    if format == "verl":
        assert [row["extra_info"]["index"] for row in rows_of(tmp_path / "out")] == [
            number for number, recipe in enumerate(dataset) if recipe.video != lost
        ]


def test_an_export_without_any_sample_raises_and_leaves_nothing(tmp_path: Path) -> None:
    dataset = scenes_dataset(tmp_path, count=3)
    for path in (tmp_path / "videos").glob("*.mp4"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"none of its 3 samples can be rendered\. The first, sample"):
        export_dataset(dataset, tmp_path / "out", format="verl")
    assert {path.name for path in tmp_path.iterdir()} == {"videos", "dataset"}


def test_existing_files_are_not_overwritten(scenes: Dataset, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty", target_is_directory=True)
    for out in ("full", "full/mine.txt"):
        with pytest.raises(DatasetError, match=r"is not empty\. Name a new folder"):
            export_dataset(scenes, tmp_path / out, format="jsonl")
    with pytest.raises(DatasetError, match="Not a directory"):
        export_dataset(scenes, tmp_path / "full" / "mine.txt" / "out", format="jsonl")
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(DatasetError, match=r"out.partial: .* Remove it"):
        export_dataset(scenes, tmp_path / "out", format="jsonl")
    with pytest.raises(DatasetError, match="samples_per_shard=0"):
        export_dataset(scenes, tmp_path / "new", format="webdataset", samples_per_shard=0)
    export_dataset(scenes, tmp_path / "link", format="jsonl")
    assert (tmp_path / "empty" / "samples.jsonl").is_file()
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def stop() -> None:
        with new_folder(tmp_path / "deep" / "out") as folder:
            (folder / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert not any((tmp_path / "deep").iterdir())


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset", [])
    with pytest.raises(DatasetError, match="none of its 0 samples"):
        export_dataset(Dataset(tmp_path / "dataset"), tmp_path / "out", format="jsonl")


def test_exported_truths_score_1(scenes: Dataset, tmp_path: Path) -> None:
    export_dataset(scenes, tmp_path / "out", format="verl")
    for row in rows_of(tmp_path / "out"):
        truth = row["reward_model"]["ground_truth"]
        assert score(row["data_source"], truth, truth) == 1.0
        assert row["extra_info"]["answer"] == truth
