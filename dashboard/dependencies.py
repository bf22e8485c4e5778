"""What routes work with, and the forms of what requests may say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, HTTPException, Path, Query, Request, Response
from pydantic import AfterValidator

from dashboard.launching.launcher import Launcher
from dashboard.lookups import steps_done
from dashboard.schemas import BenchColumn
from dashboard.services.change_feed import Hub
from dashboard.settings import Settings
from store.database import Database
from store.reading.reader import RunReader
from store.records import RunDetail, clean

LARGEST = 2**31 - 1  # number of a run or step: more is an error in PostgreSQL, whose columns are of 4 bytes
MAX_LIMIT = 200
MAX_POINTS = 5000
MOST_ENTRIES = 1000  # of a list that comes whole unless it is long
MOST_STEPS = 20_000
TOTAL_COUNT = "Total-Count"

T = TypeVar("T")
Offset = Annotated[int, Query(ge=0, le=10**9)]
Entries = Annotated[int, Query(ge=1, le=MOST_ENTRIES)]
Steps = Annotated[int, Query(ge=1, le=MOST_STEPS)]


@dataclass(frozen=True)
class Service:
    settings: Settings
    database: Database
    reader: RunReader
    launcher: Launcher | None
    hub: Hub
    benches: tuple[BenchColumn, ...]  # what was published, where nothing was asked yet

    def demand_run(self, run_id: int) -> None:
        """Raises 404 where there is no such run."""
        if not steps_done(self.database, [run_id]):
            raise no_run(run_id)

    def folder(self, run_id: int) -> str:
        """Where a run's pictures are. Raises 404 where there is no such run."""
        found = self.reader.folder(run_id)
        if found is None:
            raise no_run(run_id)
        return found

    def detail(self, run_id: int) -> RunDetail:
        """Raises 404 where there is no such run."""
        found = self.reader.run(run_id)
        if found is None:
            raise no_run(run_id)
        return found


class Paged:
    """Which part of a list is wanted, and where it is said how long all of it is."""

    def __init__(self, response: Response, offset: Offset = 0, limit: Entries = MOST_ENTRIES) -> None:
        self._response, self.offset, self.limit = response, offset, limit

    def total(self, count: int) -> None:
        """Say how many entries there are in all."""
        self._response.headers[TOTAL_COUNT] = str(count)

    def of(self, entries: Sequence[T]) -> list[T]:
        """The part that is wanted, of all entries."""
        self.total(len(entries))
        return list(entries[self.offset : self.offset + self.limit])


class PagedSteps(Paged):
    """The same of steps, of which there are more."""

    def __init__(self, response: Response, offset: Offset = 0, limit: Steps = MOST_STEPS) -> None:
        super().__init__(response, offset, limit)


_HEADERS = {TOTAL_COUNT: {"description": "entries of all pages", "schema": {"type": "integer"}}}
COUNTED: dict[int | str, dict[str, Any]] = {200: {"headers": _HEADERS}}  # the documentation of it


def no_run(run_id: int) -> HTTPException:
    return HTTPException(404, f"run {run_id}: there is none of that number. Look it up in the list of runs.")


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


Services = Annotated[Service, Depends(_service)]
Part = Annotated[Paged, Depends()]
PartOfSteps = Annotated[PagedSteps, Depends()]

Number = Annotated[int, Path(ge=1, le=LARGEST)]
Place = Annotated[int, Path(ge=0, le=10_000)]  # in a list
PathText = Annotated[str, Path(max_length=200), AfterValidator(clean)]
Text = Annotated[str, AfterValidator(clean)]
RunIds = Annotated[
    list[Annotated[int, Query(ge=1, le=LARGEST)]], Query(alias="run", min_length=1, max_length=50)
]
Name = Annotated[str, Query(min_length=1, max_length=200), AfterValidator(clean)]
Names = Annotated[list[Name], Query(alias="name", min_length=1, max_length=60)]
Step = Annotated[int, Query(ge=-1, le=LARGEST - 1)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Id = Annotated[int, Query(ge=0, le=LARGEST)]
