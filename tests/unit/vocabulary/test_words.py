"""Tests of stages, worker roles and run states: constants, types and the page use the same words."""

import re
from pathlib import Path
from typing import get_args

from vocabulary import stages, workers
from vocabulary.metrics import metric
from vocabulary.run_states import ACTIVE, ENDED, RunState, StoredState


def page_module(name: str) -> str:
    """Return the text of one of the page's modules."""
    (path,) = (Path(__file__).parents[3] / "dashboard" / "page").rglob(name)
    return path.read_text(encoding="utf-8")


def test_every_stage_has_a_constant() -> None:
    constants = {
        stages.LOOKING_AT_VIDEOS, stages.WARMING_UP, stages.STARTING, stages.TRAINING, stages.STOPPED, stages.DONE,
    }  # fmt: skip
    assert constants | set(stages.EVALUATING.values()) == set(get_args(stages.Stage))
    assert set(stages.EVALUATING) == set(get_args(stages.EvaluationPoint))


def test_every_role_has_a_title() -> None:
    assert set(workers.ROLE_TITLES) == set(get_args(workers.WorkerRole))


def test_the_page_has_the_same_titles_for_roles_in_the_same_order() -> None:
    titles = re.findall(r'^  (\w+): "([A-Z][a-z]+ \w+)",$', page_module("workers.js"), re.MULTILINE)
    assert titles == list(workers.ROLE_TITLES.items())


def test_the_parts_of_a_step_that_the_page_shows_are_in_the_catalogue() -> None:
    parts = re.findall(r'\{ name: "(\w+)"', page_module("clock.js"))
    assert {"update", "rollout", "waited_for_groups"} <= set(parts)
    assert all(metric(f"seconds/{part}") for part in parts)


def test_a_run_in_the_store_is_active_or_has_ended() -> None:
    assert {*ENDED, *ACTIVE} == set(get_args(StoredState))
    assert set(get_args(RunState)) == {*get_args(StoredState), "stalled"}
