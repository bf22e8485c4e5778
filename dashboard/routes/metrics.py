"""Curves, thinned by the store, and the same whole as a file."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query
from starlette.responses import StreamingResponse

from dashboard.access.security import counted_curves, reader
from dashboard.dependencies import MAX_POINTS, Name, Names, Number, RunIds, Services, Step
from dashboard.schemas import EVERYWHERE, problems
from store.reading.reader import RunReader
from store.records import Curve, Series

router = APIRouter(
    prefix="/api",
    tags=["metrics"],
    dependencies=[Depends(reader), Depends(counted_curves)],
    responses=EVERYWHERE,
)

_ROWS = 1000  # of a CSV that are read at once
_MOST_POINTS = 2_000_000  # of one answer, which is made in memory


T = TypeVar("T")


class CsvResponse(StreamingResponse):
    media_type = "text/csv"


@router.get("/curves")
def small_curves(
    services: Services, run: RunIds, name: Name, points: Annotated[int, Query(ge=2, le=500)] = 60
) -> list[Curve]:
    """One metric of several runs, for small pictures in a list."""
    return services.reader.curves(_once(run), name, points)


@router.get("/series")
def series(
    services: Services,
    run: RunIds,
    name: Names,
    max_points: Annotated[int, Query(ge=2, le=MAX_POINTS)] = 500,
    first_step: Step | None = None,
    last_step: Step | None = None,
    since_step: Annotated[Step | None, Query(description="only what came after this step")] = None,
) -> list[Series]:
    """Metrics of runs, at most `max_points` of each: means of stretches of steps, with their lowest and highest."""
    runs, names = _once(run), _once(name)
    _demand_bounds(len(runs) * len(names), max_points)
    _demand_order("first_step", first_step, last_step)
    _demand_order("since_step", since_step, last_step)
    return services.reader.series(
        runs, names, max_points=max_points, first_step=first_step, last_step=last_step, since_step=since_step
    )


@router.get(
    "/runs/{run_id}/metrics.csv",
    response_class=CsvResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **problems(404)},
)
def metrics_csv(
    services: Services, run_id: Number, name: Annotated[list[Name] | None, Query(max_length=60)] = None
) -> CsvResponse:
    """Every step, exactly, of these metrics or of all."""
    run = services.detail(run_id)
    rows = _rows(services.reader, run_id, _once(name or run.metric_names), last=run.step)
    file = re.sub(r"[^A-Za-z0-9._-]", "_", run.name)[:100]
    return CsvResponse(rows, headers={"Content-Disposition": f'attachment; filename="{file}.csv"'})


def _once(values: Sequence[T]) -> list[T]:
    """Without those that were named before."""
    return list(dict.fromkeys(values))


def _demand_bounds(curves: int, max_points: int) -> None:
    """Raises 422 before the store is asked."""
    if curves * max_points > _MOST_POINTS:
        raise HTTPException(
            422,
            f"max_points={max_points}: of {curves} curves (runs times names) that is more than {_MOST_POINTS} points. "
            f"Set it to {_MOST_POINTS // curves} or less, or name fewer.",
        )


def _demand_order(name: str, first: int | None, last: int | None) -> None:
    if first is not None and last is not None and first > last:
        raise HTTPException(422, f"{name}={first}: is after last_step={last}. Exchange them.")


def _rows(reader: RunReader, run_id: int, names: Sequence[str], *, last: int) -> Iterator[str]:
    """Lines, some at a time: a file of a long run is never whole in memory."""
    yield _lines([["step", "time", *(_plain(name) for name in names)]])
    for first in range(0, last + 1, _ROWS):
        stretch = reader.series(
            [run_id], names, max_points=_ROWS, first_step=first, last_step=first + _ROWS - 1
        )
        times: dict[int, float] = {}
        values: dict[str, dict[int, float | None]] = {}
        for curve in stretch:
            times.update(zip(curve.steps, curve.times, strict=True))
            values[curve.name] = dict(zip(curve.steps, curve.mean, strict=True))
        yield _lines(
            [step, times[step], *(values.get(name, {}).get(step) for name in names)] for step in sorted(times)
        )


def _plain(name: str) -> str:
    """As it is, but for what spreadsheets would take for a formula: whoever makes a link chooses the names in it."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _lines(rows: Iterator[list[object]] | list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
