"""Tests that record the results of evaluations in the run store."""

from pathlib import Path

import pytest

from cluster.evaluation.record import record_results
from evaluation.results import BenchResults, ColumnResult
from store.database import database_url, open_database
from store.reading.reader import RunReader
from tests.unit.cluster.stored import store_run

COLUMN = ColumnResult("jigsaw_easy", "jigsaw", "easy", 200, 1, 40.5, 0.99, 0.1, 24.3)
FOUND = BenchResults((COLUMN,), None)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunReader:
    monkeypatch.delenv("VIDEOSSR_DB", raising=False)
    monkeypatch.setenv("VIDEOSSR_RUNS", str(tmp_path / "runs"))
    return RunReader(open_database(database_url(tmp_path / "runs")))


def record(model: Path | str, tmp_path: Path) -> list[str]:
    said: list[str] = []
    record_results(str(model), tmp_path / "my-bench", tmp_path / "out", FOUND, said.append)
    return said


def test_results_of_a_model_are_stored_under_a_run_of_its_name(reader: RunReader, tmp_path: Path) -> None:
    assert record("Qwen/Qwen3-VL-2B-Instruct", tmp_path) == []
    run = reader.run_by_name("eval-Qwen3-VL-2B-Instruct")
    assert run is not None
    assert (run.state, run.environment["model"]) == ("done", "Qwen/Qwen3-VL-2B-Instruct")
    (found,) = reader.evaluations(run.id)
    assert (found.source, found.stage, found.step, found.task) == ("my-bench", "bench", -1, "jigsaw_easy")
    assert found.scores.pop("evaluated_at") > 1e9
    assert found.scores == {
        "score": 40.5, "valid": 0.99, "n": 200, "random": 0.1, "published": 24.3, "task": "jigsaw", "label": "easy",
    }  # fmt: skip
    record("Qwen/Qwen3-VL-2B-Instruct", tmp_path)  # a second evaluation replaces the first
    assert len(reader.evaluations(run.id)) == 1


def test_results_of_a_run_are_stored_under_the_run(reader: RunReader, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    number = store_run(tmp_path / "runs", "mine", "stopped")
    folder.mkdir()
    (folder / "config.yaml").write_text("name: mine")
    assert record(folder, tmp_path) == []
    found = reader.evaluations(number)[-1]
    assert (found.stage, found.step, found.scores["score"]) == ("bench", 3, 40.5)
    run = reader.run(number)
    assert run is not None
    assert run.state == "stopped"
    assert reader.runs().total == 1


def test_a_store_that_cannot_be_opened_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSSR_DB", "mysql://me:secret@host/db")
    (said,) = record("some/model", tmp_path)
    assert said.startswith("The results are not in the run store: VIDEOSSR_DB=mysql://me:***@host/db: ")
