"""Fixtures: a real browser, and the real server over a filled store."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from store.database import Database, database_url, open_database
from store.writing.writer import RunWriter
from tests.browser.fill import fill

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_MS = 60_000  # generous, because a shared machine may be slow


@dataclass(frozen=True)
class Dashboard:
    """A served dashboard and the runs in its store."""

    address: str
    token: str  # operators' token; reading needs none
    runs_dir: Path
    database: Database
    runs: dict[str, tuple[int, RunWriter]]  # number and writer of each run, by name

    def at(self, view: str) -> str:
        return f"{self.address}#/{view}"

    def run(self, name: str, tab: str = "curves") -> str:
        return self.at(f"run/{self.runs[name][0]}/{tab}")


@dataclass
class Watched:
    """A page with its recorded problems."""

    page: "Page"
    problems: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        rootless = [] if os.getuid() else ["--no-sandbox"]  # Chromium's sandbox refuses to run as root
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=rootless, timeout=2 * TIMEOUT_MS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def dashboard(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    runs_dir = tmp_path_factory.mktemp("runs")
    database = open_database(database_url(runs_dir))
    runs = fill(database, runs_dir)
    with served(runs_dir) as (address, token):
        yield Dashboard(address, token, runs_dir, database, runs)
    for _, writer in runs.values():
        writer.close()
    database.close()


@contextmanager
def served(runs_dir: Path, port: int = 0, **environment: str) -> Iterator[tuple[str, str]]:
    """Serve in a separate process. Yields the address, and the operators' token if the server generated one."""
    command = [sys.executable, "-m", "tests.browser.server", str(runs_dir), str(port)]
    variables = os.environ | {"VIDEOSSR_TOKEN": "", "VIDEOSSR_READ_TOKEN": ""} | environment
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("Dashboard: "), "the server did not start"
            address, _, token = line.removeprefix("Dashboard: ").strip().partition("#token=")
            yield address, token
        finally:
            process.terminate()


@pytest.fixture
def open_page(browser: "Browser", dashboard: Dashboard) -> Iterator[Callable[..., "Page"]]:
    """Return a function that opens pages. The test fails if a page logs an error or calls another host."""
    opened: list[Watched] = []

    def open_one(address: str, *, signed_in: bool = False, **options: Any) -> "Page":
        context = browser.new_context(**({"viewport": {"width": 1360, "height": 860}} | options))
        context.set_default_timeout(TIMEOUT_MS)
        watched = watch(context.new_page(), address)
        opened.append(watched)
        origin = address.split("#")[0]
        watched.page.goto(f"{origin}#token={dashboard.token}" if signed_in else address)
        if signed_in:
            watched.page.get_by_role("button", name="Operator").wait_for()
            watched.page.goto(address)
        return watched.page

    yield open_one
    for watched in opened:
        watched.page.context.close()
    assert not [problem for watched in opened for problem in watched.problems]


def watch(page: "Page", address: str) -> Watched:
    """Record console errors, exceptions, violations of the content policy and requests to other hosts."""
    watched = Watched(page)
    origin = address.split("#")[0]

    def console(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            watched.problems.append(f"console: {message.text} {message.location}")

    def request(asked: "Request") -> None:
        if not asked.url.startswith((origin, "data:", "blob:")):
            watched.problems.append(f"requested from another host: {asked.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: watched.problems.append(f"exception: {error}"))
    page.on("request", request)
    return watched
