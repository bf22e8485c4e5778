"""Test of a run that the dashboard starts, from the queue to its end."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cluster.jobs.launchers import LocalLauncher
from store.database import Database, database_url, open_database
from store.reading.reader import RunReader
from store.records import RunDetail
from store.requests import add_request
from tests.integration.runs import HANG_S, ROOT, SMALL

# tests/unit/cluster/jobs also starts runs in this way, and test_recovery stops one.
pytestmark = pytest.mark.long


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(database_url(tmp_path / "runs"))
    yield database
    database.close()


def wait_until(holds: Callable[[], bool], timeout_s: float = HANG_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_run_before_its_first_step_stops_at_once_when_asked(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, ray_folder: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    launcher, reader = LocalLauncher(tmp_path / "runs", database), RunReader(database)
    text = (ROOT / "configs" / "demo.yaml").read_text()
    endless = ("warmup={target_score: 1.0, max_steps: 100000}", "name=early")
    launched = launcher.start(text, [*SMALL, *endless], "operator")
    process = psutil.Process(int(re.findall(r"process (\d+)", launched.message)[0]))

    def run() -> RunDetail:
        found = reader.run(launched.run_id)
        assert found is not None
        return found

    assert run().state == "queued"
    try:
        wait_until(lambda: any(event.message == "warming up" for event in reader.events(launched.run_id)))
        assert (run().state, run().folder) == ("running", str(tmp_path / "runs" / "early"))
        below = process.children(recursive=True)
        asked = add_request(database, launched.run_id, "stop", "operator")
        wait_until(lambda: run().state == "stopped")
        (request,) = reader.requests(launched.run_id).items
        assert (request.id, request.outcome) == (asked, "The run ends now, before its first step.")
        _, alive = psutil.wait_procs([process, *below], timeout=HANG_S)
        assert not alive
    finally:
        for left in [process, *process.children(recursive=True)] if process.is_running() else []:
            left.kill()
