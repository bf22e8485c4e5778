"""Destinations and levels of log lines, in the driver and in every Ray worker process.

Every module logs to `logging.getLogger(__name__)`. VIDEOSSR_LOG (DEBUG, INFO, WARNING or ERROR) sets the level of all
these lines. If it is not set:

    any command      warnings, on the terminal (standard error)
    videossr train   also INFO lines and everything that libraries print, in runs/NAME/logs/driver.log
    a Ray worker     INFO lines, in Ray's log file of that process: SESSION/logs/worker-*.err
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self, TextIO

from cluster.config.errors import ConfigError
from cluster.terminal import redirect_messages, say_error

LEVEL_ENV = "VIDEOSSR_LOG"

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d]: %(message)s"
_PACKAGES = (
    "actors",
    "cluster",
    "dashboard",
    "dataset",
    "evaluation",
    "learner",
    "pretext",
    "reward",
    "rollout",
    "store",
    "weight_sync",
)


class _Terminal(logging.Handler):
    """A handler that shows log lines where `say_error` shows messages."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say_error(self.format(record))
        except Exception:
            self.handleError(record)


def set_up_logging() -> None:
    """Send our log lines to the terminal. Raises ConfigError for an unknown VIDEOSSR_LOG."""
    _send_to(_Terminal(), log_level("WARNING"))


def set_up_worker_logging() -> None:
    """Send our log lines to standard error, which Ray keeps in a file for each worker process."""
    # Not with print: in the learner, Ray Train replaces it by a function that logs.
    _send_to(logging.StreamHandler(), log_level("INFO"))


def worker_hook() -> Callable[[], None]:
    """Return the function that Ray calls first in every worker process."""

    # Ray sends a nested function by value, so a worker that cannot import this package yet still starts.
    def set_up() -> None:
        with suppress(Exception):
            from cluster.logs import set_up_worker_logging

            set_up_worker_logging()

    return set_up


def worker_environment() -> dict[str, str]:
    """Return the environment variables that workers need to log as this process does."""
    level = os.environ.get(LEVEL_ENV)
    return {} if level is None else {LEVEL_ENV: level}


def log_level(default: str) -> str:
    """Return the level that VIDEOSSR_LOG names, or else `default`. Raises ConfigError for an unknown one."""
    level = (os.environ.get(LEVEL_ENV) or default).upper()
    if level not in _LEVELS:
        raise ConfigError(LEVEL_ENV, level, "is not a log level", f"Set it to one of {', '.join(_LEVELS)}")
    return level


def _send_to(handler: logging.Handler, level: str) -> None:
    """Make `handler` the only handler of our packages."""
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.setLevel(level)
    for package in _PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(level)


class DriverLog:
    """A log file of what libraries print in this process and of our log lines. Use as a context manager.

    Messages of `cluster.terminal` still reach the terminal. Ray, DeepSpeed, vLLM and their C++ parts print to standard
    output and standard error as soon as they are imported, so both are redirected, as Python's streams and as file
    descriptors. The file is a temporary one until `keep_in` names another.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self._stack = ExitStack()
        # Never closed, because loggers that libraries create in the block write to it until the process ends.
        self._file = TemporaryFile("w+", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115

    def __enter__(self) -> Self:
        stack = self._stack
        output, errors = (
            self._terminal(number, stream) for number, stream in ((1, sys.stdout), (2, sys.stderr))
        )
        stack.callback(redirect_messages, None, None)
        redirect_messages(output, errors)
        for number in (1, 2):
            saved = os.dup(number)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, number)
        self._redirect_descriptors()
        stack.enter_context(redirect_stdout(self._file))
        stack.enter_context(redirect_stderr(self._file))
        self._add_handler()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, ConfigError | KeyboardInterrupt):
            traceback.print_exception(error, file=self._file)
        self._stack.close()

    def keep_in(self, path: Path) -> None:
        """Move the text so far to the end of `path`, and write there from now on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file.flush()
        self._file.seek(0)
        text = self._file.read()
        with path.open("a", encoding="utf-8") as kept:
            os.dup2(kept.fileno(), self._file.fileno())
        self._file.write(text)
        self._redirect_descriptors()
        self.path = path

    def _redirect_descriptors(self) -> None:
        for number in (1, 2):
            os.dup2(self._file.fileno(), number)

    def _add_handler(self) -> None:
        """Send our log lines also to the file."""
        handler = logging.StreamHandler(self._file)
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.setLevel(log_level("INFO"))
        for package in _PACKAGES:
            logger = logging.getLogger(package)
            self._stack.callback(logger.removeHandler, handler)
            self._stack.callback(logger.setLevel, logger.level)
            logger.addHandler(handler)
            logger.setLevel(handler.level)

    def _terminal(self, number: int, stream: TextIO) -> TextIO:
        """Return a stream that stays connected to the terminal when descriptor `number` is redirected."""
        try:
            if stream.fileno() != number:
                return stream
        except (OSError, ValueError):  # not a file descriptor, as in tests that capture output
            return stream
        terminal = open(os.dup(number), "w", encoding=stream.encoding, errors=stream.errors, buffering=1)  # noqa: SIM115
        self._stack.callback(terminal.close)
        return terminal
