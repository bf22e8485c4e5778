"""`cluster.checkpoints.find`: which of them count. That in a bucket they are the same: tests/integration/test_bucket.py."""

import json
from pathlib import Path

import pytest

from cluster.checkpoints.find import best_checkpoint, checkpoints, last_checkpoint
from cluster.config.load import ConfigError


def checkpoint(folder: Path, name: str, step: int, *, shards: int = 2) -> Path:
    """Of two ranks; returns its state.json."""
    path = folder / "checkpoints" / "learner" / f"checkpoint_{name}"
    (path / "policy").mkdir(parents=True)
    state = {"step": step, "score": 0.1 * step, "cursor": 0, "ranks": 2, "start_model": "tiny"}
    (path / "state.json").write_text(json.dumps(state))
    for rank in range(shards):
        (path / "policy" / f"{rank}_optim_states.pt").touch()
    return path / "state.json"


def cut(file: Path, num_bytes: int) -> None:
    file.write_bytes(file.read_bytes()[:num_bytes])


@pytest.mark.parametrize("num_bytes", [0, 9])
def test_one_that_is_cut_off_is_left_out(tmp_path: Path, num_bytes: int) -> None:
    for step in (1, 2):
        checkpoint(tmp_path, str(step), step)
    checkpoint(tmp_path, "3", 3, shards=1)
    cut(checkpoint(tmp_path, "4", 4), num_bytes)
    assert [each.name for each in checkpoints(tmp_path)] == ["checkpoint_1", "checkpoint_2"]
    for found in (last_checkpoint(tmp_path), best_checkpoint(tmp_path)):
        assert found is not None
        assert found.state["step"] == 2


def test_where_nothing_else_is_left_that_is_said(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    checkpoint(tmp_path, "1", 1, shards=1)  # is being saved
    assert last_checkpoint(tmp_path) is None
    cut(checkpoint(tmp_path, "2", 2), 9)
    for find in (last_checkpoint, best_checkpoint):
        with pytest.raises(
            ConfigError, match=r"learner: no checkpoint is whole \(the state\.json of checkpoint_2 is cut off"
        ):
            find(tmp_path)
    assert checkpoints(tmp_path) == []  # Ray's list of them can be mended all the same
