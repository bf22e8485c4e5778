"""Fixtures: a Ray cluster that requires a token, and a folder and an environment for a test's own Ray cluster."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.runs import RAY


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Yield a folder for the test's own Ray cluster. Its path is short because Ray creates sockets in it."""
    folder = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ray_environment(ray_folder: Path) -> dict[str, str]:
    """Return an environment in which a command starts its own Ray cluster."""
    environment = os.environ | {"RAY_TMPDIR": str(ray_folder)}
    environment.pop("RAY_ADDRESS", None)
    return environment


@pytest.fixture
def cluster(ray_folder: Path) -> Iterator[dict[str, str]]:
    """Start a Ray cluster with token authentication; yield the environment in which `ray job submit` reaches it."""
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    heads: list[subprocess.Popen[bytes]] = []
    try:
        port = _start_head(ray_folder, environment, heads)
        yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}
    finally:
        for head in heads:
            _kill_tree(head)


def _start_head(
    folder: Path, environment: dict[str, str], heads: list[subprocess.Popen[bytes]], tries: int = 5
) -> int:
    """Start a head node, add it to `heads`, and return the port of its dashboard when that accepts connections.

    Ray exits if it has not started within 30 s, as may happen on a busy machine. Then it is started again.
    """
    for number in range(tries):
        port = _free_port()
        head = subprocess.Popen(
            [RAY, "start", "--head", "--block", f"--port={_free_port()}", f"--temp-dir={folder / str(number)}",
             "--num-cpus=2", "--min-worker-port=0", "--max-worker-port=0", f"--dashboard-port={port}",
             "--include-dashboard=true",
             # The default ports are fixed, so a second cluster on the machine would lack the agent that accepts jobs.
             f"--dashboard-agent-listen-port={_free_port()}", f"--dashboard-agent-grpc-port={_free_port()}",
             f"--metrics-export-port={_free_port()}"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        heads.append(head)
        while head.poll() is None:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            time.sleep(0.2)
    pytest.fail(f"no Ray head node started in {tries} tries")


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait(30)
