"""Saves and restores the learner's checkpoints through Ray Train.

A checkpoint holds every rank's shards (`DeepSpeedPolicy.save`) and `state.json`: the next step, the number of that
step's first prompt, the held-out score, the start model and the number of ranks. `cluster/checkpoints/` finds, exports
and repairs checkpoints.
"""

import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.commands import Save

if TYPE_CHECKING:  # `cluster/checkpoints/` reads the constants here without importing torch
    from learner.policy import DeepSpeedPolicy

logger = logging.getLogger(__name__)

STATE_FILE = "state.json"
NO_SCORE = -1.0  # stands for "not evaluated" in Ray Train's list of checkpoints; held-out scores are 0 to 1


def save_checkpoint(policy: "DeepSpeedPolicy", command: Save) -> None:
    """Write a checkpoint: every rank its shards, rank 0 also the state of the run."""
    import ray.train

    with tempfile.TemporaryDirectory(prefix="videossr-checkpoint-") as scratch:
        folder = Path(scratch)
        policy.save(folder)
        if policy.rank == 0:
            state = {
                "step": command.step,
                "cursor": command.cursor,
                "score": command.score,
                "start_model": policy.spec.path,
                "ranks": policy.world_size,
            }
            (folder / STATE_FILE).write_text(json.dumps(state))
        # Ray Train keeps the latest checkpoint and those with the highest scores. A checkpoint without a score ranks
        # below all others. Its score is not -infinity because Ray Train writes that as null and cannot read it back.
        score = NO_SCORE if command.score is None else command.score
        ray.train.report(
            {"step": command.step, "score": score}, checkpoint=ray.train.Checkpoint.from_directory(scratch)
        )


def restore_checkpoint(policy: "DeepSpeedPolicy", checkpoint: Any) -> tuple[int, int]:
    """Load a checkpoint into `policy`; return the next step and the number of that step's first prompt.

    Args:
        checkpoint: a ray.train.Checkpoint.
    """
    with checkpoint.as_directory() as folder:
        policy.load(Path(folder))
        state = json.loads((Path(folder) / STATE_FILE).read_text())
    logger.info("restored a checkpoint; the next step is %d", state["step"])
    return int(state["step"]), int(state["cursor"])
