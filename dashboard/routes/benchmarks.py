"""What `videossr eval` found, beside what was published and what guessing earns."""

import logging
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ValidationError

from dashboard.answers import EVERYWHERE, BenchColumn, Benchmarks, BenchRow
from dashboard.security import reader
from dashboard.service import Services

router = APIRouter(prefix="/api", tags=["benchmarks"], dependencies=[Depends(reader)], responses=EVERYWHERE)

_log = logging.getLogger(__name__)


class _Scores(BaseModel):
    """What the store holds of a column; what else stands there is not shown."""

    task: str
    label: str
    score: float
    valid: float
    random: float | None
    published: float | None
    evaluated_at: float = 0.0


@router.get("/benchmarks")
def benchmarks(services: Services) -> Benchmarks:
    """Models that were asked a bench, newest first, with the columns of all benches."""
    columns: dict[str, BenchColumn] = {}
    rows: dict[tuple[int, str, int], dict[str, Any]] = {}
    for name, run_id, found in services.reader.bench_results():
        try:
            scores = _Scores(**found.scores)
        except ValidationError as error:
            _log.warning("run %d, %s: is left out of the benchmarks: %s", run_id, found.task, error)
            continue
        about = scores.model_dump(include={"task", "label", "random", "published"})
        columns.setdefault(found.task, BenchColumn(name=found.task, **about))
        row = rows.setdefault(
            (run_id, found.source, found.step),
            {"run_id": run_id, "name": name, "time": scores.evaluated_at, "scores": {}, "valid": {}},
        )
        row["scores"][found.task] = scores.score
        row["valid"][found.task] = scores.valid
    return Benchmarks(
        columns=tuple(columns.values()),
        rows=tuple(BenchRow(**row) for row in rows.values()),
    )
