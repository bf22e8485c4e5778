"""Test of a run on three hosts, which are network namespaces: each role runs on the host that is labelled for it."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from cluster.training.placement import NODE_LABEL
from store.database import database_url, open_database
from store.reading.reader import RunReader
from tests.integration.hosts import NoHosts, hosts, inside
from tests.integration.runs import HANG_S, ROOT, SMALL

pytestmark = pytest.mark.long

BIN = Path(sys.executable).parent
PORT = 6379


@contextmanager
def ray_over(addresses: dict[str, str], environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Start a Ray node on each host and yield the cluster's address.

    The nodes' labels are cpu (for the head node), rollout and learner.
    """
    head = next(iter(addresses.values()))
    processes = []

    def started(log: Path) -> bool:
        return "Ray runtime started" in log.read_text()

    try:
        for (name, address), label in zip(addresses.items(), ("cpu", "rollout", "learner"), strict=True):
            place = ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder}"]
            if address != head:
                place = [f"--address={head}:{PORT}"]
            command = [str(BIN / "ray"), "start", "--block", f"--node-ip-address={address}", "--num-cpus=2",
                       f"--labels={NODE_LABEL}={label}", *place]  # fmt: skip
            log = folder.parent / f"{label}.log"
            processes.append(
                subprocess.Popen(
                    inside(name, *command), env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT
                )
            )
            wait_for(partial(started, log))
        yield f"{head}:{PORT}"
    finally:
        for process in processes:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            process.wait(30)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, "a Ray node did not start"
        time.sleep(0.2)


def test_a_run_trains_across_three_hosts(tmp_path: Path) -> None:
    short = Path(tempfile.mkdtemp(prefix="vssr-", dir="/tmp"))  # Ray's sockets need a short path
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PYTHONPATH": str(ROOT),
        "GLOO_SOCKET_IFNAME": "eth0",  # torch cannot resolve the names of these hosts
    }
    environment.pop("RAY_ADDRESS", None)
    log = tmp_path / "train.log"
    try:
        with hosts(3) as addresses, ray_over(addresses, environment, short / "ray") as address:
            command = [
                str(BIN / "videossr"), "train", "configs/demo.yaml", *SMALL, "--no-dashboard", "train.steps=4",
                f"runs_dir={tmp_path}", f"cluster.address={address}", "cluster.node_labels=true",
                "learner.num_workers=2", "learner.zero_stage=3",
            ]  # fmt: skip
            driver = inside(next(iter(addresses)), *command)
            process = subprocess.Popen(
                driver, cwd=ROOT, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT
            )
            try:
                assert process.wait(HANG_S) == 0, log.read_text()[-3000:]
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.wait(60)
            cpu, rollout, learner = addresses.values()
    except NoHosts as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(short, ignore_errors=True)
    database = open_database(database_url(tmp_path))
    reader = RunReader(database)
    run = reader.run_by_name("demo")
    assert run is not None
    assert (run.state, run.step) == ("done", 4)
    where = {(worker.role, worker.index): worker.node for worker in reader.workers(run.id)}
    assert where == {
        ("prompts", 0): cpu, ("rewards", 0): cpu, ("rollout", 0): rollout, ("learner", 0): learner,
        ("learner", 1): learner,
    }  # fmt: skip
    gaps = [
        json.loads(line)["policy/logprob_gap_max"] for line in (tmp_path / "demo" / "metrics.jsonl").open()
    ]
    assert len(gaps) == 4
    assert max(gaps) < 1e-4  # the engine received the trained weights over the network
    database.close()
