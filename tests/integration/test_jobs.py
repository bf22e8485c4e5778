"""`ray job submit`, as in the README, on a Ray cluster with token authentication."""

import secrets
import subprocess
import time
from pathlib import Path

from tests.integration.conftest import RAY
from tests.integration.runs import HANG_S, ROOT, SMALL

STILL_STARTING = ("Failed to connect", "No available agent")


def _submit(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RAY, "job", "submit", "--working-dir", ".", "--", *command],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip


def test_a_submitted_job_trains_and_one_without_the_token_is_refused(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    command = ("videossr", "train", "configs/demo.yaml", *SMALL, f"runs_dir={tmp_path}", "train.steps=2")
    deadline = time.monotonic() + HANG_S
    result = _submit(cluster, *command)
    while any(words in result.stderr for words in STILL_STARTING) and time.monotonic() < deadline:
        time.sleep(1)
        result = _submit(cluster, *command)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    assert len((tmp_path / "demo" / "metrics.jsonl").read_text().splitlines()) == 2

    stranger = cluster | {"RAY_AUTH_TOKEN": secrets.token_hex(16)}
    assert _submit(stranger, *command).returncode != 0
