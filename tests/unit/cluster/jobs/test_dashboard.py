"""Tests of `videossr dashboard` and of the dashboard that `videossr train` starts for a run."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from cluster.cli.main import main
from cluster.jobs.dashboard_process import dashboard_during_run, find_dashboard

RUN_WITH_DASHBOARD = """
import sys, time
from pathlib import Path
from cluster.jobs.dashboard_process import dashboard_during_run
with dashboard_during_run(Path(sys.argv[1]), lambda text: print(text, flush=True), enabled=True):
    time.sleep(300)
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("VIDEOSSR_DB", "VIDEOSSR_TOKEN", "VIDEOSSR_READ_TOKEN", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def until(condition: Callable[[], object], timeout_s: float = 600) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def get(url: str, path: str, token: str = "") -> dict[str, object]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://{urlsplit(url).netloc}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=300) as response:
        found: dict[str, object] = json.loads(response.read())
        return found


def test_a_run_starts_a_dashboard_and_the_next_run_shares_it(tmp_path: Path) -> None:
    said: list[str] = []
    with dashboard_during_run(tmp_path, said.append, enabled=True):
        until(lambda: said)
        url = said[0].removeprefix("Dashboard: ")
        address, token = url.split("#token=")
        columns = get(url, "/api/benchmarks")["columns"]  # the paper's columns, without any evaluation
        assert isinstance(columns, list)
        assert [column["published"] for column in columns][:2] == [29.0, 24.6]
        assert address.startswith("http://127.0.0.1:84")
        assert get(url, "/healthz") == {"status": "ok"}
        me = get(url, "/api/me", token)
        assert (me["role"], me["can_start"]) == ("operator", True)
        assert "demo" in me["configs"]  # type: ignore[operator]
        assert stat.S_IMODE((tmp_path / ".dashboard.json").stat().st_mode) == 0o600

        found = find_dashboard(tmp_path)
        assert found is not None
        with dashboard_during_run(tmp_path, said.append, enabled=True):
            assert said[1:] == [f"Dashboard: {url}"]
        assert get(url, "/healthz") == {"status": "ok"}  # from the first dashboard, which still runs
        with pytest.MonkeyPatch.context() as patch:  # this process now uses another store
            patch.setenv("VIDEOSSR_DB", f"sqlite:///{tmp_path}/other.db")
            assert find_dashboard(tmp_path) is None
    assert not psutil.pid_exists(found.pid)
    assert not (tmp_path / ".dashboard.json").exists()
    assert (tmp_path / ".dashboard.log").read_text() == ""


def test_a_dashboard_ends_when_its_run_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN_WITH_DASHBOARD, str(tmp_path)], stdout=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline().startswith(b"Dashboard: http://127.0.0.1:84")
        found = find_dashboard(tmp_path)
        assert found is not None
        run.kill()
        until(lambda: not psutil.pid_exists(found.pid), 30)


def test_there_is_no_dashboard_in_a_ray_job_or_when_disabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with dashboard_during_run(tmp_path / "runs", said.append, enabled=False):
        pass
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with dashboard_during_run(tmp_path / "runs", said.append, enabled=True):
        pass
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR")
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "x"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with dashboard_during_run(tmp_path / "runs", said.append, enabled=True):
        pass
    assert said == []
    assert not (tmp_path / "runs").exists()


def test_a_stale_or_damaged_announcement_is_ignored(tmp_path: Path) -> None:
    assert find_dashboard(tmp_path) is None
    for text in ("", "[]", "{}", '{"pid": 1, "url": "http://127.0.0.1:9/", "store": ""}'):
        (tmp_path / ".dashboard.json").write_text(text)
        assert find_dashboard(tmp_path) is None


def test_a_dashboard_that_does_not_start_is_reported_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSSR_DB", "mysql://host/db")
    said: list[str] = []
    with dashboard_during_run(tmp_path, said.append, enabled=True):
        until(lambda: said)
    assert said == [f"No dashboard: it did not start. The run continues; see {tmp_path / '.dashboard.log'}."]
    assert "SQLite or PostgreSQL" in (tmp_path / ".dashboard.log").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--host", "0.0.0.0"],
            "--host=0.0.0.0: others could reach the dashboard there, so it needs a token",
        ),
        (["--port", "70000"], "--port=70000: ports go from 0 to 65535"),
    ],
)
def test_unsafe_options_are_refused(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboard", "--runs", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_dashboard_serves_until_it_is_stopped(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "cluster", "dashboard", "--runs", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = line.removeprefix("Dashboard: ").strip()
        assert get(url, "/readyz") == {"status": "ok"}
        found = find_dashboard(tmp_path)
        assert found is not None
        assert (found.pid, found.url) == (server.pid, url)
        os.kill(server.pid, how)
        out, err = server.communicate(timeout=600)
        assert (server.returncode, out, err) == (0, "", "")
    assert not (tmp_path / ".dashboard.json").exists()
