"""The dashboard that serves a folder of runs: found by a file in that folder, or started for as long as a run lasts."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.runs.folder import in_ray_working_copy
from cluster.terminal import Say
from store.database import database_url

_FIRST_PORT, _NUM_PORTS = 8470, 20
_START_TIMEOUT_S = 30.0  # only a thread waits this long; the run continues
_START_POLL_S = 0.2
_HEALTH_TIMEOUT_S = 2.0
_EXIT_TIMEOUT_S = 10.0
_RAY_JOB_ENV = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the driver of a job


@dataclass(frozen=True)
class Announcement:
    """A running dashboard, as a file in the folder of runs describes it. Only the file's owner can read it."""

    pid: int
    url: str  # address, with the operator's token if the dashboard created one when it started
    store: str  # digest of the URL of the database that it reads


@contextmanager
def announce_dashboard(runs_dir: Path, on_loopback: bool) -> Iterator[Say]:
    """Yield the function that a dashboard prints its address with.

    If the dashboard listens on loopback, the function also writes the address to a file in the folder of runs, which
    is deleted when the block ends.
    """
    file = _file(runs_dir)
    written: list[bytes] = []

    def say(text: str) -> None:
        print(text, flush=True)
        if on_loopback:
            entry = Announcement(os.getpid(), text.removeprefix("Dashboard: "), _store_digest(runs_dir))
            with suppress(OSError):  # the folder may be read-only
                written.append(_write(file, entry))

    try:
        yield say
    finally:
        with suppress(OSError):
            if written and file.read_bytes() == written[-1]:
                file.unlink()


@contextmanager
def dashboard_during_run(runs_dir: Path, say: Say, *, enabled: bool) -> Iterator[None]:
    """Serve a dashboard on this machine during the block, except inside a Ray job. Report a failure and continue.

    If a dashboard serves `runs_dir` already, its address is shown instead.
    """
    if not enabled or _RAY_JOB_ENV in os.environ or in_ray_working_copy():
        yield
        return
    if (running := find_dashboard(runs_dir)) is not None:
        say(f"Dashboard: {running.url}")
        yield
        return
    process = _start(runs_dir, say)
    if process is None:
        yield
        return
    # The web server takes seconds to import; the run does not wait for it.
    over = threading.Event()
    threading.Thread(target=_report_start, args=(process, runs_dir, say, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        served = find_dashboard(runs_dir) is not None
        _end(process)
        if served:
            say(f"The dashboard ended with the run. To see it again: videossr dashboard --runs {runs_dir}")


def find_dashboard(runs_dir: Path) -> Announcement | None:
    """Return this user's dashboard that serves `runs_dir`, or None if none responds."""
    try:
        with _file(runs_dir).open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():  # another user could name any address
                return None
            found = Announcement(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.store == _store_digest(runs_dir) and _is_healthy(found.url) else None


def _start(runs_dir: Path, say: Say) -> subprocess.Popen[bytes] | None:
    port = _free_port()
    if port is None:
        last = _FIRST_PORT + _NUM_PORTS - 1
        say(
            f"No dashboard: ports {_FIRST_PORT} to {last} are taken. Start one with `videossr dashboard --port 0`."
        )
        return None
    command = [sys.executable, "-m", "cluster", "dashboard", "--runs", str(runs_dir), "--port", str(port)]
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        with _log(runs_dir).open("wb") as log:
            return subprocess.Popen(
                [*command, "--until-input-ends"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # it prints its address, with the token
                stderr=log,
                start_new_session=True,  # Ctrl-C must reach only the run, which then ends the dashboard
            )
    except OSError as error:
        say(f"No dashboard: {error.filename}: {error.strerror}.")
        return None


def _report_start(process: subprocess.Popen[bytes], runs_dir: Path, say: Say, over: threading.Event) -> None:
    """Show the dashboard's address once it answers, or report that it did not start."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        found = find_dashboard(runs_dir)
        if found is not None and found.pid == process.pid:
            say(f"Dashboard: {found.url}")
            return
        if over.wait(_START_POLL_S):
            return
    if not over.is_set():
        say(f"No dashboard: it did not start. The run continues; see {_log(runs_dir)}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_EXIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _free_port() -> int | None:
    for port in range(_FIRST_PORT, _FIRST_PORT + _NUM_PORTS):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    return None


def _is_healthy(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with urllib.request.urlopen(
            f"{parts.scheme}://{parts.netloc}/healthz", timeout=_HEALTH_TIMEOUT_S
        ) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def _write(file: Path, entry: Announcement) -> bytes:
    text = json.dumps(asdict(entry)).encode()
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(text)
    partial.replace(file)
    return text


def _store_digest(runs_dir: Path) -> str:
    return hashlib.sha256(database_url(runs_dir).encode()).hexdigest()


def _file(runs_dir: Path) -> Path:
    return runs_dir / ".dashboard.json"


def _log(runs_dir: Path) -> Path:
    return runs_dir / ".dashboard.log"
