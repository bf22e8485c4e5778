"""What holds for every request, whatever answers it: whose page sends it, how long it is, what browsers hear."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.settings import is_loopback

MAX_BODY_BYTES = 64 * 1024
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


class Headed:
    """Adds what tells browsers to keep to this site."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]

        async def send_headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers["Content-Security-Policy"] = _DOCS_POLICY if path == "/docs" else _POLICY
                # Answers hold what only some may see; files of the page are asked for again, and seldom sent again.
                headers.setdefault("Cache-Control", "no-store" if path.startswith("/api") else "no-cache")
            await send(message)

        await self._app(scope, receive, send_headed)


class OwnPages:
    """Refuses what other sites' pages send, by what browsers say of them; programs say nothing of the kind.

    On a loopback address, names that are not this machine's are refused too: a site could let its own name point
    here, and its page would then count as ours.
    """

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (reason := self._reason(scope)):
            await JSONResponse({"detail": reason}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _reason(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._loopback and not is_loopback(_hostname(host)):
            return f"Host: {host[:100]!r} is not this machine. Use the address that the dashboard printed."
        if scope["method"] in _UNSAFE and "origin" in headers and _netloc(headers["origin"]) != host.lower():
            return "Origin: the request comes from another site's page. Use the dashboard's own."
        if scope["path"].startswith("/api") and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return "Sec-Fetch-Site: the request comes from another site's page. Use the dashboard's own."
        return None


class Bounded:
    """Refuses bodies of more than MAX_BODY_BYTES, before anything reads them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        body, more = b"", not announced.isdigit() or int(announced) <= MAX_BODY_BYTES
        fits = more
        while more and fits and scope["method"] in _UNSAFE:
            message = await receive()
            if message["type"] != "http.request":
                return  # gone
            body += message.get("body", b"")
            fits, more = len(body) <= MAX_BODY_BYTES, message.get("more_body", False)
        if not fits:
            detail = f"the body has more than {MAX_BODY_BYTES} bytes. Send a shorter one."
            await JSONResponse({"detail": detail}, 413, {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive) if scope["method"] in _UNSAFE else receive, send)


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
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
