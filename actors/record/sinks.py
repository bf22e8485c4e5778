"""Where a run's record goes: files, TensorBoard, Ray's metrics, Weights & Biases, MLflow.

The sink for the run store is in `store_sink.py`.
"""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.messages import Group, TaskEvaluation, WorkerState
from dataset.view.thumbnails import ClipThumbnails
from learner.algorithm.advantages import group_advantages
from learner.config import GrpoConfig
from vocabulary.metrics import ROLLOUT_WORKERS_ALIVE, STEP, gauge_of, gauges
from vocabulary.workers import ROLLOUT, RUNNING


class Sink:
    """Base class for outputs of a run's record. Every method is a no-op; subclasses override what they support."""

    def event(self, time_s: float, kind: str, message: str) -> None:
        """Write an event. `time_s` is Unix time."""

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a step."""

    def group(self, step: int, group: Group, advantages: Sequence[float]) -> None:
        """Write a group in full."""

    def frames(
        self, step: int, group: Group, advantages: Sequence[float], clips: Sequence[ClipThumbnails]
    ) -> None:
        """Write the frames of a group that was written before."""

    def evaluation(self, evaluation: TaskEvaluation) -> None:
        """Write the results on held-out samples of one task."""

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Write the current state of all workers."""

    def forget(self, step: int) -> None:
        """Drop the steps from this one on, because they are taken again."""

    def close(self) -> None:
        """Write what is left."""


class JsonLines(Sink):
    """One JSON line per entry, in files in the run's folder. Written at once, so that any tool can follow them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def event(self, time_s: float, kind: str, message: str) -> None:
        """Append to events.jsonl."""
        self._append("events", {"time": time_s, "kind": kind, "message": message})

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Append to metrics.jsonl."""
        self._append("metrics", {"time": time_s, "step": step, **metrics})

    def group(self, step: int, group: Group, advantages: Sequence[float]) -> None:
        """Append to rollouts.jsonl."""
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
            "answer": meta.truth,  # the stored name of the truth, as in recipes; readers of old runs expect it
            "recipe": meta.recipe.to_stored(),
            "rollouts": rollouts,
        }
        self._append("rollouts", record)

    def evaluation(self, evaluation: TaskEvaluation) -> None:
        """Append to evaluations.jsonl. The groups are written by `group`."""
        record = {
            "stage": evaluation.point,
            "step": evaluation.step,
            "task": evaluation.task,
            "greedy": evaluation.greedy,
            "sampled": evaluation.sampled,
            "truths": evaluation.truths,
        }
        self._append("evaluations", record)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(record), allow_nan=False) + "\n")


class TensorBoard(Sink):
    """TensorBoard event files in the run's folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Write every metric as a scalar."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class RayGauges(Sink):
    """Gauges on Ray's metrics endpoint, for Prometheus; `vocabulary.metrics` lists them."""

    def __init__(self, run_name: str) -> None:
        from ray.util.metrics import Gauge

        self._run_name = run_name
        self._gauges = {
            each.name: Gauge(
                each.name, each.description, tag_keys=("run", *([each.label] if each.label else []))
            )
            for each in gauges()
        }

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Set the gauges of a step's metrics."""
        for metric, value in {**metrics, STEP: step + 1.0}.items():
            self._set(metric, value)

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Set the number of rollout workers that are running."""
        running = [each for each in states if each.role == ROLLOUT and each.state == RUNNING]
        self._set(ROLLOUT_WORKERS_ALIVE, len(running))

    def _set(self, metric: str, value: float) -> None:
        if (found := gauge_of(metric)) is not None:
            gauge, labels = found
            self._gauges[gauge.name].set(value, tags={"run": self._run_name} | labels)


class Wandb(Sink):
    """Weights & Biases, configured by its own settings and environment (WANDB_API_KEY, WANDB_PROJECT, WANDB_MODE)."""

    def __init__(self, run_name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        # A resumed run is the same run there: its id is kept in its folder.
        id_file = folder / "wandb-id"
        run_id = id_file.read_text() if id_file.exists() else uuid.uuid4().hex[:8]
        id_file.write_text(run_id)
        self._run = wandb.init(name=run_name, id=run_id, dir=str(folder), config=dict(config), resume="allow")

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""
        self._run.log(dict(metrics), step=step)

    def evaluation(self, evaluation: TaskEvaluation) -> None:
        """Log the held-out score of a task."""
        scores = {f"held_out/{evaluation.task}": mean_reward(evaluation.sampled)}
        self._run.log(scores | {"held_out/step": evaluation.step})

    def close(self) -> None:
        """Finish the run there."""
        self._run.finish()


class Mlflow(Sink):
    """MLflow, at the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run_name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        id_file = folder / "mlflow-id"
        run_id = id_file.read_text() if id_file.exists() else None
        self._run = mlflow.start_run(run_id=run_id, run_name=None if run_id else run_name)
        id_file.write_text(self._run.info.run_id)
        if run_id is None:
            mlflow.log_dict(dict(config), "config.json")

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""
        self._mlflow.log_metrics(dict(metrics), step=step, run_id=self._run.info.run_id)

    def evaluation(self, evaluation: TaskEvaluation) -> None:
        """Log the held-out score of a task."""
        score = mean_reward(evaluation.sampled)
        self._mlflow.log_metric(
            f"held_out/{evaluation.task}", score, step=evaluation.step, run_id=self._run.info.run_id
        )

    def close(self) -> None:
        """Finish the run there."""
        self._mlflow.end_run()


def group_advantages_of(group: Group, grpo: GrpoConfig) -> list[float]:
    """Return the advantages within the group, for people to read.

    They leave out what depends on other groups, on the length or on the KL; the learner adds that.
    """
    rewards = [rollout.reward for rollout in group.rollouts]
    return list(group_advantages(rewards, tolerance=grpo.reward_tolerance, estimator=grpo.advantage))


def mean_reward(results: Sequence[tuple[float, bool]]) -> float:
    """Return the mean reward of (reward, valid) pairs; 0 without any."""
    return sum(reward for reward, _ in results) / max(1, len(results))


def finite(value: Any) -> Any:
    """Return `value` with NaN and infinities, which JSON does not have, replaced by None."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
