"""Options that several commands share."""

import argparse
import os
from pathlib import Path

from cluster.runs.folder import default_runs


def add_runs(parser: argparse.ArgumentParser, more: str = "") -> None:
    """--runs, for which the environment may stand in. Args: more: what it means besides."""
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path(default_runs()),
        metavar="DIR",
        help=f"where runs are (VIDEOSSR_RUNS){more}",
    )


def add_address(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """--address, for which the environment may stand in as it does for Ray's own commands."""
    given = os.environ.get("RAY_API_SERVER_ADDRESS") or None
    parser.add_argument(
        "--address",
        metavar="URL",
        default=given,
        required=required and given is None,
        help="of the Ray's dashboard, as http://HOST:8265 (RAY_API_SERVER_ADDRESS); its token is RAY_AUTH_TOKEN",
    )


def add_follow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show what the job prints, until it ends",
    )


def add_dashboard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dashboard",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show the run on a page of this machine while it goes on; jobs of a Ray never do",
    )
