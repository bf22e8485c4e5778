"""Where a run's record goes: files, TensorBoard, the run store, Ray's metrics, Weights & Biases, MLflow."""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.messages import EvaluationAnswers, Group, WorkerState
from actors.record.gauges import GAUGES, gauge_of
from dataset.view.thumbnails import ClipPictures
from learner.algorithm.advantages import group_advantages
from learner.config import GrpoConfig

TRACKERS = ("wandb", "mlflow")


class Sink:
    """Takes what it can use of a run's record: of itself nothing, its subclasses say what."""

    def event(self, time_s: float, kind: str, message: str) -> None:
        pass

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        pass

    def group(self, step: int, group: Group, advantages: Sequence[float]) -> None:
        pass

    def pictures(
        self, step: int, group: Group, advantages: Sequence[float], clips: Sequence[ClipPictures]
    ) -> None:
        pass

    def evaluation(self, answers: EvaluationAnswers) -> None:
        pass

    def workers(self, states: Sequence[WorkerState]) -> None:
        pass

    def forget(self, step: int) -> None:  # steps from this one on, which are taken again
        pass

    def close(self) -> None:
        pass


class JsonLines(Sink):
    """A line of JSON for each thing said, in files under the run's folder, flushed at once: any tool can read it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def event(self, time_s: float, kind: str, message: str) -> None:
        self._append("events", {"time": time_s, "kind": kind, "message": message})

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        self._append("metrics", {"time": time_s, "step": step, **metrics})

    def group(self, step: int, group: Group, advantages: Sequence[float]) -> None:
        meta = group.prompt.meta
        rollouts = [
            {
                "rollout_id": rollout.rollout_id,
                "text": rollout.text,
                "reward": rollout.reward,
                "advantage": advantage,
                "valid": rollout.valid,
                "finish_reason": rollout.finish_reason,
                "token_ids": list(rollout.token_ids),
                "logprobs": list(rollout.logprobs),
            }
            for rollout, advantage in zip(group.rollouts, advantages, strict=True)
        ]
        record = {
            "step": step,
            "group_id": group.group_id,
            "policy_version": group.policy_version,
            "task": meta.task,
            "question": meta.question,
            "answer": meta.answer,
            "recipe": json.loads(meta.recipe),
            "rollouts": rollouts,
        }
        self._append("rollouts", record)

    def evaluation(self, answers: EvaluationAnswers) -> None:
        record = asdict(EvaluationAnswers(**{**vars(answers), "groups": ()}))
        del record["groups"]  # they are written as groups
        self._append("evaluations", record)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(record), allow_nan=False) + "\n")


class TensorBoard(Sink):
    """Event files, which every tool reads."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class RayGauges(Sink):
    """Gauges on Ray's metrics endpoint, for Prometheus; see actors.record.gauges."""

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Gauge

        self._run = run
        self._gauges = {
            each.name: Gauge(each.name, each.description, tag_keys=("run", *([each.tag] if each.tag else [])))
            for each in GAUGES.values()
        }

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        for metric, value in {**metrics, "step": step + 1.0}.items():
            self._set(metric, value)

    def workers(self, states: Sequence[WorkerState]) -> None:
        serving = [each for each in states if each.role == "rollout" and each.state == "running"]
        self._set("rollout/alive", len(serving))

    def _set(self, metric: str, value: float) -> None:
        if (found := gauge_of(metric)) is not None:
            name, tags = found
            self._gauges[name.name].set(value, tags={"run": self._run} | tags)


class Wandb(Sink):
    """Weights & Biases, as its own settings and environment say (WANDB_API_KEY, WANDB_PROJECT, WANDB_MODE)."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        # The same run when it goes on; its id is in its folder.
        id_file = folder / "wandb-id"
        run_id = id_file.read_text() if id_file.exists() else uuid.uuid4().hex[:8]
        id_file.write_text(run_id)
        self._run = wandb.init(name=name, id=run_id, dir=str(folder), config=dict(config), resume="allow")

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def evaluation(self, answers: EvaluationAnswers) -> None:
        scores = {f"held_out/{answers.task}": fmean_reward(answers.sampled)}
        self._run.log(scores | {"held_out/step": answers.step})

    def close(self) -> None:
        self._run.finish()


class Mlflow(Sink):
    """MLflow, where MLFLOW_TRACKING_URI says."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        id_file = folder / "mlflow-id"
        run_id = id_file.read_text() if id_file.exists() else None
        self._run = mlflow.start_run(run_id=run_id, run_name=None if run_id else name)
        id_file.write_text(self._run.info.run_id)
        if run_id is None:
            mlflow.log_dict(dict(config), "config.json")

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step, run_id=self._run.info.run_id)

    def evaluation(self, answers: EvaluationAnswers) -> None:
        score = fmean_reward(answers.sampled)
        self._mlflow.log_metric(
            f"held_out/{answers.task}", score, step=answers.step, run_id=self._run.info.run_id
        )

    def close(self) -> None:
        self._mlflow.end_run()


def advantages_of(group: Group, grpo: GrpoConfig) -> list[float]:
    """Those within the group: what compares groups, punishes length or takes off a KL is not in them."""
    rewards = [rollout.reward for rollout in group.rollouts]
    return list(group_advantages(rewards, tolerance=grpo.reward_tolerance, estimator=grpo.advantage))


def fmean_reward(scored: Sequence[tuple[float, bool]]) -> float:
    return sum(reward for reward, _ in scored) / max(1, len(scored))


def finite(value: Any) -> Any:
    """NaN and infinities are not JSON: they are written as null."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
