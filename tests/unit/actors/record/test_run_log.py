"""Tests of RunLog: the record of a run, as its files show it."""

import json
from pathlib import Path
from typing import Any

import pytest

from actors.messages import Group, Prompt, PromptMeta, Rollout, TaskEvaluation
from actors.record.run_log import RunLog
from learner.config import GrpoConfig
from tests.unit.actors.fakes import recipe

RECIPE = recipe()


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def group(rewards: tuple[float, ...]) -> Group:
    meta = PromptMeta("train", 4, "jigsaw", "[video]\nWhich?", "21", RECIPE, 70, ())
    rollouts = [
        Rollout(f"train-4-{n}", (7, 8), (-0.5, -0.25), f"reply {n}", "stop", reward, reward > 0)
        for n, reward in enumerate(rewards)
    ]
    return Group("3-0", Prompt(meta, object(), object()), tuple(rollouts), policy_version=3)


def test_a_step_is_written_at_once_with_its_rollouts_in_full(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path), grpo=GrpoConfig())
    log.step(3, {"reward/mean": 0.5, "step/tokens": 300.0, "seconds/step": 1.5}, [group((1.0, 0.0))])
    (metrics,) = lines(tmp_path, "metrics")
    assert metrics.pop("time") > 1e9
    assert metrics == {
        "step": 3, "reward/mean": 0.5, "step/tokens": 300.0, "seconds/step": 1.5, "tokens_per_second": 200.0,
    }  # fmt: skip
    (record,) = lines(tmp_path, "rollouts")
    first, second = record.pop("rollouts")
    assert record == {
        "step": 3,
        "group_id": "3-0",
        "policy_version": 3,
        "task": "jigsaw",
        "question": "[video]\nWhich?",
        "answer": "21",
        "recipe": json.loads(RECIPE.to_json()),
    }
    assert first.pop("advantage") == pytest.approx(2**-0.5, abs=1e-5)
    assert first == {
        "rollout_id": "train-4-0",
        "text": "reply 0",
        "reward": 1.0,
        "valid": True,
        "finish_reason": "stop",
        "token_ids": [7, 8],
        "logprobs": [-0.5, -0.25],
    }
    assert second["advantage"] == pytest.approx(-(2**-0.5), abs=1e-5)


def test_the_advantages_shown_follow_the_grpo_section(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path), grpo=GrpoConfig(reward_tolerance=0.2))
    log.step(0, {"step/tokens": 1.0, "seconds/step": 1.0}, [group((0.5, 0.6))])
    RunLog(str(tmp_path), grpo=GrpoConfig(advantage="dr_grpo")).step(
        1, {"step/tokens": 1.0, "seconds/step": 1.0}, [group((1.0, 0.0))]
    )
    advantages = [[each["advantage"] for each in line["rollouts"]] for line in lines(tmp_path, "rollouts")]
    assert advantages == [[0, 0], [0.5, -0.5]]


def test_events_and_evaluations_are_written(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path), grpo=GrpoConfig())
    log.event("rollout_died", "rollout worker 1: its process died – Ω")
    log.evaluation(TaskEvaluation("before", 0, "jigsaw", ((1.0, True),), ((0.0, False),) * 2, ("21",)))
    (event,) = lines(tmp_path, "events")
    assert (event["kind"], event["message"]) == ("rollout_died", "rollout worker 1: its process died – Ω")
    assert lines(tmp_path, "evaluations") == [
        {
            "stage": "before",
            "step": 0,
            "task": "jigsaw",
            "greedy": [[1.0, True]],
            "sampled": [[0.0, False], [0.0, False]],
            "truths": ["21"],
        }
    ]


def test_a_parity_failure_with_nan_is_written_as_json(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path), grpo=GrpoConfig())
    log.parity_failure({"group_id": "3-1", "token": 2, "learner_logprobs": [-0.5, float("nan")]})
    assert json.loads((tmp_path / "parity-failure.json").read_text()) == {
        "group_id": "3-1",
        "token": 2,
        "learner_logprobs": [-0.5, None],
    }


def test_a_reader_sees_each_line_once_and_in_order(tmp_path: Path) -> None:
    log = RunLog(str(tmp_path), grpo=GrpoConfig())
    assert log.since(0) == ([], 0)
    log.event("a", "first")
    log.step(0, {"step/tokens": 1.0, "seconds/step": 1.0}, [])
    seen, cursor = log.since(0)
    log.event("b", "second")
    assert [record["file"] for record in seen] == ["events", "metrics"]
    later, cursor = log.since(cursor)
    assert [record["message"] for record in later] == ["second"]
    assert log.since(cursor) == ([], cursor)


def test_only_the_newest_lines_are_kept_for_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.record.run_log._KEPT_LINES", 3)
    log = RunLog(str(tmp_path), grpo=GrpoConfig())
    for number in range(5):
        log.event("a", str(number))
    late, cursor = log.since(1)  # line 1 is gone
    assert ([record["message"] for record in late], cursor) == (["2", "3", "4"], 5)
    log.event("a", "5")
    newest, cursor = log.since(cursor)
    assert ([record["message"] for record in newest], cursor) == (["5"], 6)
    assert len(lines(tmp_path, "events")) == 6  # the file has all lines


def test_a_resumed_run_adds_to_the_record(tmp_path: Path) -> None:
    for step in range(2):
        RunLog(str(tmp_path), grpo=GrpoConfig()).step(step, {"step/tokens": 1.0, "seconds/step": 1.0}, [])
    assert [record["step"] for record in lines(tmp_path, "metrics")] == [0, 1]


def test_tensorboard_has_every_metric(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(str(tmp_path), grpo=GrpoConfig())
    for step in range(3):
        log.step(step, {"reward/mean": step / 4, "step/tokens": 1.0, "seconds/step": 1.0}, [])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(entry.step, entry.value) for entry in events.Scalars("reward/mean")] == [
        (0, 0.0),
        (1, 0.25),
        (2, 0.5),
    ]
    assert "tokens_per_second" in events.Tags()["scalars"]
