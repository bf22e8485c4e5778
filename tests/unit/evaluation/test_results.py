"""Tests of evaluation.results: the table, the files and the plot that follow from completions."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from evaluation.bench import LoadedColumn
from evaluation.results import BenchCompletion, bench_results, score_completion, write_results
from evaluation.viubench import COLUMNS
from pretext.recipe import Recipe

RECIPE = Recipe(
    task="counting",
    video="a.mp4",
    reader="pyav",
    frame_indices=(0, 1),
    frame_times_s=(0.0, 12.0),
    height_px=64,
    width_px=64,
    params={},
    seed=0,
    truth="1,2,3",
)
TRUTHS = {"counting": "1,2,3", "grounding": "6.0-12.0", "jigsaw": "214365"}


def columns_of(count: int = 2) -> list[LoadedColumn]:
    return [
        LoadedColumn(
            column.name,
            column.label,
            column.task,
            (replace(RECIPE, task=column.task, truth=TRUTHS[column.task]),) * count,
            column.params,
            column.published,
        )
        for column in COLUMNS
    ]


def completion_of(column: LoadedColumn, completion: str, *, cut_off: bool = False) -> BenchCompletion:
    return score_completion(
        recipe_id="x",
        column=column,
        question="?",
        truth=TRUTHS[column.task],
        completion=completion,
        cut_off=cut_off,
    )


def completions_of(columns: list[LoadedColumn]) -> list[BenchCompletion]:
    """Return two completions per column.

    Half of the counts are right, the grounding intervals are whole clips, which earn a quarter, and one jigsaw of two
    is right. In the hard columns nothing is right.
    """
    said = {"counting": ("1,2,9", "1,9,9"), "grounding": ("0-24", "0-24"), "jigsaw": ("214365", "none")}
    return [
        completion_of(column, "" if column.label == "hard" else text)
        for column in columns
        for text in said[column.task]
    ]


def test_the_table_agrees_with_a_calculation_by_hand() -> None:
    columns = columns_of()
    found = bench_results(columns, completions_of(columns))
    scores = [column.score for column in found.columns]
    assert scores == pytest.approx([50, 0, 25, 25, 25, 25, 25, 50, 0])
    assert [column.valid for column in found.columns] == [1, 0, 1, 1, 1, 1, 1, 0.5, 0]
    assert {column.n for column in found.columns} == {2}
    assert found.summaries is not None
    mine, guessing, published = found.summaries
    assert dict(mine.by_task) == pytest.approx({"counting": 25, "grounding": 25, "jigsaw": 25})
    assert mine.overall == pytest.approx(225 / 9)
    assert guessing.by_task["counting"] == pytest.approx((100 / 9 + 100 / 16) / 2)
    assert published.overall == pytest.approx(51.8667, abs=1e-3)


def test_a_completion_that_was_cut_off_scores_0() -> None:
    column = columns_of()[0]
    whole, cut = completion_of(column, "1,2,3"), completion_of(column, "1,2,3", cut_off=True)
    assert (whole.score, whole.valid) == (1.0, True)
    assert (cut.score, cut.valid, cut.completion) == (0.0, False, "1,2,3")


def test_questions_with_an_unreadable_video_are_left_out_and_counted() -> None:
    columns = columns_of(3)
    found = bench_results(columns, [completion_of(column, TRUTHS[column.task]) for column in columns])
    assert {(column.n, column.unreadable, column.score) for column in found.columns} == {(1, 2, 100.0)}
    with pytest.raises(ValueError, match="counting_easy: none of its 3 questions could be evaluated"):
        bench_results(columns, [completion_of(column, "") for column in columns[1:]])


def test_averages_need_all_nine_columns() -> None:
    columns = columns_of()[:3]
    assert bench_results(columns, completions_of(columns)).summaries is None


def test_the_files_hold_the_table_and_every_completion(tmp_path: Path) -> None:
    columns = columns_of()
    given = completions_of(columns)
    write_results(tmp_path, bench_results(columns, given), given, {"model": "a/model", "seconds": 1.5})
    written = json.loads((tmp_path / "results.json").read_text())
    assert (written["model"], written["seconds"]) == ("a/model", 1.5)
    assert list(written["columns"]) == [column.name for column in COLUMNS]
    assert written["columns"]["jigsaw_easy"]["score"] == 50
    assert (written["averages"]["grounding"], written["overall"]) == (25, 25)
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [BenchCompletion(**line) for line in lines] == given
    image = cv2.imread(str(tmp_path / "results.png"))
    assert image is not None
    assert image.shape[1] > image.shape[0] > 300
    assert (image < 128).any(axis=2).mean() > 0.02  # bars, not an empty frame


def test_a_dataset_of_one_task_has_result_files_too(tmp_path: Path) -> None:
    column = LoadedColumn("counting", "", "counting", (RECIPE,), None)
    given = [completion_of(column, "1,2,3")]
    found = bench_results([column], given)
    assert found.columns[0].random is None
    write_results(tmp_path, found, given, {"model": "m"})
    written = json.loads((tmp_path / "results.json").read_text())
    assert (written["averages"], written["overall"]) == (None, None)
    assert written["columns"]["counting"]["score"] == 100
