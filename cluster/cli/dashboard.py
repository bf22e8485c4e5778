"""`videossr dashboard`."""

import argparse
import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster.cli.options import add_address, add_runs
from cluster.config.load import ConfigError

if TYPE_CHECKING:
    from dashboard.launching.launcher import Launcher
    from dashboard.schemas import BenchColumn
    from store.database import Database

_HOST, _PORT = "127.0.0.1", 8470


def add_command(commands: Any) -> None:
    """Add it to the subparsers of `videossr`. What is heavy is imported when it runs."""
    dashboard = commands.add_parser("dashboard", help="show runs on a page, and start and stop them there")
    add_runs(dashboard, "; with --address, an absolute one is taken to be shared with that Ray")
    dashboard.add_argument(
        "--host", default=_HOST, help=f"what to listen on ({_HOST}); others need VIDEOSSR_TOKEN"
    )
    dashboard.add_argument("--port", type=int, default=_PORT, help=f"({_PORT}); 0: any free one")
    add_address(dashboard)
    # For `train`: end when standard input does, as it does even where the run is killed.
    dashboard.add_argument("--until-input-ends", action="store_true", help=argparse.SUPPRESS)
    dashboard.set_defaults(run=_dashboard)


def _dashboard(options: argparse.Namespace) -> int:
    from cluster.jobs.dashboard_process import announced
    from cluster.runs.lookup import opened_store
    from dashboard.serve import serve
    from dashboard.settings import DashboardError, from_environment

    if options.until_input_ends:
        threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        settings = from_environment(runs_dir=options.runs.absolute(), host=options.host, port=options.port)
        with opened_store(options.runs) as database, announced(options.runs, settings.on_loopback) as say:
            serve(settings, database, _launcher(options, database), say=say, benches=_published())
    except DashboardError as error:
        raise ConfigError(str(error)) from None
    return 0


def _launcher(options: argparse.Namespace, database: "Database") -> "Launcher | None":
    """What starts runs; None where the folder of runs can only be read."""
    from cluster.jobs.launchers import JobLauncher, LocalLauncher

    if options.address is not None:
        shared = options.runs if options.runs.is_absolute() else None
        jobs = JobLauncher(options.address, shared, database)
        jobs.adopt()
        return jobs
    with suppress(OSError):
        options.runs.mkdir(parents=True, exist_ok=True)
    return LocalLauncher(options.runs, database) if os.access(options.runs, os.W_OK) else None


def _published() -> "list[BenchColumn]":
    """The paper's row of VIUBench."""
    from dashboard.schemas import BenchColumn
    from evaluation.viubench import COLUMNS

    return [
        BenchColumn(name=each.name, task=each.task, label=each.label, random=None, published=each.published)
        for each in COLUMNS
    ]


def _end_with_input() -> None:
    while os.read(0, 1024):  # not sys.stdin, whose lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
