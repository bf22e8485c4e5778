"""Tests of MLflow and W&B, if they are installed: a resumed run continues the same run there."""

from pathlib import Path

import pytest

from actors.messages import TaskEvaluation
from actors.record.run_log import RunLog
from learner.config import GrpoConfig
from tests.unit.actors.record.test_run_log import lines


def record(folder: Path, tracker: str) -> None:
    """Record a run of one step, then resume it for another."""
    for step in range(2):
        log = RunLog(str(folder), grpo=GrpoConfig(), trackers=(tracker,), config={"seed": 3})
        log.step(step, {"reward/mean": 0.5 + step / 10, "step/tokens": 3.0, "seconds/step": 1.0}, [])
        log.evaluation(TaskEvaluation("during", step, "jigsaw", ((1.0, True),), ((0.25, True),), ("1",)))
        log.close()
    assert not (folder / "events.jsonl").exists(), lines(folder, "events")


def test_a_resumed_run_is_one_run_in_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.joinpath("mlruns").as_uri())
    record(tmp_path, "mlflow")
    (run,) = mlflow.search_runs(output_format="list", search_all_experiments=True)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "reward/mean")
    assert [(each.step, each.value) for each in history] == [(0, 0.5), (1, 0.6)]
    assert run.data.metrics["held_out/jigsaw"] == 0.25


def test_a_resumed_run_is_one_run_in_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    record(tmp_path, "wandb")
    run_id = (tmp_path / "wandb-id").read_text()
    assert len(list(tmp_path.glob(f"wandb/offline-run-*-{run_id}"))) == 2
