"""Tests of queued runs: a launch, one attempt to start a run, takes over only that run."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from store.database import Database
from store.reading.reader import RunReader
from store.records import RunDetail, WorkerStatus
from store.requests import add_request, take_requests
from store.runs import (
    Launch,
    end_run,
    keep_queued,
    launch_of,
    queue_again,
    queue_run,
    register_run,
    rename_run,
)
from store.schema.tables import RunRow
from store.writing.writer import RunWriter
from tests.unit.store.examples import new_run

FOLDER = "/runs/demo"


@pytest.fixture
def reader(database: Database) -> RunReader:
    return RunReader(database)


def queued(database: Database, folder: str = "/runs/.launched/demo-1") -> Launch:
    launch = queue_run(database, name="demo", folder=folder, steps=10, config={}, job_id=None)
    assert launch is not None
    return launch


def registered(database: Database, launch: Launch | None) -> int:
    """Register the run as the process that `launch` started does."""
    return register_run(
        database, name="demo", folder=FOLDER, steps=10, config={}, environment={"pid": 7}, state="running",
        launch=launch,
    )  # fmt: skip


def run(reader: RunReader, run_id: int) -> RunDetail:
    found = reader.run(run_id)
    assert found is not None
    return found


def test_a_launch_takes_over_its_queued_run(database: Database, reader: RunReader) -> None:
    launch = queued(database)
    assert (run(reader, launch.run_id).state, run(reader, launch.run_id).started_at) == ("queued", None)
    assert Launch.parse(str(launch)) == launch
    assert registered(database, launch) == launch.run_id
    found = run(reader, launch.run_id)
    assert (found.state, found.folder, found.environment["pid"]) == ("running", FOLDER, 7)
    assert found.started_at is not None
    assert launch_of(found.id, found.environment) == launch  # the process that started it still recognises it


def test_of_several_starts_of_one_name_at_once_one_succeeds(database: Database, reader: RunReader) -> None:
    def start(number: int) -> Launch | None:
        return queue_run(database, name="demo", folder=f"f{number}", steps=10, config={}, job_id=None)

    with ThreadPoolExecutor(8) as pool:
        launches = list(pool.map(start, range(8)))
    assert sum(launch is not None for launch in launches) == 1
    assert reader.runs().total == 1


def test_a_resumed_run_loses_its_earlier_workers(database: Database, reader: RunReader) -> None:
    run_id = registered(database, None)
    writer = RunWriter(database, run_id)
    writer.worker(WorkerStatus(role="learner", index=0, node="a", updated_at=1.0))
    writer.state("stopped")
    writer.close()
    assert len(reader.workers(run_id)) == 1
    assert registered(database, queue_again(database, run_id)) == run_id
    assert reader.workers(run_id) == []


@pytest.mark.parametrize("text", ["", "3", "3:", ":a", "-1:a", "x:a", "٣:a"])
def test_other_texts_are_not_parsed_as_a_launch(text: str) -> None:
    assert Launch.parse(text) is None


def test_a_launch_of_another_store_takes_over_no_run(database: Database, reader: RunReader) -> None:
    strangers = queued(database)
    ended = new_run(database, "baseline", state="done")
    for launch in (Launch(strangers.run_id, "of-elsewhere"), Launch(ended, ""), Launch(99, "a")):
        assert registered(database, launch) not in (strangers.run_id, ended)
        assert not end_run(database, launch, "failed", "it died", only=("queued",))
    assert (run(reader, ended).name, run(reader, ended).state) == ("baseline", "done")
    assert run(reader, strangers.run_id).state == "queued"


def test_an_earlier_run_whose_folder_was_deleted_gives_up_its_name(
    database: Database, reader: RunReader
) -> None:
    earlier = registered(database, None)
    launch = queued(database)
    assert registered(database, launch) == launch.run_id
    assert run(reader, launch.run_id).folder == FOLDER
    assert run(reader, earlier).name == f"demo-deleted-{earlier}"
    assert reader.run_by_name("demo") == run(reader, launch.run_id)


def test_of_many_callers_at_once_one_gets_the_launch_of_a_queued_run(
    database: Database, reader: RunReader
) -> None:
    run_id = new_run(database, state="failed")
    with ThreadPoolExecutor(8) as pool:
        launches = list(pool.map(lambda _: queue_again(database, run_id, job_id="job"), range(8)))
    (launch,) = [launch for launch in launches if launch is not None]
    found = run(reader, run_id)
    assert (found.state, found.job_id, launch_of(run_id, found.environment)) == ("queued", "job", launch)


def test_only_an_ended_or_silent_run_is_queued_again(database: Database) -> None:
    for state in ("queued", "running", "done"):
        assert queue_again(database, new_run(database, state, state=state)) is None
    assert queue_again(database, 99) is None
    silent = new_run(database, "silent", state="running")
    with database.write() as connection:
        long_ago = {"heartbeat_at": 1.0, "started_at": 1.0, "created_at": 1.0}
        connection.execute(update(RunRow).where(RunRow.id == silent).values(long_ago))
    assert queue_again(database, silent) is not None


def test_requests_to_an_ended_run_are_discarded_when_it_is_queued_again(
    database: Database, reader: RunReader
) -> None:
    run_id = new_run(database, state="running")
    number = add_request(database, run_id, "stop", "ann")
    writer = RunWriter(database, run_id)
    writer.state("failed", "killed")
    writer.close()
    resume = add_request(database, run_id, "resume", "ann")
    assert queue_again(database, run_id) is not None
    assert take_requests(database, run_id) == []
    answers = {request.id: request.outcome for request in reader.requests(run_id).items}
    assert answers == {number: "The run ended before it received this request: ask again.", resume: None}
    later = add_request(database, run_id, "stop", "ann")  # while it is queued
    assert [request.id for request in take_requests(database, run_id)] == [later]


def test_an_end_is_recorded_only_for_the_current_launch(database: Database, reader: RunReader) -> None:
    first = queued(database)
    assert end_run(database, first, "failed", "it died", only=("queued",))
    found = run(reader, first.run_id)
    assert (found.state, found.failure, found.ended_at is not None) == ("failed", "it died", True)
    assert [(event.kind, event.message) for event in reader.events(found.id)] == [("failed", "it died")]
    second = queue_again(database, first.run_id)
    assert second is not None
    assert not end_run(database, first, "failed", "late news", only=("queued", "running"))
    assert not end_run(database, second, "stopped", "too early", only=("running",))
    assert run(reader, first.run_id).state == "queued"


def test_the_process_that_starts_a_queued_run_keeps_it_alive(database: Database, reader: RunReader) -> None:
    launch = queued(database)

    def beat(by: Launch) -> float | None:
        with database.write() as connection:
            connection.execute(update(RunRow).values(heartbeat_at=1.0, created_at=1.0))
        assert run(reader, launch.run_id).state == "stalled"
        keep_queued(database, by)
        return run(reader, launch.run_id).heartbeat_at

    assert beat(Launch(launch.run_id, "another")) == 1.0
    assert (beat(launch) or 0) > 1.0
    assert run(reader, launch.run_id).state == "queued"


def test_a_run_is_renamed_with_its_folder(database: Database, reader: RunReader) -> None:
    run_id = registered(database, None)
    rename_run(database, FOLDER, new_name="demo-old", new_folder=f"{FOLDER}-old")
    assert (run(reader, run_id).name, run(reader, run_id).folder) == ("demo-old", f"{FOLDER}-old")
