"""A dashboard beside a run: found by a file in the folder of runs, or started for as long as the run lasts."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.runs.folder import in_ray_working_copy
from store.database import database_url

Say = Callable[[str], None]

_FIRST_PORT, _PORTS = 8470, 20
_START_S = 30.0  # that it may take to answer; the run does not wait for it
_ANSWER_S = 2.0
_END_S = 10.0
_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # that Ray sets for the drivers of its jobs


@dataclass(frozen=True)
class Announcement:
    """A dashboard that serves a folder of runs, as it stands in a file there which only its owner can read."""

    pid: int
    url: str  # with the operator's token, if it was made for this start
    store: str  # which database it reads, as a digest


@contextmanager
def announced(runs_dir: Path, on_loopback: bool) -> Iterator[Say]:
    """For a dashboard: its `say`, which prints, and leaves the address in the folder of runs until it ends."""
    file = _file(runs_dir)
    mine: list[bytes] = []

    def say(text: str) -> None:
        print(text, flush=True)
        if on_loopback:
            entry = Announcement(os.getpid(), text.removeprefix("Dashboard: "), _store(runs_dir))
            with suppress(OSError):  # a folder that can only be read
                mine.append(_write(file, entry))

    try:
        yield say
    finally:
        with suppress(OSError):
            if mine and file.read_bytes() == mine[-1]:
                file.unlink()


@contextmanager
def dashboard_beside(runs_dir: Path, say: Say, *, enabled: bool) -> Iterator[None]:
    """Show runs on a page of this machine while the block lasts. Never in a Ray job, and never a reason to fail.

    A dashboard that serves `runs_dir` already is named, and left alone.
    """
    if not enabled or _RAY_JOB in os.environ or in_ray_working_copy():
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
    # Importing a web server takes seconds, which the run has better uses for.
    over = threading.Event()
    threading.Thread(target=_tell, args=(process, runs_dir, say, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        served = find_dashboard(runs_dir) is not None
        _end(process)
        if served:
            say(f"The dashboard has ended with the run. See it again: videossr dashboard --runs {runs_dir}")


def find_dashboard(runs_dir: Path) -> Announcement | None:
    """The dashboard that serves `runs_dir`, if one of this user's answers."""
    try:
        with _file(runs_dir).open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():  # others could name any address
                return None
            found = Announcement(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.store == _store(runs_dir) and _answers(found.url) else None


def _start(runs_dir: Path, say: Say) -> subprocess.Popen[bytes] | None:
    port = _free_port()
    if port is None:
        last = _FIRST_PORT + _PORTS - 1
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
                stdout=subprocess.DEVNULL,  # its address, with the token
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the run, which then ends this one
            )
    except OSError as error:
        say(f"No dashboard: {error.filename}: {error.strerror}.")
        return None


def _tell(process: subprocess.Popen[bytes], runs_dir: Path, say: Say, over: threading.Event) -> None:
    """Say where it is once it answers, or that it does not."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = find_dashboard(runs_dir)
        if found is not None and found.pid == process.pid:
            say(f"Dashboard: {found.url}")
            return
        if over.wait(0.2):
            return
    if not over.is_set():
        say(f"No dashboard: it did not start. The run goes on; {_log(runs_dir)} says more.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _free_port() -> int | None:
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    return None


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with urllib.request.urlopen(f"{parts.scheme}://{parts.netloc}/healthz", timeout=_ANSWER_S) as answer:
            return bool(answer.status == 200)
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


def _store(runs_dir: Path) -> str:
    return hashlib.sha256(database_url(runs_dir).encode()).hexdigest()


def _file(runs_dir: Path) -> Path:
    return runs_dir / ".dashboard.json"


def _log(runs_dir: Path) -> Path:
    return runs_dir / ".dashboard.log"
