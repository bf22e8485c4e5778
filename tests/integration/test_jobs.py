"""`ray job submit`, as the README has it, on a Ray with token authentication."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.runs import ROOT, SMALL

RAY = str(Path(sys.executable).with_name("ray"))

STILL_STARTING = ("Failed to connect", "No available agent")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """A running Ray head; yields the environment in which `ray job submit` reaches it."""
    folder = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")
    port = _free_port()
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    head = subprocess.Popen(
        [RAY, "start", "--head", "--block", f"--port={_free_port()}", f"--temp-dir={folder}", "--num-cpus=2",
         "--min-worker-port=0", "--max-worker-port=0", f"--dashboard-port={port}", "--include-dashboard=true",
         # Of fixed numbers unless named: a second Ray on the machine would be left without the agent that takes jobs.
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
        shutil.rmtree(folder, ignore_errors=True)


def _submit(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", *command],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def test_a_submitted_job_trains_and_one_without_the_token_is_refused(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    command = ("videossr", "train", "configs/demo.yaml", *SMALL, f"runs_dir={tmp_path}", "train.steps=2")
    deadline = time.monotonic() + 240
    result = _submit(cluster, *command)
    while any(words in result.stderr for words in STILL_STARTING) and time.monotonic() < deadline:
        time.sleep(1)
        result = _submit(cluster, *command)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert len((tmp_path / "demo" / "metrics.jsonl").read_text().splitlines()) == 2

    stranger = cluster | {"RAY_AUTH_TOKEN": secrets.token_hex(16)}
    assert _submit(stranger, *command).returncode != 0
