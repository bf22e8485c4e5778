"""Tests of the walk over the settings of a configuration class."""

from typing import Annotated

from pydantic import BaseModel

from cluster.config.schema import Config
from vocabulary.settings import MayChangeOnResume, marked, settings


class Machines(BaseModel):
    count: int = 1
    limits: Annotated[dict[str, int], MayChangeOnResume()] = {}


class Given(BaseModel):
    seed: int = 0
    machines: Machines | None = None


def test_settings_of_optional_sections_are_found() -> None:
    assert [name for name, _ in settings(Given)] == ["seed", "machines.count", "machines.limits"]


def test_a_marker_inside_a_section_is_found() -> None:
    assert list(marked(Given, MayChangeOnResume)) == ["machines.limits"]


def test_a_resumed_run_may_change_the_marked_sections_and_settings_alone() -> None:
    assert set(marked(Config, MayChangeOnResume)) == {
        *("train", "cluster", "rollout", "evaluation"),
        *("runs_dir", "learner.max_restarts"),
    }
