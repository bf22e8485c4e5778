"""The catalogue of metrics, and their curves: thinned by the store as JSON, or complete as CSV."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Query
from starlette.responses import StreamingResponse

from dashboard.access.security import curves_rate_limited, reader
from dashboard.dependencies import MAX_CURVE_POINTS, MetricName, MetricNames, PathId, RunIds, Services, Step
from dashboard.schemas import COMMON_ERRORS, MetricInfo, error_responses
from store.reading.reader import RunReader
from store.records import Curve, Series
from vocabulary.metrics import METRICS

router = APIRouter(
    prefix="/api",
    tags=["metrics"],
    dependencies=[Depends(reader), Depends(curves_rate_limited)],
    responses=COMMON_ERRORS,
)

_CSV_ROWS_AT_ONCE = 1000
_MAX_POINTS_IN_RESPONSE = 2_000_000  # limits memory, because a response is built in memory

T = TypeVar("T")


class CsvResponse(StreamingResponse):
    """A CSV file, sent line by line."""

    media_type = "text/csv"


@router.get("/metrics")
def list_metrics() -> tuple[MetricInfo, ...]:
    """List the metrics that runs record, with titles and units. A name ending in /{task} stands for one per task."""
    return tuple(
        MetricInfo(name=each.name, title=each.title, unit=each.unit, meaning=each.meaning) for each in METRICS
    )


@router.get("/curves")
def small_curves(
    services: Services, run: RunIds, name: MetricName, points: Annotated[int, Query(ge=2, le=500)] = 60
) -> list[Curve]:
    """Return one metric of several runs, thinned to a few points, for the small curves of a list."""
    return services.reader.curves(_without_repeats(run), name, points)


@router.get("/series")
def series(
    services: Services,
    run: RunIds,
    name: MetricNames,
    max_points: Annotated[int, Query(ge=2, le=MAX_CURVE_POINTS)] = 500,
    first_step: Step | None = None,
    last_step: Step | None = None,
    since_step: Annotated[Step | None, Query(description="only points after this step")] = None,
) -> list[Series]:
    """Return metrics of runs, each thinned to `max_points`. A point has the mean, minimum and maximum of its steps."""
    runs, names = _without_repeats(run), _without_repeats(name)
    _require_small_response(len(runs) * len(names), max_points)
    _require_order("first_step", first_step, last_step)
    _require_order("since_step", since_step, last_step)
    return services.reader.series(
        runs, names, max_points=max_points, first_step=first_step, last_step=last_step, since_step=since_step
    )


@router.get(
    "/runs/{run_id}/metrics.csv",
    response_class=CsvResponse,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **error_responses(404)},
)
def metrics_csv(
    services: Services, run_id: PathId, name: Annotated[list[MetricName] | None, Query(max_length=60)] = None
) -> CsvResponse:
    """Return every step of these metrics, or of all metrics, exactly as recorded."""
    run = services.detail(run_id)
    rows = _rows(services.reader, run_id, _without_repeats(name or run.metric_names), last=run.step)
    file = re.sub(r"[^A-Za-z0-9._-]", "_", run.name)[:100]
    return CsvResponse(rows, headers={"Content-Disposition": f'attachment; filename="{file}.csv"'})


def _without_repeats(values: Sequence[T]) -> list[T]:
    """Return the values in order, without repeats."""
    return list(dict.fromkeys(values))


def _require_small_response(curves: int, max_points: int) -> None:
    """Raise 422 for a response that would be too large, before the store is read."""
    if curves * max_points > _MAX_POINTS_IN_RESPONSE:
        raise HTTPException(
            422,
            f"max_points={max_points}: of {curves} curves (runs times names) that is more than "
            f"{_MAX_POINTS_IN_RESPONSE} points. "
            f"Set it to {_MAX_POINTS_IN_RESPONSE // curves} or less, or name fewer.",
        )


def _require_order(name: str, first: int | None, last: int | None) -> None:
    if first is not None and last is not None and first > last:
        raise HTTPException(422, f"{name}={first}: is after last_step={last}. Swap them.")


def _rows(reader: RunReader, run_id: int, names: Sequence[str], *, last: int) -> Iterator[str]:
    """Yield the CSV some lines at a time, so that a long run's file is never held in memory as a whole."""
    yield _lines([["step", "time", *(_harmless(name) for name in names)]])
    for first in range(0, last + 1, _CSV_ROWS_AT_ONCE):
        stretch = reader.series(
            [run_id],
            names,
            max_points=_CSV_ROWS_AT_ONCE,
            first_step=first,
            last_step=first + _CSV_ROWS_AT_ONCE - 1,
        )
        times: dict[int, float] = {}
        values: dict[str, dict[int, float | None]] = {}
        for curve in stretch:
            times.update(zip(curve.steps, curve.times, strict=True))
            values[curve.name] = dict(zip(curve.steps, curve.mean, strict=True))
        yield _lines(
            [step, times[step], *(values.get(name, {}).get(step) for name in names)] for step in sorted(times)
        )


def _harmless(name: str) -> str:
    """Return the name, quoted if a spreadsheet would run it as a formula; a malicious link could contain one."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def _lines(rows: Iterator[list[object]] | list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
