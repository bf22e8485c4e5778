"""What every command shares when it talks to a terminal: printing, exit statuses and progress bars."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

Say = Callable[[str], None]  # shows one message to the user

DONE, FAILED, REFUSED = 0, 1, 2  # exit statuses
STOPPED = 130  # exit status that shells report for Ctrl-C
PIPE_CLOSED = 141  # exit status that shells report for a command whose output nobody reads any more

LOG_INTERVAL_S = 15.0  # between two progress lines where standard output is no terminal


class _Screen:
    """Where messages to the user go: past a redirection of standard output, and above a moving progress bar."""

    def __init__(self) -> None:
        self.output: TextIO | None = None  # None: sys.stdout, whatever it is when something is printed
        self.errors: TextIO | None = None  # None: sys.stderr
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
    """Print a message, at once."""
    _SCREEN.print(text)


def write(text: str) -> None:
    """Print text that has its own line ends, at once."""
    _SCREEN.print(text, end="")


def say_error(text: str) -> None:
    """Print a message to standard error, at once."""
    _SCREEN.print_error(text)


def progress_bar(title: str, *fields: str) -> "Progress | None":
    """Return a bar as wide as the terminal that shows "N/M" and some text fields; None where there is no terminal.

    Args:
        title: what the bar shows first; may name a field, as in "{task.description}".
        fields: names of the text fields behind the bar. `add_task` and `update` take them as keywords.
    """
    output = _SCREEN.output or sys.stdout
    if not output.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    class Bar(Progress):
        """A bar that messages are printed above while it moves."""

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
        # What libraries print appears above the bar, unless it goes to a log.
        redirect_stdout=_SCREEN.output is None,
        redirect_stderr=_SCREEN.output is None,
    )


class CountingProgress:
    """A bar for "N of M done", or a line every 15 s where there is no terminal. Use as a context manager."""

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
        """Show the present count. Cheap enough to call for every single thing done."""
        title = title or self._title
        if self._bar is not None:
            self._bar.update(self._task_id, completed=done, total=total, note=note, description=title)
        elif time.monotonic() - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = time.monotonic()
            self._say(f"{title}: {done} of {total}{f', {note}' if note else ''}")
