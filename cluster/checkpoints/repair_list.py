"""Rebuilding Ray Train's list of a run's checkpoints.

Ray Train writes the list in place, so a run that is killed at that moment leaves half of it. Ray Train would then
refuse to start, although every checkpoint is complete.
"""

import json
import logging
from pathlib import Path
from typing import Any

import ray

from cluster.checkpoints.find import config_error_if_unreachable, learner_files, list_checkpoints
from learner.checkpoint import NO_SCORE

logger = logging.getLogger(__name__)

_LIST_FILE = "checkpoint_manager_snapshot.json"


def repair_checkpoint_list(folder: Path) -> bool:
    """Rebuild the checkpoint list of the run in `folder` if it cannot be parsed. Return whether that was needed.

    Raises:
        ConfigError: the storage cannot be reached.
    """
    files = learner_files(folder)
    with config_error_if_unreachable(files):
        try:
            found = files.read(_LIST_FILE)
        except FileNotFoundError:
            return False
    if _is_readable(found):
        return False
    results = [
        {"version": 0, "checkpoint_dir_name": checkpoint.name, "metrics": _metrics(checkpoint.state)}
        for checkpoint in list_checkpoints(folder)
    ]
    # The format is Ray 2.60's; in tests/contract/test_ray_record.py Ray reads it.
    rebuilt: dict[str, Any] = {
        "ray_version": ray.__version__,
        "checkpoint_results": sorted(results, key=lambda result: result["metrics"]["score"]),
        "checkpoint_report_indices": list(range(1, len(results) + 1)),
        "latest_checkpoint_result": results[-1] if results else None,
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": len(results) + 1,
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }
    with config_error_if_unreachable(files):
        files.write(_LIST_FILE, json.dumps(rebuilt).encode())
    logger.info("rebuilt %s/%s from %d checkpoints", files.address, _LIST_FILE, len(results))
    return True


def _is_readable(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _metrics(state: dict[str, Any]) -> dict[str, float]:
    return {"step": state["step"], "score": NO_SCORE if state["score"] is None else state["score"]}
