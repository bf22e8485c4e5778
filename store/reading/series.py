"""Series of metrics. The database thins them, so that a long series is never read whole."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    and_,
    cast,
    func,
    literal,
    select,
)

from store.records import Curve, Series
from store.schema.tables import MetricNameRow, PointRow, RunRow, StepRow

_STEPS_PER_CURVE_POINT = 8  # number of steps whose mean is a point of a small curve


def read_series(
    connection: Connection,
    run_ids: Sequence[int],
    names: Sequence[str],
    *,
    max_points: int,
    first_step: int | None,
    last_step: int | None,
) -> list[Series]:
    """Return the existing series of each run and metric, in the given order. For max_points see RunReader.series.

    There is one query per series, because a series is a contiguous part of the table.
    """
    ids = _metric_ids(connection, names)
    bounds: list[ColumnElement[bool]] = []
    bounds += [PointRow.step >= first_step] if first_step is not None else []
    bounds += [PointRow.step <= last_step] if last_step is not None else []
    series = []
    for run_id in run_ids:
        for name in names:
            if name in ids:
                where = and_(PointRow.run_id == run_id, PointRow.metric_id == ids[name], *bounds)
                rows = connection.execute(_curve(connection, run_id, where, max_points)).all()
                series += [_series(run_id, name, rows)] if rows else []
    return series


def _curve(connection: Connection, run_id: int, where: ColumnElement[bool], max_points: int) -> Select[Any]:
    """Return the query for (step, time, mean, low, high) of the points that `where` selects, all of run `run_id`."""
    width = _width(connection, where, max_points)
    values: tuple[Any, ...] = (PointRow.step, PointRow.value, PointRow.value, PointRow.value)
    if width > 1:  # a range is named by its last step, so that steps after the series' end are new
        values = (
            func.max(PointRow.step),
            func.avg(PointRow.value),
            func.min(PointRow.value),
            func.max(PointRow.value),
        )
    names = ("step", "mean", "low", "high")
    query = select(*[value.label(name) for name, value in zip(names, values, strict=True)]).where(where)
    points = (query.group_by(PointRow.step // width) if width > 1 else query).subquery()
    return (
        select(points, StepRow.time)
        .join(StepRow, and_(StepRow.run_id == run_id, StepRow.step == points.c.step))
        .order_by(points.c.step)
    )


def _width(connection: Connection, where: ColumnElement[bool], max_points: int) -> int:
    """Return how many steps one entry of the series covers; 1: it need not be thinned."""
    few = select(literal(1)).select_from(PointRow).where(where).limit(max_points + 1).subquery()
    ends = [select(end(PointRow.step)).where(where).scalar_subquery() for end in (func.min, func.max)]
    count = select(func.count()).select_from(few).scalar_subquery()
    num_points, first, last = connection.execute(select(count, *ends)).one()
    if num_points <= max_points:
        return 1
    # Ranges begin at multiples of their width, so one more may be needed than fits.
    return -(-(last - first) // (max_points - 1))


def _series(run_id: int, name: str, rows: Sequence[Any]) -> Series:
    return Series(
        run_id=run_id,
        name=name,
        steps=tuple(row.step for row in rows),
        times=tuple(row.time for row in rows),
        mean=tuple(row.mean for row in rows),
        low=tuple(row.low for row in rows),
        high=tuple(row.high for row in rows),
    )


def read_curves(connection: Connection, run_ids: Sequence[int], name: str, points: int) -> list[Curve]:
    """Return small curves of the runs that have the metric, in the given order.

    A point is the mean of the first few steps of its range, so that not every step of long runs is read.
    """
    metric_id = _metric_ids(connection, [name]).get(name)
    if metric_id is None:
        return []
    slots = _slots(run_ids, metric_id, points)
    stretch = (
        select(PointRow.step, PointRow.value)
        .where(
            PointRow.run_id == slots.c.run_id,
            PointRow.metric_id == metric_id,
            PointRow.step >= slots.c.first,
            PointRow.step < slots.c.first + slots.c.width,
        )
        .order_by(PointRow.step)
        .limit(_STEPS_PER_CURVE_POINT)
        .correlate(slots)
        .subquery()
    )
    step = select(func.min(stretch.c.step)).scalar_subquery().label("step")
    value = select(func.avg(stretch.c.value)).scalar_subquery().label("value")
    query = select(slots.c.run_id, step, value).order_by(slots.c.run_id, slots.c.first)
    of_run: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        if row.step is not None:  # None: no step of that range has the metric
            of_run[row.run_id].append(row)
    return [
        Curve(
            run_id=run_id,
            steps=tuple(row.step for row in of_run[run_id]),
            values=tuple(row.value for row in of_run[run_id]),
        )
        for run_id in run_ids
        if run_id in of_run
    ]


def _slots(run_ids: Sequence[int], metric_id: int, points: int) -> Subquery:
    """Return (run_id, first, width) of each range of steps of each run."""
    of_run = and_(PointRow.run_id == RunRow.id, PointRow.metric_id == metric_id)
    spans = select(
        RunRow.id.label("run_id"),
        select(func.min(PointRow.step)).where(of_run).scalar_subquery().label("first"),
        select(func.max(PointRow.step)).where(of_run).scalar_subquery().label("last"),
    ).where(RunRow.id.in_(run_ids))
    span = spans.cte("spans").prefix_with("MATERIALIZED")  # otherwise both ends are looked up for each range
    width = (span.c.last - span.c.first + points) // points
    numbers = select(cast(literal(0), Integer).label("number")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.number + 1).where(numbers.c.number < points - 1))
    first = span.c.first + numbers.c.number * width
    return (
        select(span.c.run_id, first.label("first"), width.label("width"))
        .join(numbers, first <= span.c.last)
        .subquery("slots")
    )


def _metric_ids(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    found = connection.execute(
        select(MetricNameRow.name, MetricNameRow.id).where(MetricNameRow.name.in_(names))
    )
    return dict(found.tuples().all())
