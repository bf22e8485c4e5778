"""The application: routes, error handlers, middleware, and the change feed that runs with them."""

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

from dashboard.access.middleware import RequestGuard
from dashboard.access.security import Authenticator
from dashboard.dependencies import DashboardServices
from dashboard.launching.launcher import Launcher
from dashboard.routes import actions, benchmarks, health, log, metrics, rollouts, runs, session, stream
from dashboard.routes.api_docs import add_docs
from dashboard.schemas import BenchmarkColumn
from dashboard.services.change_feed import ChangeFeed
from dashboard.settings import Settings
from store.database import Database, StoreError
from store.reading.reader import RunReader

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
_ROUTERS = (health, session, runs, metrics, rollouts, benchmarks, stream, actions, log)


def create_app(
    settings: Settings,
    database: Database,
    launcher: Launcher | None,
    *,
    page: Path = PAGE,
    benches: Sequence[BenchmarkColumn] = (),
) -> FastAPI:
    """Return the application that serves an open store.

    Args:
        launcher: starter of runs. If None, the dashboard shows runs and can request that they stop, but starts none.
        page: folder of the page's files.
        benches: benchmark columns with their published scores, shown until a model is evaluated.
    """
    change_feed = ChangeFeed(database)
    # FastAPI's own documentation is off: add_docs serves it, only to callers who may read.
    app = FastAPI(
        title="videossr",
        version=_version(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.authenticator = Authenticator(settings)
    app.state.services = DashboardServices(
        settings, database, RunReader(database), launcher, change_feed, tuple(benches)
    )
    for module in _ROUTERS:
        # include_router would build every route a second time, which takes 0.2 s.
        app.router.routes.extend(module.router.routes)
    add_docs(app)
    app.mount("/", StaticFiles(directory=page, html=True, check_dir=False), name="page")
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StoreError, _store_unavailable)
    # The middleware added last sees a request first.
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)
    app.add_middleware(RequestGuard, loopback=settings.on_loopback)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    change_feed: ChangeFeed = app.state.services.change_feed
    task = asyncio.create_task(change_feed.run())
    yield
    change_feed.close()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _invalid_request(_: Request, error: Exception) -> Response:
    """Return a 422 response for an invalid parameter or body, with one line per problem: name, value, rule and fix."""
    assert isinstance(error, RequestValidationError)
    lines = []
    for problem in error.errors()[:10]:
        name = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
        rule = str(problem["msg"])
        lines.append(
            f"{name}={repr(problem.get('input'))[:60]}: {rule[:1].lower()}{rule[1:]}. Change {name}."
        )
    return JSONResponse({"detail": "\n".join(lines)}, 422)


async def _http_error(request: Request, error: Exception) -> Response:
    """Return the error's own message; a wrong method gets 405 and a wrong address 404."""
    assert isinstance(error, HTTPException)
    allowed = _methods(request) if error.status_code in (404, 405) else set()
    # The page's files are mounted at "/", so Starlette reports a wrong method on a route as 404.
    if error.status_code == 405 or (allowed and request.method not in allowed):
        methods = ", ".join(sorted(allowed or {"GET", "HEAD"}))
        detail = f"{request.method}: this address does not take it. Use {methods}."
        return JSONResponse({"detail": detail}, 405, {"Allow": methods})
    unreadable = error.status_code == 400  # FastAPI's status for a body that is not text
    return JSONResponse({"detail": error.detail}, 422 if unreadable else error.status_code, error.headers)


def _methods(request: Request) -> set[str]:
    """Return the methods of all routes at this path. Starlette itself reports only those of the first route."""
    matches = request.app.openapi()["paths"]
    templates = (path for path in matches if compile_path(path)[0].match(request.url.path))
    return {method.upper() for path in templates for method in matches[path]}


async def _store_unavailable(_: Request, error: Exception) -> Response:
    """Return 503 without the reason, which may name hosts and users; the reason is logged."""
    logger.warning("The run store is unavailable: %s", error)
    detail = "the run store is unavailable. Try again in a moment; the server's log has the reason."
    return JSONResponse({"detail": detail}, 503, {"Retry-After": "5"})


def _version() -> str:
    try:
        return version("videossr")
    except PackageNotFoundError:
        return "0"
