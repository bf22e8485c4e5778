"""Writes a run's record: metrics, events, sampled rollouts, evaluations, TensorBoard.

Everything is a line of JSON in a file under `runs/NAME/`, flushed at once, so that a crash loses nothing
that was said and any tool can read it.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.messages import EvaluationAnswers, Group
from learner.advantages import group_advantages


class RunLog:
    """One per run, on the driver's node.

    Args:
        folder: runs/NAME.
        reward_tolerance: as the learner's, for the advantages shown beside rollouts.
    """

    def __init__(self, folder: str, reward_tolerance: float) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = Path(folder)
        self._tolerance = reward_tolerance
        self._board = SummaryWriter(str(self._folder / "tensorboard"))
        self._lines: list[dict[str, Any]] = []

    def event(self, kind: str, message: str) -> None:
        self._append("events", {"time": time.time(), "kind": kind, "message": message})

    def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        """One training step: its metrics and, whole, the rollouts of some of its groups."""
        metrics = metrics | {"tokens_per_second": metrics["step/tokens"] / metrics["seconds/step"]}
        self._append("metrics", {"time": time.time(), "step": step, **metrics})
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()
        for group in groups:
            self._append("rollouts", self._group_record(step, group))

    def evaluation(self, answers: EvaluationAnswers) -> None:
        self._append("evaluations", asdict(answers))

    def since(self, cursor: int) -> list[dict[str, Any]]:
        """Events and metrics from number `cursor` on, for a progress display."""
        return self._lines[cursor:]

    def _append(self, name: str, record: dict[str, Any]) -> None:
        with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(record), allow_nan=False) + "\n")
        if name in ("events", "metrics"):
            self._lines.append({"file": name, **record})

    def _group_record(self, step: int, group: Group) -> dict[str, Any]:
        meta = group.prompt.meta
        rewards = [rollout.reward for rollout in group.rollouts]
        advantages = group_advantages(rewards, tolerance=self._tolerance)
        return {
            "step": step,
            "group_id": group.group_id,
            "policy_version": group.policy_version,
            "task": meta.task,
            "question": meta.question,
            "answer": meta.answer,
            "recipe": json.loads(meta.recipe),
            "rollouts": [
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
            ],
        }


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    """NaN and infinities are not JSON: they are written as null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
