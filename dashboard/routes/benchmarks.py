"""What `videossr eval` found, beside what was published and what guessing earns."""

import logging
from collections.abc import Iterator
from pathlib import Path

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ValidationError

from dashboard.answers import EVERYWHERE, BenchColumn, Benchmarks, BenchRow
from dashboard.security import reader
from dashboard.service import Services
from store.reader import RunReader

router = APIRouter(prefix="/api", tags=["benchmarks"], dependencies=[Depends(reader)], responses=EVERYWHERE)

_log = logging.getLogger(__name__)
_PATTERNS = ("evaluations/*/results.json", "*/evaluations/*/results.json")
_MOST, _MAX_BYTES = 500, 2**20


class _Column(BaseModel):
    """A column of results.json; what else stands there is not shown."""

    task: str
    label: str
    score: float
    valid: float
    random: float | None
    published: float | None


class _Results(BaseModel):
    model: str
    columns: dict[str, _Column]


@router.get("/benchmarks")
def benchmarks(services: Services) -> Benchmarks:
    """Evaluations of benches in the runs folder, newest first, with the columns of all of them."""
    columns: dict[str, BenchColumn] = {}
    rows = []
    for time_s, found in sorted(_found(services.settings.runs_dir), key=lambda entry: -entry[0])[:_MOST]:
        for name, column in found.columns.items():
            about = column.model_dump(include={"task", "label", "random", "published"})
            columns.setdefault(name, BenchColumn(name=name, **about))
        rows.append(_row(services.reader, time_s, found))
    return Benchmarks(columns=tuple(columns.values()), rows=tuple(rows))


def _found(runs_dir: Path) -> Iterator[tuple[float, _Results]]:
    """(when it was written, what it says) of each results.json."""
    for path in (path for pattern in _PATTERNS for path in runs_dir.glob(pattern)):
        try:
            about = path.stat()
            if about.st_size > _MAX_BYTES:
                raise ValueError(f"larger than {_MAX_BYTES} bytes")
            yield about.st_mtime, _Results.model_validate_json(path.read_bytes())
        except (OSError, ValidationError, ValueError) as error:
            _log.warning("%s: is left out of the benchmarks: %s", path, error)


def _row(reader: RunReader, time_s: float, found: _Results) -> BenchRow:
    name = Path(found.model).name
    run = reader.run_by_name(name)
    return BenchRow(
        run_id=run.id if run else None,
        name=name,
        time=time_s,
        scores={column: entry.score for column, entry in found.columns.items()},
        valid={column: entry.valid for column, entry in found.columns.items()},
    )
