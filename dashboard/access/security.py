"""Authentication of callers by token or session, and limits on how many requests they may send."""

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPBearer

from dashboard.access.identity import Caller, cleaned_address, name_in_header, network_of
from dashboard.access.rate_limit import RateLimiter
from dashboard.access.sessions import COOKIE, Sessions
from dashboard.schemas import AccessRole
from dashboard.settings import Settings

NAME_HEADER = "X-Videossr-User"
_SAFE = ("GET", "HEAD", "OPTIONS")

logger = logging.getLogger(__name__)

# These only describe the API; the Authenticator reads the headers itself.
_bearer = HTTPBearer(auto_error=False, description="VIDEOSSR_TOKEN, or VIDEOSSR_READ_TOKEN to read")
_session = APIKeyCookie(
    name=COOKIE, auto_error=False, description="set by POST /api/session; the name ends with the port"
)


class Authenticator:
    """An authenticator of callers that also limits wrong tokens, POST requests and requests for curves."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self.sessions = Sessions(settings)
        self._wrong_tokens = RateLimiter(burst=10, every_s=6, clock=clock)
        self._posts = RateLimiter(burst=30, every_s=2, clock=clock)
        self._curves = RateLimiter(burst=120, every_s=0.1, clock=clock)

    def role_of_token(self, token: str, client: str) -> AccessRole | None:
        """Return the role of a token; None if it is wrong. Raises 429 after too many wrong tokens from `client`.

        A right token always passes, even after many wrong ones, because an attacker may share the address with
        colleagues. So this limit does not prevent guessing; the length of tokens does, because 16 random characters
        cannot be guessed at any realistic rate. The limit keeps logs short and slows down misconfigured programs.
        """
        # Always compare with both tokens, so that the response time does not reveal which one matched.
        known = (self._settings.token, self._settings.read_token)
        operates, reads = (text is not None and _same(token, text) for text in known)
        if operates or reads:
            return "operator" if operates else "reader"
        if wait_s := self._wrong_tokens.take(network_of(client)):
            raise _too_many(wait_s, "wrong tokens from this address")
        logger.warning("Wrong token from %s.", client)
        return None

    def caller(self, request: Request) -> Caller:
        """Return the caller. Raises 401 (wrong token), 403 (not from our page) and 429 (too many wrong tokens)."""
        client = client_of(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme:
            role = self.role_of_token(token.strip(), client) if scheme.lower() == "bearer" else None
            if role is None:
                raise unauthorized("Authorization: this token is wrong. Send Bearer and VIDEOSSR_TOKEN.")
            name = name_in_header(request.headers.get(NAME_HEADER))
            return Caller(role, name, f"{role} at {network_of(client)}")
        cookie = self.sessions.cookie(https=is_https(request))
        session = self.sessions.read(request.cookies.get(cookie, ""))
        if session is None:
            return Caller(None, None, network_of(client))
        # A form on another site's page would send the cookie too, but browsers name that page in Origin.
        if request.method not in _SAFE and "origin" not in request.headers:
            raise HTTPException(
                403, "Origin: is missing, and without it a session may only read. Send a token instead."
            )
        return Caller(session.role, session.name, f"session {session.number}")

    def count_post(self, request: Request) -> None:
        """Count a request that changes something. Raises 429 if the caller sends too many."""
        if wait_s := self._posts.take(self.caller(request).key):
            raise _too_many(wait_s, "requests")

    def count_curves(self, request: Request) -> None:
        """Count a request for curves, whose response can be megabytes. Raises 429 if the caller sends too many."""
        if wait_s := self._curves.take(self.caller(request).key):
            raise _too_many(wait_s, "requests for curves")

    def may_read(self, role: AccessRole | None) -> bool:
        """Return whether a caller with this role may read."""
        return role is not None or self._settings.open_reading


def client_of(request: Request) -> str:
    """Return the client's address, or the one that a proxy reports if FORWARDED_ALLOW_IPS trusts the proxy."""
    return cleaned_address(request.client.host if request.client else None)


def is_https(request: Request) -> bool:
    """Return whether the request came over https, to this server or to a proxy that FORWARDED_ALLOW_IPS trusts."""
    return request.url.scheme == "https"


def name_of(request: Request) -> str | None:
    """Return the name that the caller gave at the log-in or in X-Videossr-User. It is not verified."""
    return authenticator_of(request).caller(request).name


def authenticator_of(request: Request) -> Authenticator:
    """Return the application's authenticator."""
    return cast(Authenticator, request.app.state.authenticator)


def anyone(request: Request) -> AccessRole | None:
    """Return the caller's role, which may be None. A dependency of routes without access control."""
    return authenticator_of(request).caller(request).role


def _require(
    allowed: Callable[[Authenticator, AccessRole | None], bool], otherwise: str
) -> Callable[..., AccessRole | None]:
    """Return a dependency that raises 401 or 403 with the message `otherwise` for callers who are not allowed."""

    def check(
        request: Request,
        bearer: Annotated[object, Depends(_bearer)],
        session: Annotated[object, Depends(_session)],
    ) -> AccessRole | None:
        authenticator = authenticator_of(request)
        role = authenticator.caller(request).role
        if allowed(authenticator, role):
            return role
        if role is None:
            raise unauthorized(otherwise)
        raise HTTPException(403, otherwise)

    return check


reader = _require(
    lambda authenticator, role: authenticator.may_read(role),
    "Authorization: reading needs a token here. Send VIDEOSSR_READ_TOKEN or VIDEOSSR_TOKEN.",
)
operator = _require(
    lambda _, role: role == "operator",
    "Authorization: this needs the operator's token. Send VIDEOSSR_TOKEN; if none was set, the server printed one.",
)


def rate_limited(request: Request) -> None:
    """Raise 429 if the caller sends too many requests that change something."""
    authenticator_of(request).count_post(request)


def curves_rate_limited(request: Request) -> None:
    """Raise 429 if the caller requests too many curves."""
    authenticator_of(request).count_curves(request)


def unauthorized(detail: str) -> HTTPException:
    """Return a 401 error that asks for a bearer token."""
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def _too_many(wait_s: float, what: str) -> HTTPException:
    seconds = int(wait_s) + 1
    return HTTPException(429, f"too many {what}. Wait {seconds} s.", {"Retry-After": str(seconds)})


def _same(given: str, known: str) -> bool:
    """Compare in constant time, on digests so that the length does not leak."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, known))
    return hmac.compare_digest(*digests)
