"""Tests of the report of a run whose record is written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.checkpoints.find import best_checkpoint
from cluster.config.load import build_config
from cluster.training.report import write_report

CONFIG = build_config({"name": "mine"})
SECONDS = {"videos": 1.26, "warm-up": 50.04}


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


SPREAD = {"groups/without_spread": 0.5}
STEPS = {"before": 0, "during": 1, "after": 2}


def evaluation(stage: str, greedy: list[float], sampled: list[float], valid: list[bool]) -> dict[str, Any]:
    return {
        "stage": stage,
        "step": STEPS[stage],
        "task": "jigsaw",
        "greedy": [[reward, True] for reward in greedy],
        "sampled": [[reward, ok] for reward, ok in zip(sampled, valid, strict=True)],
        "truths": ["12", "12", "21"],
    }


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Write two steps and evaluations before, during and after training. Step 1 was repeated after a resume."""
    write_lines(
        tmp_path / "metrics.jsonl",
        [
            {"step": step, "reward/jigsaw": reward, "reward/mean": reward, "valid/jigsaw": 0.5} | SPREAD
            for step, reward in [(0, 0.2), (1, 0.9), (1, 0.3)]
        ],
    )
    write_lines(
        tmp_path / "evaluations.jsonl",
        [
            evaluation("before", [0.0, 0.5, 0.5], [0.0, 0.1, 0.2], [False, True, True]),
            evaluation("during", [0.0, 0.5, 1.0], [0.2, 0.3, 0.4], [True, True, True]),
            evaluation("after", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [False, False, False]),
            evaluation("after", [1.0, 0.5, 0.0], [1.0, 0.5, 0.6], [True, True, True]),
        ],
    )
    stages = [(0, "starting"), (20.5, "evaluating before training"), (30, "training"), (130, "done")]
    write_lines(
        tmp_path / "events.jsonl",
        [
            {"time": 1e9 + 4, "kind": "rollout_died", "message": "rollout worker 0: its process died"},
            *({"time": 1e9 + time, "kind": "stage", "message": stage} for time, stage in stages),
        ],
    )
    return tmp_path


def test_the_values_of_report_json(record: Path) -> None:
    said: list[str] = []
    report = write_report(record, CONFIG, SECONDS, said.append)
    assert json.loads((record / "report.json").read_text()) == report
    assert (report["name"], report["steps"]) == ("mine", 2)
    assert report["seconds"] == {
        "videos": 1.3,
        "warm-up": 50.0,
        "starting": 20.5,
        "evaluating before training": 9.5,
        "training": 100.0,
    }
    jigsaw = report["tasks"]["jigsaw"]
    assert jigsaw["before"] == pytest.approx({"greedy": 1 / 3, "sampled": 0.1, "valid": 2 / 3, "samples": 3})
    (during,) = jigsaw["during"]
    assert during == pytest.approx({"step": 1, "greedy": 0.5, "sampled": 0.3, "valid": 1.0, "samples": 3})
    # If an evaluation was repeated, the last one counts.
    assert jigsaw["after"] == pytest.approx({"greedy": 0.5, "sampled": 0.7, "valid": 1.0, "samples": 3})
    # The constant "12" is right for two of three samples. Two of the six ordered pairs of samples have equal truths.
    assert jigsaw["best_constant"] == pytest.approx(2 / 3)
    assert jigsaw["random"] == pytest.approx(1 / 3)


def checkpoint(folder: Path, name: str, step: int, score: float | None, *, shards: int = 1) -> None:
    """Write a checkpoint of one rank. With shards=0 it is incomplete."""
    path = folder / "checkpoints" / "learner" / name
    (path / "policy").mkdir(parents=True)
    (path / "state.json").write_text(json.dumps({"step": step, "score": score, "cursor": 0, "ranks": 1}))
    for rank in range(shards):
        (path / "policy" / f"{rank}_optim_states.pt").touch()


def test_the_best_checkpoint_is_reported(record: Path) -> None:
    assert write_report(record, CONFIG, SECONDS, lambda _: None)["best"] is None
    for name, step, score in [("a", 1, 0.6), ("b", 2, 0.7), ("c", 3, None), ("d", 4, 0.65)]:
        checkpoint(record, f"checkpoint_{name}", step, score)
    checkpoint(record, "checkpoint_e", 5, 0.9, shards=0)
    said: list[str] = []
    best = write_report(record, CONFIG, SECONDS, said.append)["best"]
    folder = record / "checkpoints" / "learner" / "checkpoint_b"
    assert best == {"step": 2, "score": 0.7, "checkpoint": str(folder)}
    assert f"Best held-out score 0.700, after step 2: {folder}" in said


def test_the_later_of_two_equal_checkpoints_is_the_best(record: Path) -> None:
    for name, step in [("a", 1), ("b", 2)]:
        checkpoint(record, f"checkpoint_{name}", step, 0.5)
    best = best_checkpoint(record)
    assert best is not None
    assert (best.name, best.files.address) == (
        "checkpoint_b",
        str(record / "checkpoints" / "learner" / "checkpoint_b"),
    )


def test_with_an_unreachable_bucket_the_report_lacks_only_the_best_checkpoint(record: Path) -> None:
    (record / "bucket.txt").write_text("nothing://bucket/mine\n")
    said: list[str] = []
    assert write_report(record, CONFIG, SECONDS, said.append)["best"] is None
    assert any(line.startswith("The best checkpoint is not known: nothing://bucket/") for line in said)


def test_a_run_without_any_spread_says_that_nothing_was_learnt(record: Path) -> None:
    said: list[str] = []
    write_report(record, CONFIG, SECONDS, said.append)
    assert not any("Nothing was learnt" in line for line in said)
    write_lines(record / "metrics.jsonl", [{"step": 0, "reward/jigsaw": 0.0, "groups/without_spread": 1.0}])
    write_report(record, CONFIG, SECONDS, said.append)
    assert any("Nothing was learnt" in line for line in said)


def test_the_picture_is_a_png(record: Path) -> None:
    write_report(record, CONFIG, SECONDS, lambda _: None)
    assert (record / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_fits_80_columns_and_shows_scores_before_and_after(record: Path) -> None:
    said: list[str] = []
    write_report(record, CONFIG, SECONDS, said.append)
    table = [line for line in said if "->" in line or "held-out" in line]
    assert len(table) == 2
    assert all(len(line) <= 80 for line in table)
    assert table[1].split() == [
        *("jigsaw", "0.33", "->", "0.50", "0.10", "->", "0.70", "0.67", "->", "1.00", "0.33", "0.67")
    ]
    assert any(str(record) in line for line in said)


def test_a_run_without_evaluation_has_a_report_too(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics.jsonl", [{"step": 0, "reward/jigsaw": 0.5, "valid/jigsaw": 1.0} | SPREAD])
    report = write_report(tmp_path, CONFIG, SECONDS, lambda _: None)
    assert report["tasks"] == {}
    assert (tmp_path / "report.png").exists()


def test_an_evaluation_before_training_is_shown_by_itself(record: Path) -> None:
    write_lines(record / "evaluations.jsonl", [evaluation("before", [0.5] * 3, [0.5] * 3, [True] * 3)])
    (record / "metrics.jsonl").unlink()
    said: list[str] = []
    report = write_report(record, CONFIG, SECONDS, said.append)
    assert report["steps"] == 0
    assert any(line.split()[:2] == ["jigsaw", "0.50"] for line in said)
