"""Tests of StoreSink with RunLog: the record of a run, as the store shows it."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors.messages import TaskEvaluation, WorkerState
from actors.process_info import ProcessInfo
from actors.record.run_log import RunLog
from dataset.view.annotations import Box
from dataset.view.thumbnails import ClipThumbnails, Thumbnail
from learner.config import GrpoConfig
from pretext.recipe import Recipe
from pretext.source import Split
from store.database import database_url, open_database
from store.reading.reader import RunReader
from store.runs import register_run
from tests.unit.actors.record.test_run_log import group, lines

RECIPE = Recipe("jigsaw", "a.mp4", "pyav", (0, 1), (0.0, 0.5), 8, 8, {"gap": 1}, 0, "21")
METRICS = {"reward/mean": 0.5, "step/tokens": 300.0, "seconds/step": 1.5}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("VIDEOSSR_DB", raising=False)
    return database_url(tmp_path)


def logged(tmp_path: Path, url: str, bucket: str | None = None) -> tuple[RunLog, int]:
    folder = tmp_path / "run"
    folder.mkdir()
    with_store = open_database(url)
    run_id = register_run(with_store, name="run", folder=str(folder), steps=5, config={}, environment={})
    with_store.close()
    return RunLog(str(folder), grpo=GrpoConfig(), store=(url, run_id), bucket=bucket), run_id


def sampled(rewards: tuple[float, ...] = (1.0, 0.0), split: Split = "train"):  # type: ignore[no-untyped-def]
    made = group(rewards)
    meta = replace(made.prompt.meta, recipe=RECIPE, split=split)
    return replace(made, prompt=replace(made.prompt, meta=meta))


def test_the_record_is_in_the_store(tmp_path: Path, url: str) -> None:
    log, run_id = logged(tmp_path, url)
    log.event("stage", "training")
    log.step(0, METRICS, [sampled()])
    evaluation = TaskEvaluation(
        "after", 1, "jigsaw", ((1.0, True), (0.0, False)), ((0.5, True),) * 4, ("21", "12"),
        (sampled(split="held_out"),),
    )  # fmt: skip
    log.evaluation(evaluation)
    log.workers([WorkerState("rollout", 0, "running", ProcessInfo("10.0.0.1", 7, "3"), 2, 5, 1)])
    log.close()
    reader = RunReader(open_database(url))
    (series,) = reader.series([run_id], ["tokens_per_second"])
    assert (series.steps, series.mean) == ((0,), (200.0,))
    assert [event.message for event in reader.events(run_id)] == ["training"]
    (stored,) = reader.evaluations(run_id)
    assert stored.scores == {
        "greedy_mean": 0.5, "greedy_valid": 0.5, "sampled_mean": 0.5, "sampled_valid": 1.0, "samples": 2,
    }  # fmt: skip
    (worker,) = reader.workers(run_id)
    assert (worker.role, worker.node, worker.pid, worker.gpu, worker.queue) == (
        "rollout",
        "10.0.0.1",
        7,
        "3",
        5,
    )
    found = reader.groups(run_id)
    assert {(each.step, each.prompt_key, each.held_out) for each in found.items} == {
        (0, RECIPE.id, False), (1, RECIPE.id, True),
    }  # fmt: skip
    stored_group = reader.group(run_id, found.items[0].id)
    assert stored_group is not None
    assert [completion.advantage for completion in stored_group.completions] == pytest.approx(
        [2**-0.5, -(2**-0.5)], abs=1e-5
    )
    assert stored_group.details == "1 frames dropped at each cut"


def test_frames_are_files_that_the_group_names(tmp_path: Path, url: str) -> None:
    log, run_id = logged(tmp_path, url)
    strange = replace(sampled(), group_id="../../up")
    log.step(3, METRICS, [strange])
    frame = Thumbnail(0.5, True, b"a picture", (Box(0, 1, 2, 3, 4, "circle"),))
    log.frames(3, strange, [ClipThumbnails("Clip 1", 1, (frame,))])
    log.close()
    reader = RunReader(open_database(url))
    stored = reader.group(run_id, reader.groups(run_id).items[0].id)
    assert stored is not None
    (clip,) = stored.frames
    (found,) = clip.frames
    assert (clip.true_place, found.time_s, found.edited, found.boxes) == (
        1,
        0.5,
        True,
        ((1, 2, 3, 4, "circle"),),
    )
    file = (tmp_path / "run" / found.file).resolve()
    assert file.is_relative_to(tmp_path / "run" / "frames")
    assert file.read_bytes() == b"a picture"


def test_steps_that_are_taken_again_are_dropped(tmp_path: Path, url: str) -> None:
    log, run_id = logged(tmp_path, url)
    for step in range(4):
        log.step(step, METRICS | {"reward/mean": 0.1 * step}, [])
    log.forget(2)
    log.close()
    (series,) = RunReader(open_database(url)).series([run_id], ["reward/mean"])
    assert series.steps == (0, 1)


def test_an_entry_that_a_sink_cannot_write_is_lost_there_and_reported_once(tmp_path: Path, url: str) -> None:
    log, run_id = logged(tmp_path, url)
    without_shapes = replace(RECIPE, task="counting")  # the store describes the shapes of counting
    meta = replace(sampled().prompt.meta, recipe=without_shapes)
    broken = replace(sampled(), prompt=replace(sampled().prompt, meta=meta))
    log.step(0, METRICS, [broken, broken])
    log.step(1, METRICS, [sampled()])
    log.close()
    assert [each.step for each in RunReader(open_database(url)).groups(run_id).items] == [1]
    said = [line["message"] for line in lines(tmp_path / "run", "events")]
    assert len(said) == 1
    assert said[0].startswith("the run store lacks an entry (reported once): ")
    assert len(lines(tmp_path / "run", "metrics")) == 2


def test_a_store_that_cannot_be_opened_does_not_end_the_run(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path), grpo=GrpoConfig(), store=("nonsense", 1), trackers=("mlflow",))
    log.step(0, METRICS, [])
    said = [line["message"] for line in lines(tmp_path, "events")]
    assert [line.split(" is not written")[0] for line in said] == ["mlflow", "the run store"]
    assert len(lines(tmp_path, "metrics")) == 1


def frames_of(url: str, run_id: int, step: int) -> list[str]:
    """Return the files of the frames that the group of a step names."""
    reader = RunReader(open_database(url))
    (found,) = reader.groups(run_id, step=step).items
    stored = reader.group(run_id, found.id)
    assert stored is not None
    return [frame.file for clip in stored.frames for frame in clip.frames]


CLIPS = [ClipThumbnails("Clip 1", None, (Thumbnail(0.5, False, b"a picture", ()),))]


def test_frames_are_written_to_the_bucket_if_the_run_has_one(tmp_path: Path, url: str) -> None:
    log, run_id = logged(tmp_path, url, (tmp_path / "bucket").as_uri())
    log.step(3, METRICS, [sampled()])
    log.frames(3, sampled(), CLIPS)
    log.close()
    (file,) = frames_of(url, run_id, 3)
    assert (tmp_path / "bucket" / file).read_bytes() == b"a picture"
    assert not (tmp_path / "run" / "frames").exists()


def test_a_slow_bucket_delays_nothing_and_no_group_names_a_missing_file(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.record.background_uploads._NUM_THREADS", 1)
    monkeypatch.setattr("actors.record.background_uploads._MAX_WAITING", 1)
    log, run_id = logged(tmp_path, url, (tmp_path / "bucket").as_uri())
    slow = tmp_path / "bucket" / "frames" / "000000" / sampled().group_id / "0-000.webp.new"
    slow.parent.mkdir(parents=True)
    os.mkfifo(slow)  # its writer waits for a reader
    log.step(0, METRICS, [sampled()])
    log.frames(0, sampled(), CLIPS)
    eventually(lambda: log._others["the run store"]._uploads._waiting.qsize() == 0)  # type: ignore[attr-defined]
    for step in (1, 2):  # the upload of step 1 waits, and that of step 2 exceeds the limit
        log.step(step, METRICS, [sampled()])
        log.frames(step, sampled(), CLIPS)
    eventually(lambda: len(RunReader(open_database(url)).groups(run_id).items) == 3)
    assert [frames_of(url, run_id, step) for step in range(3)] == [[], [], []]
    (said,) = [line["message"] for line in lines(tmp_path / "run", "events")]
    assert "is slower than the run: frames are left out" in said
    assert slow.read_bytes() == b"a picture"
    log.close()
    assert [len(frames_of(url, run_id, step)) for step in range(3)] == [1, 1, 0]


def test_a_failing_bucket_loses_only_frames_and_is_reported_once(tmp_path: Path, url: str) -> None:
    (tmp_path / "bucket").touch()  # a file where a folder is needed
    log, run_id = logged(tmp_path, url, (tmp_path / "bucket").as_uri())
    for step in range(3):
        log.step(step, METRICS, [sampled()])
        log.frames(step, sampled(), CLIPS)
    log.close()
    assert [frames_of(url, run_id, step) for step in range(3)] == [[], [], []]
    (said,) = [line["message"] for line in lines(tmp_path / "run", "events")]
    assert said.startswith("the run store lacks an entry (reported once): ")
    assert len(lines(tmp_path / "run", "metrics")) == 3


def test_late_frames_of_a_step_that_is_taken_again_are_dropped(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, run_id = logged(tmp_path, url, (tmp_path / "bucket").as_uri())
    slow = tmp_path / "bucket" / "frames" / "000001" / sampled().group_id / "0-000.webp.new"
    slow.parent.mkdir(parents=True)
    os.mkfifo(slow)
    log.step(0, METRICS, [sampled()])
    log.step(1, METRICS, [sampled()])
    log.frames(1, sampled(), CLIPS)
    log.forget(1)
    assert slow.read_bytes() == b"a picture"
    log.close()
    assert [each.step for each in RunReader(open_database(url)).groups(run_id).items] == [0]


def test_late_frames_of_the_evaluation_that_a_run_resumes_from_are_kept(tmp_path: Path, url: str) -> None:
    log, run_id = logged(tmp_path, url, (tmp_path / "bucket").as_uri())
    evaluated = sampled(split="held_out")
    slow = tmp_path / "bucket" / "frames" / "000001" / evaluated.group_id / "0-000.webp.new"
    slow.parent.mkdir(parents=True)
    os.mkfifo(slow)
    log.evaluation(TaskEvaluation("during", 1, "jigsaw", (), (), (), (evaluated,)))
    log.frames(1, evaluated, CLIPS)
    log.forget(1)
    assert slow.read_bytes() == b"a picture"
    log.close()
    assert len(frames_of(url, run_id, 1)) == 1


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
