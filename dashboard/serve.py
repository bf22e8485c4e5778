"""Serving the dashboard from the current process until a signal ends it."""

import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType

import uvicorn

from dashboard.app import create_app
from dashboard.launching.launcher import Launcher
from dashboard.schemas import BenchmarkColumn
from dashboard.services.change_feed import ChangeFeed
from dashboard.settings import DashboardError, Settings
from store.database import Database

_SHUTDOWN_TIMEOUT_S = 5  # time for open requests to finish after a signal


class _Server(uvicorn.Server):
    """A uvicorn server that ends the change streams at shutdown, because they would not end by themselves."""

    def __init__(self, config: uvicorn.Config, change_feed: ChangeFeed) -> None:
        super().__init__(config)
        self._change_feed = change_feed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop only the server. uvicorn would raise the signal again, and the caller could not clean up."""
        self.force_exit = self.should_exit and sig == signal.SIGINT  # a second Ctrl-C
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._change_feed.close()
        await super().shutdown(sockets)


def serve(
    settings: Settings,
    database: Database,
    launcher: Launcher | None,
    *,
    say: Callable[[str], None] = print,
    benches: Sequence[BenchmarkColumn] = (),
) -> None:
    """Serve until SIGINT or SIGTERM. The store stays open.

    Args:
        say: called with the line that gives the dashboard's address.
        benches: see create_app.

    Raises:
        DashboardError: the server cannot listen on the address.
    """
    listener = _listen(settings.host, settings.port)
    port: int = listener.getsockname()[1]
    settings = replace(settings, port=port)  # the session cookie is named after the port
    app = create_app(settings, database, launcher, benches=benches)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    say(f"Dashboard: {_address(settings, port)}")
    with listener:
        _Server(config, app.state.services.change_feed).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DashboardError(
            f"{host}:{port}: the server cannot listen there ({reason}). Choose another --port, or 0 for any free one."
        ) from None


def _address(settings: Settings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    # Browsers do not send the part after #, so the token appears in no server's log.
    return f"http://{host}:{port}/" + (f"#token={settings.token}" if settings.made_token else "")
