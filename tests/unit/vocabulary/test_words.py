"""Stages, worker roles and run states: constants and types name the same words."""

from typing import get_args

from vocabulary import stages, workers
from vocabulary.run_states import ACTIVE, ENDED, RunState, StoredState


def test_every_stage_has_a_constant() -> None:
    constants = {
        stages.LOOKING_AT_VIDEOS, stages.WARMING_UP, stages.STARTING, stages.TRAINING, stages.STOPPED, stages.DONE,
    }  # fmt: skip
    assert constants | set(stages.EVALUATING.values()) == set(get_args(stages.Stage))
    assert set(stages.EVALUATING) == set(get_args(stages.EvaluationPoint))


def test_every_role_has_a_title() -> None:
    assert set(workers.ROLE_TITLES) == set(get_args(workers.WorkerRole))


def test_a_run_in_the_store_is_active_or_has_ended() -> None:
    assert {*ENDED, *ACTIVE} == set(get_args(StoredState))
    assert set(get_args(RunState)) == {*get_args(StoredState), "stalled"}
