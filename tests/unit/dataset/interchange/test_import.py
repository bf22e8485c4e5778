"""`dataset.interchange.verl_import`: VideoSSR's published rows become samples, and an export imports unchanged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset.interchange.export import export_dataset
from dataset.interchange.verl_import import import_verl
from dataset.store import Dataset, DatasetError
from pretext.recipe import IMAGES
from pretext.stream import render
from pretext.video.frames import FrameSpec, fit_size
from reward import score
from tests.unit.dataset.samples import scenes_dataset, uneven_dataset

JPEG_ERROR = 12.0
FOREIGN = "/mnt/disk7/path/to/48frames"
QUESTION = "<video>\nWhen is the video  mirrored?\nAnswer like 1.0-2.0."
Row = dict[str, Any]
Edit = Callable[[Row], Any]


def row(**changes: Any) -> Row:
    """Return a grounding row as published, with 8 frames of video `a`."""
    return {
        "data_source": "grounding",
        "prompt": [
            {"role": "system", "content": "Answer directly."},
            {"role": "user", "content": QUESTION},
        ],
        "videos": [video("a", 8)],
        "ability": "video_understanding",
        "reward_model": {"style": "rule", "ground_truth": "1.5-2.5"},
        "extra_info": {"split": "train", "index": 3, "answer": "1.5-2.5", "sampling_fps": 2.5},
    } | changes


def video(name: str, num_frames: int, first: int = 0) -> dict[str, Any]:
    return {
        "video": [f"{FOREIGN}/{name}/{number}.jpg" for number in range(first, first + num_frames)],
        "sample_fps": 2.5,
        "max_pixels": 65536,
        "min_pixels": 16384,
    }


def draw_frames(root: Path) -> Path:
    """Write ROOT/48frames/a and b: 16 flat frames of 180x320 each, 0.jpg to 15.jpg; those of a are darker."""
    for name, level in (("a", 10), ("b", 100)):
        (root / "48frames" / name).mkdir(parents=True)
        for number in range(16):
            image = np.full((180, 320, 3), level + 5 * number, np.uint8)
            cv2.imwrite(str(root / "48frames" / name / f"{number}.jpg"), image)
    return root


def levels(frames: np.ndarray) -> list[int]:
    return [round(level / 5) * 5 for level in frames.mean((1, 2, 3))]


@pytest.fixture
def import_rows(tmp_path: Path) -> Callable[..., Dataset]:
    """Return import_rows(rows, name), which imports rows from a file of this name; frames are in another folder."""
    root = draw_frames(tmp_path / "root")

    def run(rows: list[Any], name: str = "train.parquet") -> Dataset:
        file = tmp_path / name
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), file)
        elif name.endswith(".json"):
            file.write_text(json.dumps(rows))
        else:
            file.write_text("".join(json.dumps(entry) + "\n" for entry in rows))
        import_verl([file], tmp_path / "out", root=root)
        return Dataset(tmp_path / "out")

    return run


@pytest.mark.parametrize("name", ["train.parquet", "bench.jsonl", "bench.json"])
def test_published_rows_become_samples(
    import_rows: Callable[..., Dataset], tmp_path: Path, name: str
) -> None:
    clips = [video("b", 4, first) for first in (8, 0, 4)]
    asked = "Clip 1: <video>\nClip 2: <video>\nClip 3: <video>\nIn which order?"
    prompt = [{"role": "user", "content": asked}]
    dataset = import_rows(
        [
            row(),
            row(
                data_source="shuffled",
                videos=clips,
                prompt=prompt,
                reward_model={"style": "rule", "ground_truth": "231"},
            ),
            row(data_source="counting", reward_model={"style": "rule", "ground_truth": "3,1,4"}),
        ],
        name,
    )
    assert dataset.card.num_samples == len(dataset) == 3
    assert dataset.card.num_skipped == 0
    assert dataset.card.imported_from == str(tmp_path / name)
    assert [(recipe.task, recipe.truth) for recipe in dataset] == [
        ("grounding", "1.5-2.5"),
        ("jigsaw", "231"),
        ("counting", "3,1,4"),
    ]
    assert {recipe.reader for recipe in dataset} == {IMAGES}
    assert all(score(recipe.task, recipe.truth, recipe.truth) == 1.0 for recipe in dataset)
    whole, shuffled, _ = map(render, dataset)
    assert whole.content == (0, QUESTION.removeprefix("<video>"))
    assert whole.clips[0].frames.shape[1:] == (*fit_size(180, 320, FrameSpec()), 3)
    assert levels(whole.clips[0].frames) == [10 + 5 * number for number in range(8)]
    np.testing.assert_allclose(whole.clips[0].times_s, np.arange(8) / 2.5)
    assert shuffled.content == ("Clip 1: ", 0, "\nClip 2: ", 1, "\nClip 3: ", 2, "\nIn which order?")
    assert [levels(clip.frames)[0] for clip in shuffled.clips] == [140, 100, 120]
    assert all(clip.times_s[0] == 0 for clip in shuffled.clips)
    assert len({recipe.id for recipe in dataset}) == 3
    assert len(dataset[0].to_json()) < 700


def test_an_order_of_ten_clips_is_imported(import_rows: Callable[..., Dataset]) -> None:
    order = "10,1,2,3,4,5,6,7,8,9"
    content = "".join(f"Clip {number}: <video>" for number in range(1, 11))
    (recipe,) = import_rows(
        [
            row(
                data_source="jigsaw",
                videos=[video("a", 2)] * 10,
                prompt=[{"role": "user", "content": content}],
                reward_model={"style": "rule", "ground_truth": order},
            )
        ]
    )
    assert recipe.truth == order


def test_equal_rows_have_different_ids(import_rows: Callable[..., Dataset]) -> None:
    assert len({recipe.id for recipe in import_rows([row(), row()])}) == 2


def test_an_odd_clip_shows_its_last_frame_twice(import_rows: Callable[..., Dataset]) -> None:
    (clip,) = render(import_rows([row(videos=[video("a", 5)])])[0]).clips
    assert levels(clip.frames) == [10, 15, 20, 25, 30, 30]
    np.testing.assert_allclose(clip.times_s, np.arange(6) / 2.5)


def test_pixel_limits_of_the_row_decide_the_size(import_rows: Callable[..., Dataset]) -> None:
    small = video("a", 4) | {"max_pixels": 64 * 96, "min_pixels": 1024}
    unsaid = {key: value for key, value in video("a", 4).items() if not key.endswith("pixels")}
    dataset = import_rows([row(videos=[small]), row(videos=[unsaid])], "rows.jsonl")
    assert [(recipe.height_px, recipe.width_px) for recipe in dataset] == [(64, 96), (192, 320)]


def test_frames_are_looked_for_at_their_path_first(tmp_path: Path) -> None:
    root, own = draw_frames(tmp_path / "root"), draw_frames(tmp_path / "own")
    files = [str(own / "48frames" / "b" / f"{number}.jpg") for number in range(4)]
    other = [f"file://{file}" for file in files[:2]]
    frames = [f"48frames/a/{number}.jpg" for number in range(4)]
    here = row(videos=[video("a", 4) | {"video": files}])
    there = row(videos=[video("a", 4) | {"video": frames}])
    url = row(videos=[video("a", 4) | {"video": other}])
    (own / "deep").mkdir()
    pq.write_table(pa.Table.from_pylist([here, there, url]), own / "deep" / "x.parquet")
    import_verl([own], tmp_path / "with", root=root)
    dataset = Dataset(tmp_path / "with")
    assert [recipe.video for recipe in dataset] == [
        str(own / "48frames" / "b"),
        str(root / "48frames" / "a"),
        str(own / "48frames" / "b"),
    ]
    # Without a root, frames are looked for in the folder of the file, which holds none.
    import_verl([own / "deep" / "x.parquet"], tmp_path / "without")
    assert [entry.path for entry in Dataset(tmp_path / "without").skipped()] == [
        f"{own / 'deep' / 'x.parquet'} row 1"
    ]


def test_a_frame_is_not_looked_for_by_its_file_name_alone(tmp_path: Path) -> None:
    """48frames/a holds a 0.jpg, which is not the one of video b."""
    root = draw_frames(tmp_path / "root")
    pq.write_table(pa.Table.from_pylist([row(videos=[video("b", 4)])]), tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match=r"none of 1 rows can be used.*row 0: .*b/0.jpg': does not exist"):
        import_verl([tmp_path / "x.parquet"], tmp_path / "out", root=root / "48frames" / "a")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(data_source="vqa"), "data_source 'vqa': not one of"),
        (row(reward_model={"ground_truth": "2.5-1.5"}), "'2.5-1.5': not an answer of grounding"),
        (row(reward_model={"ground_truth": "about 3"}), "'about 3': not an answer of grounding"),
        (row(data_source="jigsaw", reward_model={"ground_truth": 21}), "'21': an order of 2 clips"),
        (row(videos=[video("c", 4)]), "c/0.jpg': does not exist"),
        (row(videos=[video("a", 17)]), "a/16.jpg': does not exist"),
        (row(videos=[]), "videos: List should have at least 1 item"),
        (row(videos=[video("a", 0)]), "videos.0.video: List should have"),
        (row(videos=[video("a", 4) | {"sample_fps": 0}]), "videos.0.sample_fps: Input should be greater"),
        (row(videos=[video("a", 4) | {"sample_fps": float("nan")}]), "videos.0.sample_fps: Input should be"),
        (row(videos=[video("a", 4) | {"max_pixels": 9}]), "max_pixels=9: no 32x32 block fits"),
        (row(videos=[video("a", 4) | {"video": ["\0", ""]}]), r"'\x00': does not exist"),
        (row(videos=[video("a", 4) | {"video": [f"{'x' * 300}/0.jpg"]}]), "0.jpg': does not exist"),
        (row(videos=[video("a", 4)] * 2), "prompt: has 1 <video>, and there are 2 videos"),
        (row(prompt=[]), "prompt: has 0 user messages"),
        (row(prompt=[{"role": "user", "content": ["<video>"]}]), "prompt.0.content: Input should be a valid"),
        ({}, "data_source: Field required"),
        ([1], "row: Input should be a valid dict"),
    ],
)
def test_an_unusable_row_is_skipped(
    import_rows: Callable[..., Dataset], tmp_path: Path, bad: Any, words: str
) -> None:
    dataset = import_rows([row(), bad, row()], "rows.jsonl")
    assert len(dataset) == 2
    (entry,) = dataset.skipped()
    assert entry.path == f"{tmp_path / 'rows.jsonl'} row 1"
    assert words in entry.reason
    assert dataset.card.num_skipped == 1


def test_a_damaged_line_or_image_costs_only_its_row(tmp_path: Path) -> None:
    root = draw_frames(tmp_path / "root")
    (root / "48frames" / "b" / "0.jpg").write_text("no picture")
    good, bad = json.dumps(row()), json.dumps(row(videos=[video("b", 4)]))
    (tmp_path / "rows.jsonl").write_text(f"{good}\n{good[:50]}\n\n{bad}\n{good}")
    import_verl([tmp_path / "rows.jsonl"], tmp_path / "out", root=root)
    dataset = Dataset(tmp_path / "out")
    assert len(dataset) == 2
    assert ["valid dict" in entry.reason for entry in dataset.skipped()] == [True, False]
    assert "b/0.jpg: cannot be read as an image" in dataset.skipped()[1].reason


def test_sources_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe{}")
    (tmp_path / "half.json").write_text("[{")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    pq.write_table(
        pa.Table.from_pylist([{"data_source": "grounding", "prompt": []}]), tmp_path / "columns.parquet"
    )
    for name, words in {
        "text.parquet": "cannot be read",
        "bytes.jsonl": "cannot be read",
        "half.json": "cannot be read",
        "notes.txt": r"must be a folder or end in .parquet, .jsonl, .json",
        "nowhere.parquet": "there is no such file",
        "empty": "holds no .parquet, .jsonl, .json file",
        "columns.parquet": "has no column reward_model, videos",
    }.items():
        with pytest.raises(DatasetError, match=f"{name}: {words}"):
            import_verl([tmp_path / name], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_an_export_is_imported_unchanged(tmp_path: Path) -> None:
    original = scenes_dataset(tmp_path)
    export_dataset(original, tmp_path / "verl", format="verl")
    (tmp_path / "verl").rename(tmp_path / "moved")  # Its rows name the frames at their old place.
    card = import_verl([tmp_path / "moved"], tmp_path / "again")
    assert (card.num_samples, card.num_skipped) == (9, 0)
    again = Dataset(tmp_path / "again")
    assert {recipe.task for recipe in again} == {"grounding", "jigsaw", "counting"}
    rows = pq.read_table(tmp_path / "moved" / "train.parquet").to_pylist()
    for ours, theirs, exported in zip(original, again, rows, strict=True):
        before, after = render(ours), render(theirs)
        assert after.content == before.content
        assert theirs.truth == exported["reward_model"]["ground_truth"]
        assert score(theirs.task, exported["reward_model"]["ground_truth"], theirs.truth) == 1.0
        if ours.task != "grounding":
            assert theirs.truth == ours.truth
        for clip, back in zip(before.clips, after.clips, strict=True):
            assert back.frames.shape == clip.frames.shape
            errors = np.abs(clip.frames[:, None].astype(float) - back.frames[None]).mean((2, 3, 4))
            assert errors.diagonal().max() < JPEG_ERROR
            np.testing.assert_allclose(np.diff(back.times_s).mean(), np.diff(clip.times_s).mean(), atol=1e-3)


def test_a_second_export_changes_no_truth(tmp_path: Path) -> None:
    dataset, truths = uneven_dataset(tmp_path, count=4), []
    for name in ("first", "second"):
        export_dataset(dataset, tmp_path / name, format="verl")
        rows = pq.read_table(tmp_path / name / "train.parquet").to_pylist()
        truths.append(
            [(row["reward_model"]["ground_truth"], round(row["videos"][0]["sample_fps"], 3)) for row in rows]
        )
        import_verl([tmp_path / name], tmp_path / f"{name}_dataset")
        dataset = Dataset(tmp_path / f"{name}_dataset")
    assert truths[0] == truths[1]


def test_a_folder_that_is_not_empty_is_not_overwritten(import_rows: Callable[..., Dataset]) -> None:
    import_rows([row()])
    with pytest.raises(DatasetError, match=r"is not empty\. Name a new folder"):
        import_rows([row()])
