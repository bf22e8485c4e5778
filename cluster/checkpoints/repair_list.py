"""Ray Train's own list of a run's checkpoints, which it writes in place: a run that is killed over it leaves half.

Ray Train then refuses to start, though every checkpoint is whole. The list is made anew from the checkpoints.
"""

import json
from pathlib import Path
from typing import Any

import ray

from cluster.checkpoints.find import checkpoints, learner_files, reaching
from learner.loop import NO_SCORE

_FILE = "checkpoint_manager_snapshot.json"


def mend_ray_record(folder: Path) -> bool:
    """Make the list of `runs/NAME` anew if it cannot be read; whether it had to be. Raises ConfigError."""
    files = learner_files(folder)
    with reaching(files):
        try:
            left = files.read(_FILE)
        except FileNotFoundError:
            return False
    if _readable(left):
        return False
    results = [
        {"version": 0, "checkpoint_dir_name": checkpoint.name, "metrics": _metrics(checkpoint.state)}
        for checkpoint in checkpoints(folder)
    ]
    # The form is Ray 2.60's; tests/contract/test_ray_record.py has Ray read it.
    record: dict[str, Any] = {
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
    with reaching(files):
        files.write(_FILE, json.dumps(record).encode())
    return True


def _readable(record: bytes) -> bool:
    try:
        return isinstance(json.loads(record), dict)
    except ValueError:
        return False


def _metrics(state: dict[str, Any]) -> dict[str, float]:
    return {"step": state["step"], "score": NO_SCORE if state["score"] is None else state["score"]}
