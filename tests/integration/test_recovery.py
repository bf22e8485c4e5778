"""What failure looks like: killed workers come back, a stopped run goes on."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.runs import started


def _steps(records: list[dict[str, object]]) -> list[object]:
    return [record["step"] for record in records]


def test_killed_rollout_worker_and_learner_rank_come_back_and_the_run_ends_well(tmp_path: Path) -> None:
    with started(tmp_path, "killed", "train.steps=14") as run:
        run.wait_for_step(1)
        os.kill(run.pids("ray::RolloutWorker")[0], signal.SIGKILL)
        run.wait_for(lambda: any(event["kind"] == "rollout_restarted" for event in run.records("events")))
        run.wait_for_step(5)
        os.kill(run.pids("ray::RayTrainWorker")[0], signal.SIGKILL)
        assert run.wait() == 0, run.log.read_text()[-3000:]
        metrics = run.records("metrics")
        # The learner went back to a checkpoint: some steps stand twice, none is missing, none comes early.
        assert sorted(set(_steps(metrics))) == list(range(14))
        events = [event["kind"] for event in run.records("events")]
        assert "rollout_died" in events
        assert "learner_restarted" in events
        # Refitted before it served: had the new engine answered with the start model, its logprobs would differ.
        assert max(record["policy/logprob_gap_max"] for record in metrics) < 1e-4


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing_behind_and_goes_on_from_its_checkpoint(
    how: signal.Signals, tmp_path: Path
) -> None:
    with started(tmp_path, "stopped", "train.steps=40") as run:
        run.wait_for_step(5)
        processes = psutil.Process(run.process.pid).children(recursive=True)
        run.process.send_signal(how)
        asked = time.monotonic()
        assert run.wait(60) == 130, run.log.read_text()[-3000:]
        assert time.monotonic() - asked < 20
        _, alive = psutil.wait_procs(processes, timeout=10)
        assert not alive
        assert "--resume stopped" in run.log.read_text()
        done = len(run.records("metrics"))
        assert done < 40
    with started(tmp_path, "stopped", "train.steps=40", "--resume", "stopped") as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
        steps = [record["step"] for record in run.records("metrics")]
        assert sorted(set(steps)) == list(range(40))
        # Nothing from scratch: it goes on from one of the last checkpoints (every 2 steps) before the stop.
        assert done - 6 <= steps[done] <= done
