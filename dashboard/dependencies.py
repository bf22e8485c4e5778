"""Dependencies of route functions: the services behind them, and validated parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, HTTPException, Path, Query, Request, Response
from pydantic import AfterValidator

from dashboard.launching.launcher import Launcher
from dashboard.schemas import BenchmarkColumn
from dashboard.services.change_feed import ChangeFeed
from dashboard.settings import Settings
from store.database import Database
from store.reading.reader import RunReader
from store.records import RunDetail, clean

MAX_ID = 2**31 - 1  # largest number of a run or step; PostgreSQL's integer columns have 4 bytes
MAX_PAGE_SIZE = 200
MAX_CURVE_POINTS = 5000
MAX_ENTRIES = 1000  # page size of lists that are usually returned whole
MAX_STEPS = 20_000  # page size of lists of steps
TOTAL_COUNT_HEADER = "Total-Count"

T = TypeVar("T")
Offset = Annotated[int, Query(ge=0, le=10**9)]
EntryLimit = Annotated[int, Query(ge=1, le=MAX_ENTRIES)]
StepLimit = Annotated[int, Query(ge=1, le=MAX_STEPS)]


@dataclass(frozen=True)
class DashboardServices:
    """The services behind the routes, made once by dashboard.app.create_app."""

    settings: Settings
    database: Database
    reader: RunReader
    launcher: Launcher | None
    change_feed: ChangeFeed
    benches: tuple[BenchmarkColumn, ...]  # columns with published scores, shown until a model is evaluated

    def require_run(self, run_id: int) -> None:
        """Raise 404 if there is no such run."""
        self.folder(run_id)

    def folder(self, run_id: int) -> str:
        """Return the folder or bucket with a run's pictures. Raises 404 if there is no such run."""
        found = self.reader.folder(run_id)
        if found is None:
            raise run_not_found(run_id)
        return found

    def detail(self, run_id: int) -> RunDetail:
        """Return a run with its configuration. Raises 404 if there is no such run."""
        found = self.reader.run(run_id)
        if found is None:
            raise run_not_found(run_id)
        return found


class Paging:
    """The requested part of a list. The Total-Count header of the response gives the length of the whole list."""

    def __init__(self, response: Response, offset: Offset = 0, limit: EntryLimit = MAX_ENTRIES) -> None:
        self._response, self.offset, self.limit = response, offset, limit

    def set_total(self, count: int) -> None:
        """Set the Total-Count header."""
        self._response.headers[TOTAL_COUNT_HEADER] = str(count)

    def cut(self, entries: Sequence[T]) -> list[T]:
        """Return the requested part of `entries`, and set the Total-Count header."""
        self.set_total(len(entries))
        return list(entries[self.offset : self.offset + self.limit])


class StepPaging(Paging):
    """Paging for lists of steps, with a higher limit."""

    def __init__(self, response: Response, offset: Offset = 0, limit: StepLimit = MAX_STEPS) -> None:
        super().__init__(response, offset, limit)


_HEADERS = {
    TOTAL_COUNT_HEADER: {"description": "number of entries on all pages", "schema": {"type": "integer"}}
}
# OpenAPI description of responses with the Total-Count header.
WITH_TOTAL: dict[int | str, dict[str, Any]] = {200: {"headers": _HEADERS}}


def run_not_found(run_id: int) -> HTTPException:
    """Return the 404 error for a run that does not exist."""
    return HTTPException(404, f"run {run_id}: no run has this number. Look it up in the list of runs.")


def _services(request: Request) -> DashboardServices:
    return cast(DashboardServices, request.app.state.services)


Services = Annotated[DashboardServices, Depends(_services)]
ListPaging = Annotated[Paging, Depends()]
StepListPaging = Annotated[StepPaging, Depends()]

PathId = Annotated[int, Path(ge=1, le=MAX_ID)]
ListIndex = Annotated[int, Path(ge=0, le=10_000)]
PathText = Annotated[str, Path(max_length=200), AfterValidator(clean)]
Text = Annotated[str, AfterValidator(clean)]
RunIds = Annotated[
    list[Annotated[int, Query(ge=1, le=MAX_ID)]], Query(alias="run", min_length=1, max_length=50)
]
MetricName = Annotated[str, Query(min_length=1, max_length=200), AfterValidator(clean)]
MetricNames = Annotated[list[MetricName], Query(alias="name", min_length=1, max_length=60)]
Step = Annotated[int, Query(ge=-1, le=MAX_ID - 1)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)]
QueryId = Annotated[int, Query(ge=0, le=MAX_ID)]
