"""Summaries of runs: state, whether a run is stalled, speed and latest rewards."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from store.records import RunSummary
from store.schema.tables import EventRow, MetricNameRow, PointRow, RunRow, StepRow
from vocabulary.metrics import MEAN_REWARD, REWARD_PREFIX
from vocabulary.run_states import ACTIVE, RunState
from vocabulary.stages import STAGE_EVENT, TRAINING

# A run is silent, and so stalled, when its last heartbeat is older than this.
RUNNING_SILENT_S = 30.0
_QUEUED_SILENT_S = 120.0  # the heartbeats of a queued run come from the process that starts it
# A run that trains is stalled when its step takes longer than each of these.
_STALLED_STEP_S = 60.0
_STALLED_STEP_MEDIANS = 3.0  # times the median of its recent steps
_STALLED_STEP_MAXIMA = 1.5  # times the longest of its recent steps
_STALLED_STAGE_S = 900.0  # without an event in a stage of unknown length, such as starting or an evaluation
_RECENT_STEPS = 50

_COLUMNS = (RunRow.id, RunRow.name, RunRow.state, RunRow.created_at, RunRow.started_at, RunRow.ended_at,
            RunRow.heartbeat_at, RunRow.step, RunRow.steps, RunRow.failure, RunRow.job_id)  # fmt: skip


def summaries(connection: Connection, query: Select[Any], now: float) -> list[RunSummary]:
    """Return summaries of the runs that `query` selects by number, in its order."""
    run_ids = list(connection.execute(query).scalars())
    rows = {row.id: row for row in connection.execute(select(*_COLUMNS).where(RunRow.id.in_(run_ids)))}
    times, signs = _step_times(connection, run_ids), _last_signs(connection, run_ids)
    rewards = _last_rewards(connection, run_ids)
    return [
        _summary(rows[run_id], times.get(run_id, ()), signs.get(run_id), rewards[run_id], now)
        for run_id in run_ids
    ]


def state_is_one_of(connection: Connection, states: Sequence[RunState], now: float) -> ColumnElement[bool]:
    """Return the condition that a run is in one of `states`, "stalled" included."""
    stalled = RunRow.id.in_(stalled_runs(connection, now))
    conditions: list[ColumnElement[bool]] = []
    for state in states:
        if state == "stalled":
            conditions.append(stalled)
        elif state in ACTIVE:
            conditions.append(and_(RunRow.state == state, ~stalled))
        else:
            conditions.append(RunRow.state == state)
    return or_(*conditions)


def is_silent(now: float) -> ColumnElement[bool]:
    """Return the condition that a run is queued or running, but its heartbeat is old."""

    def without_sign(for_s: float) -> ColumnElement[bool]:
        began = func.coalesce(RunRow.started_at, RunRow.created_at)
        return and_(func.coalesce(RunRow.heartbeat_at, 0.0) < now - for_s, began < now - for_s)

    running, queued = RunRow.state == "running", RunRow.state == "queued"
    return or_(and_(running, without_sign(RUNNING_SILENT_S)), and_(queued, without_sign(_QUEUED_SILENT_S)))


def stalled_runs(connection: Connection, now: float) -> list[int]:
    """Return the numbers of all queued or running runs that make no progress."""
    query = select(RunRow.id, RunRow.state, RunRow.created_at, RunRow.started_at, RunRow.heartbeat_at)
    rows = connection.execute(query.where(RunRow.state.in_(ACTIVE))).all()
    alive = [row.id for row in rows if not _row_is_silent(row, now)]
    times, signs = _step_times(connection, alive), _last_signs(connection, alive)
    return sorted(row.id for row in rows if _is_stalled(row, times.get(row.id, ()), signs.get(row.id), now))


def _summary(
    row: Any,
    times: Sequence[float],
    sign: Any,
    rewards: Mapping[str, float],
    now: float,
) -> RunSummary:
    seconds = _median_seconds(times)
    state = "stalled" if row.state in ACTIVE and _is_stalled(row, times, sign, now) else row.state
    is_running = state == "running" and seconds is not None
    return RunSummary(
        **(row._asdict() | {"state": state}),
        silent=_row_is_silent(row, now),
        stage=sign.stage if sign else None,
        last_rewards=dict(rewards),
        seconds_per_step=seconds,
        eta_s=max(0, row.steps - row.step) * seconds if is_running and seconds is not None else None,
    )


def _row_is_silent(row: Any, now: float) -> bool:
    """Return whether `is_silent` holds for a row that was read."""
    if row.state not in ACTIVE:
        return False
    heard_at = max(row.heartbeat_at or 0.0, row.started_at or row.created_at)
    return now - heard_at > (RUNNING_SILENT_S if row.state == "running" else _QUEUED_SILENT_S)


def _is_stalled(row: Any, times: Sequence[float], sign: Any, now: float) -> bool:
    """Return whether a queued or running run makes no progress.

    Args:
        times: when its latest steps ended.
        sign: its latest stage and the time of its latest event, from `_last_signs`; None: it has no event.
    """
    if _row_is_silent(row, now) or row.state == "queued":
        return _row_is_silent(row, now)
    began = row.started_at or row.created_at
    moved_at = max(began, sign.said_at if sign else 0.0, times[-1] if times else 0.0)
    trains = bool(times) and times[-1] >= began and (sign is None or sign.stage == TRAINING)
    return now - moved_at > (_stalled_step_s(times) if trains else _STALLED_STAGE_S)


def _stalled_step_s(times: Sequence[float]) -> float:
    """Return the seconds after which a step is stalled.

    The longest recent step counts because some steps also save, evaluate or generate twice.
    """
    longest = max((after - before for before, after in pairwise(times)), default=0.0)
    return max(
        _STALLED_STEP_S,
        _STALLED_STEP_MEDIANS * (_median_seconds(times) or 0.0),
        _STALLED_STEP_MAXIMA * longest,
    )


def _median_seconds(times: Sequence[float]) -> float | None:
    gaps = [after - before for before, after in pairwise(times) if after > before]
    return median(gaps) if gaps else None


def _step_times(connection: Connection, run_ids: Sequence[int]) -> dict[int, list[float]]:
    """Return when each run's latest steps ended."""
    recent = and_(StepRow.step >= RunRow.step - _RECENT_STEPS, StepRow.step < RunRow.step)
    query = (
        select(RunRow.id, StepRow.time)
        .join(StepRow, and_(StepRow.run_id == RunRow.id, recent))
        .where(RunRow.id.in_(run_ids))
        .order_by(StepRow.run_id, StepRow.step)
    )
    times: dict[int, list[float]] = defaultdict(list)
    for run_id, time_s in connection.execute(query):
        times[run_id].append(time_s)
    return times


def _last_signs(connection: Connection, run_ids: Sequence[int]) -> dict[int, Any]:
    """Return the latest stage of each running run, and when its latest event happened (`said_at`)."""
    of_run = select(EventRow.id).where(EventRow.run_id == RunRow.id).order_by(EventRow.id.desc()).limit(1)
    stage, event = aliased(EventRow), aliased(EventRow)
    last_stage = of_run.where(EventRow.kind == STAGE_EVENT).correlate(RunRow).scalar_subquery()
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
    of_metric = and_(
        PointRow.run_id == RunRow.id, PointRow.metric_id == MetricNameRow.id, PointRow.value.is_not(None)
    )
    last = select(PointRow.value).where(of_metric).order_by(PointRow.step.desc()).limit(1)
    query = (
        select(
            RunRow.id,
            MetricNameRow.name,
            last.correlate(RunRow, MetricNameRow).scalar_subquery().label("value"),
        )
        .join(MetricNameRow, MetricNameRow.name.startswith(REWARD_PREFIX, autoescape=True))
        .where(RunRow.id.in_(run_ids), MetricNameRow.name != MEAN_REWARD)
        .order_by(MetricNameRow.name)
    )
    rewards: dict[int, dict[str, float]] = defaultdict(dict)
    for run_id, name, value in connection.execute(query):
        if value is not None:
            rewards[run_id][name.removeprefix(REWARD_PREFIX)] = value
    return rewards


def name_contains(text: str) -> ColumnElement[bool]:
    """Return the condition that a run's name contains `text`, ignoring case."""
    return func.lower(RunRow.name).contains(text.lower(), autoescape=True)
