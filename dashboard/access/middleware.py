"""What holds for every request, whatever answers it: whose page sends it, how long it is, what browsers hear."""

import asyncio
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.settings import is_loopback

MAX_BODY_BYTES, MAX_BODY_S = 64 * 1024, 20.0
_HSTS = "max-age=31536000"  # a year; of this name alone, as others below it may not have https
_UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets styles where they stand; it has a page of its own.
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
    """A request that goes no further."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.answer = JSONResponse(
            {"detail": detail}, status, {"Connection": "close"} if status in (408, 413) else None
        )


class Guard:
    """Stands before the application: refuses other sites' pages and long or slow bodies, and adds what browsers hear.

    Args:
        loopback: only this machine reaches the server. Then names that are not this machine's are refused too: a site
            could let its own name point here, and its page would count as ours.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = _headed(send, scope["path"], https=scope["scheme"] == "https")
        try:
            _demand_own_page(scope, self._loopback)
            if scope["method"] in _UNSAFE:
                receive = _replayed(await _body_in_time(scope, receive), receive)
        except _Refusal as refusal:
            await refusal.answer(scope, receive, send)
        except ClientDisconnect:
            pass
        else:
            await self._app(scope, receive, send)


def _headed(send: Send, path: str, *, https: bool) -> Send:
    """`send`, with what tells browsers to keep to this site, and to https where the request came by it."""

    async def send_headed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            if https:
                headers["Strict-Transport-Security"] = _HSTS
            headers["Content-Security-Policy"] = _DOCS_POLICY if path == "/docs" else _POLICY
            # Answers hold what only some may see; files of the page are asked for again, and seldom sent again.
            headers.setdefault("Cache-Control", "no-store" if path.startswith("/api") else "no-cache")
        await send(message)

    return send_headed


def _demand_own_page(scope: Scope, loopback: bool) -> None:
    """Raises _Refusal for what other sites' pages send, by what browsers say of them; programs say nothing such."""
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if loopback and not is_loopback(_hostname(host)):
        raise _Refusal(
            403, f"Host: {host[:100]!r} is not this machine. Use the address that the dashboard printed."
        )
    if scope["method"] in _UNSAFE and "origin" in headers:
        origin = _parts(headers["origin"])
        # Behind a proxy that is not trusted a page of https seems to be of http, but never the other way round.
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
    """As `_body`. Raises _Refusal too where it trickles: whoever sends it would keep a connection for ever."""
    try:
        async with asyncio.timeout(MAX_BODY_S):
            return await _body(scope, receive)
    except TimeoutError:
        raise _Refusal(
            408, f"the body was not there after {MAX_BODY_S:g} s. Send it faster, or a shorter one."
        ) from None


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The request's body. Raises _Refusal where it is too long, as soon as that is known, and ClientDisconnect."""
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
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _hostname(host: str) -> str:
    return _parts(f"//{host}").hostname or ""


def _parts(address: str) -> SplitResult:
    """Its parts; of what is no address, empty ones."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")
