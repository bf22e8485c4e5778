"""The `videossr` command: its parser, its exit statuses and its environment."""

import argparse
import atexit
import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from cluster.cli import bench, dashboard, data, export, runs, submit, train
from cluster.cli.options import CommandParser
from cluster.config.errors import ConfigError
from cluster.logs import set_up_logging
from cluster.terminal import PIPE_CLOSED, REFUSED, STOPPED, say_error

_VERSION_HELP = "print the version and, inside a git checkout, the commit"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 done, 1 failed, 2 refused, 130 stopped, 141 the reader of the output has closed it.
    """
    # Collecting garbage once more at the end would take a third of the time of `videossr runs list`.
    atexit.register(gc.freeze)
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as after `| head`
        # Python flushes standard output once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(arguments: Sequence[str] | None) -> int:
    options = _parse(arguments)
    _set_up_environment()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ray_session has to repeat this after ray.init
    try:
        set_up_logging()
        return int(options.run(options))
    except ConfigError as error:
        say_error(str(error))
        return REFUSED
    except KeyboardInterrupt:
        say_error("\nStopped.")
        return STOPPED


def _set_up_environment() -> None:
    """Set environment variables that torch, transformers and Ray read on import, unless the user has set them."""
    # Two busy processes on two cores are about fifty times slower if waiting threads spin than if they sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # A checkpoint can be resumed from after Ray Train's next health check. Ray's default interval is 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.3")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line. Overrides may come before or after the options."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") for word in rest) or (rest and not hasattr(options, "overrides")):
        parser.error(f"unknown option: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


def build_parser() -> CommandParser:
    """Return the parser of the whole command line. Each command imports what it needs when it runs."""
    parser = CommandParser(
        prog="videossr",
        description="Train a video language model with reinforcement learning, from unlabelled videos alone.",
    )
    parser.add_argument("--version", action=_Version, help=_VERSION_HELP)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train.add_command(commands)
    submit.add_command(commands)
    runs.add_commands(commands)
    dashboard.add_command(commands)
    export.add_command(commands)
    data.add_commands(commands)
    bench.add_commands(commands)
    return parser


class _Version(argparse.Action):
    """The option --version, which asks git for the commit only when it is used."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(nargs=0, **keywords)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from cluster.runs.environment import version_text

        print(version_text())
        parser.exit()
