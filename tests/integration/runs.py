"""Runs of the real `videossr` command, each with its own processes and its own Ray cluster."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
HANG_S = 900.0  # bounds a hang; everything takes far less, also on a busy machine
# A small run with every part of a step, but no evaluation and no warm-up, so its rewards are near 0.
SMALL = (
    "warmup=null", "data.num_drawn=8", "data.num_drawn_held_out=4", "train.prompts_per_step=4", "grpo.group_size=4",
    "train.checkpoint_every=2", "evaluation.samples_per_task=0", "evaluation.every=0", "cluster.push_timeout_s=120",
)  # fmt: skip


class Run:
    """A `videossr train` process with its run folder under `tmp_path`."""

    def __init__(self, tmp_path: Path, name: str, *arguments: str) -> None:
        self.folder = tmp_path / "runs" / name
        self.log = tmp_path / f"{name}.log"
        # Ray's sockets need a short path. The folder is removed after the run.
        self._ray = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")
        environment = os.environ | {"RAY_TMPDIR": self._ray}
        environment.pop("RAY_ADDRESS", None)
        command = [Path(sys.executable).with_name("videossr"), "train", "configs/demo.yaml", f"name={name}",
                   f"runs_dir={self.folder.parent}", "--no-dashboard", *SMALL, *arguments]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self.log.open("a"), stderr=subprocess.STDOUT,
            # Tests that a script starts in the background ignore SIGINT. The command must not, as in a terminal.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def wait(self, timeout_s: float = HANG_S) -> int:
        """Wait for the process to end and return its exit status."""
        return self.process.wait(timeout_s)

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return the complete lines of the run's NAME.jsonl: metrics, events, rollouts or evaluations."""
        path = self.folder / f"{name}.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = HANG_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.2)

    def wait_for_step(self, step: int) -> None:
        self.wait_for(lambda: any(record["step"] >= step for record in self.records("metrics")))

    def wait_for_event(self, kind: str) -> None:
        self.wait_for(lambda: any(event["kind"] == kind for event in self.records("events")))

    def wait_for_more_steps(self, count: int = 1) -> None:
        before = len(self.records("metrics"))
        self.wait_for(lambda: len(self.records("metrics")) >= before + count)

    def pids(self, title: str) -> list[int]:
        """Return the ids of the processes of this run's Ray cluster whose title contains `title`."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if title in " ".join(process.cmdline()):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.interrupt()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                for process in psutil.Process(self.process.pid).children(recursive=True):
                    process.kill()
                self.process.kill()
        shutil.rmtree(self._ray, ignore_errors=True)


@contextmanager
def started(tmp_path: Path, name: str, *arguments: str) -> Iterator[Run]:
    run = Run(tmp_path, name, *arguments)
    try:
        yield run
    finally:
        run.close()


def submit_job(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run `ray job submit` with the checkout as working directory. Repeat it until the cluster has started."""
    deadline = time.monotonic() + HANG_S
    while True:
        done = subprocess.run(
            [RAY, "job", "submit", "--working-dir", ".", "--", *command],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_S,
        )  # fmt: skip
        starting = any(words in done.stderr for words in ("Failed to connect", "No available agent"))
        if not starting or time.monotonic() > deadline:
            return done
        time.sleep(1)
