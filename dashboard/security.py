"""Who asks: tokens, the sessions of browsers, and how often one may be wrong."""

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from itsdangerous import BadSignature, URLSafeTimedSerializer

from dashboard.answers import Role
from dashboard.limits import Allowance
from dashboard.settings import Settings

SESSION_S = 7 * 24 * 3600
COOKIE = "videossr_session"  # for the documentation; each port's has its own name, see Gate.cookie
_SAFE = ("GET", "HEAD", "OPTIONS")

# What the documentation says of it; the gate reads the headers itself.
_bearer = HTTPBearer(auto_error=False, description="VIDEOSSR_TOKEN, or VIDEOSSR_READ_TOKEN to read")
_session = APIKeyCookie(name=COOKIE, auto_error=False, description="what POST /api/session sets")


class Gate:
    """Says who asks.

    A session is the role and the time, signed with a key made of the tokens: it holds in every process that has the
    same ones, and none is left when they are changed.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        secret = hashlib.sha256(f"{settings.token} {settings.read_token}".encode()).hexdigest()
        self._signer = URLSafeTimedSerializer(secret, salt="videossr-session")
        self._mistakes = Allowance(burst=10, every_s=6, clock=clock)
        self._posts = Allowance(burst=30, every_s=2, clock=clock)
        self.cookie = f"{COOKIE}_{settings.port}"  # browsers do not tell ports apart

    def role_of_token(self, token: str, client: str) -> Role | None:
        """Raises 429 where `client` was wrong too often."""
        if wait_s := self._mistakes.wait_s(client):
            raise _too_many(wait_s, "wrong tokens")
        if _same(token, self._settings.token):
            return "operator"
        if self._settings.read_token is not None and _same(token, self._settings.read_token):
            return "reader"
        self._mistakes.take(client)
        return None

    def session(self, role: Role) -> str:
        """The cookie of a browser that showed its token."""
        return self._signer.dumps(role)

    def role(self, request: Request) -> Role | None:
        """Who asks; None: anybody. Raises 401 (a wrong token), 403 (not from our page) and 429."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme:
            role = (
                self.role_of_token(token.strip(), client_of(request)) if scheme.lower() == "bearer" else None
            )
            if role is None:
                raise unauthorized("Authorization: this token is not known. Send Bearer and VIDEOSSR_TOKEN.")
            return role
        role = self._role_of_session(request.cookies.get(self.cookie, ""))
        # A form on another page would send the cookie too; which page it is, only browsers can tell.
        if role is not None and request.method not in _SAFE and "origin" not in request.headers:
            raise HTTPException(
                403, "Origin: is missing, and a session alone may not act. Send a token instead."
            )
        return role

    def count_post(self, request: Request) -> None:
        """Raises 429 where a client sends too many."""
        if wait_s := self._posts.take(client_of(request)):
            raise _too_many(wait_s, "requests")

    def may_read(self, role: Role | None) -> bool:
        return role is not None or self._settings.open_reading

    def _role_of_session(self, cookie: str) -> Role | None:
        try:
            role = self._signer.loads(cookie, max_age=SESSION_S)
        except BadSignature:  # or too old
            return None
        return cast(Role, role)


def client_of(request: Request) -> str:
    """The address that asks. Behind a proxy, uvicorn has put the client's here if FORWARDED_ALLOW_IPS trusts it."""
    return request.client.host if request.client else ""


def gate_of(request: Request) -> Gate:
    return cast(Gate, request.app.state.gate)


def anyone(request: Request) -> Role | None:
    return gate_of(request).role(request)


def _demand(allowed: Callable[[Gate, Role | None], bool], otherwise: str) -> Callable[..., Role | None]:
    def check(
        request: Request,
        bearer: Annotated[object, Depends(_bearer)],
        session: Annotated[object, Depends(_session)],
    ) -> Role | None:
        gate = gate_of(request)
        role = gate.role(request)
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


def unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def _too_many(wait_s: float, what: str) -> HTTPException:
    seconds = int(wait_s) + 1
    return HTTPException(
        429, f"too many {what} from this address. Wait {seconds} s.", {"Retry-After": str(seconds)}
    )


def _same(given: str, known: str) -> bool:
    """In a time that tells nothing of either: of equally long digests."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, known))
    return hmac.compare_digest(*digests)
