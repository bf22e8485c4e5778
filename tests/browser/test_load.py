"""Test that the page draws 50 runs of 10 000 steps, and print how long it takes (pytest -s). The goal is one second."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from store.database import Database, database_url, open_database
from store.runs import register_run
from tests.browser.conftest import TIMEOUT_MS, served

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]
_RUNS, _STEPS, _METRICS = 50, 10_000, ("reward/mean", "reward/grounding", "policy/entropy", "seconds/step")
# Milliseconds from the start of the navigation until every visible row has its curve.
_DRAWN = """() => {
  const seen = (row) => row.getBoundingClientRect().top < innerHeight;
  const rows = [...document.querySelectorAll("tr[data-run]")].filter(seen);
  return rows.length > 10 && rows.every((row) => row.querySelector("canvas")) ? performance.now() : 0;
}"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    runs_dir = tmp_path_factory.mktemp("many")
    database = open_database(database_url(runs_dir))
    _fill(database)
    database.close()
    with served(runs_dir) as (address, _):
        yield address


def test_fifty_long_runs_are_drawn(many: str, open_page: Open) -> None:
    times_ms = []
    for _ in range(3):
        page = open_page(f"{many}#/runs")
        times_ms.append(page.wait_for_function(_DRAWN, timeout=TIMEOUT_MS).json_value())
        assert page.locator("tr[data-run]").count() == _RUNS
    print(f"50 runs of 10 000 steps, until all visible rows have curves: {times_ms} ms")


def test_a_long_run_is_drawn(many: str, open_page: Open) -> None:
    page = open_page(f"{many}#/run/25/curves")
    page.locator(".chart canvas").first.wait_for()
    print(f"a run of 10 000 steps, until its first chart: {page.evaluate('performance.now()'):.0f} ms")
    assert page.locator(".chart canvas").first.is_visible()


def _fill(database: Database) -> None:
    """Write the runs in SQL, because inserting millions of rows from Python would take minutes."""
    numbers = "WITH RECURSIVE n(step) AS (SELECT 0 UNION ALL SELECT step + 1 FROM n WHERE step + 1 < :steps) "
    value = "((n.step * 7919 + m.id * 104729) % 10007) / 10007.0"
    points = f"SELECT :run, m.id, n.step, {value} FROM metric_names m CROSS JOIN n"
    with database.write() as connection:
        connection.execute(
            text("INSERT INTO metric_names (name) VALUES (:name)"), [{"name": one} for one in _METRICS]
        )
    for number in range(_RUNS):
        run = register_run(
            database, name=f"run-{number}", folder=f"run-{number}", steps=2 * _STEPS, config={}, environment={},
            state="running",
        )  # fmt: skip
        values = {"run": run, "steps": _STEPS, "start": time.time() - 2.0 * _STEPS, "now": time.time()}
        with database.write() as connection:
            for statement in (
                f"INSERT INTO points {numbers} {points}",
                f"INSERT INTO steps {numbers} SELECT :run, n.step, :start + 2.0 * n.step FROM n",
                "UPDATE runs SET step = :steps, started_at = :start, heartbeat_at = :now WHERE id = :run",
            ):
                connection.execute(
                    text(statement),
                    {name: value for name, value in values.items() if f":{name}" in statement},
                )
