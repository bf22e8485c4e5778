"""Tests of RewardWorker: it scores by the tasks' rules, or by the user's own function."""

from pathlib import Path

import pytest

from actors.config import RewardConfig
from actors.messages import Score
from actors.workers.reward_worker import RewardWorker

OWN_REWARDS = """
def half(task, text, truth):
    return 0.5 if (task, text, truth) == ("jigsaw", "21", "12") else 0

def broken(task, text, truth):
    return 1 / 0
"""


def test_the_function_scores_and_the_rules_decide_what_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_rewards.py").write_text(OWN_REWARDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    items = [("jigsaw", "21", "12"), ("jigsaw", "two, one", "12")]
    assert RewardWorker(RewardConfig(function="own_rewards:half")).score(items) == [
        Score(0.5, True),
        Score(0.0, False),
    ]
    failed = Score(0.0, True, "ZeroDivisionError: division by zero")
    assert RewardWorker(RewardConfig(function="own_rewards:broken")).score(items[:1]) == [failed]


def test_without_a_function_the_rules_score() -> None:
    items = [("jigsaw", "12", "12"), ("jigsaw", "x", "12")]
    assert RewardWorker(RewardConfig()).score(items) == [Score(1.0, True), Score(0.0, False)]
