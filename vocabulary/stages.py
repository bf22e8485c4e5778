"""What a run is doing, as its "stage" events say, and the points of a run at which it evaluates.

    looking at the videos ─► warming up ─► starting ─► evaluating before training ─► training ─► ... ─► done
                                                                        ▲               │ every evaluation.every steps
                                                                        └── evaluating during training

The message of an event of kind `STAGE_EVENT` is a `Stage`. Run folders and run stores hold these words, so a changed
spelling needs a mapping from the old one.
"""

from typing import Literal

STAGE_EVENT = "stage"  # kind of the event that announces a stage

Stage = Literal[
    "looking at the videos",
    "warming up",
    "starting",
    "evaluating before training",
    "training",
    "evaluating during training",
    "evaluating after training",
    "stopped",
    "done",
]
LOOKING_AT_VIDEOS: Stage = "looking at the videos"
WARMING_UP: Stage = "warming up"  # a random model learns the form of a completion
STARTING: Stage = "starting"  # engines and learner load their models
TRAINING: Stage = "training"
STOPPED: Stage = "stopped"  # before its last step, on request
DONE: Stage = "done"

# When held-out samples are evaluated: field `stage` of an evaluation's record, in files and in the run store.
EvaluationPoint = Literal["before", "during", "after"]
# In the same field: results of `videossr eval` on a benchmark, for whatever model.
BENCH = "bench"

EVALUATING: dict[EvaluationPoint, Stage] = {
    "before": "evaluating before training",
    "during": "evaluating during training",
    "after": "evaluating after training",
}
