"""The progress of a run: one moving line on a terminal, or a line every 15 s in a log file."""

import time
from collections.abc import Sequence
from typing import Any

from cluster.terminal import LOG_INTERVAL_S, Say, progress_bar
from vocabulary.events import VIDEO_SKIPPED, is_kind
from vocabulary.metrics import REWARD_PREFIX, STEP, STEP_SECONDS
from vocabulary.stages import DONE, STARTING, TRAINING

_NOT_SHOWN = (STARTING, TRAINING, DONE)  # stages that the driver's other lines already tell


class RunProgress:
    """A run's step, reward per task, seconds per step and time left. Use as a context manager.

    Attributes:
        cursor: number of the run log's next record. Nothing else is kept of the records.
    """

    def __init__(self, steps: int, tasks: Sequence[str], say: Say) -> None:
        self.cursor = 0
        self._steps, self._tasks, self._say = steps, tasks, say
        self._logged_at = 0.0
        self._bar = progress_bar("step", "rewards", "pace")
        if self._bar is not None:
            self._task_id = self._bar.add_task("train", total=steps, rewards="", pace="", visible=False)

    def __enter__(self) -> "RunProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, records: Sequence[dict[str, Any]], next_cursor: int) -> None:
        """Show the records of the run log from `cursor` on; `next_cursor` is where the next ones begin."""
        self.cursor = next_cursor
        for record in records:
            if record["file"] == "events":
                if is_kind(record["kind"], VIDEO_SKIPPED) or record["message"] in _NOT_SHOWN:
                    continue
                self._say(record["message"][:1].upper() + record["message"][1:])
            else:
                self._show_step(record)

    def _show_step(self, record: dict[str, Any]) -> None:
        done = record[STEP] + 1
        rewards = " ".join(
            f"{task} {record[REWARD_PREFIX + task]:.2f}"
            for task in self._tasks
            if REWARD_PREFIX + task in record
        )
        pace = f"{record[STEP_SECONDS]:.1f} s/step"
        if self._bar is not None:
            self._bar.update(self._task_id, completed=done, rewards=rewards, pace=pace, visible=True)
        elif done == self._steps or time.monotonic() - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = time.monotonic()
            left = (self._steps - done) * record[STEP_SECONDS]
            self._say(f"step {done}/{self._steps}  {rewards}  {pace}  {left / 60:.1f} min left")
