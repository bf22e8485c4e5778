"""The run store between processes: many writers and a reader, a killed writer, a database that goes away."""

import os
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
from store.schema.tables import Point, Run, Step
from store.writing.writer import RunWriter
from tests.contract.store_process import METRICS
from tests.unit.store.postgres import PostgresServer, running_server

ROOT = Path(__file__).parents[2]
WRITERS, STEPS = 8, 2000


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
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def count(database: Database, table: type[Point] | type[Step]) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def eventually(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def test_many_writers_lose_nothing_while_somebody_reads(url: str) -> None:
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
    said = [process.communicate()[1] for process in processes]
    assert said == [""] * WRITERS  # no "database is locked", nothing kept back
    assert [process.returncode for process in processes] == [0] * WRITERS
    assert count(database, Step) == WRITERS * STEPS
    assert count(database, Point) == WRITERS * STEPS * METRICS
    assert {(item.state, item.step) for item in reader.runs().items} == {("done", STEPS)}
    assert reads > 1
    database.close()


def test_a_reader_waits_for_no_writer_and_no_writer_for_a_reader(url: str) -> None:
    """Who waited for the other here would wait for ever, and be told that the database is away."""
    database, other = open_database(url), open_database(url)
    about: dict[str, Any] = {"folder": "a", "steps": 1, "config": {}, "environment": {}}
    register_run(database, name="before", **about)
    reader = RunReader(other)
    with database.write() as connection:
        connection.execute(update(Run).values(name="meanwhile"))
        assert [run.name for run in reader.runs().items] == ["before"]
    with other.read() as connection:
        assert connection.execute(select(Run.name)).scalars().all() == ["meanwhile"]
        register_run(database, name="after", **about)
        assert connection.execute(select(Run.name)).scalars().all() == ["meanwhile"]
    assert reader.runs().total == 2
    database.close()
    other.close()


def test_a_killed_process_loses_at_most_a_second(url: str) -> None:
    """In one of three tries: where the machine has no time for a write, that takes a second by itself."""
    database = open_database(url)
    lost = []
    while not lost or (lost[-1] and len(lost) < 3):
        said = _said_until_killed(url, f"killed-{len(lost)}")
        run = RunReader(database).run_by_name(f"killed-{len(lost)}")
        assert run is not None
        (series,) = RunReader(database).series([run.id], ["metric/0"], max_points=10**6)
        early = {step for step, time_s in said.items() if time_s < max(said.values()) - 1.0}
        assert early
        lost.append(len(early - set(series.steps)))
    assert lost[-1] == 0, lost
    assert count(database, Point) == METRICS * count(database, Step)  # no step is there by half
    database.close()


def _said_until_killed(url: str, name: str) -> dict[int, float]:
    """What a writer said before it was killed: when it recorded which step."""
    process = start_writer(url, name, 0)
    assert process.stdout is not None
    lines = [process.stdout.readline().split()]
    while float(lines[-1][1]) < float(lines[0][1]) + 4:  # several writes
        lines.append(process.stdout.readline().split())
    os.kill(process.pid, signal.SIGKILL)
    lines += [line.split() for line in process.stdout.readlines()]
    process.wait()
    return {int(line[0]): float(line[1]) for line in lines if len(line) == 2}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_postgresql_that_restarts_loses_nothing(
    server: PostgresServer, how: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database(server.new_database())
    run_id = register_run(database, name="demo", folder="/demo", steps=0, config={}, environment={})
    writer = RunWriter(database, run_id, flush_s=0.02)
    longest_s = 0.0
    for step in range(900):
        if step == 300:
            server.stop(how)
            eventually(lambda: "does not answer" in caplog.text)
        if step == 600:
            server.start()
        started = time.monotonic()
        writer.step(step, float(step), {"kl": float(step)})
        writer.event("step", str(step))
        longest_s = max(longest_s, time.monotonic() - started)
        time.sleep(0.002)
    assert longest_s < 1.0  # a call waits for no server
    writer.close(60)
    reader = RunReader(database)
    (series,) = reader.series([run_id], ["kl"], max_points=1000)
    assert series.steps == tuple(range(900))
    assert series.mean == tuple(float(step) for step in range(900))
    assert [event.message for event in reader.events(run_id, limit=2000)] == [
        str(step) for step in range(900)
    ]
    assert caplog.text.count("The run goes on") == 1
    database.close()
