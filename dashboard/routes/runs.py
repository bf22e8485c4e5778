"""Runs and what they say of themselves."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from dashboard.access.security import reader
from dashboard.dependencies import COUNTED, MAX_LIMIT, Id, Limit, Number, Offset, Part, Services, Text
from dashboard.schemas import EVERYWHERE, ConfigView, Difference, problems
from store.records import (
    EventRecord,
    Page,
    Request,
    RunDetail,
    RunState,
    RunSummary,
    StoredEvaluation,
    WorkerStatus,
)

router = APIRouter(prefix="/api/runs", tags=["runs"], dependencies=[Depends(reader)], responses=EVERYWHERE)
_NO_RUN = problems(404)

RunSort = Literal[
    "created_at",
    "-created_at",
    "name",
    "-name",
    "state",
    "-state",
    "step",
    "-step",
    "heartbeat_at",
    "-heartbeat_at",
]


@router.get("")
def list_runs(
    services: Services,
    text: Annotated[Text, Query(max_length=200, description="what names contain")] = "",
    state: Annotated[list[RunState] | None, Query(max_length=10, description="in one of these")] = None,
    sort: RunSort = "-created_at",
    offset: Offset = 0,
    limit: Limit = 50,
) -> Page[RunSummary]:
    """The runs, a page at a time."""
    return services.reader.runs(text=text, states=state or (), sort=sort, offset=offset, limit=limit)


@router.get("/{run_id}", responses=_NO_RUN)
def show_run(services: Services, run_id: Number) -> RunDetail:
    """One run, with its configuration and the names of its metrics."""
    return services.detail(run_id)


@router.get("/{run_id}/events", responses=_NO_RUN)
def list_events(
    services: Services,
    run_id: Number,
    after_id: Id = 0,
    before_id: Id | None = None,
    kind: Annotated[list[Annotated[Text, Query(max_length=200)]] | None, Query(max_length=50)] = None,
    limit: Limit = MAX_LIMIT,
) -> list[EventRecord]:
    """Oldest first: those after `after_id`, else the last ones (before `before_id`)."""
    services.demand_run(run_id)
    return services.reader.events(
        run_id, after_id=after_id, before_id=before_id, kinds=kind or (), limit=limit
    )


@router.get("/{run_id}/workers", responses=_NO_RUN | COUNTED)
def list_workers(services: Services, run_id: Number, part: Part) -> list[WorkerStatus]:
    """What each worker last said of itself."""
    services.demand_run(run_id)
    return part.of(services.reader.workers(run_id))


@router.get("/{run_id}/evaluations", responses=_NO_RUN | COUNTED)
def list_evaluations(services: Services, run_id: Number, part: Part) -> list[StoredEvaluation]:
    """What held-out samples earned, before, during and after training."""
    services.demand_run(run_id)
    return part.of(services.reader.evaluations(run_id))


@router.get("/{run_id}/requests", responses=_NO_RUN)
def list_requests(services: Services, run_id: Number, offset: Offset = 0, limit: Limit = 50) -> Page[Request]:
    """What was asked of the run, by whom, and what became of it. Newest first."""
    services.demand_run(run_id)
    return services.reader.requests(run_id, offset=offset, limit=limit)


@router.get("/{run_id}/config", responses=_NO_RUN)
def show_config(
    services: Services,
    run_id: Number,
    against: Annotated[Id | None, Query(description="another run to compare with")] = None,
) -> ConfigView:
    """The configuration, what it ran with, and how both differ from another run's."""
    mine = services.detail(run_id)
    differences = None
    if against is not None:
        theirs = services.detail(against)
        differences = (
            *_differences(mine.config, theirs.config),
            *_differences({"environment": mine.environment}, {"environment": theirs.environment}),
        )
    return ConfigView(config=mine.config, environment=mine.environment, differences=differences)


def _differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[Difference]:
    ours, others = dict(_leaves(mine)), dict(_leaves(theirs))
    return [
        Difference(key=key, mine=ours.get(key), theirs=others.get(key))
        for key in sorted(ours.keys() | others.keys())
        if ours.get(key) != others.get(key)
    ]


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of everything that is no section."""
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        below = isinstance(value, dict) and value
        leaves += _leaves(value, f"{prefix}{key}.") if below else [(f"{prefix}{key}", value)]
    return leaves
