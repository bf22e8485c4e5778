"""Measure the dashboard's HTTP requests on a store of many long runs.

    python -m benchmarks.dashboard            # about two minutes, and 1 GB of disk

The store is that of benchmarks/store.py: 50 runs of 10 000 steps with 40 metrics, in SQLite. The server runs in its own
process. The benchmark sends it the requests of two views, one after another: the list of runs (runs and their small
curves), and a run's page (the run, twelve series thinned to 500 points, events, workers). Each figure is the median of
five. The figures are stored as results/dashboard.json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx

from benchmarks.store import fill, metric_names
from benchmarks.table import Result, Target, show, store
from dashboard.serve import serve
from dashboard.settings import from_environment
from store.database import open_database

COMMAND = "python -m benchmarks.dashboard"
_REPEATS = 5
_NUM_SHOWN = 12  # curves on a run's page


def main() -> None:
    """Fill a store, serve it, measure requests and store the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--serve", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        settings = from_environment(runs_dir=arguments.serve, port=0, environment={})
        serve(settings, open_database(_url(arguments.serve)), None, say=lambda line: print(line, flush=True))
        return
    with tempfile.TemporaryDirectory() as scratch:
        database = open_database(_url(Path(scratch)))
        fill(database, arguments.runs, arguments.steps, metric_names())
        database.close()
        results = _served(Path(scratch), arguments.runs)
    store("dashboard", results)
    show(results)


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'videossr.db'}"


def _served(folder: Path, num_runs: int) -> list[Result]:
    command = [sys.executable, "-m", "benchmarks.dashboard", "--serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1].partition("#")[0]
            with httpx.Client(base_url=address, timeout=120) as client:
                return _measure(client, num_runs)
        finally:
            process.terminate()


def _measure(client: httpx.Client, num_runs: int) -> list[Result]:
    names = metric_names()

    def list_of_runs() -> None:
        runs = client.get("/api/runs", params={"limit": num_runs}).json()["items"]
        client.get(
            "/api/curves", params={"run": [run["id"] for run in runs], "name": names[0]}
        ).raise_for_status()

    def page_of_a_run() -> None:
        for path in ("", "/events", "/workers", "/steps"):
            client.get(f"/api/runs/1{path}").raise_for_status()
        client.get("/api/series", params={"run": 1, "name": names[:_NUM_SHOWN]}).raise_for_status()

    def new_points_of_a_run() -> None:
        params = {"run": 1, "name": names[:_NUM_SHOWN], "since_step": 9_990}
        client.get("/api/series", params=params).raise_for_status()

    return [
        _result(
            f"list of {num_runs} runs with small curves", list_of_runs, Target(bound="at most", limit=300)
        ),
        _result(f"page of a run with {_NUM_SHOWN} curves", page_of_a_run, Target(bound="at most", limit=500)),
        _result(f"new points of {_NUM_SHOWN} curves", new_points_of_a_run, Target(bound="at most", limit=50)),
    ]


def _result(name: str, ask: Callable[[], None], target: Target) -> Result:
    ask()
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return Result(name=name, value=1000 * median(times), unit="ms", target=target, command=COMMAND)


if __name__ == "__main__":
    main()
