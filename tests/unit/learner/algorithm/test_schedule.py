"""Tests of learner.algorithm.schedule: values by hand, and properties that hold for every run."""

import math
from typing import get_args

import pytest

from learner.algorithm.schedule import SCHEDULES, lr_factor
from learner.config import ScheduleConfig


def course(total_steps: int, config: ScheduleConfig) -> list[float]:
    return [lr_factor(step, total_steps=total_steps, config=config) for step in range(total_steps)]


def test_every_kind_of_the_configuration_exists() -> None:
    assert set(SCHEDULES) == set(get_args(ScheduleConfig.model_fields["kind"].annotation))


def test_by_default_the_rate_is_constant() -> None:
    assert course(4, ScheduleConfig()) == [1.0] * 4


def test_the_warm_up_by_hand() -> None:
    assert course(6, ScheduleConfig(warmup_steps=3)) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_the_cosine_by_hand() -> None:
    half = math.sqrt(0.5)
    expected = [1, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert course(4, ScheduleConfig(kind="cosine")) == pytest.approx(expected, abs=1e-12)
    lifted = [0.2 + 0.8 * factor for factor in expected]
    assert course(4, ScheduleConfig(kind="cosine", min_ratio=0.2)) == pytest.approx(lifted, abs=1e-12)


def test_the_cosine_begins_where_the_warm_up_ends() -> None:
    factors = course(6, ScheduleConfig(kind="cosine", warmup_steps=2))
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factors[3:] == pytest.approx(course(4, ScheduleConfig(kind="cosine"))[1:])


@pytest.mark.parametrize("warmup_steps", [0, 1, 7, 20, 30])
def test_no_step_has_rate_0_and_the_rate_only_falls_after_its_rise(warmup_steps: int) -> None:
    factors = course(20, ScheduleConfig(kind="cosine", warmup_steps=warmup_steps))
    assert all(0 < factor <= 1 for factor in factors)
    top = min(warmup_steps, 19)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_a_cosine_stays_at_its_minimum_after_its_end() -> None:
    config = ScheduleConfig(kind="cosine", min_ratio=0.1)
    assert [lr_factor(step, total_steps=5, config=config) for step in (5, 9)] == pytest.approx([0.1, 0.1])
