"""Tests that RunWriter stores every entry once, and that its caller never waits for the database."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from store.database import Database, open_database
from store.reading.reader import RunReader
from store.records import EvaluationRecord, WorkerStatus
from store.writing.backlog import Backlog, EventEntry, StepEntry
from store.writing.write import metric_ids, write_backlog
from store.writing.writer import RunWriter
from tests.unit.store.examples import group, new_run, write


@pytest.fixture
def run_id(database: Database) -> int:
    return new_run(database)


@pytest.fixture
def reader(database: Database) -> RunReader:
    return RunReader(database)


@pytest.fixture
def writer(database: Database, run_id: int) -> Iterator[RunWriter]:
    writer = RunWriter(database, run_id, flush_s=0.02)
    yield writer
    writer.close()


def eventually(holds: Callable[[], bool], timeout_s: float = 600.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def values(reader: RunReader, run_id: int, name: str) -> dict[int, float | None]:
    series = reader.series([run_id], [name])
    return dict(zip(series[0].steps, series[0].mean, strict=True)) if series else {}


def test_everything_written_is_read_back(writer: RunWriter, reader: RunReader, run_id: int) -> None:
    status = WorkerStatus(role="rollout", index=1, node="a", gpu="0", pid=3, queue=2, updated_at=5.0)
    evaluation = EvaluationRecord(
        stage="before", step=0, task="jigsaw", scores={"greedy": 0.5, "broken": math.nan}
    )
    writer.state("running")
    writer.step(0, 10.0, {"reward/jigsaw": 0.25, "kl": 0.5})
    writer.event("stage", "training", 3.0)
    writer.worker(status)
    writer.group(group(0))
    writer.evaluation(evaluation)
    writer.close()
    detail = reader.run(run_id)
    assert detail is not None
    assert (detail.step, detail.steps, detail.last_rewards) == (1, 100, {"jigsaw": 0.25})
    assert detail.metric_names == ("kl", "reward/jigsaw")
    assert detail.config == {"train": {"steps": 100}}
    assert detail.heartbeat_at is not None
    assert [(event.time, event.kind, event.message) for event in reader.events(run_id)] == [
        (3.0, "stage", "training")
    ]
    assert reader.workers(run_id) == [status]
    stored = reader.group(run_id, reader.groups(run_id).items[0].id)
    assert stored is not None
    assert stored.model_dump(exclude={"id", "run_id"}) == group(0).model_dump()
    assert reader.evaluations(run_id)[0].scores == {"greedy": 0.5, "broken": None}


def test_values_that_are_not_finite_are_stored_as_null(
    writer: RunWriter, reader: RunReader, run_id: int
) -> None:
    writer.step(0, 1.0, {"loss": math.nan, "kl": math.inf, "entropy": 1.0})
    writer.close()
    assert values(reader, run_id, "loss") == {0: None}
    assert values(reader, run_id, "kl") == {0: None}
    assert values(reader, run_id, "entropy") == {0: 1.0}


def test_texts_that_a_database_would_refuse_are_cleaned(
    writer: RunWriter, reader: RunReader, run_id: int
) -> None:
    writer.event("stage", "zero \0, half a pair \ud800")
    writer.group(group(0, question="\0"))
    writer.close()
    assert reader.events(run_id)[0].message == "zero \ufffd, half a pair ?"
    assert reader.groups(run_id).items[0].question == "\ufffd"


def test_steps_recorded_again_are_stored_once(database: Database, reader: RunReader, run_id: int) -> None:
    for value in (1.0, 2.0):
        write(database, run_id, [(step, value, {"kl": value}) for step in range(5)])
        writer = RunWriter(database, run_id)
        writer.group(group(3, rewards=(0.0, value)))
        writer.evaluation(EvaluationRecord(stage="during", step=2, task="jigsaw", scores={"greedy": value}))
        writer.close()
    assert values(reader, run_id, "kl") == dict.fromkeys(range(5), 2.0)
    assert reader.series([run_id], ["kl"])[0].times == (2.0,) * 5
    assert [item.spread for item in reader.groups(run_id).items] == [2.0]
    assert [record.scores for record in reader.evaluations(run_id)] == [{"greedy": 2.0}]


def test_a_resumed_run_forgets_later_steps(database: Database, reader: RunReader, run_id: int) -> None:
    first = RunWriter(database, run_id)
    for step in range(6):
        first.step(step, float(step), {"kl": 1.0})
        first.group(group(step))
        first.group(group(step, "held-out-during-0", held_out=True))
        first.evaluation(EvaluationRecord(stage="during", step=step, task="jigsaw", scores={}))
    first.state("failed", "out of memory")
    first.close()
    assert new_run(database) == run_id
    second = RunWriter(database, run_id)
    second.drop_after(2)  # resumes from the checkpoint after three steps
    second.state("running")
    second.close()
    detail = reader.run(run_id)
    assert detail is not None
    assert (detail.step, detail.state, detail.failure, detail.ended_at) == (3, "running", None, None)
    assert list(values(reader, run_id, "kl")) == [0, 1, 2]
    kept = {held_out: {step for step, kind, *_ in reader.group_steps(run_id) if kind == held_out} for held_out in
            (False, True)}  # fmt: skip
    assert kept == {False: {0, 1, 2}, True: {0, 1, 2, 3}}
    assert [record.step for record in reader.evaluations(run_id)] == [0, 1, 2, 3]


def test_forgetting_concerns_only_the_run_itself(database: Database, reader: RunReader, run_id: int) -> None:
    other = new_run(database, "other")
    write(database, other, [(step, 0.0, {"kl": 1.0}) for step in range(3)])
    writer = RunWriter(database, run_id)
    writer.drop_after(-1)
    writer.close()
    assert len(values(reader, other, "kl")) == 3


def test_states_are_stored_with_their_times(database: Database, reader: RunReader, run_id: int) -> None:
    now = [100.0]
    writer = RunWriter(database, run_id, flush_s=0.02, clock=lambda: now[0])
    writer.state("running")
    eventually(lambda: reader.runs().items[0].started_at == 100.0)
    now[0] = 200.0
    writer.state("running")  # again: it has been running since 100
    writer.event("stage", "training")
    eventually(lambda: bool(reader.events(run_id)))
    writer.state("failed", "a worker died")
    writer.close()
    item = reader.runs().items[0]
    assert (item.state, item.failure, item.started_at, item.ended_at) == (
        "failed",
        "a worker died",
        100.0,
        200.0,
    )


def test_heartbeats_come_without_entries(
    database: Database, run_id: int, reader: RunReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.writing.writer.HEARTBEAT_S", 0.1)
    writer = RunWriter(database, run_id, flush_s=0.02)
    registered = reader.runs().items[0].heartbeat_at
    eventually(lambda: reader.runs().items[0].heartbeat_at != registered)
    first = reader.runs().items[0].heartbeat_at
    eventually(lambda: reader.runs().items[0].heartbeat_at != first)
    writer.close()


def test_entries_cause_no_extra_heartbeats(
    writer: RunWriter, run_id: int, reader: RunReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.writing.writer.HEARTBEAT_S", 1e6)  # only the first one comes
    registered = reader.runs().items[0].heartbeat_at
    eventually(lambda: reader.runs().items[0].heartbeat_at != registered)
    first = reader.runs().items[0].heartbeat_at
    writer.event("stage", "training")
    eventually(lambda: bool(reader.events(run_id)))
    assert reader.runs().items[0].heartbeat_at == first


def test_entries_written_again_after_an_unconfirmed_commit_are_stored_once(
    database: Database, run_id: int, reader: RunReader
) -> None:
    backlog = Backlog()
    backlog.add_step(0, StepEntry(1.0, {"kl": 1.0}))
    backlog.add_event(EventEntry(1.0, "stage", "training"))
    backlog.add_group(group(0))
    with database.write() as connection:
        ids = metric_ids(connection, ["kl"])
    for _ in range(2):
        with database.write() as connection:
            write_backlog(connection, run_id, backlog, ids)
    assert values(reader, run_id, "kl") == {0: 1.0}
    assert len(reader.events(run_id)) == reader.groups(run_id).total == 1


def test_no_call_waits_for_a_locked_database(tmp_path: Path) -> None:
    database, other = (open_database(f"sqlite:///{tmp_path}/x.db") for _ in range(2))
    run_id = new_run(database)
    with other.write():  # this thread holds the lock, so a call that waited for it would never return
        writer = RunWriter(database, run_id, flush_s=0.02)
        for step in range(50):
            writer.step(step, float(step), {"kl": 1.0})
            writer.group(group(step))
        writer.event("stage", "training")
        writer.state("running")
        assert not RunReader(database).events(run_id)
    writer.close()
    assert len(values(RunReader(database), run_id, "kl")) == 50


def test_nothing_is_lost_while_the_database_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("store.database.SQLITE_BUSY_TIMEOUT_MS", 50)
    database, other = (open_database(f"sqlite:///{tmp_path}/x.db") for _ in range(2))
    run_id = new_run(database)
    writer = RunWriter(database, run_id, flush_s=0.02)
    with caplog.at_level(logging.WARNING, logger="store.writing.writer"):
        with other.write():
            for step in range(200):
                writer.step(step, float(step), {"kl": 1.0})
                time.sleep(0.003)  # so that some entries are added during an attempt to write
            eventually(lambda: "does not answer" in caplog.text)
        eventually(lambda: len(values(RunReader(database), run_id, "kl")) == 200)
        writer.close()
    assert caplog.text.count("does not answer (database is locked)") == 1
    assert caplog.text.count("is available again") == 1


def test_nothing_is_lost_while_the_disk_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = open_database(f"sqlite:///{tmp_path}/x.db")
    run_id = new_run(database)

    def allow(pages: int) -> None:  # SQLite then fails as on a full disk
        connection = database.engine.raw_connection()
        connection.cursor().execute(f"PRAGMA max_page_count = {pages}")
        connection.close()

    allow(1)  # on the pool's only connection, before the writer uses it
    writer = RunWriter(database, run_id, flush_s=0.02)
    for step in range(200):
        writer.step(step, 0.0, {f"metric {number}": 1.0 for number in range(20)})
    eventually(lambda: "does not answer (database or disk is full)" in caplog.text)
    allow(1_000_000)
    eventually(lambda: len(values(RunReader(database), run_id, "metric 19")) == 200)
    writer.close()


def test_when_the_backlog_is_full_groups_are_dropped_first_and_an_event_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.database.SQLITE_BUSY_TIMEOUT_MS", 50)
    database, other = (open_database(f"sqlite:///{tmp_path}/x.db") for _ in range(2))
    run_id = new_run(database)
    with other.write():
        writer = RunWriter(database, run_id, flush_s=0.02, max_backlog_bytes=20_000)
        for step in range(100):
            writer.step(step, 0.0, {"kl": 1.0})
            writer.group(group(step))
        time.sleep(0.3)
    writer.close()
    reader = RunReader(database)
    left = values(reader, run_id, "kl")
    assert 99 in left
    assert 0 not in left
    assert not reader.group_steps(run_id)
    event = reader.events(run_id)[0]
    assert event.kind == "record_lost"
    assert f"100 sampled groups, {100 - len(left)} steps' metrics" in event.message


def test_a_refused_entry_does_not_affect_others(
    writer: RunWriter, reader: RunReader, run_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    writer.step(0, 1.0, {"kl": 1.0})
    writer.group(group(2**70))  # no database can store such a large number
    writer.event("stage", "training")
    writer.close()
    assert values(reader, run_id, "kl") == {0: 1.0}
    assert len(reader.events(run_id)) == 1
    assert "1 entries were refused" in caplog.text


def test_writing_to_a_deleted_run_only_logs(
    database: Database, run_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM runs"))
    write(database, run_id, [(0, 1.0, {"kl": 1.0})])
    assert "an entry was refused and is not stored" in caplog.text
    assert "closed before all entries were written" not in caplog.text
