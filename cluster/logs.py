"""Where log lines go, in the driver and in every Ray worker process.

Every module logs to `logging.getLogger(__name__)`. VIDEOSSR_LOG (DEBUG, INFO, WARNING or ERROR) sets the level of all
these lines. Where it is not set:

    any command      warnings, on the terminal (standard error)
    videossr train   also INFO lines and everything that libraries print, in runs/NAME/logs/driver.log
    a Ray worker     INFO lines, in Ray's log file of that process: SESSION/logs/worker-*.err
"""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from cluster.config.errors import ConfigError

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


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the moment of writing."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def set_up_logging() -> None:
    """Send our log lines to the terminal. Raises ConfigError for an unknown VIDEOSSR_LOG."""
    _send_to(_StandardError(), log_level("WARNING"))


def set_up_worker_logging() -> None:
    """Send our log lines to standard error, which Ray keeps in a file for each worker process."""
    _send_to(_StandardError(), log_level("INFO"))


def worker_hook() -> Callable[[], None]:
    """Return the function that Ray calls first in every worker process."""

    # A nested function is sent to the workers by value, so a worker that cannot import us yet still starts.
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
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.setLevel(level)
    for package in _PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [handler]
        logger.setLevel(level)
