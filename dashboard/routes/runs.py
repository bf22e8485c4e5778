"""Runs, their events, workers, evaluations, requests and configuration."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from dashboard.access.security import reader
from dashboard.dependencies import (
    MAX_PAGE_SIZE,
    WITH_TOTAL,
    Limit,
    ListPaging,
    Offset,
    PathId,
    QueryId,
    Services,
    Text,
)
from dashboard.schemas import COMMON_ERRORS, ConfigView, Difference, error_responses
from store.records import EventRecord, Page, RunDetail, RunRequest, RunSummary, StoredEvaluation, WorkerStatus
from vocabulary.run_states import RunState

router = APIRouter(prefix="/api/runs", tags=["runs"], dependencies=[Depends(reader)], responses=COMMON_ERRORS)
_NO_RUN = error_responses(404)

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
    text: Annotated[Text, Query(max_length=200, description="part of the run's name")] = "",
    state: Annotated[
        list[RunState] | None, Query(max_length=10, description="states of the runs listed")
    ] = None,
    sort: RunSort = "-created_at",
    offset: Offset = 0,
    limit: Limit = 50,
) -> Page[RunSummary]:
    """List the runs, a page at a time."""
    return services.reader.runs(text=text, states=state or (), sort=sort, offset=offset, limit=limit)


@router.get("/{run_id}", responses=_NO_RUN)
def show_run(services: Services, run_id: PathId) -> RunDetail:
    """Return one run, with its configuration and the names of its metrics."""
    return services.detail(run_id)


@router.get("/{run_id}/events", responses=_NO_RUN)
def list_events(
    services: Services,
    run_id: PathId,
    after_id: QueryId = 0,
    before_id: QueryId | None = None,
    kind: Annotated[list[Annotated[Text, Query(max_length=200)]] | None, Query(max_length=50)] = None,
    limit: Limit = MAX_PAGE_SIZE,
) -> list[EventRecord]:
    """List events, oldest first: the first ones after `after_id`, or the last ones (before `before_id`)."""
    services.require_run(run_id)
    return services.reader.events(
        run_id, after_id=after_id, before_id=before_id, kinds=kind or (), limit=limit
    )


@router.get("/{run_id}/workers", responses=_NO_RUN | WITH_TOTAL)
def list_workers(services: Services, run_id: PathId, paging: ListPaging) -> list[WorkerStatus]:
    """List the workers, each with its last reported status."""
    services.require_run(run_id)
    return paging.cut(services.reader.workers(run_id))


@router.get("/{run_id}/evaluations", responses=_NO_RUN | WITH_TOTAL)
def list_evaluations(services: Services, run_id: PathId, paging: ListPaging) -> list[StoredEvaluation]:
    """List the scores on held-out samples, before, during and after training."""
    services.require_run(run_id)
    return paging.cut(services.reader.evaluations(run_id))


@router.get("/{run_id}/requests", responses=_NO_RUN)
def list_requests(
    services: Services, run_id: PathId, offset: Offset = 0, limit: Limit = 50
) -> Page[RunRequest]:
    """List the requests to the run: who made them, and their outcome. Newest first."""
    services.require_run(run_id)
    return services.reader.requests(run_id, offset=offset, limit=limit)


@router.get("/{run_id}/config", responses=_NO_RUN)
def show_config(
    services: Services,
    run_id: PathId,
    against: Annotated[QueryId | None, Query(description="another run to compare with")] = None,
) -> ConfigView:
    """Return the configuration and environment of a run, and how both differ from those of another run."""
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
    """Return (dotted key, value) of every setting in the tree."""
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        below = isinstance(value, dict) and value
        leaves += _leaves(value, f"{prefix}{key}.") if below else [(f"{prefix}{key}", value)]
    return leaves
