"""Tests of recovery: killed workers restart, and a stopped run resumes, by the same command or as a Ray job."""

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from cluster.checkpoints.find import last_checkpoint
from store.database import database_url, open_database
from store.reading.reader import RunReader
from store.records import RunDetail
from tests.integration.runs import HANG_S, SMALL, Run, started, submit_job

ENDLESS = "train.steps=100000"  # the test stops the run


def _steps(run: Run) -> list[int]:
    return [record["step"] for record in run.records("metrics")]


def test_a_killed_rollout_worker_comes_back_and_a_run_stops_when_asked(tmp_path: Path) -> None:
    with started(tmp_path, "asked", ENDLESS, "evaluation.samples_per_task=2") as run:
        run.wait_for_step(1)
        _kill_rollout_worker(run)
        _stop(run)
    _check_stopped(run)
    _check_parity(run)


@pytest.mark.long  # the test above kills and stops too
def test_killed_workers_come_back_and_a_run_that_is_asked_to_stop_resumes_as_a_ray_job(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The job is submitted with `ray job submit`, as in docs/deploy.md, to a cluster with token authentication."""
    with started(tmp_path, "asked", ENDLESS, "evaluation.samples_per_task=2") as run:
        run.wait_for_step(1)
        _kill_rollout_worker(run)
        os.kill(run.pids("ray::RayTrainWorker")[0], signal.SIGKILL)
        run.wait_for_event("learner_restarted")
        run.wait_for_more_steps(2)
        _stop(run)
    stopped = _check_stopped(run)
    last = stopped.step + 3
    # The cluster starts only now, because it would slow the first run.
    cluster: dict[str, str] = request.getfixturevalue("cluster")
    small = (*SMALL, "name=asked", f"runs_dir={run.folder.parent}", "evaluation.samples_per_task=2")
    command = ("videossr", "train", "configs/demo.yaml", *small, f"train.steps={last}", "--resume", "asked")
    done = submit_job(cluster, *command)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    stranger = cluster | {"RAY_AUTH_TOKEN": secrets.token_hex(16)}
    assert submit_job(stranger, *command).returncode != 0
    # The killed learner went back to a checkpoint, so some steps are recorded twice. None is missing.
    assert sorted(set(_steps(run))) == list(range(last))
    _check_parity(run)
    database = open_database(database_url(run.folder.parent))
    _check_store(RunReader(database), run, stopped.id, last)
    database.close()


def _kill_rollout_worker(run: Run) -> None:
    """Kill the rollout worker; return when it is back and has taken part in two more steps."""
    os.kill(run.pids("ray::RolloutWorker")[0], signal.SIGKILL)
    run.wait_for_event("rollout_restarted")
    run.wait_for_more_steps(2)


def _stop(run: Run) -> None:
    """Ask the run to stop, and wait until it has."""
    videossr = Path(sys.executable).with_name("videossr")
    command = [videossr, "runs", "stop", run.folder.name, "--runs", str(run.folder.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    assert run.wait() == 0, run.log.read_text()[-3000:]
    assert "--resume" in run.log.read_text()


def _check_stopped(run: Run) -> RunDetail:
    """Check that the run stopped on request with a checkpoint of its last step; return it as stored."""
    assert "rollout_died" in [event["kind"] for event in run.records("events")]
    database = open_database(database_url(run.folder.parent))
    reader = RunReader(database)
    stopped = reader.run_by_name(run.folder.name)
    assert stopped is not None
    assert stopped.state == "stopped"
    checkpoint = last_checkpoint(run.folder)
    assert checkpoint is not None
    assert checkpoint.state["step"] == stopped.step
    (stop_request,) = reader.requests(stopped.id).items
    assert stop_request.done_at is not None
    database.close()
    return stopped


def _check_parity(run: Run) -> None:
    """Check that the restarted engine received the current weights before it generated.

    With the start model's weights, its logprobs would differ from the learner's.
    """
    assert max(record["policy/logprob_gap_max"] for record in run.records("metrics")) < 1e-4


def _check_store(reader: RunReader, run: Run, run_id: int, last: int) -> None:
    """Check that the store contains the whole run, from its first start to its last step."""
    done = reader.run_by_name(run.folder.name)
    assert done is not None
    assert (done.id, done.state, done.step) == (run_id, "done", last)
    (rewards,) = reader.series([done.id], ["reward/mean"])
    assert rewards.steps == tuple(range(last))
    assert {worker.role for worker in reader.workers(done.id)} == {"learner", "rollout", "prompts", "rewards"}
    evaluations = {(each.stage, each.step) for each in reader.evaluations(done.id)}
    assert evaluations == {("before", 0), ("after", last)}
    groups = reader.groups(done.id, limit=1000).items
    assert {group.step for group in groups} == set(range(last + 1))  # the groups of step `last` are held-out
    held_out = next(group for group in groups if group.group_id.startswith("held-out"))
    history = reader.prompt_history(done.id, held_out.prompt_key).items
    assert [each.step for each in history] == [0, last]
    stored = reader.group(done.id, held_out.id)
    assert stored is not None
    files = [run.folder / frame.file for clip in stored.frames for frame in clip.frames]
    assert len(files) == 8
    assert all(Image.open(file).size == (64, 64) for file in files)


@pytest.mark.long  # the test above stops and resumes a run in another way
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_by_a_signal_leaves_no_process_and_resumes_from_its_checkpoint(
    how: signal.Signals, tmp_path: Path
) -> None:
    with started(tmp_path, "stopped", ENDLESS) as run:
        run.wait_for_step(5)
        processes = psutil.Process(run.process.pid).children(recursive=True)
        run.process.send_signal(how)
        assert run.wait() == 130, run.log.read_text()[-3000:]
        _, alive = psutil.wait_procs(processes, timeout=HANG_S)
        assert not alive
        assert "--resume stopped" in run.log.read_text()
        done = len(run.records("metrics"))
    last = done + 3
    with started(tmp_path, "stopped", f"train.steps={last}", "--resume", "stopped") as run:
        assert run.wait() == 0, run.log.read_text()[-3000:]
        steps = _steps(run)
        assert sorted(set(steps)) == list(range(last))
        # The run resumes from one of the last checkpoints before the stop, which are written every 2 steps.
        assert done - 6 <= steps[done] <= done
