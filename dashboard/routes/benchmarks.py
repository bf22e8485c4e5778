"""What `videossr eval` found, beside what was published and what guessing earns."""

import logging
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ValidationError

from dashboard.access.security import reader
from dashboard.dependencies import COUNTED, Part, Services
from dashboard.schemas import EVERYWHERE, BenchColumn, Benchmarks, BenchRow

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


@router.get("/benchmarks", responses=COUNTED)
def benchmarks(services: Services, part: Part) -> Benchmarks:
    """Models that were asked a bench, newest first, with the columns of these benches; of none, the published ones."""
    columns: dict[str, BenchColumn] = {}
    rows: dict[tuple[int, str, int], dict[str, Any]] = {}
    results, total = services.reader.bench_results(offset=part.offset, limit=part.limit)
    part.total(total)
    for name, run_id, trained, found in results:
        try:
            scores = _Scores(**found.scores)
        except ValidationError as error:
            wrong = sorted({str(problem["loc"][0]) for problem in error.errors()})
            _log.warning("run %d, %r: is left out of the benchmarks: %s", run_id, found.task, wrong)
            continue
        about = scores.model_dump(include={"task", "label", "random", "published"})
        columns.setdefault(found.task, BenchColumn(name=found.task, **about))
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
        rows=tuple(BenchRow(**row) for row in rows.values()),
    )
