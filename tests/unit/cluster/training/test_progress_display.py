"""Tests of the progress display without a terminal, which prints lines for a log file."""

from typing import Any

import pytest

from cluster.training.progress_display import RunProgress


def step(number: int, **rewards: float) -> dict[str, Any]:
    return {
        "file": "metrics",
        "step": number,
        "seconds/step": 5.0,
        **{f"reward/{task}": reward for task, reward in rewards.items()},
    }


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_first_and_the_last_step_are_shown_and_only_some_between(said: list[str]) -> None:
    with RunProgress(13, ("grounding", "jigsaw"), said.append) as progress:
        for number in range(13):
            progress.show([step(number, grounding=0.5, jigsaw=number / 100)], number + 1)
    assert said == [
        "step 1/13  grounding 0.50 jigsaw 0.00  5.0 s/step  1.0 min left",
        "step 13/13  grounding 0.50 jigsaw 0.12  5.0 s/step  0.0 min left",
    ]
    assert all(len(line) <= 80 for line in said)
    assert progress.cursor == 13


def test_events_are_shown_at_once(said: list[str]) -> None:
    with RunProgress(2, ("jigsaw",), said.append) as progress:
        progress.show(
            [{"file": "events", "kind": "rollout_died", "message": "rollout worker 0: its process died"}], 1
        )
    assert said == ["Rollout worker 0: its process died"]


def test_a_task_without_a_reward_in_a_step_is_left_out(said: list[str]) -> None:
    with RunProgress(9, ("grounding", "jigsaw"), said.append) as progress:
        progress.show([step(0, jigsaw=0.25)], 1)
    assert said == ["step 1/9  jigsaw 0.25  5.0 s/step  0.7 min left"]
