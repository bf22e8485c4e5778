"""`videossr dashboard`."""

import argparse
import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster.cli.options import add_address, add_command_parser, add_runs
from cluster.config.errors import ConfigError
from cluster.terminal import DONE

if TYPE_CHECKING:
    from dashboard.launching.launcher import Launcher
    from dashboard.schemas import BenchmarkColumn
    from store.database import Database

_HOST, _PORT = "127.0.0.1", 8470


def add_command(commands: Any) -> None:
    """Add `dashboard` to the subparsers of `videossr`."""
    dashboard = add_command_parser(
        commands, "dashboard", "serve a web page that shows, starts and stops runs"
    )
    add_runs(dashboard, ". With --address, an absolute path must be storage that the Ray cluster shares")
    dashboard.add_argument(
        "--host",
        default=_HOST,
        help=f"address to listen on; default: {_HOST}. An address that other machines reach needs VIDEOSSR_TOKEN",
    )
    dashboard.add_argument(
        "--port", type=int, default=_PORT, metavar="N", help=f"default: {_PORT}; 0 takes any free port"
    )
    add_address(dashboard)
    # `train` starts the dashboard with this option. Standard input ends even if the run is killed.
    dashboard.add_argument("--until-input-ends", action="store_true", help=argparse.SUPPRESS)
    dashboard.set_defaults(run=_dashboard)


def _dashboard(options: argparse.Namespace) -> int:
    from cluster.jobs.dashboard_process import announce_dashboard
    from cluster.runs.lookup import open_store
    from dashboard.serve import serve
    from dashboard.settings import DashboardError, from_environment

    if options.until_input_ends:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        settings = from_environment(runs_dir=options.runs.absolute(), host=options.host, port=options.port)
        with (
            open_store(options.runs) as database,
            announce_dashboard(options.runs, settings.on_loopback) as say,
        ):
            serve(settings, database, _launcher(options, database), say=say, benches=_published())
    except DashboardError as error:
        raise ConfigError.quoting(error) from None
    return DONE


def _launcher(options: argparse.Namespace, database: "Database") -> "Launcher | None":
    """Return the launcher of runs for the page, or None if the folder of runs is read-only."""
    from cluster.jobs.launchers import JobLauncher, LocalLauncher

    if options.address is not None:
        shared = options.runs if options.runs.is_absolute() else None
        jobs = JobLauncher(options.address, shared, database)
        jobs.adopt()
        return jobs
    with suppress(OSError):
        options.runs.mkdir(parents=True, exist_ok=True)
    return LocalLauncher(options.runs, database) if os.access(options.runs, os.W_OK) else None


def _published() -> "list[BenchmarkColumn]":
    """Return the published scores on VIUBench, which the page shows for comparison."""
    from dashboard.schemas import BenchmarkColumn
    from evaluation.viubench import COLUMNS

    return [
        BenchmarkColumn(
            name=each.name, task=each.task, label=each.label, random=None, published=each.published
        )
        for each in COLUMNS
    ]


def _end_with_input() -> None:
    """End this process when standard input ends."""
    # Not sys.stdin: this thread would still hold its lock when the interpreter ends.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
