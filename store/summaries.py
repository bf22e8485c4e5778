"""Runs as a list shows them: whether they get on, how fast, and what they last earned."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from store.records import RunState, RunSummary
from store.tables import Event, MetricName, Point, Run, Step

STALE_HEARTBEAT_S = 30.0
_SLOW_S = 60.0  # without a step, at least, before a run counts as stalled,
_SLOW_TIMES = 10.0  # and this many times its usual seconds per step
_SLOW_STAGE_S = 900.0  # in a stage without steps, as an evaluation is
_RECENT_STEPS = 50  # that the usual seconds are the median of
_REWARDS = "reward/"  # what metrics of tasks' mean rewards begin with; reward/mean is that of all

_COLUMNS = (Run.id, Run.name, Run.state, Run.created_at, Run.started_at, Run.ended_at, Run.heartbeat_at,
            Run.step, Run.steps, Run.failure, Run.job_id)  # fmt: skip


def summaries(connection: Connection, query: Select[Any], now: float) -> list[RunSummary]:
    """The runs that `query`, a selection of run numbers, finds, in its order."""
    run_ids = list(connection.execute(query).scalars())
    rows = {row.id: row for row in connection.execute(select(*_COLUMNS).where(Run.id.in_(run_ids)))}
    paces, stages = _paces(connection, run_ids), _stages(connection, run_ids)
    rewards = _last_rewards(connection, run_ids)
    return [
        _summary(rows[run_id], paces.get(run_id, ()), stages.get(run_id), rewards[run_id], now)
        for run_id in run_ids
    ]


def in_states(connection: Connection, states: Sequence[RunState], now: float) -> ColumnElement[bool]:
    """The condition that a run is in one of `states`, as `summaries` calls them."""
    stalled = Run.id.in_(stalled_runs(connection, now))
    conditions: list[ColumnElement[bool]] = []
    for state in states:
        if state == "stalled":
            conditions.append(stalled)
        elif state == "running":
            conditions.append(and_(Run.state == "running", ~stalled))
        else:
            conditions.append(Run.state == state)
    return or_(*conditions)


def stalled_runs(connection: Connection, now: float) -> list[int]:
    """Numbers of all runs that count as running and do not get on."""
    query = select(Run.id, Run.state, Run.created_at, Run.started_at, Run.heartbeat_at)
    rows = connection.execute(query.where(Run.state == "running")).all()
    alive = [row.id for row in rows if not _is_silent(row, now)]
    paces, stages = _paces(connection, alive), _stages(connection, alive)
    return sorted(row.id for row in rows if _is_stalled(row, paces.get(row.id, ()), stages.get(row.id), now))


def _summary(
    row: Any,
    times: Sequence[float],
    stage: tuple[float, str] | None,
    rewards: Mapping[str, float],
    now: float,
) -> RunSummary:
    seconds = _usual_seconds(times)
    state = "stalled" if row.state == "running" and _is_stalled(row, times, stage, now) else row.state
    goes_on = state == "running" and seconds is not None
    return RunSummary(
        **(row._asdict() | {"state": state}),
        last_rewards=dict(rewards),
        seconds_per_step=seconds,
        eta_s=max(0, row.steps - row.step) * seconds if goes_on and seconds is not None else None,
    )


def _is_silent(row: Any, now: float) -> bool:
    heard_at = max(row.heartbeat_at or 0.0, row.started_at or row.created_at)
    return now - heard_at > STALE_HEARTBEAT_S


def _is_stalled(row: Any, times: Sequence[float], stage: tuple[float, str] | None, now: float) -> bool:
    """Of a running run. Before the first step since it started it may take its time: engines are starting."""
    if _is_silent(row, now):
        return True
    if not times or times[-1] < (row.started_at or row.created_at):
        return False
    if stage is not None and stage[0] >= times[-1] and stage[1] != "training":
        return now - stage[0] > _SLOW_STAGE_S
    moved_at = times[-1] if stage is None else max(stage[0], times[-1])
    return now - moved_at > max(_SLOW_S, _SLOW_TIMES * (_usual_seconds(times) or 0.0))


def _usual_seconds(times: Sequence[float]) -> float | None:
    gaps = [after - before for before, after in pairwise(times) if after > before]
    return median(gaps) if gaps else None


def _paces(connection: Connection, run_ids: Sequence[int]) -> dict[int, list[float]]:
    """When each run's latest steps ended."""
    query = (
        select(Run.id, Step.time)
        .join(Step, and_(Step.run_id == Run.id, Step.step >= Run.step - _RECENT_STEPS, Step.step < Run.step))
        .where(Run.id.in_(run_ids))
        .order_by(Step.run_id, Step.step)
    )
    times: dict[int, list[float]] = defaultdict(list)
    for run_id, time_s in connection.execute(query):
        times[run_id].append(time_s)
    return times


def _stages(connection: Connection, run_ids: Sequence[int]) -> dict[int, tuple[float, str]]:
    """When each run's latest stage began, and which it is."""
    of_run = and_(Event.run_id == Run.id, Event.kind == "stage")
    last = select(Event.id).where(of_run).order_by(Event.id.desc()).limit(1).correlate(Run).scalar_subquery()
    query = (
        select(Run.id, Event.time, Event.message)
        .join(Event, Event.id == last)
        .where(Run.id.in_(run_ids), Run.state == "running")
    )
    return {run_id: (time_s, message) for run_id, time_s, message in connection.execute(query)}


def _last_rewards(connection: Connection, run_ids: Sequence[int]) -> dict[int, dict[str, float]]:
    of_metric = and_(Point.run_id == Run.id, Point.metric_id == MetricName.id, Point.value.is_not(None))
    last = select(Point.value).where(of_metric).order_by(Point.step.desc()).limit(1)
    query = (
        select(Run.id, MetricName.name, last.correlate(Run, MetricName).scalar_subquery().label("value"))
        .join(MetricName, MetricName.name.startswith(_REWARDS, autoescape=True))
        .where(Run.id.in_(run_ids), MetricName.name != f"{_REWARDS}mean")
        .order_by(MetricName.name)
    )
    rewards: dict[int, dict[str, float]] = defaultdict(dict)
    for run_id, name, value in connection.execute(query):
        if value is not None:
            rewards[run_id][name.removeprefix(_REWARDS)] = value
    return rewards


def of_text(text: str) -> ColumnElement[bool]:
    """Runs whose name contains `text`, in whatever case."""
    return func.lower(Run.name).contains(text.lower(), autoescape=True)
