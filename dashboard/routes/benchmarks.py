"""Results of `videossr eval`, next to the published scores and the scores of guessing."""

import logging
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ValidationError

from dashboard.access.security import reader
from dashboard.dependencies import WITH_TOTAL, ListPaging, Services
from dashboard.schemas import COMMON_ERRORS, BenchmarkColumn, BenchmarkRow, Benchmarks

router = APIRouter(
    prefix="/api", tags=["benchmarks"], dependencies=[Depends(reader)], responses=COMMON_ERRORS
)

logger = logging.getLogger(__name__)


class _Scores(BaseModel):
    """The stored scores of one model on one benchmark; other stored values are ignored."""

    task: str
    label: str
    score: float
    valid: float
    random: float | None
    published: float | None
    evaluated_at: float = 0.0


@router.get("/benchmarks", responses=WITH_TOTAL)
def benchmarks(services: Services, paging: ListPaging) -> Benchmarks:
    """List the evaluated models, newest first, with the benchmarks as columns. Without models, list only columns."""
    columns: dict[str, BenchmarkColumn] = {}
    rows: dict[tuple[int, str, int], dict[str, Any]] = {}
    results, total = services.reader.bench_results(offset=paging.offset, limit=paging.limit)
    paging.set_total(total)
    for name, run_id, trained, found in results:
        try:
            scores = _Scores(**found.scores)
        except ValidationError as error:
            wrong = sorted({str(problem["loc"][0]) for problem in error.errors()})
            logger.warning(
                "Run %d, %r: left out of the benchmarks, because these scores are missing or invalid: %s",
                run_id,
                found.task,
                wrong,
            )
            continue
        about = scores.model_dump(include={"task", "label", "random", "published"})
        columns.setdefault(found.task, BenchmarkColumn(name=found.task, **about))
        row = rows.setdefault(
            (run_id, found.source, found.step),
            {
                "run_id": run_id if trained else None,
                "name": name,
                "time": scores.evaluated_at,
                "scores": {},
                "valid": {},
            },
        )
        row["scores"][found.task] = scores.score
        row["valid"][found.task] = scores.valid
    return Benchmarks(
        columns=tuple(columns.values()) or services.benches,
        rows=tuple(BenchmarkRow(**row) for row in rows.values()),
    )
