"""What operators ask of runs. Everything is written down first: who, when, and what became of it."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Request

from dashboard.access.security import NAME_HEADER, client_of, counted, name_of, operator
from dashboard.dependencies import Number, Service, Services
from dashboard.launching.config_rules import ConfigRefused, ConfigRules
from dashboard.launching.launcher import Launched, Launcher, LaunchError
from dashboard.schemas import EVERYWHERE, Accepted, Role, StartRequest, StopRequest, YamlConfig, problems
from store.database import Database, StoreAway, StoreError
from store.records import Action, RunDetail
from store.requests import ask, finish
from store.writing.backlog import EventRow
from store.writing.write import note_changes, write_events

router = APIRouter(
    prefix="/api/runs",
    tags=["actions"],
    dependencies=[Depends(operator), Depends(counted)],
    responses=EVERYWHERE | problems(413),
)
_OF_RUN = problems(404, 409)
_AFTER_THE_STEP = StopRequest()


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
    request_id = ask(services.database, None, "start", by)

    def launch() -> Launched:
        return launcher.start(_checked(services, launcher, wanted), wanted.overrides, by)

    return _carry_out(services, request_id, launch, 422)


@router.post("/{run_id}/stop", status_code=202, responses=_OF_RUN | problems(413))
def stop(services: Services, run_id: Number, by: Who, wanted: StopRequest = _AFTER_THE_STEP) -> Accepted:
    """Let the run end after the step that it is at, with a checkpoint; or now, as it is."""
    run = services.detail(run_id)
    _demand_state(
        run, run.state in ("queued", "running", "stalled"), "has ended, so there is nothing to stop"
    )
    if wanted.now and run.state != "queued":
        launcher = _launcher(services)
        request_id = _ask(services.database, run_id, "stop", by, now=True)
        return _carry_out(services, request_id, lambda: Launched(run_id, launcher.end(run)), 409)
    _demand_state(
        run, not run.silent, "is not heard of, so nobody would hear this. Stop it now, or resume it"
    )
    request_id = _ask(services.database, run_id, "stop", by)
    if wanted.now and services.launcher is not None:
        with suppress(
            ValueError, LaunchError
        ):  # started from elsewhere, it hears of the request as soon as it begins
            services.launcher.end(run)
    when = "after the step that it is at, or at once if none has begun"
    return Accepted(request_id=request_id, run_id=run_id, message=f"{run.name} stops {when}.")


@router.post("/{run_id}/checkpoint", status_code=202, responses=_OF_RUN)
def checkpoint(services: Services, run_id: Number, by: Who) -> Accepted:
    """Let the run write a checkpoint after the step that it is at."""
    run = services.detail(run_id)
    trains = run.state in ("running", "stalled") and not run.silent
    _demand_state(run, trains, "does not train now, so there is nothing to save")
    request_id = _ask(services.database, run_id, "checkpoint", by)
    return Accepted(
        request_id=request_id, run_id=run_id, message=f"{run.name} saves after the step that it is at."
    )


@router.post("/{run_id}/resume", status_code=202, responses=_OF_RUN)
def resume(services: Services, run_id: Number, by: Who) -> Accepted:
    """Let a run that stopped, failed or vanished go on from its last checkpoint."""
    run = services.detail(run_id)
    vanished = run.state == "stalled" and run.silent
    reason = "lives" if run.state == "stalled" else "can be resumed once it has stopped or failed"
    _demand_state(run, run.state in ("stopped", "failed") or vanished, reason)
    launcher = _launcher(services)
    request_id = _ask(services.database, run_id, "resume", by)
    return _carry_out(services, request_id, lambda: launcher.resume(run, by), 409)


def _carry_out(services: Service, request_id: int, act: Callable[[], Launched], otherwise: int) -> Accepted:
    """Do what was asked, and write down what became of it, whatever that is.

    Args:
        otherwise: status of the answer where what was asked cannot be done.
    """
    outcome, run_id = "failed for a reason that the server's log tells", None
    try:
        launched = act()
        outcome, run_id = launched.message, launched.run_id
    except (LaunchError, ValueError) as error:
        outcome = f"refused: {error}"
        raise HTTPException(503 if isinstance(error, LaunchError) else otherwise, str(error)) from None
    finally:
        finish(services.database, request_id, outcome, run_id=run_id)
    return Accepted(request_id=request_id, run_id=run_id, message=outcome)


def _launcher(services: Service) -> Launcher:
    if services.launcher is None:
        raise HTTPException(
            503, "this dashboard only shows runs. Start them where videossr is installed to train."
        )
    return services.launcher


def _checked(services: Service, launcher: Launcher, wanted: StartRequest) -> str:
    """The configuration as YAML. Raises ValueError where it says what it may not."""
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
        raise ConfigRefused(
            f"config={wanted.config!r}: is none of the server's ({known}). Name one of these."
        )
    return configs[wanted.config]


def _demand_state(run: RunDetail, holds: bool, otherwise: str) -> None:
    if not holds:
        raise HTTPException(409, f"{run.name}: is {run.state}; it {otherwise}.")


def _ask(database: Database, run_id: int, action: Action, by: str, *, now: bool = False) -> int:
    """Write the request down, and into the run's own log.

    Args:
        now: it is carried out from here, and not by the run.
    """
    try:
        request_id = ask(database, run_id, action, by, of_the_run=not now)
    except StoreAway:
        raise
    except StoreError as error:  # it ended since we looked
        raise HTTPException(409, str(error)) from None
    event = EventRow(
        time.time(), "request", f"{by} asks for: {action}{' now' if now else ''} (request {request_id})."
    )
    with database.write() as connection:
        write_events(connection, run_id, [event])
        note_changes(connection, run_id, ["events"])
    return request_id
