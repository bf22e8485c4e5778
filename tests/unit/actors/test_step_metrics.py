"""`actors.step_metrics`, by hand."""

import pytest

from actors.messages import Group, Prompt, PromptMeta, Rollout
from actors.step_metrics import step_metrics


def group(task: str, rewards: list[float], *, num_tokens: int, valid: list[bool], cut: int = 0) -> Group:
    """Rollouts of 1, 2, ... tokens; the first `cut` ran into the length limit."""
    meta = PromptMeta("train", 0, task, "question", "answer", "{}", num_tokens, ())
    rollouts = [
        Rollout(
            f"r{n}", (5,) * (n + 1), (-1.0,) * (n + 1), "text", "length" if n < cut else "stop", reward, ok
        )
        for n, (reward, ok) in enumerate(zip(rewards, valid, strict=True))
    ]
    return Group("g", Prompt(meta, None, None), tuple(rollouts), 0)


def test_values_by_hand() -> None:
    metrics = step_metrics(
        [
            group("jigsaw", [1.0, 0.0], num_tokens=100, valid=[True, False], cut=1),
            group("jigsaw", [0.5, 0.5], num_tokens=120, valid=[True, True]),
            group("counting", [0.25, 0.75], num_tokens=80, valid=[False, False]),
            group("counting", [0.3, 0.1 + 0.2], num_tokens=100, valid=[True, True]),  # float residue
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
            "prompt/tokens": 100.0,
            "step/completions": 8.0,
            "step/tokens": 2 * (100 + 120 + 80 + 100) + 4 * 3,
        }
    )
