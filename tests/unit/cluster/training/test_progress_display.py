"""`cluster.training.progress_display` where there is no terminal: lines for a log file."""

from typing import Any

import pytest

from cluster.training.progress_display import Progress


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


def test_the_first_and_the_last_step_are_said_and_not_each_between(said: list[str]) -> None:
    with Progress(13, ("grounding", "jigsaw"), said.append) as progress:
        for number in range(13):
            progress.show([step(number, grounding=0.5, jigsaw=number / 100)])
    assert said == [
        "step 1/13  grounding 0.50 jigsaw 0.00  5.0 s/step  1.0 min left",
        "step 13/13  grounding 0.50 jigsaw 0.12  5.0 s/step  0.0 min left",
    ]
    assert all(len(line) <= 80 for line in said)
    assert progress.cursor == 13


def test_events_are_said_at_once(said: list[str]) -> None:
    with Progress(2, ("jigsaw",), said.append) as progress:
        progress.show(
            [{"file": "events", "kind": "rollout_died", "message": "rollout worker 0: its process died"}]
        )
    assert said == ["Rollout worker 0: its process died"]


def test_a_task_that_a_small_step_left_out_is_left_out(said: list[str]) -> None:
    with Progress(9, ("grounding", "jigsaw"), said.append) as progress:
        progress.show([step(0, jigsaw=0.25)])
    assert said == ["step 1/9  jigsaw 0.25  5.0 s/step  0.7 min left"]
