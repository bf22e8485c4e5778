"""Writes a run's record: metrics, events, sampled rollouts, evaluations, TensorBoard.

Everything is a line of JSON in a file under `runs/NAME/`, flushed at once, so that a crash loses nothing
that was said and any tool can read it.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.messages import EvaluationAnswers, Group
from learner.advantages import group_advantages
from learner.config import GrpoConfig


class RunLog:
    """One per run, on the driver's node.

    Args:
        folder: runs/NAME.
        grpo: as the learner's, for the advantages shown beside rollouts. They are those within the group: what
            compares groups, punishes length or takes off a KL is not in them.
    """

    def __init__(self, folder: str, grpo: GrpoConfig) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = Path(folder)
        self._grpo = grpo
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

    def parity_failure(self, sample: Mapping[str, Any]) -> None:
        """Keep what shows that engine and learner differ, for a person to look at."""
        text = json.dumps(_finite(dict(sample)), indent=2, allow_nan=False)
        (self._folder / "parity-failure.json").write_text(text + "\n", encoding="utf-8")

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
        advantages = group_advantages(
            rewards, tolerance=self._grpo.reward_tolerance, estimator=self._grpo.advantage
        )
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


def _finite(value: Any) -> Any:
    """NaN and infinities are not JSON: they are written as null."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
