"""Measure the dashboard's queries on a store of many long runs.

    python -m benchmarks.store                # about two minutes, and 1 GB of disk

Fills SQLite with 50 runs of 10 000 steps and 40 metrics, then runs the queries of the list of runs and of a run's page.
Medians of five, after the same query has run once (the file is in the system's cache). Stored as results/store.json.
To measure PostgreSQL instead, set VIDEOSSR_DB to an empty database; results are then only printed.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from sqlalchemy import text

from benchmarks.table import Result, Target, show, store
from store.database import Database, database_url, open_database
from store.reading.reader import RunReader
from store.runs import register_run

COMMAND = "python -m benchmarks.store"
_REPEATS = 5
_AREAS = ("reward", "spread", "valid", "seconds", "update")  # eight metrics each
_NUM_SHOWN = 12  # curves on a run's page


def main() -> None:
    """Fill a store, measure queries and store the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=10_000)
    arguments = parser.parse_args()
    names = metric_names()
    with tempfile.TemporaryDirectory() as scratch:
        database = open_database(database_url(scratch))
        fill(database, arguments.runs, arguments.steps, names)
        size = sum(path.stat().st_size for path in Path(scratch).iterdir())
        results = _measure(RunReader(database), names)
        database.close()
    size_mb = Result(name="store on disk", value=size / 1e6, unit="MB", target=None, command=COMMAND)
    if os.environ.get("VIDEOSSR_DB"):
        show(results)
    else:
        store("store", [size_mb, *results])
        show([size_mb, *results])


def metric_names() -> list[str]:
    """Return the names of the 40 metrics."""
    return [f"{area}/{number}" for area in _AREAS for number in range(8)]


def fill(database: Database, num_runs: int, num_steps: int, names: list[str]) -> None:
    """Fill the store with SQL, because inserting 20 million rows from Python would take longer than the benchmark."""
    ids = [
        register_run(
            database,
            name=f"run-{number}",
            folder=f"/runs/run-{number}",
            steps=num_steps,
            config={"seed": number},
            environment={"commit": "0" * 40},
            state="running",
        )
        for number in range(num_runs)
    ]
    numbers = (
        "WITH RECURSIVE steps_of(step) AS "
        "(SELECT 0 UNION ALL SELECT step + 1 FROM steps_of WHERE step + 1 < :num_steps) "
    )
    # Any values that differ from step to step will do.
    points = "SELECT :run, m.id, s.step, ((s.step * 7919 + m.id * 104729) % 10007) / 10007.0"
    now = time.time()
    with database.write() as connection:
        connection.execute(
            text("INSERT INTO metric_names (name) VALUES (:name)"), [{"name": name} for name in names]
        )
    for run_id in ids:
        values = {"run": run_id, "num_steps": num_steps, "start": now - num_steps * 2.0, "now": now}
        with database.write() as connection:
            for statement in (
                f"INSERT INTO points {numbers} {points} FROM metric_names m CROSS JOIN steps_of s",
                f"INSERT INTO steps {numbers} SELECT :run, s.step, :start + 2.0 * s.step FROM steps_of s",
                "UPDATE runs SET step = :num_steps, started_at = :start, heartbeat_at = :now WHERE id = :run",
            ):
                bound = {name: value for name, value in values.items() if f":{name}" in statement}
                connection.execute(text(statement), bound)


def _measure(reader: RunReader, names: list[str]) -> list[Result]:
    ids = [item.id for item in reader.runs().items]
    run_id = ids[len(ids) // 2]

    def list_page() -> None:
        page = reader.runs(limit=50)
        reader.curves([item.id for item in page.items], "reward/0")

    def run_page() -> None:
        assert reader.run(run_id) is not None
        assert len(reader.series([run_id], names[:_NUM_SHOWN])) == _NUM_SHOWN
        reader.events(run_id)
        reader.workers(run_id)

    rows: list[tuple[str, Callable[[], object], float | None]] = [
        (f"list of {len(ids)} runs with curves", list_page, 150),
        (f"a run's page with {_NUM_SHOWN} curves of 500 points", run_page, 300),
        (f"one curve of {len(ids)} runs, 500 points each", lambda: reader.series(ids, names[:1]), None),
        ("a run's latest points", lambda: reader.series([run_id], names, since_step=9_990), None),
        ("what has changed in a run", lambda: reader.changed_since(run_id, ""), None),
    ]
    return [
        Result(
            name=name,
            value=_milliseconds(ask),
            unit="ms",
            target=None if limit is None else Target(bound="at most", limit=limit),
            command=COMMAND,
        )
        for name, ask, limit in rows
    ]


def _milliseconds(ask: Callable[[], object]) -> float:
    ask()
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds)


if __name__ == "__main__":
    main()
