"""Results of `videossr eval`, as the page shows them."""

from typing import Any

from fastapi.testclient import TestClient

from store.database import Database
from store.records import EvaluationRecord
from store.runs import register_run
from store.writing.writer import RunWriter
from vocabulary.stages import BENCH


def asked(database: Database, name: str, scores: dict[str, dict[str, Any]], *, step: int) -> int:
    steps = 100 if step >= 0 else 0
    run_id = register_run(database, name=name, folder=f"/{name}", steps=steps, config={}, environment={})
    writer = RunWriter(database, run_id)
    for task, found in scores.items():
        record = EvaluationRecord(stage=BENCH, step=step, task=task, source="viubench", scores=found)
        writer.evaluation(record)
    writer.close()
    return run_id


def column(score: float, label: str) -> dict[str, Any]:
    return {"task": "grounding", "label": label, "n": 9, "score": score, "valid": 1.0, "random": 12.5,
            "published": None, "evaluated_at": 1000.0}  # fmt: skip


def test_results_are_newest_first_with_published_scores(client: TestClient, database: Database) -> None:
    asked(database, "one", {"g_hard": column(40.0, "hard"), "g_easy": column(50.0, "easy")}, step=-1)
    second = asked(database, "two", {"g_hard": column(45.0, "hard"), "odd": {"score": "what"}}, step=7)
    response = client.get("/api/benchmarks").json()
    about = {"task": "grounding", "random": 12.5, "published": None}
    assert response["columns"] == [
        {"name": "g_hard", "label": "hard", **about}, {"name": "g_easy", "label": "easy", **about},
    ]  # fmt: skip
    assert response["rows"] == [
        {"run_id": second, "name": "two", "time": 1000.0, "scores": {"g_hard": 45.0}, "valid": {"g_hard": 1.0}},
        {"run_id": None, "name": "one", "time": 1000.0, "scores": {"g_hard": 40.0, "g_easy": 50.0},
         "valid": {"g_hard": 1.0, "g_easy": 1.0}},
    ]  # fmt: skip


def test_results_can_be_paged(client: TestClient, database: Database) -> None:
    both = {"g_hard": column(40.0, "hard"), "g_easy": column(50.0, "easy")}
    runs = [asked(database, f"run {number}", both, step=number) for number in range(3)]
    for offset, limit, expected in ((0, 2, runs[:0:-1]), (2, 2, runs[:1]), (3, 1, [])):
        response = client.get("/api/benchmarks", params={"offset": offset, "limit": limit})
        assert response.headers["total-count"] == "3"
        rows = response.json()["rows"]
        assert [row["run_id"] for row in rows] == expected
        assert all(set(row["scores"]) == set(both) for row in rows)


def test_without_results_the_table_is_empty(client: TestClient) -> None:
    assert client.get("/api/benchmarks").json() == {"columns": [], "rows": []}
