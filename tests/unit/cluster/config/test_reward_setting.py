"""Tests that `reward.function` is looked up in the working folder and checked before anything starts."""

import sys
from pathlib import Path

import pytest

from cluster.config.errors import ConfigError
from cluster.config.load import build_config
from cluster.training.prepare import check_reward


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return a working folder with a reward function. As in a command, the folder is not on the import path yet."""
    (tmp_path / "reward_lying_here.py").write_text("def mine(task, text, answer):\n    return 1.0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])


def test_a_function_in_the_working_folder_is_found() -> None:
    check_reward(build_config({"reward": {"function": "reward_lying_here:mine"}}))


def test_an_unknown_function_is_refused_with_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"^reward\.function='reward_lying_here:yours': .* has no 'yours'"):
        check_reward(build_config({"reward": {"function": "reward_lying_here:yours"}}))


def test_without_a_function_nothing_is_imported() -> None:
    before = list(sys.path)
    check_reward(build_config({}))
    assert sys.path == before
