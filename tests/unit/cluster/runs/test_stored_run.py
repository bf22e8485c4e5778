"""Tests of StoredRun: a run's row in the store, from its launch to its end."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.config.errors import ConfigError
from cluster.config.load import build_config
from cluster.config.schema import Config
from cluster.runs import stored_run as module
from cluster.runs.stored_run import LAUNCH_ENV, RunRegistration
from store.database import Database, database_url, open_database
from store.reading.reader import RunReader
from store.records import RunDetail
from store.requests import add_request
from store.runs import Launch, queue_run


def config() -> Config:
    return build_config({"name": "mine", "train": {"steps": 3}})


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIDEOSSR_DB", LAUNCH_ENV):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_REQUEST_POLL_S", 0.0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(database_url(tmp_path))
    yield database
    database.close()


def queue(database: Database, monkeypatch: pytest.MonkeyPatch) -> Launch:
    launch = queue_run(database, name="mine", folder="job 1", steps=3, config={}, job_id=None)
    assert launch is not None
    monkeypatch.setenv(LAUNCH_ENV, str(launch))
    return launch


def stored(database: Database, name: str = "mine") -> RunDetail:
    run = RunReader(database).run_by_name(name)
    assert run is not None
    return run


def outcomes(database: Database, run: RunDetail) -> list[str | None]:
    return [request.outcome for request in RunReader(database).requests(run.id).items]


def test_a_run_ends_as_done_stopped_or_failed(tmp_path: Path, database: Database) -> None:
    with RunRegistration(tmp_path, print).recording(config(), tmp_path / "mine"):
        assert (stored(database).state, stored(database).steps) == ("running", 3)
    assert stored(database).state == "done"
    with RunRegistration(tmp_path, print).recording(config(), tmp_path / "mine") as stored_run:
        stored_run.was_stopped = True
    assert stored(database).state == "stopped"
    broken = pytest.raises(RuntimeError, match="it broke")
    with broken, RunRegistration(tmp_path, print).recording(config(), tmp_path / "mine"):
        raise RuntimeError("it broke")
    assert (stored(database).state, stored(database).failure) == ("failed", "it broke")


def test_a_queued_run_that_is_refused_has_failed(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue(database, monkeypatch)
    with pytest.raises(ConfigError), RunRegistration(tmp_path, print).reporting_launch():
        raise ConfigError("name", "mine", "is refused", "Choose another")
    assert (stored(database).state, stored(database).failure) == (
        "failed",
        "name='mine': is refused. Choose another.",
    )


def test_a_queued_run_takes_over_its_row_and_keeps_its_requests(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = queue(database, monkeypatch)
    add_request(database, launch.run_id, "stop", "somebody")
    with RunRegistration(tmp_path, print).recording(config(), tmp_path / "mine") as stored_run:
        assert (stored(database).id, stored(database).state) == (launch.run_id, "running")
        (request,) = stored_run.new_requests()
        stored_run.answer(request, "It stops.")
    assert outcomes(database, stored(database)) == ["It stops."]


def test_requests_to_an_earlier_attempt_are_discarded(tmp_path: Path, database: Database) -> None:
    with RunRegistration(tmp_path, print).recording(config(), tmp_path / "mine"):
        add_request(database, stored(database).id, "checkpoint", "somebody")
    with RunRegistration(tmp_path, print).recording(config(), tmp_path / "mine") as stored_run:
        assert stored_run.new_requests() == []
    assert outcomes(database, stored(database)) == ["The run has started again since then. Request it again."]


def prepare_and_request_to_stop(tmp_path: Path, database: Database) -> None:
    registration = RunRegistration(tmp_path, print)
    with registration.recording(config(), tmp_path / "mine") as stored_run, stored_run.stopping_at_once():
        add_request(database, stored(database).id, "stop", "somebody")
        time.sleep(60)  # the stop request interrupts it


def test_a_stop_request_during_preparation_acts_like_ctrl_c(tmp_path: Path, database: Database) -> None:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(module, "_REQUEST_POLL_S", 0.05)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            prepare_and_request_to_stop(tmp_path, database)
    finally:
        signal.signal(signal.SIGTERM, before)
        monkeypatch.undo()
    assert stored(database).state == "stopped"
    assert outcomes(database, stored(database)) == ["The run ends now, before its first step."]


def test_an_earlier_run_of_the_name_is_renamed_in_the_store(tmp_path: Path, database: Database) -> None:
    said: list[str] = []
    with RunRegistration(tmp_path, print).recording(config(), tmp_path / "mine"):
        pass
    RunRegistration(tmp_path, said.append).rename_earlier_run(tmp_path / "mine", tmp_path / "mine-1")
    assert stored(database, "mine-1").folder == str(tmp_path / "mine-1")
    assert said == ["An earlier run has this name; it is kept as mine-1."]


def test_a_run_without_a_store_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOSSR_DB", "mysql://host/db")
    said: list[str] = []
    registration = RunRegistration(tmp_path, said.append)
    with registration.reporting_launch(), registration.recording(config(), tmp_path / "mine") as stored_run:
        assert stored_run.address is None
        assert stored_run.new_requests() == []
        stored_run.event("stage", "training")
    assert len(said) == 1
    assert said[0].startswith("The run store cannot be written, so the dashboard will not show this run: ")
