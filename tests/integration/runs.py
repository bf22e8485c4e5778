"""Runs of the real `videossr` command, in processes of their own and with a Ray of their own."""

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
# The whole loop at its smallest: no warm-up, so answers earn nothing, but every part does its work.
SMALL = (
    "warmup=null", "data.num_drawn=8", "data.num_drawn_held_out=4", "train.prompts_per_step=4", "grpo.group_size=4",
    "train.checkpoint_every=2", "evaluation.samples_per_task=0", "evaluation.every=0", "cluster.push_timeout_s=60",
)  # fmt: skip


class Run:
    """One `videossr train`, under `tmp_path`."""

    def __init__(self, tmp_path: Path, name: str, *arguments: str) -> None:
        self.folder = tmp_path / "runs" / name
        self.log = tmp_path / f"{name}.log"
        # Ray's sockets need a short path; its folder goes when the run is over.
        self._ray = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")
        environment = os.environ | {"RAY_TMPDIR": self._ray}
        environment.pop("RAY_ADDRESS", None)
        command = [Path(sys.executable).with_name("videossr"), "train", "configs/demo.yaml", f"name={name}",
                   f"runs_dir={self.folder.parent}", "--no-dashboard", *SMALL, *arguments]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=self.log.open("a"), stderr=subprocess.STDOUT,
            # As in a terminal: what a script starts in the background ignores SIGINT, and hands that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def wait(self, timeout_s: float = 600) -> int:
        return self.process.wait(timeout_s)

    def records(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 300) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.2)

    def wait_for_step(self, step: int) -> None:
        self.wait_for(lambda: any(record["step"] >= step for record in self.records("metrics")))

    def pids(self, title: str) -> list[int]:
        """Processes of this run's Ray whose title holds `title`."""
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
