"""Writes a run's record: metrics, events, sampled rollouts, evaluations, workers."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.messages import EvaluationAnswers, Group, WorkerState
from actors.record.sinks import JsonLines, Mlflow, RayGauges, Sink, TensorBoard, Wandb, advantages_of, finite
from dataset.view.thumbnails import ClipPictures
from learner.config import GrpoConfig


@dataclass(frozen=True)
class RunLogPlan:
    """Where a run's record goes.

    Args:
        folder: runs/NAME.
        grpo: as the learner's, for the advantages shown beside rollouts.
        name: of the run, for Ray's gauges; empty: none are made.
        store: address of the run store, and the run's number there; None: not into one.
        trackers: by name, of actors.record.sinks.TRACKERS.
        config: the run's configuration, for trackers.
        bucket: the run's part of one, for pictures; None: they go into the folder.
    """

    folder: str
    grpo: GrpoConfig
    name: str = ""
    store: tuple[str, int] | None = None
    trackers: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    bucket: str | None = None


class RunLog:
    """One per run, on the driver's node. What a sink raises costs that sink that entry, and is said once."""

    def __init__(self, plan: RunLogPlan) -> None:
        self._plan, self._folder = plan, Path(plan.folder)
        self._lines: list[dict[str, Any]] = []
        self._told_of: set[str] = set()  # sinks that failed
        # The files come first, and what goes wrong with them is raised: they are what a run goes on from.
        self._files = JsonLines(self._folder)
        self._others: dict[str, Sink] = {"TensorBoard": TensorBoard(self._folder)}
        for name, make in self._optional():
            try:
                self._others[name] = make()
            except Exception as error:  # whatever it is, the run does without
                self.event("record_failed", f"{name} is not written: {type(error).__name__}: {error}")

    def _optional(self) -> list[tuple[str, Callable[[], Sink]]]:
        from actors.record.store_sink import StoreSink

        plan, config = self._plan, self._plan.config or {}
        found: list[tuple[str, Callable[[], Sink]]] = []
        if plan.name:
            found.append(("Ray's metrics", partial(RayGauges, plan.name)))
        trackers: dict[str, type[Wandb] | type[Mlflow]] = {"wandb": Wandb, "mlflow": Mlflow}
        for name in plan.trackers:
            found.append((name, partial(trackers[name], plan.name, self._folder, config)))
        if plan.store is not None:  # the last to be closed: it waits for pictures on their way to a bucket
            url, run_id = plan.store
            found.append(("the run store", partial(StoreSink, url, run_id, self._folder, plan.bucket)))
        return found

    def event(self, kind: str, message: str) -> None:
        now = time.time()
        self._lines.append({"file": "events", "time": now, "kind": kind, "message": message})
        self._tell(lambda sink: sink.event(now, kind, message))

    def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        """One training step: its metrics and, whole, the rollouts of some of its groups."""
        now = time.time()
        metrics = metrics | {"tokens_per_second": metrics["step/tokens"] / metrics["seconds/step"]}
        self._lines.append(finite({"file": "metrics", "time": now, "step": step, **metrics}))
        self._tell(lambda sink: sink.step(step, now, metrics))
        for group in groups:
            self._group(step, group)

    def _group(self, step: int, group: Group) -> None:
        advantages = advantages_of(group, self._plan.grpo)
        self._tell(lambda sink: sink.group(step, group, advantages))

    def evaluation(self, answers: EvaluationAnswers) -> None:
        self._tell(lambda sink: sink.evaluation(answers))
        for group in answers.groups:
            self._group(answers.step, group)

    def pictures(self, step: int, group: Group, clips: Sequence[ClipPictures]) -> None:
        """The frames of a group that was told of before."""
        advantages = advantages_of(group, self._plan.grpo)
        self._tell(lambda sink: sink.pictures(step, group, advantages, clips))

    def workers(self, states: Sequence[WorkerState]) -> None:
        self._tell(lambda sink: sink.workers(states))

    def forget(self, step: int) -> None:
        """The run went back: steps from this one on are taken again."""
        self._tell(lambda sink: sink.forget(step))

    def parity_failure(self, sample: Mapping[str, Any]) -> None:
        """Keep what shows that engine and learner differ, for a person to look at."""
        text = json.dumps(finite(dict(sample)), indent=2, allow_nan=False)
        (self._folder / "parity-failure.json").write_text(text + "\n", encoding="utf-8")

    def since(self, cursor: int) -> list[dict[str, Any]]:
        """Events and metrics from number `cursor` on, for a progress display."""
        return self._lines[cursor:]

    def close(self) -> None:
        """Write what is left; nothing is said after it."""
        self._tell(lambda sink: sink.close())

    def _tell(self, say: Callable[[Sink], None]) -> None:
        say(self._files)
        for name, sink in self._others.items():
            try:
                say(sink)
            except Exception as error:  # whatever it is: a record is not worth a run
                if name not in self._told_of:
                    self._told_of.add(name)
                    reason = f"{type(error).__name__}: {error}"
                    self.event("record_failed", f"{name} lacks an entry (said once): {reason}")
