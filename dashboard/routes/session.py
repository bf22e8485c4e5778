"""Who asks: a browser shows its token once, and has a cookie then."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from dashboard.answers import LoggedIn, Login, Me, Role, problems
from dashboard.security import SESSION_S, anyone, client_of, counted, gate_of, unauthorized
from dashboard.service import Services

router = APIRouter(prefix="/api", tags=["session"])


@router.get("/me", responses=problems(401, 403, 429, 503))
def me(request: Request, services: Services, role: Annotated[Role | None, Depends(anyone)]) -> Me:
    """What whoever asks may do."""
    can_start = role == "operator" and services.launcher is not None
    names = sorted(services.launcher.configs()) if can_start and services.launcher is not None else ()
    return Me(
        role=role, needs_token=not gate_of(request).may_read(None), can_start=can_start, configs=tuple(names)
    )


@router.post("/session", responses=problems(401, 403, 413, 422, 429), dependencies=[Depends(counted)])
def log_in(login: Login, request: Request, response: Response) -> LoggedIn:
    """Exchange a token for a session: a cookie that scripts cannot read and other sites cannot use."""
    gate = gate_of(request)
    role = gate.role_of_token(login.token.strip(), client_of(request))
    if role is None:
        raise unauthorized(
            "token: is not known. Use the one that the server was started with (VIDEOSSR_TOKEN)."
        )
    response.set_cookie(
        gate.cookie,
        gate.session(role),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return LoggedIn(role=role)


@router.delete("/session", status_code=204, responses=problems(403, 413))
def log_out(request: Request, response: Response) -> None:
    """Forget the session."""
    response.delete_cookie(
        gate_of(request).cookie, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
