"""What failure looks like: killed workers come back, a stopped run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from cluster.checkpoints.find import last_checkpoint
from store.database import database_url, open_database
from store.reading.reader import RunReader
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


def test_a_run_that_is_asked_to_stop_is_in_the_store_from_beginning_to_end(tmp_path: Path) -> None:
    small = ("train.steps=40", "evaluation.samples_per_task=2")
    videossr = Path(sys.executable).with_name("videossr")
    with started(tmp_path, "asked", *small) as run:
        run.wait_for_step(3)
        command = [videossr, "runs", "stop", "asked", "--runs", str(tmp_path / "runs")]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert asked.returncode == 0, asked.stderr
        assert run.wait(120) == 0, run.log.read_text()[-3000:]
        assert "Stopped, as asked" in run.log.read_text()
    database = open_database(database_url(tmp_path / "runs"))
    reader = RunReader(database)
    stopped = reader.run_by_name("asked")
    assert stopped is not None
    assert stopped.state == "stopped"
    assert 3 < stopped.step < 40
    checkpoint = last_checkpoint(run.folder)
    assert checkpoint is not None
    assert checkpoint.state["step"] == stopped.step
    (request,) = reader.requests(stopped.id).items
    assert request.done_at is not None
    with started(tmp_path, "asked", *small, "--resume", "asked") as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
    done = reader.run_by_name("asked")
    assert done is not None
    assert (done.id, done.state, done.step) == (stopped.id, "done", 40)
    (rewards,) = reader.series([done.id], ["reward/mean"])
    assert rewards.steps == tuple(range(40))
    assert {worker.role for worker in reader.workers(done.id)} == {"learner", "rollout", "prompts", "rewards"}
    assert {(each.stage, each.step) for each in reader.evaluations(done.id)} == {("before", 0), ("after", 40)}
    groups = reader.groups(done.id, limit=1000).items
    assert {group.step for group in groups} == set(range(41))  # those of 40 are held-out samples
    held_out = next(group for group in groups if group.group_id.startswith("held-out"))
    history = reader.prompt_history(done.id, held_out.prompt_key).items
    assert [each.step for each in history] == [0, 40]
    stored = reader.group(done.id, held_out.id)
    assert stored is not None
    files = [run.folder / frame.file for clip in stored.frames for frame in clip.frames]
    assert len(files) == 8
    assert all(Image.open(file).size == (64, 64) for file in files)
    database.close()
