"""A running Ray cluster that demands a token, and folders for Ray."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

RAY = str(Path(sys.executable).with_name("ray"))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for the test's own Ray cluster, with a short path because Ray makes sockets in it."""
    folder = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ray_environment(ray_folder: Path) -> dict[str, str]:
    """An environment in which a command starts its own Ray cluster."""
    environment = os.environ | {"RAY_TMPDIR": str(ray_folder)}
    environment.pop("RAY_ADDRESS", None)
    return environment


@pytest.fixture
def cluster(ray_folder: Path) -> Iterator[dict[str, str]]:
    """A Ray cluster with token authentication; yields the environment in which `ray job submit` reaches it."""
    port = _free_port()
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    head = subprocess.Popen(
        [RAY, "start", "--head", "--block", f"--port={_free_port()}", f"--temp-dir={ray_folder}", "--num-cpus=2",
         "--min-worker-port=0", "--max-worker-port=0", f"--dashboard-port={port}", "--include-dashboard=true",
         # The defaults are fixed ports: a second cluster on the machine would lack the agent that takes jobs.
         f"--dashboard-agent-listen-port={_free_port()}", f"--dashboard-agent-grpc-port={_free_port()}",
         f"--metrics-export-port={_free_port()}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{port}"}
    finally:
        for process in [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]:
            process.kill()
        head.wait(30)
