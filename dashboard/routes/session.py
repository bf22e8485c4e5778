"""Who asks: a browser shows its token once, and has a cookie then."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from dashboard.access.identity import cleaned_name
from dashboard.access.security import anyone, client_of, gate_of, is_https, unauthorized
from dashboard.access.sessions import SESSION_S
from dashboard.dependencies import Services
from dashboard.schemas import LoggedIn, Login, Me, Role, problems

router = APIRouter(prefix="/api", tags=["session"])


@router.get("/me", responses=problems(401, 403, 429, 503))
def me(request: Request, services: Services, role: Annotated[Role | None, Depends(anyone)]) -> Me:
    """What whoever asks may do."""
    can_start = role == "operator" and services.launcher is not None
    names = sorted(services.launcher.configs()) if can_start and services.launcher is not None else ()
    return Me(
        role=role, needs_token=not gate_of(request).may_read(None), can_start=can_start, configs=tuple(names)
    )


@router.post("/session", responses=problems(401, 403, 413, 422, 429))
def log_in(login: Login, request: Request, response: Response) -> LoggedIn:
    """Exchange a token for a session: a cookie that scripts cannot read and other sites cannot use.

    Only wrong tokens are counted: nobody is kept out by what others at the same address do.
    """
    gate, https = gate_of(request), is_https(request)
    role = gate.role_of_token(login.token.strip(), client_of(request))
    if role is None:
        raise unauthorized(
            "token: is not known. Use the one that the server was started with (VIDEOSSR_TOKEN)."
        )
    response.set_cookie(
        gate.sessions.cookie(https=https),
        gate.sessions.new(role, cleaned_name(login.name or "")),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=https,
    )
    return LoggedIn(role=role)


@router.delete("/session", status_code=204, responses=problems(403, 413))
def log_out(request: Request, response: Response) -> None:
    """Forget the session."""
    https = is_https(request)
    response.delete_cookie(
        gate_of(request).sessions.cookie(https=https), httponly=True, samesite="strict", secure=https
    )
