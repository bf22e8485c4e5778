"""The job that two trainers share, and the comparison of their reports."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.against_trl import OURS, PLAIN, TUNED, compare, make_job
from benchmarks.job import Seconds, StepClock, StepJob


@pytest.fixture(scope="module")
def job_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_job(tmp_path_factory.mktemp("job"), num_frames=4, num_steps=2)


def test_a_written_job_is_read_back(job_file: Path, tmp_path: Path) -> None:
    job = StepJob.read(job_file)
    frames, times_s = job.load_frames()
    assert frames.shape == (4, 4, 64, 64, 3)
    assert times_s.tolist() == [[0.0, 0.5, 1.0, 1.5]] * 4
    assert (job.num_prompts, job.group_size, job.num_completions) == (4, 8, 32)
    assert [len(group) for group in job.rewards] == [8] * 4
    assert len({tuple(ids) for group in job.completions for ids in group}) > 24  # many different completions
    job.write(tmp_path / "again.json")
    assert StepJob.read(tmp_path / "again.json") == job


def test_the_clock_excludes_the_first_step_and_separates_preparation(
    job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Seconds(clock=10.0, core=5.0)
    monkeypatch.setattr("benchmarks.job._now", lambda: now)
    clock = StepClock()
    for preparing_s, training_s in ((0.0, 0.5), (0.1, 0.1), (0.1, 0.1)):
        clock.start_step()
        clock.start_preparing()
        now = Seconds(now.clock + preparing_s, now.core)  # waits without using the processor
        clock.end_preparing()
        now = Seconds(now.clock + training_s, now.core + training_s)
        clock.end_step()
    report = clock.report(StepJob.read(job_file), loss=1.0, grad_norm=2.0, prompt_tokens=3)
    assert report["seconds"] == pytest.approx({"clock": 0.2, "core": 0.1, "preparing": 0.0})
    assert report["completions_per_core_second"] == pytest.approx(32 / 0.1)
    assert report["completions_per_second"] == pytest.approx(32 / 0.2)
    assert report["training_completions_per_second"] == pytest.approx(32 / 0.1)


def report(rate: float, *, loss: float = 0.5, clock: float = 1.0) -> dict[str, Any]:
    return {
        "completions_per_core_second": rate,
        "training_completions_per_core_second": 2 * rate,
        "seconds": {"clock": clock, "core": 1.0, "preparing": 0.1},
        "loss": loss,
        "prompt_tokens": 300,
    }


def test_the_best_process_of_each_contender_is_compared() -> None:
    reports = {
        OURS: [report(80, clock=1.5), report(100, clock=1.2)],
        TUNED: [report(10), report(12.5)],
        PLAIN: [report(5)],
    }
    results = {result.name: result for result in compare(reports, num_frames=48, command="c")}
    ratio = results["48 frames: ours over TRL, tuned"]
    assert ratio.value == 8
    assert ratio.target is not None
    assert ratio.target.met_by(ratio.value)
    assert results["48 frames: ours over TRL, own prompts"].value == 20
    assert results["48 frames: the same, without preparing inputs"].value == 8
    assert results["48 frames: clock over core's time"].value == 1.2


def test_different_losses_miss_the_target() -> None:
    reports = {OURS: [report(1)], TUNED: [report(1)], PLAIN: [report(1, loss=0.51)]}
    results = {result.name: result for result in compare(reports, num_frames=8, command="c")}
    gap = results["8 frames: largest difference of losses"]
    assert gap.value == pytest.approx(0.01)
    assert gap.target is not None
    assert not gap.target.met_by(gap.value)
