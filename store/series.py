"""Curves out of the store, made short by the database: what is long never leaves it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    select,
)

from store.records import Curve, Series
from store.tables import MetricName, Point, Run, Step

_CURVE_SAMPLE = 8  # points that a point of a small curve is the mean of


def read_series(
    connection: Connection,
    run_ids: Sequence[int],
    names: Sequence[str],
    *,
    max_points: int,
    first_step: int | None,
    last_step: int | None,
) -> list[Series]:
    """Each run's curve of each metric, where there is one, ordered as asked. For max_points see RunReader.series."""
    ids = _metric_ids(connection, names)
    within: list[ColumnElement[bool]] = [Point.run_id.in_(run_ids), Point.metric_id.in_(ids.values())]
    within += [Point.step >= first_step] if first_step is not None else []
    within += [Point.step <= last_step] if last_step is not None else []
    buckets = _buckets(_extents(within, max_points), within)
    rows = connection.execute(
        select(buckets, Step.time)
        .join(Step, and_(Step.run_id == buckets.c.run_id, Step.step == buckets.c.step))
        .order_by(buckets.c.run_id, buckets.c.metric_id, buckets.c.step)
    )
    of_curve: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in rows:
        of_curve[row.run_id, row.metric_id].append(row)
    return [
        _series(run_id, name, of_curve[run_id, ids[name]])
        for run_id in run_ids
        for name in names
        if name in ids and (run_id, ids[name]) in of_curve
    ]


def _extents(within: Sequence[ColumnElement[bool]], max_points: int) -> CTE:
    """Of each curve, how many steps one of its thinned points stands for: 1 where it need not be thinned."""
    span = func.max(Point.step) - func.min(Point.step) + 1
    # Stretches begin at multiples of their width, so one more than these fit in.
    width = (span + max_points - 3) // (max_points - 1)
    return (
        select(
            Point.run_id,
            Point.metric_id,
            case((func.count() <= max_points, 1), else_=width).label("width"),
        )
        .where(*within)
        .group_by(Point.run_id, Point.metric_id)
        .cte("extents")
    )


def _buckets(extents: CTE, within: Sequence[ColumnElement[bool]]) -> Subquery:
    bucket = Point.step // extents.c.width
    return (
        select(
            Point.run_id,
            Point.metric_id,
            func.max(Point.step).label("step"),  # the last one: what comes after a curve's end is new
            func.avg(Point.value).label("mean"),
            func.min(Point.value).label("low"),
            func.max(Point.value).label("high"),
        )
        .join(extents, and_(extents.c.run_id == Point.run_id, extents.c.metric_id == Point.metric_id))
        .where(*within)
        .group_by(Point.run_id, Point.metric_id, bucket)
        .subquery("buckets")
    )


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
    """Small curves, of those runs that have the metric, ordered as asked.

    A point is the mean of the first few steps of its stretch: of fifty long runs, fifty times `points` places are
    looked at, and not all.
    """
    metric_id = _metric_ids(connection, [name]).get(name)
    if metric_id is None:
        return []
    slots = _slots(run_ids, metric_id, points)
    stretch = (
        select(Point.step, Point.value)
        .where(
            Point.run_id == slots.c.run_id,
            Point.metric_id == metric_id,
            Point.step >= slots.c.first,
            Point.step < slots.c.first + slots.c.width,
        )
        .order_by(Point.step)
        .limit(_CURVE_SAMPLE)
        .correlate(slots)
        .subquery()
    )
    step = select(func.min(stretch.c.step)).scalar_subquery().label("step")
    value = select(func.avg(stretch.c.value)).scalar_subquery().label("value")
    query = select(slots.c.run_id, step, value).order_by(slots.c.run_id, slots.c.first)
    of_run: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        if row.step is not None:  # no step of that stretch has the metric
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
    """(run_id, first, width) of each stretch of each run."""
    of_run = and_(Point.run_id == Run.id, Point.metric_id == metric_id)
    spans = select(
        Run.id.label("run_id"),
        select(func.min(Point.step)).where(of_run).scalar_subquery().label("first"),
        select(func.max(Point.step)).where(of_run).scalar_subquery().label("last"),
    ).where(Run.id.in_(run_ids))
    span = spans.cte("spans")
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
    found = connection.execute(select(MetricName.name, MetricName.id).where(MetricName.name.in_(names)))
    return dict(found.tuples().all())
