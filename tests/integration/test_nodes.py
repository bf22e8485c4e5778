"""Test of a Ray cluster of several nodes: with cluster.node_labels, processes run on the nodes labelled for them."""

import json
import secrets
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.places import CPUS
from tests.integration.runs import HANG_S, ROOT

pytestmark = pytest.mark.long


def test_every_process_runs_on_the_node_labelled_for_it(
    ray_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = ray_environment | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path / "log"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.places", str(tmp_path)],
        cwd=ROOT, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.wait(HANG_S) == 0, log.read_text()[-3000:]
    finally:
        if process.poll() is None:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
    found = json.loads((tmp_path / "places.json").read_text())
    assert found["nodes"] == sorted(CPUS)
    placed = found["places"]
    assert "" in placed.pop("rollout, not asking")  # without labels some run elsewhere
    assert placed == {"rollout": ["rollout"], "prompts": ["cpu"], "rewards": ["cpu"], "learner": ["learner"]}
    assert "prompts and rewards ask for 2.1 CPU(s) on nodes labelled videossr.io/role=cpu" in found["refusal"]
