"""Options that several commands share."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.runs.folder import default_runs_folder

AddOptions = Callable[[argparse.ArgumentParser], None]

RAY_ADDRESS_HELP = "Ray cluster to join; auto (the default): the current one, else a new local one"


class CommandParser(argparse.ArgumentParser):
    """A parser that leaves out options which take long to import until its command is called."""

    def __init__(self, *args: Any, add_options: AddOptions | None = None, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._add_options = add_options

    def parse_known_args(self, *args: Any, **keywords: Any) -> Any:
        """Add the options, and parse as argparse does."""
        add_options, self._add_options = self._add_options, None
        if add_options is not None:
            add_options(self)
        return super().parse_known_args(*args, **keywords)


def add_command_parser(
    commands: Any, name: str, words: str, add_options: AddOptions | None = None
) -> CommandParser:
    """Add a command to the subparsers of a CommandParser.

    Args:
        words: description of the command, for the list of commands and the command's --help.
        add_options: function that adds the options which take long to import.
    """
    parser: CommandParser = commands.add_parser(
        name, help=words, description=f"{words[:1].upper()}{words[1:]}.", add_options=add_options
    )
    return parser


def add_runs(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add --runs, whose default is the environment variable VIDEOSSR_RUNS.

    Args:
        more: further text for --help.
    """
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path(default_runs_folder()),
        metavar="DIR",
        help=f"folder of all runs; default: VIDEOSSR_RUNS, else ./runs{more}",
    )


def add_address(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add --address. Its default is RAY_API_SERVER_ADDRESS, which Ray's commands use too."""
    given = os.environ.get("RAY_API_SERVER_ADDRESS") or None
    parser.add_argument(
        "--address",
        metavar="URL",
        default=given,
        required=required and given is None,
        help="address of the Ray dashboard, such as http://HOST:8265; default: RAY_API_SERVER_ADDRESS. If the "
        "cluster requires a token, set RAY_AUTH_TOKEN",
    )


def add_follow(parser: argparse.ArgumentParser) -> None:
    """Add --follow and --no-follow."""
    parser.add_argument(
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="print the output of the job until it ends (the default)",
    )


def add_dashboard(parser: argparse.ArgumentParser) -> None:
    """Add --dashboard and --no-dashboard."""
    parser.add_argument(
        "--dashboard",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="serve the dashboard on this machine during the run (the default, but never inside a Ray job)",
    )
