"""The application: routes, what holds for all of them, and the look-out for news that runs beside them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path
from starlette.staticfiles import StaticFiles

from dashboard.access.middleware import Guard
from dashboard.access.security import Gate
from dashboard.dependencies import Service
from dashboard.launching.launcher import Launcher
from dashboard.routes import actions, benchmarks, health, log, metrics, rollouts, runs, session, stream
from dashboard.routes.api_docs import add_docs
from dashboard.schemas import BenchColumn
from dashboard.services.change_feed import Hub
from dashboard.settings import Settings
from store.database import Database, StoreError
from store.reading.reader import RunReader

_log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
_SUBJECTS = (health, session, runs, metrics, rollouts, benchmarks, stream, actions, log)


def create_app(
    settings: Settings,
    database: Database,
    launcher: Launcher | None,
    *,
    page: Path = PAGE,
    benches: Sequence[BenchColumn] = (),
) -> FastAPI:
    """The dashboard over an open store.

    Args:
        launcher: starts runs; None: runs are only shown, and stopped.
        page: the folder of the page's files.
        benches: columns with what was published of them, to show where nothing was asked yet.
    """
    hub = Hub(database)
    # add_docs serves the documentation, to whoever may read.
    app = FastAPI(
        title="videossr",
        version=_version(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.gate = Gate(settings)
    app.state.service = Service(settings, database, RunReader(database), launcher, hub, tuple(benches))
    for subject in _SUBJECTS:
        app.include_router(subject.router)
    add_docs(app)
    app.mount("/", StaticFiles(directory=page, html=True, check_dir=False), name="page")
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(StoreError, _store_away)
    # The last one added is the first to see a request.
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    app.add_middleware(Guard, loopback=settings.on_loopback)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    hub: Hub = app.state.service.hub
    task = asyncio.create_task(hub.run())
    yield
    hub.close()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _invalid(_: Request, error: Exception) -> Response:
    """What is wrong with a request, in words."""
    assert isinstance(error, RequestValidationError)
    lines = []
    for problem in error.errors()[:10]:
        name = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
        rule = str(problem["msg"])
        lines.append(
            f"{name}={repr(problem.get('input'))[:60]}: {rule[:1].lower()}{rule[1:]}. Change {name}."
        )
    return JSONResponse({"detail": "\n".join(lines)}, 422)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = _methods(request) if error.status_code in (404, 405) else set()
    if error.status_code == 405 or (
        allowed and request.method not in allowed
    ):  # the page's files come after routes
        methods = ", ".join(sorted(allowed or {"GET", "HEAD"}))
        detail = f"{request.method}: cannot be asked here. Use {methods}."
        return JSONResponse({"detail": detail}, 405, {"Allow": methods})
    unreadable = error.status_code == 400  # FastAPI's answer to a body that is not text
    return JSONResponse({"detail": error.detail}, 422 if unreadable else error.status_code, error.headers)


def _methods(request: Request) -> set[str]:
    """Of all routes at this path, where Starlette tells those of the first one."""
    matches = request.app.openapi()["paths"]
    templates = (path for path in matches if compile_path(path)[0].match(request.url.path))
    return {method.upper() for path in templates for method in matches[path]}


async def _store_away(_: Request, error: Exception) -> Response:
    """The reason may name hosts and users: it goes to the log."""
    _log.warning("The run store: %s", error)
    detail = "the run store does not answer. Ask again in a moment; the server's log says more."
    return JSONResponse({"detail": detail}, 503, {"Retry-After": "5"})


def _version() -> str:
    try:
        return version("videossr")
    except PackageNotFoundError:
        return "0"
