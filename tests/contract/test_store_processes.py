"""Tests of a run store that processes share: many writers and a reader, a killed writer, a restarted database."""

import inspect
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from store.database import Database, open_database
from store.reading.reader import RunReader
from store.runs import register_run
from store.schema.tables import PointRow, RunRow, StepRow
from store.writing.writer import RunWriter
from tests.contract.store_process import FIRST, METRICS
from tests.unit.store.postgres import PostgresServer, running_server

ROOT = Path(__file__).parents[2]
WRITERS, STEPS = 5, 400


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'videossr.db'}"
    server: PostgresServer = request.getfixturevalue("server")
    return server.new_database()


def start_writer(url: str, name: str, steps: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contract.store_process", url, name, str(steps)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def count(database: Database, table: type[PointRow] | type[StepRow]) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def eventually(holds: Callable[[], bool], timeout_s: float = 300.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "the condition was never true"
        time.sleep(0.1)


def test_many_writers_lose_nothing_while_another_process_reads(url: str) -> None:
    database = open_database(url)
    reader = RunReader(database)
    processes = [start_writer(url, f"run-{number}", STEPS) for number in range(WRITERS)]
    reads = 0
    while any(process.poll() is None for process in processes):
        items = reader.runs().items
        reader.series([item.id for item in items[:1]], ["metric/0", "metric/1"])
        reader.curves([item.id for item in items], "metric/0")
        reads += 1
        time.sleep(0.02)
    errors = [process.communicate()[1] for process in processes]
    assert errors == [""] * WRITERS  # neither "database is locked" nor a warning about a backlog
    assert [process.returncode for process in processes] == [0] * WRITERS
    assert count(database, StepRow) == WRITERS * STEPS
    assert count(database, PointRow) == WRITERS * STEPS * METRICS
    assert {(item.state, item.step) for item in reader.runs().items} == {("done", STEPS)}
    assert reads > 1
    database.close()


def test_readers_and_writers_do_not_wait_for_each_other(url: str) -> None:
    """If a reader or writer waited here, it would wait until the store reports the database as unavailable."""
    database, other = open_database(url), open_database(url)
    about: dict[str, Any] = {"folder": "a", "steps": 1, "config": {}, "environment": {}}
    register_run(database, name="before", **about)
    reader = RunReader(other)
    with database.write() as connection:
        connection.execute(update(RunRow).values(name="meanwhile"))
        assert [run.name for run in reader.runs().items] == ["before"]
    with other.read() as connection:
        assert connection.execute(select(RunRow.name)).scalars().all() == ["meanwhile"]
        register_run(database, name="after", **about)
        assert connection.execute(select(RunRow.name)).scalars().all() == ["meanwhile"]
    assert reader.runs().total == 2
    database.close()
    other.close()


def test_a_killed_process_loses_only_what_it_recorded_since_its_last_flush(url: str) -> None:
    """The docs promise a loss of at most a second: the default time between flushes plus the write itself."""
    assert inspect.signature(RunWriter).parameters["flush_s"].default <= 0.5
    database = open_database(url)
    process = start_writer(url, "killed", 0)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    eventually(lambda: count(database, StepRow) == FIRST)  # flushed although the writer is open

    process.stdin.write("\n")
    process.stdin.flush()
    eventually(lambda: count(database, StepRow) > FIRST)
    before_kill = count(database, StepRow)
    process.kill()
    printed = process.communicate()[0].splitlines()
    stored = count(database, StepRow)
    assert before_kill <= stored <= FIRST + len(printed) + 1
    run = RunReader(database).run_by_name("killed")
    assert run is not None
    (series,) = RunReader(database).series([run.id], ["metric/0"], max_points=10**6)
    assert series.steps == tuple(range(stored))  # no step in between is missing
    assert count(database, PointRow) == METRICS * stored  # no step is stored in part
    database.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_postgresql_that_restarts_loses_nothing(
    server: PostgresServer, how: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database(server.new_database())
    run_id = register_run(database, name="demo", folder="/demo", steps=0, config={}, environment={})
    writer = RunWriter(database, run_id, flush_s=0.02)
    for step in range(900):
        if step == 300:
            server.stop(how)
            eventually(lambda: "does not answer" in caplog.text)
        if step == 600:  # the server is down all the while, because recording does not wait for it
            assert "the database is available again" not in caplog.text
            server.start()
        writer.step(step, float(step), {"kl": float(step)})
        writer.event("step", str(step))
        time.sleep(0.002)
    writer.close(600)
    reader = RunReader(database)
    (series,) = reader.series([run_id], ["kl"], max_points=1000)
    assert series.steps == tuple(range(900))
    assert series.mean == tuple(float(step) for step in range(900))
    messages = [event.message for event in reader.events(run_id, limit=2000)]
    assert messages == [str(step) for step in range(900)]
    assert caplog.text.count("Training continues") == 1
    database.close()
