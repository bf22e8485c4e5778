"""Tests of reward.custom: reward functions that users write, including ones that fail."""

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest

from reward.custom import custom_score, load_reward

MINE = """
import time

def half(task, text, truth):
    return 0.5 if (task, text, truth) == ("jigsaw", "21", "12") else 0

NOT_A_FUNCTION = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a folder with a package of reward functions on the import path."""
    package = tmp_path / "their_rewards"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mine.py").write_text(MINE)
    (package / "bad.py").write_text("raise RuntimeError('no key set')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


@pytest.mark.usefixtures("folder")
def test_a_function_is_found_by_its_path() -> None:
    reward = load_reward("their_rewards.mine:half")
    assert reward("jigsaw", "21", "12") == 0.5


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("their_rewards.mine", "names no function: write it as package.module:name"),
        (":half", "names no function"),
        ("their_rewards.none:half", "cannot be imported (ModuleNotFoundError: No module named"),
        ("their_rewards.bad:half", "cannot be imported (RuntimeError: no key set)"),
        ("their_rewards.mine:whole", "has no 'whole'"),
        ("their_rewards.mine:NOT_A_FUNCTION", "is not a function but a int"),
    ],
)
def test_a_path_without_a_function_is_refused(path: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        load_reward(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("value", [0, 1, 0.25, True])
def test_numbers_from_0_to_1_are_rewards(value: float) -> None:
    assert custom_score(lambda *_: value, "t", "x", "a", timeout_s=300) == (float(value), "")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.01, "returned 1.01, which is not between 0 and 1"),
        (-1, "returned -1.0, which is not between 0 and 1"),
        (math.nan, "returned nan, which is not between 0 and 1"),
        (math.inf, "returned inf, which is not between 0 and 1"),
        ("1", "returned '1', which is not a number"),
        (None, "returned None, which is not a number"),
        ((1.0,), "returned (1.0,), which is not a number"),
    ],
)
def test_any_other_result_is_0_with_the_reason(value: Any, said: str) -> None:
    assert custom_score(lambda *_: value, "t", "x", "a", timeout_s=300) == (0.0, said)


def test_a_function_that_does_not_end_is_0_with_the_reason() -> None:
    def endless(task: str, text: str, truth: str) -> float:
        while True:
            time.sleep(0.001)

    assert custom_score(endless, "t", "x", "a", timeout_s=0.1) == (
        0.0,
        "TimeoutError: no result within 0.1 s",
    )
    time.sleep(0.15)  # A second alarm would end the test run.
