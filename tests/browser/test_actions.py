"""Actions are asked about first, need the token, say what came of them, and are logged."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from store.reader import RunReader
from tests.browser.conftest import WAIT_MS, Dashboard, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]


def test_a_reader_is_asked_for_the_token_and_the_run_is_told(
    browser: "Browser", dashboard: Dashboard
) -> None:
    # Not by open_page: a refused token is an error on the console.
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(dashboard.run("demo-kl", "events"))
    page.get_by_role("button", name="Checkpoint now").click()
    dialog = page.get_by_role("dialog", name="Write a checkpoint now?")
    dialog.get_by_text("the run writes a checkpoint and goes on").wait_for()
    dialog.get_by_label("Token").fill("not the token")
    dialog.get_by_role("button", name="Checkpoint now").click()
    dialog.get_by_text("is not known").wait_for()
    assert not RunReader(dashboard.database).requests(dashboard.runs["demo-kl"][0]).total
    dialog.get_by_label("Token").fill(dashboard.token)
    dialog.get_by_role("button", name="Checkpoint now").click()
    dialog.get_by_text("saves after the step").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    (request,) = RunReader(dashboard.database).requests(dashboard.runs["demo-kl"][0]).items
    assert request.action == "checkpoint"
    page.close()


def test_an_operator_stops_a_run_and_the_log_says_so(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("demo-kl", "events"), signed_in=True)
    page.get_by_role("button", name="Stop after this step").click()
    dialog = page.get_by_role("dialog", name="Stop this run?")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    page.get_by_role("button", name="Stop after this step").click()
    dialog.get_by_role("button", name="Stop after this step").click()
    dialog.get_by_role("status").get_by_text("stops after the step").wait_for()
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("row", name="stop").get_by_text("waits for the run").wait_for()
    request = RunReader(dashboard.database).requests(dashboard.runs["demo-kl"][0]).items[0]
    assert request.action == "stop"
    assert request.asked_by.startswith("operator")


def test_an_operator_starts_a_run(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"), signed_in=True)
    page.get_by_role("button", name="Start a run").click()
    dialog = page.get_by_role("dialog", name="Start a run")
    dialog.get_by_label("Changes to it").fill("train.steps=10\nseed=3")
    dialog.get_by_role("button", name="Start", exact=True).click()
    dialog.get_by_text("started-here is queued").wait_for()
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("link", name="started-here").wait_for()  # by itself
    started = RunReader(dashboard.database).run_by_name("started-here")
    assert started is not None
    assert started.config["overrides"] == ["train.steps=10", "seed=3"]


def test_the_token_in_the_address_is_used_and_wiped(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(f"{dashboard.address}#token={dashboard.token}")
    page.get_by_role("button", name="Operator").wait_for()
    assert dashboard.token not in page.url
    page.get_by_role("button", name="Operator").click()
    page.get_by_role("button", name="Operator").wait_for(state="detached")
    page.goto(f"{dashboard.address}#token={dashboard.token}")  # the page is open: nothing is loaded anew
    page.get_by_role("button", name="Operator").wait_for()


def test_a_guarded_dashboard_shows_nothing_before_the_token(browser: "Browser", dashboard: Dashboard) -> None:
    reader = "read-token-of-the-tests"
    with served(dashboard.runs_dir, VIDEOSSR_TOKEN="operator-token-of-tests", VIDEOSSR_READ_TOKEN=reader) as (
        address,
        _,
    ):
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{address}#/runs")
        page.get_by_text("This dashboard asks for a token").wait_for()
        assert not page.locator("tr[data-run]").count()
        page.get_by_label("Token").fill(reader)
        page.get_by_role("button", name="Enter").click()
        page.locator("tr[data-run]").first.wait_for()
        page.close()
