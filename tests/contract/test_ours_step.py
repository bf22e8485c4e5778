"""Our trainer takes the job of the comparison with TRL, in a process of its own as there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.against_trl import ROOT, make_job
from benchmarks.job import StepJob

# DeepSpeed may compile its kernel first, and waits for others that do.
_TIMEOUT_S = 600


def test_our_trainer_takes_the_job(tmp_path: Path) -> None:
    """Its loss is what the rewards and lengths say: with one update per batch every ratio is 1."""
    job_file = make_job(tmp_path, num_frames=4, num_steps=2)
    command = [sys.executable, "-m", "benchmarks.ours_step", str(job_file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    expected = _expected_loss(StepJob.read(job_file))
    assert abs(expected) > 1e-3  # lengths and rewards differ, or nothing would be compared
    assert told["loss"] == pytest.approx(expected, abs=1e-5)
    assert told["grad_norm"] > 0
    assert told["completions_per_core_second"] > 0


def _expected_loss(job: StepJob) -> float:
    """-(sum of advantage x tokens) / tokens."""
    weighted = tokens = 0.0
    for completions, rewards in zip(job.completions, job.rewards, strict=True):
        mean = sum(rewards) / len(rewards)
        std = (sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) ** 0.5
        for ids, reward in zip(completions, rewards, strict=True):
            weighted += (reward - mean) / std * len(ids)
            tokens += len(ids)
    return -weighted / tokens
