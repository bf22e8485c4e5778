"""Results of `videossr eval`, as the page shows them."""

import json
import os
from pathlib import Path

from fastapi.testclient import TestClient


def write(folder: Path, model: str, score: float, when: int) -> None:
    folder.mkdir(parents=True)
    column = {"task": "grounding", "label": "easy", "n": 9, "unreadable": 0, "score": score, "valid": 1.0,
              "random": 12.5, "published": None}  # fmt: skip
    table = {
        "model": model,
        "bench": "b",
        "columns": {"grounding_easy": column},
        "averages": None,
        "overall": None,
    }
    (folder / "results.json").write_text(json.dumps(table))
    os.utime(folder / "results.json", (when, when))


def test_results_newest_first_beside_what_is_published(client: TestClient, tmp_path: Path) -> None:
    write(tmp_path / "evaluations/one", "Qwen/Qwen3-VL-8B-Instruct", 40.0, 1000)
    write(tmp_path / "viubench/evaluations/alpha", "runs/alpha", 55.0, 2000)
    (tmp_path / "bad/evaluations/x").mkdir(parents=True)
    (tmp_path / "bad/evaluations/x/results.json").write_text('{"model": 3}')
    answer = client.get("/api/benchmarks").json()
    assert answer["columns"] == [
        {"name": "grounding_easy", "task": "grounding", "label": "easy", "random": 12.5, "published": None}
    ]
    assert answer["rows"] == [
        {"run_id": 1, "name": "alpha", "time": 2000, "scores": {"grounding_easy": 55.0},
         "valid": {"grounding_easy": 1}},
        {"run_id": None, "name": "Qwen3-VL-8B-Instruct", "time": 1000, "scores": {"grounding_easy": 40.0},
         "valid": {"grounding_easy": 1}},
    ]  # fmt: skip


def test_no_results(client: TestClient) -> None:
    assert client.get("/api/benchmarks").json() == {"columns": [], "rows": []}
