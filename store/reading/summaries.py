"""Runs as a list shows them: whether they get on, how fast, and what they last earned."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from store.records import RunSummary
from store.schema.tables import EventRow, MetricNameRow, PointRow, RunRow, StepRow
from vocabulary.run_states import RunState

SILENT_S = 30.0  # without a sign of life, before a running run counts as stalled,
_WAITING_S = 120.0  # and a queued one: somebody sees to it that it is started
_SLOW_S = 60.0  # without a step, at least, before a run that trains counts as stalled,
_SLOW_TIMES = 3.0  # this many times its usual seconds per step,
_LONGEST_TIMES = 1.5  # and this many times the longest of its latest ones
_SLOW_STAGE_S = 900.0  # without a word in a stage of unknown length, as starting or an evaluation is
_RECENT_STEPS = 50  # that the usual seconds are the median of
_GOING_ON = ("queued", "running")
_REWARDS = "reward/"  # what metrics of tasks' mean rewards begin with; reward/mean is that of all

_COLUMNS = (RunRow.id, RunRow.name, RunRow.state, RunRow.created_at, RunRow.started_at, RunRow.ended_at, RunRow.heartbeat_at,
            RunRow.step, RunRow.steps, RunRow.failure, RunRow.job_id)  # fmt: skip


def summaries(connection: Connection, query: Select[Any], now: float) -> list[RunSummary]:
    """The runs that `query`, a selection of run numbers, finds, in its order."""
    run_ids = list(connection.execute(query).scalars())
    rows = {row.id: row for row in connection.execute(select(*_COLUMNS).where(RunRow.id.in_(run_ids)))}
    paces, signs = _paces(connection, run_ids), _signs(connection, run_ids)
    rewards = _last_rewards(connection, run_ids)
    return [
        _summary(rows[run_id], paces.get(run_id, ()), signs.get(run_id), rewards[run_id], now)
        for run_id in run_ids
    ]


def in_states(connection: Connection, states: Sequence[RunState], now: float) -> ColumnElement[bool]:
    """The condition that a run is in one of `states`, as `summaries` calls them."""
    stalled = RunRow.id.in_(stalled_runs(connection, now))
    conditions: list[ColumnElement[bool]] = []
    for state in states:
        if state == "stalled":
            conditions.append(stalled)
        elif state in _GOING_ON:
            conditions.append(and_(RunRow.state == state, ~stalled))
        else:
            conditions.append(RunRow.state == state)
    return or_(*conditions)


def is_silent(now: float) -> ColumnElement[bool]:
    """The condition that a run should be going on, or be started, and nothing was heard of it."""

    def unheard(for_s: float) -> ColumnElement[bool]:
        began = func.coalesce(RunRow.started_at, RunRow.created_at)
        return and_(func.coalesce(RunRow.heartbeat_at, 0.0) < now - for_s, began < now - for_s)

    running, queued = RunRow.state == "running", RunRow.state == "queued"
    return or_(and_(running, unheard(SILENT_S)), and_(queued, unheard(_WAITING_S)))


def stalled_runs(connection: Connection, now: float) -> list[int]:
    """Numbers of all runs that should get on and do not."""
    query = select(RunRow.id, RunRow.state, RunRow.created_at, RunRow.started_at, RunRow.heartbeat_at)
    rows = connection.execute(query.where(RunRow.state.in_(_GOING_ON))).all()
    alive = [row.id for row in rows if not _is_silent(row, now)]
    paces, signs = _paces(connection, alive), _signs(connection, alive)
    return sorted(row.id for row in rows if _is_stalled(row, paces.get(row.id, ()), signs.get(row.id), now))


def _summary(
    row: Any,
    times: Sequence[float],
    sign: Any,
    rewards: Mapping[str, float],
    now: float,
) -> RunSummary:
    seconds = _usual_seconds(times)
    state = "stalled" if row.state in _GOING_ON and _is_stalled(row, times, sign, now) else row.state
    goes_on = state == "running" and seconds is not None
    return RunSummary(
        **(row._asdict() | {"state": state}),
        silent=_is_silent(row, now),
        stage=sign.stage if sign else None,
        last_rewards=dict(rewards),
        seconds_per_step=seconds,
        eta_s=max(0, row.steps - row.step) * seconds if goes_on and seconds is not None else None,
    )


def _is_silent(row: Any, now: float) -> bool:
    """As `is_silent`, of one row."""
    if row.state not in _GOING_ON:
        return False
    heard_at = max(row.heartbeat_at or 0.0, row.started_at or row.created_at)
    return now - heard_at > (SILENT_S if row.state == "running" else _WAITING_S)


def _is_stalled(row: Any, times: Sequence[float], sign: Any, now: float) -> bool:
    """Of a run that should get on.

    Args:
        times: when its latest steps ended.
        sign: its latest stage and event, from `_signs`; None: there are none.
    """
    if _is_silent(row, now) or row.state == "queued":
        return _is_silent(row, now)
    began = row.started_at or row.created_at
    moved_at = max(began, sign.said_at if sign else 0.0, times[-1] if times else 0.0)
    trains = bool(times) and times[-1] >= began and (sign is None or sign.stage == "training")
    return now - moved_at > (_slow_s(times) if trains else _SLOW_STAGE_S)


def _slow_s(times: Sequence[float]) -> float:
    """Seconds after which a step that has not ended is remarkable: others save, evaluate or sample twice too."""
    longest = max((after - before for before, after in pairwise(times)), default=0.0)
    return max(_SLOW_S, _SLOW_TIMES * (_usual_seconds(times) or 0.0), _LONGEST_TIMES * longest)


def _usual_seconds(times: Sequence[float]) -> float | None:
    gaps = [after - before for before, after in pairwise(times) if after > before]
    return median(gaps) if gaps else None


def _paces(connection: Connection, run_ids: Sequence[int]) -> dict[int, list[float]]:
    """When each run's latest steps ended."""
    query = (
        select(RunRow.id, StepRow.time)
        .join(StepRow, and_(StepRow.run_id == RunRow.id, StepRow.step >= RunRow.step - _RECENT_STEPS, StepRow.step < RunRow.step))
        .where(RunRow.id.in_(run_ids))
        .order_by(StepRow.run_id, StepRow.step)
    )
    times: dict[int, list[float]] = defaultdict(list)
    for run_id, time_s in connection.execute(query):
        times[run_id].append(time_s)
    return times


def _signs(connection: Connection, run_ids: Sequence[int]) -> dict[int, Any]:
    """Of running runs: the latest stage (`stage`), and when it or a later event was told (`said_at`)."""
    of_run = select(EventRow.id).where(EventRow.run_id == RunRow.id).order_by(EventRow.id.desc()).limit(1)
    stage, event = aliased(EventRow), aliased(EventRow)
    last_stage = of_run.where(EventRow.kind == "stage").correlate(RunRow).scalar_subquery()
    last = of_run.correlate(RunRow).scalar_subquery()
    query = (
        select(RunRow.id, stage.message.label("stage"), event.time.label("said_at"))
        .select_from(RunRow)
        .join(event, event.id == last)
        .outerjoin(stage, stage.id == last_stage)
        .where(RunRow.id.in_(run_ids), RunRow.state == "running")
    )
    return {row.id: row for row in connection.execute(query)}


def _last_rewards(connection: Connection, run_ids: Sequence[int]) -> dict[int, dict[str, float]]:
    of_metric = and_(PointRow.run_id == RunRow.id, PointRow.metric_id == MetricNameRow.id, PointRow.value.is_not(None))
    last = select(PointRow.value).where(of_metric).order_by(PointRow.step.desc()).limit(1)
    query = (
        select(RunRow.id, MetricNameRow.name, last.correlate(RunRow, MetricNameRow).scalar_subquery().label("value"))
        .join(MetricNameRow, MetricNameRow.name.startswith(_REWARDS, autoescape=True))
        .where(RunRow.id.in_(run_ids), MetricNameRow.name != f"{_REWARDS}mean")
        .order_by(MetricNameRow.name)
    )
    rewards: dict[int, dict[str, float]] = defaultdict(dict)
    for run_id, name, value in connection.execute(query):
        if value is not None:
            rewards[run_id][name.removeprefix(_REWARDS)] = value
    return rewards


def of_text(text: str) -> ColumnElement[bool]:
    """Runs whose name contains `text`, in whatever case."""
    return func.lower(RunRow.name).contains(text.lower(), autoescape=True)
