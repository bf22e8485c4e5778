"""Messages, exit statuses and progress bars of all commands."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

Say = Callable[[str], None]  # shows one message to the user

DONE, FAILED, REFUSED = 0, 1, 2  # exit statuses
STOPPED = 130  # exit status that shells report for Ctrl-C
PIPE_CLOSED = 141  # exit status that shells report after the reader of a pipe has closed it

LOG_INTERVAL_S = 15.0  # time between two progress lines if standard output is no terminal


class _Screen:
    """The streams for messages to the user, which are not redirected and stay above a moving progress bar."""

    def __init__(self) -> None:
        self.output: TextIO | None = None  # None: the current sys.stdout
        self.errors: TextIO | None = None  # None: the current sys.stderr
        self.bar: Progress | None = None

    def print(self, text: str, end: str = "\n") -> None:
        if self.bar is not None:
            self.bar.console.print(text, end=end, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, end=end, file=self.output or sys.stdout, flush=True)

    def print_error(self, text: str) -> None:
        stream = self.errors or sys.stderr
        if self.bar is not None and stream.isatty():
            self.print(text)
        else:
            print(text, file=stream, flush=True)


_SCREEN = _Screen()


def redirect_messages(output: TextIO | None, errors: TextIO | None) -> None:
    """Print messages to these streams from now on; None: to sys.stdout and sys.stderr."""
    _SCREEN.output, _SCREEN.errors = output, errors


def say(text: str) -> None:
    """Print a message without buffering."""
    _SCREEN.print(text)


def write(text: str) -> None:
    """Print text that already has its line ends, without buffering."""
    _SCREEN.print(text, end="")


def say_error(text: str) -> None:
    """Print a message to standard error without buffering."""
    _SCREEN.print_error(text)


def progress_bar(title: str, *fields: str) -> "Progress | None":
    """Return a bar as wide as the terminal that shows "N/M" and some text fields, or None without a terminal.

    Args:
        title: text before the bar; may name a field, as in "{task.description}".
        fields: names of the text fields behind the bar. `add_task` and `update` take them as keywords.
    """
    output = _SCREEN.output or sys.stdout
    if not output.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Bar(Progress):
        """A bar that stays below the messages that are printed while it moves."""

        def start(self) -> None:
            super().start()
            _SCREEN.bar = self

        def stop(self) -> None:
            _SCREEN.bar = None
            super().stop()

    return Bar(
        TextColumn(title),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        *(TextColumn(f"{{task.fields[{field}]}}") for field in fields),
        TimeRemainingColumn(compact=True),
        console=Console(file=output),
        # Output of libraries appears above the bar, unless it goes to a log.
        redirect_stdout=_SCREEN.output is None,
        redirect_stderr=_SCREEN.output is None,
    )


class CountingProgress:
    """A bar for "N of M", or without a terminal a line every 15 s. Use as a context manager."""

    def __init__(self, title: str, say: Say = say) -> None:
        self._title, self._say = title, say
        self._logged_at = time.monotonic()
        self._bar = progress_bar("{task.description}", "note")
        if self._bar is not None:
            self._task_id = self._bar.add_task(title, total=None, note="")

    def __enter__(self) -> "CountingProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int, note: str = "", title: str | None = None) -> None:
        """Show the current count. It is cheap enough to call after every item."""
        title = title or self._title
        if self._bar is not None:
            self._bar.update(self._task_id, completed=done, total=total, note=note, description=title)
        elif time.monotonic() - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = time.monotonic()
            self._say(f"{title}: {done} of {total}{f', {note}' if note else ''}")
