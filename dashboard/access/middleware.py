"""Checks on every request before any route (the page that sends it, the length of its body), and security headers."""

import asyncio
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.settings import is_loopback

MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 20.0
_HSTS = "max-age=31536000"  # one year; without includeSubDomains, because subdomains may not have https
_UNSAFE_METHODS = ("POST", "PUT", "PATCH", "DELETE")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI uses inline styles, so its page has its own policy.
_DOCS_POLICY = _POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class _Refusal(Exception):
    """The refusal of a request before it reaches a route."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.response = JSONResponse(
            {"detail": detail}, status, {"Connection": "close"} if status in (408, 413) else None
        )


class RequestGuard:
    """Middleware that refuses other sites' pages and long or slow bodies, and adds security headers to responses.

    Args:
        loopback: whether only this machine reaches the server. Then a Host that is not this machine is refused, because
            another site could point its own name here, and its page would count as ours (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _with_headers(send, scope["path"], https=scope["scheme"] == "https")
        try:
            _demand_own_page(scope, self._loopback)
            if scope["method"] in _UNSAFE_METHODS:
                receive = _replayed(await _body_in_time(scope, receive), receive)
        except _Refusal as refusal:
            await refusal.response(scope, receive, send)
        except ClientDisconnect:
            pass
        else:
            await self._app(scope, receive, send)


def _with_headers(send: Send, path: str, *, https: bool) -> Send:
    """Return a `send` that adds security headers, and HSTS if the request came over https."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            if https:
                headers["Strict-Transport-Security"] = _HSTS
            headers["Content-Security-Policy"] = _DOCS_POLICY if path == "/docs" else _POLICY
            # API responses must not be cached. The page's files may be, and are revalidated on every use.
            headers.setdefault("Cache-Control", "no-store" if path.startswith("/api") else "no-cache")
        await send(message)

    return send_with_headers


def _demand_own_page(scope: Scope, loopback: bool) -> None:
    """Raise _Refusal if a browser's headers say that another site's page sends the request.

    Programs send no such headers and pass.
    """
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if loopback and not is_loopback(_hostname(host)):
        raise _Refusal(
            403, f"Host: {host[:100]!r} is not this machine. Use the address that the dashboard printed."
        )
    if scope["method"] in _UNSAFE_METHODS and "origin" in headers:
        origin = _parts(headers["origin"])
        # Behind an untrusted proxy an https page looks like http, but never the other way round.
        weaker = scope["scheme"] == "https" and origin.scheme != "https"
        if weaker or origin.netloc.lower() != host.lower():
            raise _Refusal(
                403, "Origin: the request comes from another site's page. Use the dashboard's own."
            )
    if scope["path"].startswith("/api") and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise _Refusal(
            403, "Sec-Fetch-Site: the request comes from another site's page. Use the dashboard's own."
        )


async def _body_in_time(scope: Scope, receive: Receive) -> bytes:
    """Return the request's body. Raises _Refusal if it is too long, or so slow that it would hold the connection."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _body(scope, receive)
    except TimeoutError:
        raise _Refusal(
            408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s. Send it faster, or a shorter one."
        ) from None


async def _body(scope: Scope, receive: Receive) -> bytes:
    """Return the request's body. Raises _Refusal as soon as it is known to be too long, and ClientDisconnect."""
    announced = Headers(scope=scope).get("content-length", "0")
    body, more = bytearray(), True
    too_long = announced.isdecimal() and int(announced) > MAX_BODY_BYTES
    while more and not too_long:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        body += message.get("body", b"")
        too_long, more = len(body) > MAX_BODY_BYTES, message.get("more_body", False)
    if too_long:
        raise _Refusal(413, f"the body has more than {MAX_BODY_BYTES} bytes. Send a shorter one.")
    return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns the body, which was read already, and then calls `receive`."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _hostname(host: str) -> str:
    return _parts(f"//{host}").hostname or ""


def _parts(address: str) -> SplitResult:
    """Return the parts of an address; all parts are empty if it is invalid."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")
