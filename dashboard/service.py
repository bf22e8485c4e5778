"""What routes work with, and the forms of what requests may say."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, HTTPException, Path, Query, Request
from pydantic import AfterValidator

from dashboard.launcher import Launcher
from dashboard.lookups import steps_done
from dashboard.settings import Settings
from dashboard.stream import Hub
from store.database import Database
from store.reader import RunReader
from store.records import RunDetail, clean

LARGEST = 2**31 - 1  # number of a run or step: more is an error in PostgreSQL, whose columns are of 4 bytes
MAX_LIMIT = 200
MAX_POINTS = 5000


@dataclass(frozen=True)
class Service:
    settings: Settings
    database: Database
    reader: RunReader
    launcher: Launcher | None
    hub: Hub

    def demand_run(self, run_id: int) -> None:
        """Raises 404 where there is no such run."""
        if not steps_done(self.database, [run_id]):
            raise no_run(run_id)

    def detail(self, run_id: int) -> RunDetail:
        """Raises 404 where there is no such run."""
        found = self.reader.run(run_id)
        if found is None:
            raise no_run(run_id)
        return found


def no_run(run_id: int) -> HTTPException:
    return HTTPException(404, f"run {run_id}: there is none of that number. Look it up in the list of runs.")


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


Services = Annotated[Service, Depends(_service)]

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
Offset = Annotated[int, Query(ge=0, le=10**9)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Id = Annotated[int, Query(ge=0, le=LARGEST)]
