"""Tests that Ray Train can read the checkpoint list that we rebuild after its own was truncated."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.checkpoints.repair_list import repair_checkpoint_list
from cluster.runs.folder import bulk_files

NAMES = ("checkpoint_2026-01-01_00-00-00.000001", "checkpoint_2026-01-01_00-00-01.000001")


def bulk(folder: Path) -> Path:
    """Return the folder that contains `checkpoints`: the run's bucket if it has one, else its own folder."""
    file = folder / "bucket.txt"
    return Path(file.read_text().strip().removeprefix("file://")) if file.exists() else folder


def checkpoint(folder: Path, name: str, **state: Any) -> None:
    made = bulk(folder) / "checkpoints" / "learner" / name
    (made / "policy").mkdir(parents=True)
    (made / "policy" / "rank_0_optim_states.pt").touch()
    (made / "state.json").write_text(json.dumps({"ranks": 1, "cursor": 0, **state}))


def manager(folder: Path) -> Any:
    from ray.train import CheckpointConfig
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
    from ray.train.v2._internal.execution.storage import StorageContext

    address = bulk_files(folder).below("checkpoints").address
    storage = StorageContext(storage_path=address, experiment_dir_name="learner")
    config = CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score", checkpoint_score_order="max")
    return CheckpointManager(storage_context=storage, checkpoint_config=config)


@pytest.mark.parametrize("in_bucket", [False, True])
@pytest.mark.parametrize("left", ["", '{"ray_version": "2.60.0", "checkpoint_res'])
def test_a_truncated_checkpoint_list_is_rebuilt_so_that_ray_reads_it(
    tmp_path: Path, left: str, in_bucket: bool
) -> None:
    if in_bucket:
        (tmp_path / "bucket.txt").write_text(f"file://{tmp_path}/bucket\n")
    checkpoint(tmp_path, NAMES[0], step=2, score=0.75)
    checkpoint(tmp_path, NAMES[1], step=4, score=None)
    path = bulk(tmp_path) / "checkpoints" / "learner" / "checkpoint_manager_snapshot.json"
    path.write_text(left)
    with pytest.raises(Exception, match=r"Expecting value|Unterminated string"):
        manager(tmp_path)
    assert repair_checkpoint_list(tmp_path)
    found = manager(tmp_path)
    assert found.latest_checkpoint_result.checkpoint.path.endswith(NAMES[1])
    assert found.latest_checkpoint_result.metrics == {"step": 4, "score": -1.0}
    assert found.best_checkpoint_result.checkpoint.path.endswith(NAMES[0])
    assert not repair_checkpoint_list(tmp_path)  # the list is complete now


def test_a_complete_list_and_a_missing_one_are_left_alone(tmp_path: Path) -> None:
    assert not repair_checkpoint_list(tmp_path)
    checkpoint(tmp_path, NAMES[0], step=2, score=None)
    path = tmp_path / "checkpoints" / "learner" / "checkpoint_manager_snapshot.json"
    path.write_text('{"ray_version": "2.60.0"}')
    assert not repair_checkpoint_list(tmp_path)
    assert path.read_text() == '{"ray_version": "2.60.0"}'
