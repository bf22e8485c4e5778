"""`actors.workers.reward_worker`: by the rules, or by a function of the user's own."""

from pathlib import Path

import pytest

from actors.config import RewardConfig
from actors.messages import Score
from actors.workers.reward_worker import RewardWorker

MINE = """
def half(task, text, answer):
    return 0.5 if (task, text, answer) == ("jigsaw", "21", "12") else 0

def broken(task, text, answer):
    return 1 / 0
"""


def test_a_function_scores_and_the_rules_judge_the_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rewards_of_theirs.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    items = [("jigsaw", "21", "12"), ("jigsaw", "two, one", "12")]
    assert RewardWorker(RewardConfig(function="rewards_of_theirs:half")).score(items) == [
        Score(0.5, True),
        Score(0.0, False),
    ]
    failed = Score(0.0, True, "ZeroDivisionError: division by zero")
    assert RewardWorker(RewardConfig(function="rewards_of_theirs:broken")).score(items[:1]) == [failed]


def test_without_a_function_the_rules_score() -> None:
    items = [("jigsaw", "12", "12"), ("jigsaw", "x", "12")]
    assert RewardWorker(RewardConfig()).score(items) == [Score(1.0, True), Score(0.0, False)]
