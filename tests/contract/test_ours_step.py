"""Our side of the comparison with TRL. As in the benchmark, the job runs in its own process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.against_trl import ROOT, make_job
from benchmarks.job import StepJob

# DeepSpeed may compile its kernel first, or wait until another process has compiled it.
_HANG_S = 900


def test_our_loss_follows_from_rewards_and_lengths(tmp_path: Path) -> None:
    """With one update per batch every ratio is 1, so rewards and lengths determine the loss."""
    job_file = make_job(tmp_path, num_frames=4, num_steps=2)
    command = [sys.executable, "-m", "benchmarks.ours_step", str(job_file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_HANG_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    expected = _expected_loss(StepJob.read(job_file))
    assert abs(expected) > 1e-3  # a loss near 0 would be right by accident
    assert report["loss"] == pytest.approx(expected, abs=1e-5)
    assert report["grad_norm"] > 0
    assert report["completions_per_core_second"] > 0


def _expected_loss(job: StepJob) -> float:
    """Return -(sum of advantage x tokens) / tokens."""
    weighted = tokens = 0.0
    for completions, rewards in zip(job.completions, job.rewards, strict=True):
        mean = sum(rewards) / len(rewards)
        std = (sum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1)) ** 0.5
        for ids, reward in zip(completions, rewards, strict=True):
            weighted += (reward - mean) / std * len(ids)
            tokens += len(ids)
    return -weighted / tokens
