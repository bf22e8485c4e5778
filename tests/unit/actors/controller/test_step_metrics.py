"""Tests of the metrics of a step, against values computed by hand."""

from dataclasses import replace

import pytest

from actors.controller.step_metrics import batch_metrics, step_metrics
from actors.messages import Group, Prompt, PromptMeta, Rollout
from tests.unit.actors.fakes import recipe


def group(task: str, rewards: list[float], *, num_tokens: int, valid: list[bool], cut: int = 0) -> Group:
    """Return a group with rollouts of 1, 2, ... tokens, of which the first `cut` reached the length limit."""
    meta = PromptMeta("train", 0, task, "question", "truth", recipe(task), num_tokens, ())
    rollouts = [
        Rollout(
            f"r{n}", (5,) * (n + 1), (-1.0,) * (n + 1), "text", "length" if n < cut else "stop", reward, ok
        )
        for n, (reward, ok) in enumerate(zip(rewards, valid, strict=True))
    ]
    return Group("g", Prompt(meta, None, None), tuple(rollouts), 0)


def test_step_metrics_have_the_values_computed_by_hand() -> None:
    metrics = step_metrics(
        [
            group("jigsaw", [1.0, 0.0], num_tokens=100, valid=[True, False], cut=1),
            group("jigsaw", [0.5, 0.5], num_tokens=120, valid=[True, True]),
            group("counting", [0.25, 0.75], num_tokens=80, valid=[False, False]),
            group("counting", [0.3, 0.1 + 0.2], num_tokens=100, valid=[True, True]),  # equal up to rounding
        ],
        reward_tolerance=1e-6,
    )
    assert metrics == pytest.approx(
        {
            "reward/mean": 3.6 / 8,
            "reward/jigsaw": 0.5,
            "reward/counting": 0.4,
            "spread/jigsaw": 0.5,
            "spread/counting": 0.25,
            "valid/mean": 5 / 8,
            "valid/jigsaw": 0.75,
            "valid/counting": 0.5,
            "groups/without_spread": 0.5,
            "completion/tokens": 1.5,
            "completion/cut": 1 / 8,
            "completion/reward_failed": 0.0,
            "prompt/tokens": 100.0,
            "step/completions": 8.0,
            "step/tokens": 2 * (100 + 120 + 80 + 100) + 4 * 3,
        }
    )


def test_batch_metrics_count_refills_and_staleness() -> None:
    drawn = [
        Group(
            "g",
            Prompt(PromptMeta("train", index, "jigsaw", "", "", recipe(), 1, ()), None, None),
            (),
            version,
        )
        for index, version in ((4, 2), (5, 3), (6, 3), (7, 3))
    ]
    # 6 replaced 5, and 7 replaced 6.
    assert batch_metrics(3, [drawn[0], drawn[3]], drawn) == {
        "staleness/mean": 0.5,
        "groups/drawn": 4.0,
        "groups/refilled": 1.0,
    }


def test_completions_whose_reward_failed_are_counted() -> None:
    made = group("jigsaw", [1.0, 0.0], num_tokens=1, valid=[True, True])
    failed = replace(made, rollouts=(made.rollouts[0], replace(made.rollouts[1], reward_failed=True)))
    assert step_metrics([made, failed], reward_tolerance=0.0)["completion/reward_failed"] == 0.25
