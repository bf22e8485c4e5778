"""Tests that find checkpoints in a folder. tests/integration/test_bucket.py has the test with a bucket."""

import json
from pathlib import Path

import pytest

from cluster.checkpoints.find import best_checkpoint, last_checkpoint, list_checkpoints
from cluster.config.errors import ConfigError


def checkpoint(folder: Path, name: str, step: int, *, shards: int = 2) -> Path:
    """Write a checkpoint of two ranks and return the path of its state.json."""
    path = folder / "checkpoints" / "learner" / f"checkpoint_{name}"
    (path / "policy").mkdir(parents=True)
    state = {"step": step, "score": 0.1 * step, "cursor": 0, "ranks": 2, "start_model": "tiny"}
    (path / "state.json").write_text(json.dumps(state))
    for rank in range(shards):
        (path / "policy" / f"{rank}_optim_states.pt").touch()
    return path / "state.json"


def truncate(file: Path, num_bytes: int) -> None:
    file.write_bytes(file.read_bytes()[:num_bytes])


@pytest.mark.parametrize("num_bytes", [0, 9])
def test_a_damaged_or_incomplete_checkpoint_is_left_out(tmp_path: Path, num_bytes: int) -> None:
    for step in (1, 2):
        checkpoint(tmp_path, str(step), step)
    checkpoint(tmp_path, "3", 3, shards=1)
    truncate(checkpoint(tmp_path, "4", 4), num_bytes)
    assert [each.name for each in list_checkpoints(tmp_path)] == ["checkpoint_1", "checkpoint_2"]
    for found in (last_checkpoint(tmp_path), best_checkpoint(tmp_path)):
        assert found is not None
        assert found.state["step"] == 2


def test_an_error_says_that_every_checkpoint_is_damaged(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, "1", 1, shards=1)  # incomplete, as while it is saved
    assert last_checkpoint(tmp_path) is None
    truncate(checkpoint(tmp_path, "2", 2), 9)
    for find in (last_checkpoint, best_checkpoint):
        with pytest.raises(
            ConfigError,
            match=r"learner: no checkpoint is complete \(the state\.json of checkpoint_2 is truncated",
        ):
            find(tmp_path)
    assert list_checkpoints(tmp_path) == []  # no error, because Ray Train's list can still be repaired
