"""The caller's permissions; logging in and out. A browser sends its token once and then has a session cookie."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from dashboard.access.identity import cleaned_name
from dashboard.access.security import anyone, authenticator_of, client_of, is_https, unauthorized
from dashboard.access.sessions import SESSION_DURATION_S
from dashboard.dependencies import Services
from dashboard.schemas import AccessRole, LoggedIn, Login, Me, error_responses

router = APIRouter(prefix="/api", tags=["session"])


@router.get("/me", responses=error_responses(401, 403, 429, 503))
def me(request: Request, services: Services, role: Annotated[AccessRole | None, Depends(anyone)]) -> Me:
    """Return the caller's permissions."""
    can_start = role == "operator" and services.launcher is not None
    names = sorted(services.launcher.configs()) if can_start and services.launcher is not None else ()
    return Me(
        role=role,
        needs_token=not authenticator_of(request).may_read(None),
        can_start=can_start,
        configs=tuple(names),
    )


@router.post("/session", responses=error_responses(401, 403, 413, 422, 429))
def log_in(login: Login, request: Request, response: Response) -> LoggedIn:
    """Exchange a token for a session: a cookie that scripts cannot read and other sites cannot use.

    Only wrong tokens are limited, so wrong attempts lock out no other user of the same address.
    """
    authenticator, https = authenticator_of(request), is_https(request)
    role = authenticator.role_of_token(login.token.strip(), client_of(request))
    if role is None:
        raise unauthorized("token: is wrong. Use the one that the server was started with (VIDEOSSR_TOKEN).")
    response.set_cookie(
        authenticator.sessions.cookie(https=https),
        authenticator.sessions.new(role, cleaned_name(login.name or "")),
        max_age=SESSION_DURATION_S,
        httponly=True,
        samesite="strict",
        secure=https,
    )
    return LoggedIn(role=role)


@router.delete("/session", status_code=204, responses=error_responses(403, 413))
def log_out(request: Request, response: Response) -> None:
    """Delete the session cookie."""
    https = is_https(request)
    response.delete_cookie(
        authenticator_of(request).sessions.cookie(https=https), httponly=True, samesite="strict", secure=https
    )
