"""What operators ask of runs. Everything is written down first: who, when, and what became of it."""

import threading
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Request

from dashboard.answers import EVERYWHERE, Accepted, Role, StartRequest, YamlConfig, problems
from dashboard.config_rules import ConfigRefused, check_config, check_overrides
from dashboard.launcher import Launcher, LaunchError
from dashboard.security import NAME_HEADER, client_of, counted, name_of, operator
from dashboard.service import Number, Service, Services
from store.backlog import Backlog, EventRow
from store.database import Database, StoreAway, StoreError
from store.records import Action, RunDetail
from store.requests import ask, finish
from store.write import write_backlog

router = APIRouter(
    prefix="/api/runs",
    tags=["actions"],
    dependencies=[Depends(operator), Depends(counted)],
    responses=EVERYWHERE | problems(413),
)
_OF_RUN = problems(404, 409)
_GONE_S = 60.0  # a run that was not heard of for so long has no process any more
_resuming = threading.Lock()  # two that ask at once must not both find the run ended


def who(
    request: Request,
    role: Annotated[Role, Depends(operator)],
    user: Annotated[
        str | None, Header(alias=NAME_HEADER, description="who sends the token, for the log of requests")
    ] = None,
) -> str:
    """NAME (operator) at ADDRESS, or without a name: operator at ADDRESS."""
    name, place = name_of(request), f"at {client_of(request)}"
    return f"{name} ({role}) {place}" if name else f"{role} {place}"


Who = Annotated[str, Depends(who)]


@router.post("", status_code=202)
def start(services: Services, wanted: StartRequest, by: Who) -> Accepted:
    """Start a run from one of the server's configurations, or from YAML that names neither code nor places."""
    launcher = _launcher(services)
    config = _checked(services, launcher, wanted)
    request_id = ask(services.database, None, "start", by)
    outcome = "failed for a reason that the server's log tells"
    try:
        outcome = launcher.start(config, wanted.overrides, by)
    except (LaunchError, ValueError) as error:
        outcome = f"refused: {error}"
        raise HTTPException(503 if isinstance(error, LaunchError) else 422, str(error)) from None
    finally:
        finish(services.database, request_id, outcome)
    return Accepted(request_id=request_id, message=outcome)


@router.post("/{run_id}/stop", status_code=202, responses=_OF_RUN)
def stop(services: Services, run_id: Number, by: Who) -> Accepted:
    """Let the run end after the step that it is at, with a checkpoint."""
    run = services.detail(run_id)
    _demand_state(
        run, run.state in ("queued", "running", "stalled"), "has ended, so there is nothing to stop"
    )
    request_id = _ask(services.database, run_id, "stop", by)
    return Accepted(request_id=request_id, message=f"{run.name} stops after the step that it is at.")


@router.post("/{run_id}/checkpoint", status_code=202, responses=_OF_RUN)
def checkpoint(services: Services, run_id: Number, by: Who) -> Accepted:
    """Let the run write a checkpoint after the step that it is at."""
    run = services.detail(run_id)
    _demand_state(run, run.state in ("running", "stalled"), "does not train, so there is nothing to save")
    request_id = _ask(services.database, run_id, "checkpoint", by)
    return Accepted(request_id=request_id, message=f"{run.name} saves after the step that it is at.")


@router.post("/{run_id}/resume", status_code=202, responses=_OF_RUN)
def resume(services: Services, run_id: Number, by: Who) -> Accepted:
    """Let a run that stopped, failed or vanished go on from its last checkpoint."""
    with _resuming:
        run = services.detail(run_id)
        vanished = run.state == "stalled" and time.time() - (run.heartbeat_at or run.created_at) > _GONE_S
        resumable = run.state in ("stopped", "failed") or vanished
        _demand_state(run, resumable, "can be resumed once it has stopped or failed")
        pending = [r for r in services.reader.requests(run_id) if r.action == "resume" and r.done_at is None]
        if any(time.time() - request.asked_at < _GONE_S for request in pending):
            raise HTTPException(409, f"{run.name}: is being resumed already. Wait until it says so.")
        launcher = _launcher(services)
        request_id = _ask(services.database, run_id, "resume", by)
    outcome = "failed for a reason that the server's log tells"
    try:
        outcome = launcher.resume(run.name, by)
    except (LaunchError, ValueError) as error:
        outcome = f"refused: {error}"
        raise HTTPException(503 if isinstance(error, LaunchError) else 409, str(error)) from None
    finally:
        finish(services.database, request_id, outcome)
    return Accepted(request_id=request_id, message=outcome)


def _launcher(services: Service) -> Launcher:
    if services.launcher is None:
        raise HTTPException(
            503, "this dashboard only shows runs. Start them where videossr is installed to train."
        )
    return services.launcher


def _checked(services: Service, launcher: Launcher, wanted: StartRequest) -> str:
    """The configuration as YAML. Raises 422 where it says what it may not."""
    settings = services.settings
    runs_dir = str(settings.runs_dir)
    try:
        if not settings.allow_any_config:
            check_overrides(wanted.overrides, roots=settings.roots, runs_dir=runs_dir)
        if isinstance(wanted.config, YamlConfig):
            if not settings.allow_any_config:
                check_config(wanted.config.yaml, roots=settings.roots, runs_dir=runs_dir)
            return wanted.config.yaml
    except ConfigRefused as error:
        raise HTTPException(422, str(error)) from None
    configs = launcher.configs()
    if wanted.config not in configs:
        known = ", ".join(sorted(configs)) or "there are none"
        raise HTTPException(
            422, f"config={wanted.config!r}: is none of the server's ({known}). Name one of these."
        )
    return configs[wanted.config]


def _demand_state(run: RunDetail, holds: bool, otherwise: str) -> None:
    if not holds:
        raise HTTPException(409, f"{run.name}: is {run.state}; it {otherwise}.")


def _ask(database: Database, run_id: int, action: Action, by: str) -> int:
    """Write the request down, and into the run's own log."""
    try:
        request_id = ask(database, run_id, action, by)
    except StoreAway:
        raise
    except StoreError as error:  # it ended since we looked
        raise HTTPException(409, str(error)) from None
    event = EventRow(time.time(), "request", f"{by} asks for: {action} (request {request_id}).")
    with database.write() as connection:
        write_backlog(connection, run_id, Backlog(events={event.key: event}), {})
    return request_id
