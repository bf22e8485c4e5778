"""Starting, stopping, saving and resuming runs. Every request is recorded with its sender, time and outcome."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Request

from dashboard.access.security import NAME_HEADER, client_of, name_of, operator, rate_limited
from dashboard.dependencies import DashboardServices, PathId, Services
from dashboard.launching.config_rules import ConfigRefused, ConfigRules
from dashboard.launching.launcher import Launched, Launcher, LaunchError
from dashboard.schemas import (
    COMMON_ERRORS,
    Accepted,
    AccessRole,
    StartRequest,
    StopRequest,
    YamlConfig,
    error_responses,
)
from store.database import Database, StoreError, StoreUnavailable
from store.records import Action, RunDetail
from store.requests import add_request, finish_request
from store.writing.backlog import EventEntry
from store.writing.write import note_changes, write_events
from vocabulary.problems import Problem

router = APIRouter(
    prefix="/api/runs",
    tags=["actions"],
    dependencies=[Depends(operator), Depends(rate_limited)],
    responses=COMMON_ERRORS | error_responses(413),
)
_RUN_ERRORS = error_responses(404, 409)
_STOP_AFTER_THE_STEP = StopRequest()


def who(
    request: Request,
    role: Annotated[AccessRole, Depends(operator)],
    user: Annotated[
        str | None,
        Header(
            alias=NAME_HEADER, description="name of the sender, for the log of requests; it is not verified"
        ),
    ] = None,
) -> str:
    """Return "NAME (operator) at ADDRESS", or without a name "operator at ADDRESS"."""
    name, place = name_of(request), f"at {client_of(request)}"
    return f"{name} ({role}) {place}" if name else f"{role} {place}"


Who = Annotated[str, Depends(who)]


@router.post("", status_code=202)
def start(services: Services, wanted: StartRequest, by: Who) -> Accepted:
    """Start a run from one of the server's configurations, or from YAML without code and closed places."""
    launcher = _launcher(services)
    request_id = add_request(services.database, None, "start", by)

    def launch() -> Launched:
        return launcher.start(_checked(services, launcher, wanted), wanted.overrides, by)

    return _carry_out(services, request_id, launch, 422)


@router.post("/{run_id}/stop", status_code=202, responses=_RUN_ERRORS | error_responses(413))
def stop(services: Services, run_id: PathId, by: Who, wanted: StopRequest = _STOP_AFTER_THE_STEP) -> Accepted:
    """Request that the run stop after its current step, with a checkpoint, or end it now, without one."""
    run = services.detail(run_id)
    _require_state(
        run, run.state in ("queued", "running", "stalled"), "has ended, so there is nothing to stop"
    )
    if wanted.now and run.state != "queued":
        launcher = _launcher(services)
        request_id = _ask(services.database, run_id, "stop", by, now=True)
        return _carry_out(services, request_id, lambda: Launched(run_id, launcher.end(run)), 409)
    _require_state(
        run,
        not run.silent,
        "sends no sign of life, so it would not notice this request. Stop it now, or resume it",
    )
    request_id = _ask(services.database, run_id, "stop", by)
    if wanted.now and services.launcher is not None:
        # A run that was started elsewhere cannot be ended from here, but it reads the request as soon as it begins.
        with suppress(ValueError, LaunchError):
            services.launcher.end(run)
    when = "after its current step, or at once if none has begun"
    return Accepted(request_id=request_id, run_id=run_id, message=f"{run.name} stops {when}.")


@router.post("/{run_id}/checkpoint", status_code=202, responses=_RUN_ERRORS)
def checkpoint(services: Services, run_id: PathId, by: Who) -> Accepted:
    """Request that the run write a checkpoint after its current step."""
    run = services.detail(run_id)
    trains = run.state in ("running", "stalled") and not run.silent
    _require_state(run, trains, "is not training, so there is nothing to save")
    request_id = _ask(services.database, run_id, "checkpoint", by)
    return Accepted(request_id=request_id, run_id=run_id, message=f"{run.name} saves after its current step.")


@router.post("/{run_id}/resume", status_code=202, responses=_RUN_ERRORS)
def resume(services: Services, run_id: PathId, by: Who) -> Accepted:
    """Resume a run that stopped, failed or vanished from its last checkpoint."""
    run = services.detail(run_id)
    vanished = run.state == "stalled" and run.silent
    reason = "is alive" if run.state == "stalled" else "can be resumed once it has stopped or failed"
    _require_state(run, run.state in ("stopped", "failed") or vanished, reason)
    launcher = _launcher(services)
    request_id = _ask(services.database, run_id, "resume", by)
    return _carry_out(services, request_id, lambda: launcher.resume(run, by), 409)


def _carry_out(
    services: DashboardServices, request_id: int, act: Callable[[], Launched], otherwise: int
) -> Accepted:
    """Carry out a request, and record its outcome even if it fails.

    Args:
        otherwise: status of the response if the request is refused.
    """
    outcome, run_id = "failed; the server's log has the reason", None
    try:
        launched = act()
        outcome, run_id = launched.message, launched.run_id
    except (LaunchError, ValueError) as error:
        outcome = f"refused: {error}"
        raise HTTPException(503 if isinstance(error, LaunchError) else otherwise, str(error)) from None
    finally:
        finish_request(services.database, request_id, outcome, run_id=run_id)
    return Accepted(request_id=request_id, run_id=run_id, message=outcome)


def _launcher(services: DashboardServices) -> Launcher:
    if services.launcher is None:
        raise HTTPException(
            503, "this dashboard only shows runs. Start them where videossr is installed for training."
        )
    return services.launcher


def _checked(services: DashboardServices, launcher: Launcher, wanted: StartRequest) -> str:
    """Return the configuration as YAML. Raises ConfigRefused if it sets something that may not be set over HTTP."""
    settings = services.settings
    rules = ConfigRules(launcher.config_class, roots=settings.roots, runs_dir=str(settings.runs_dir))
    if not settings.allow_any_config:
        rules.check_overrides(wanted.overrides)
    if isinstance(wanted.config, YamlConfig):
        if not settings.allow_any_config:
            rules.check_config(wanted.config.yaml)
        return wanted.config.yaml
    configs = launcher.configs()
    if wanted.config not in configs:
        known = ", ".join(sorted(configs)) or "there are none"
        rule = f"is not one of the server's configurations ({known})"
        raise ConfigRefused([Problem("config", wanted.config, rule, "Name one of these")])
    return configs[wanted.config]


def _require_state(run: RunDetail, holds: bool, otherwise: str) -> None:
    if not holds:
        raise HTTPException(409, f"{run.name}: is {run.state}; it {otherwise}.")


def _ask(database: Database, run_id: int, action: Action, by: str, *, now: bool = False) -> int:
    """Record the request, and an event of the run.

    Args:
        now: whether the dashboard carries it out instead of the run.
    """
    try:
        request_id = add_request(database, run_id, action, by, of_the_run=not now)
    except StoreUnavailable:
        raise
    except StoreError as error:  # The run has ended in the meantime.
        raise HTTPException(409, str(error)) from None
    event = EventEntry(
        time.time(), "request", f"{by} requests: {action}{' now' if now else ''} (request {request_id})."
    )
    with database.write() as connection:
        write_events(connection, run_id, [event])
        note_changes(connection, run_id, ["events"])
    return request_id
