"""Who asks: tokens, sessions, and how often one may be wrong."""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from dashboard.access.identity import Caller, cleaned_address, name_in_header, network_of
from dashboard.access.rate_limit import Allowance
from dashboard.access.sessions import COOKIE, Sessions
from dashboard.schemas import Role
from dashboard.settings import Settings

NAME_HEADER = "X-Videossr-User"
_SAFE = ("GET", "HEAD", "OPTIONS")

_log = logging.getLogger(__name__)

# What the documentation says of it; the gate reads the headers itself.
_bearer = HTTPBearer(auto_error=False, description="VIDEOSSR_TOKEN, or VIDEOSSR_READ_TOKEN to read")
_session = APIKeyCookie(
    name=COOKIE, auto_error=False, description="what POST /api/session sets, with the port's number"
)


class Gate:
    """Says who asks."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self.sessions = Sessions(settings)
        self._mistakes = Allowance(burst=10, every_s=6, clock=clock)
        self._posts = Allowance(burst=30, every_s=2, clock=clock)
        self._curves = Allowance(burst=120, every_s=0.1, clock=clock)

    def role_of_token(self, token: str, client: str) -> Role | None:
        """Raises 429 where it is wrong, and `client` was wrong too often before.

        A right one passes however often others at that address were wrong: colleagues may share one with a guesser.
        So guesses go on being answered, only with fewer words. What keeps a token secret is not this allowance but
        its length: of 16 random characters and more, at any speed that a server answers at, none is ever found. The
        allowance keeps logs short, and a broken program from being busy.
        """
        # Both are compared, whatever the first says, so that the time tells nothing.
        known = (self._settings.token, self._settings.read_token)
        operates, reads = (text is not None and _same(token, text) for text in known)
        if operates or reads:
            return "operator" if operates else "reader"
        if wait_s := self._mistakes.take(network_of(client)):
            raise _too_many(wait_s, "wrong tokens from this address")
        _log.warning("A wrong token from %s.", client)
        return None

    def caller(self, request: Request) -> Caller:
        """Who asks. Raises 401 (a wrong token), 403 (not from our page) and 429."""
        client = client_of(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme:
            role = self.role_of_token(token.strip(), client) if scheme.lower() == "bearer" else None
            if role is None:
                raise unauthorized("Authorization: this token is not known. Send Bearer and VIDEOSSR_TOKEN.")
            name = name_in_header(request.headers.get(NAME_HEADER))
            return Caller(role, name, f"{role} at {network_of(client)}")
        cookie = self.sessions.cookie(https=is_https(request))
        session = self.sessions.read(request.cookies.get(cookie, ""))
        if session is None:
            return Caller(None, None, network_of(client))
        # A form on another page would send the cookie too; which page it is, only browsers can tell.
        if request.method not in _SAFE and "origin" not in request.headers:
            raise HTTPException(
                403, "Origin: is missing, and a session alone may not act. Send a token instead."
            )
        return Caller(session.role, session.name, f"session {session.number}")

    def count_post(self, request: Request) -> None:
        """Raises 429 where a caller sends too many."""
        if wait_s := self._posts.take(self.caller(request).key):
            raise _too_many(wait_s, "requests")

    def count_curves(self, request: Request) -> None:
        """Raises 429 where a caller asks for more curves than any page shows: each answer can be megabytes."""
        if wait_s := self._curves.take(self.caller(request).key):
            raise _too_many(wait_s, "requests for curves")

    def may_read(self, role: Role | None) -> bool:
        return role is not None or self._settings.open_reading


def client_of(request: Request) -> str:
    """The address that asks. Behind a proxy, uvicorn has put the client's here if FORWARDED_ALLOW_IPS trusts it."""
    return cleaned_address(request.client.host if request.client else None)


def is_https(request: Request) -> bool:
    """Whether the page came by https: to us, or to a proxy that FORWARDED_ALLOW_IPS trusts."""
    return request.url.scheme == "https"


def name_of(request: Request) -> str | None:
    """Who it is that asks, as they say: at the log-in, or in X-Videossr-User beside a token. Nobody checked it."""
    return gate_of(request).caller(request).name


def gate_of(request: Request) -> Gate:
    return cast(Gate, request.app.state.gate)


def anyone(request: Request) -> Role | None:
    return gate_of(request).caller(request).role


def _demand(allowed: Callable[[Gate, Role | None], bool], otherwise: str) -> Callable[..., Role | None]:
    def check(
        request: Request,
        bearer: Annotated[object, Depends(_bearer)],
        session: Annotated[object, Depends(_session)],
    ) -> Role | None:
        gate = gate_of(request)
        role = gate.caller(request).role
        if allowed(gate, role):
            return role
        if role is None:
            raise unauthorized(otherwise)
        raise HTTPException(403, otherwise)

    return check


reader = _demand(
    lambda gate, role: gate.may_read(role),
    "Authorization: reading needs a token here. Send VIDEOSSR_READ_TOKEN or VIDEOSSR_TOKEN.",
)
operator = _demand(
    lambda _, role: role == "operator",
    "Authorization: this needs the operator's token. Send VIDEOSSR_TOKEN; if none was set, the server printed one.",
)


def counted(request: Request) -> None:
    gate_of(request).count_post(request)


def counted_curves(request: Request) -> None:
    gate_of(request).count_curves(request)


def unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def _too_many(wait_s: float, what: str) -> HTTPException:
    seconds = int(wait_s) + 1
    return HTTPException(429, f"too many {what}. Wait {seconds} s.", {"Retry-After": str(seconds)})


def _same(given: str, known: str) -> bool:
    """In a time that tells nothing of either: of equally long digests."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, known))
    return hmac.compare_digest(*digests)
