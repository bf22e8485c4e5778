"""What a person sees while a run goes on: one line that moves, or one line now and then in a log file."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

_SILENT = ("starting", "training", "done")  # stages that show by themselves
_LOG_EVERY_S = 15.0  # between two lines where there is no terminal


class Progress:
    """Step, reward per task, seconds per step and time left. Use as a context manager."""

    def __init__(self, steps: int, tasks: Sequence[str], say: Callable[[str], None]) -> None:
        self.cursor = 0  # records shown so far
        self._steps, self._tasks, self._say = steps, tasks, say
        self._logged_at = 0.0
        self._bar: RichProgress | None = None
        if sys.stdout.isatty():
            self._bar = RichProgress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[rewards]}"),
                TextColumn("{task.fields[pace]}"),
                TimeRemainingColumn(compact=True),
                console=Console(),
            )
            self._task_id = self._bar.add_task("train", total=steps, rewards="", pace="", visible=False)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, records: Sequence[dict[str, Any]]) -> None:
        """Show records of the run log that came since `cursor`."""
        self.cursor += len(records)
        for record in records:
            if record["file"] == "events":
                if record["kind"] == "video_set_aside" or record["message"] in _SILENT:
                    continue
                self._line(record["message"][:1].upper() + record["message"][1:])
            else:
                self._step(record)

    def _step(self, record: dict[str, Any]) -> None:
        done = record["step"] + 1
        rewards = " ".join(
            f"{task} {record[f'reward/{task}']:.2f}" for task in self._tasks if f"reward/{task}" in record
        )
        pace = f"{record['seconds/step']:.1f} s/step"
        if self._bar is not None:
            self._bar.update(self._task_id, completed=done, rewards=rewards, pace=pace, visible=True)
        elif done == self._steps or time.monotonic() - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = time.monotonic()
            left = (self._steps - done) * record["seconds/step"]
            self._say(f"step {done}/{self._steps}  {rewards}  {pace}  {left / 60:.1f} min left")

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text)
        else:
            self._say(text)


class Counting:
    """How many of how many, with what else there is to say. Use as a context manager."""

    def __init__(self, title: str, say: Callable[[str], None]) -> None:
        self._title, self._say = title, say
        self._logged_at = time.monotonic()
        self._bar: RichProgress | None = None
        if sys.stdout.isatty():
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                MofNCompleteColumn(),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(compact=True),
                console=Console(),
            )
            self._task_id = self._bar.add_task(title, total=None, note="")

    def __enter__(self) -> "Counting":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int, note: str = "", title: str | None = None) -> None:
        """To be called as often as anything is done; it says something now and then."""
        title = title or self._title
        if self._bar is not None:
            self._bar.update(self._task_id, completed=done, total=total, note=note, description=title)
        elif time.monotonic() - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = time.monotonic()
            self._say(f"{title}: {done} of {total}{f', {note}' if note else ''}")
