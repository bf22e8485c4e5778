"""Serving the dashboard from the current process, until it is told to stop."""

import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType

import uvicorn

from dashboard.app import create_app
from dashboard.launching.launcher import Launcher
from dashboard.schemas import BenchColumn
from dashboard.services.change_feed import Hub
from dashboard.settings import DashboardError, Settings
from store.database import Database

_STOP_S = 5  # that requests may take once the server is told to stop


class _Server(uvicorn.Server):
    """Ends the streams of news when it stops: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the server and nothing else: uvicorn would raise the signal again, and the caller could not tidy up."""
        self.force_exit = self.should_exit and sig == signal.SIGINT  # asked twice
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


def serve(
    settings: Settings,
    database: Database,
    launcher: Launcher | None,
    *,
    say: Callable[[str], None] = print,
    benches: Sequence[BenchColumn] = (),
) -> None:
    """Serve until SIGINT or SIGTERM. The store stays open. Raises DashboardError where nothing can listen."""
    listener = _listen(settings.host, settings.port)
    port: int = listener.getsockname()[1]
    app = create_app(
        replace(settings, port=port), database, launcher, benches=benches
    )  # which the cookie is named after
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_S,
        h11_max_incomplete_event_size=64 * 1024,
    )
    say(f"Dashboard: {_address(settings, port)}")
    with listener:
        _Server(config, app.state.service.hub).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DashboardError(
            f"{host}:{port}: cannot be listened on ({reason}). Name another by --port, or 0 for any free one."
        ) from None


def _address(settings: Settings, port: int) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    # What stands after # is not sent to servers, nor written into their logs.
    return f"http://{host}:{port}/" + (f"#token={settings.token}" if settings.made_token else "")
