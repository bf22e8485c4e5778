"""Writes a run's record: metrics, events, recorded groups, evaluations, workers."""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from actors.messages import Group, TaskEvaluation, WorkerState
from actors.record.sinks import (
    JsonLines,
    Mlflow,
    RayGauges,
    Sink,
    TensorBoard,
    Wandb,
    finite,
    group_advantages_of,
)
from dataset.view.thumbnails import ClipThumbnails
from learner.config import GrpoConfig
from vocabulary import events
from vocabulary.metrics import STEP_SECONDS, STEP_TOKENS, TOKENS_PER_SECOND

logger = logging.getLogger(__name__)

_KEPT_LINES = 4000  # of events and metrics for the driver, which reads them twice a second


class RunLog:
    """The run's record, an actor on the driver's node. An entry that a sink cannot write is lost to that sink alone.

    Args:
        folder: runs/NAME.
        grpo: the learner's section, for the advantages shown with rollouts.
        run_name: name of the run for Ray's gauges; empty: no gauges.
        store: address of the run store and the run's number in it; None: no store.
        trackers: "wandb" and "mlflow".
        config: the run's configuration, for trackers.
        bucket: the run's part of a bucket, for frames; None: frames are written to the folder.
    """

    def __init__(
        self,
        folder: str,
        *,
        grpo: GrpoConfig,
        run_name: str = "",
        store: tuple[str, int] | None = None,
        trackers: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        bucket: str | None = None,
    ) -> None:
        self._folder, self._grpo = Path(folder), grpo
        self._lines: deque[dict[str, Any]] = deque(maxlen=_KEPT_LINES)
        self._num_lines = 0  # ever added
        self._failed_sinks: set[str] = set()
        # The files come first and their errors are raised, because a run resumes from them.
        self._files = JsonLines(self._folder)
        self._others: dict[str, Sink] = {"TensorBoard": TensorBoard(self._folder)}
        optional: dict[str, Callable[[], Sink]] = {}
        if run_name:
            optional["Ray's metrics"] = partial(RayGauges, run_name)
        for tracker in trackers:
            make = {"wandb": Wandb, "mlflow": Mlflow}[tracker]
            optional[tracker] = partial(make, run_name, self._folder, config or {})
        if store is not None:  # closed last, because it waits for frames on their way to a bucket
            optional["the run store"] = partial(_store_sink, store, self._folder, bucket)
        for name, make_sink in optional.items():
            try:
                self._others[name] = make_sink()
            except Exception as error:  # whatever it is, the run does without this sink
                logger.warning("%s is not written", name, exc_info=True)
                self.event(events.RECORD_FAILED, f"{name} is not written: {type(error).__name__}: {error}")
        logger.info("run log is ready: %s", ", ".join(self._others))

    def event(self, kind: str, message: str) -> None:
        """Record an event."""
        logger.debug("event %s: %s", kind, message)
        now = time.time()
        self._add_line({"file": "events", "time": now, "kind": kind, "message": message})
        self._write(lambda sink: sink.event(now, kind, message))

    def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        """Record a step: its metrics, and some of its groups in full."""
        now = time.time()
        metrics = metrics | {TOKENS_PER_SECOND: metrics[STEP_TOKENS] / metrics[STEP_SECONDS]}
        self._add_line(finite({"file": "metrics", "time": now, "step": step, **metrics}))
        self._write(lambda sink: sink.step(step, now, metrics))
        for group in groups:
            self._group(step, group)

    def _group(self, step: int, group: Group) -> None:
        advantages = group_advantages_of(group, self._grpo)
        self._write(lambda sink: sink.group(step, group, advantages))

    def evaluation(self, evaluation: TaskEvaluation) -> None:
        """Record the results on held-out samples of one task, and some of them in full."""
        self._write(lambda sink: sink.evaluation(evaluation))
        for group in evaluation.groups:
            self._group(evaluation.step, group)

    def frames(self, step: int, group: Group, clips: Sequence[ClipThumbnails]) -> None:
        """Record the frames of a group that was recorded before."""
        advantages = group_advantages_of(group, self._grpo)
        self._write(lambda sink: sink.frames(step, group, advantages, clips))

    def workers(self, states: Sequence[WorkerState]) -> None:
        """Record the current state of all workers."""
        self._write(lambda sink: sink.workers(states))

    def forget(self, step: int) -> None:
        """Drop the steps from this one on, because the learner went back and they are taken again."""
        self._write(lambda sink: sink.forget(step))

    def parity_failure(self, sample: Mapping[str, Any]) -> None:
        """Write the completion that shows a parity failure to parity-failure.json, for a person to read."""
        text = json.dumps(finite(dict(sample)), indent=2, allow_nan=False)
        (self._folder / "parity-failure.json").write_text(text + "\n", encoding="utf-8")

    def since(self, cursor: int) -> tuple[list[dict[str, Any]], int]:
        """Return the lines of events and metrics from number `cursor` on, and the next cursor.

        Only the newest `_KEPT_LINES` are kept, so a reader that falls further behind misses some.
        """
        first = self._num_lines - len(self._lines)
        return list(self._lines)[max(0, cursor - first) :], self._num_lines

    def close(self) -> None:
        """Write what is left. Nothing can be recorded afterwards."""
        self._write(lambda sink: sink.close())
        logger.info("run log is closed")

    def _add_line(self, line: dict[str, Any]) -> None:
        self._lines.append(line)
        self._num_lines += 1

    def _write(self, write: Callable[[Sink], None]) -> None:
        write(self._files)
        for name, sink in self._others.items():
            try:
                write(sink)
            except Exception as error:  # a failing sink never ends a run
                logger.warning("%s lacks an entry", name, exc_info=True)
                if name not in self._failed_sinks:
                    self._failed_sinks.add(name)
                    reason = f"{type(error).__name__}: {error}"
                    self.event(events.RECORD_FAILED, f"{name} lacks an entry (reported once): {reason}")


def _store_sink(store: tuple[str, int], folder: Path, bucket: str | None) -> Sink:
    from actors.record.store_sink import StoreSink

    url, run_id = store
    return StoreSink(url, run_id, folder, bucket)
