"""Actions ask for confirmation, need the token, show their outcome and are logged."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from store.reading.reader import RunReader
from store.records import RunRequest
from store.requests import add_request, finish_request
from store.runs import register_run
from store.schema.tables import RunRow
from store.writing.writer import RunWriter
from tests.browser.conftest import TIMEOUT_MS, Dashboard, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]


def _requests(dashboard: Dashboard, name: str) -> Sequence[RunRequest]:
    """Return the requests to a run, newest first."""
    return RunReader(dashboard.database).requests(dashboard.runs[name][0]).items


def test_a_reader_is_asked_for_the_token_and_then_the_request_is_made(
    browser: "Browser", dashboard: Dashboard
) -> None:
    # open_page would fail here: the browser logs the refused token as a console error.
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(dashboard.run("example-demo", "events"))
    page.get_by_role("button", name="Checkpoint now").click()
    dialog = page.get_by_role("dialog", name="Write a checkpoint now?")
    dialog.get_by_text("the run writes a checkpoint and continues").wait_for()
    before = _requests(dashboard, "example-demo")
    dialog.get_by_label("Token").fill("not the token")
    dialog.get_by_role("button", name="Checkpoint now").click()
    dialog.get_by_text("is wrong").wait_for()
    assert _requests(dashboard, "example-demo") == before
    dialog.get_by_label("Token").fill(dashboard.token)
    dialog.get_by_label("Your name (for the log)").fill("Mia")
    with page.expect_request(lambda request: request.url.endswith("/api/session")) as asked:
        dialog.get_by_role("button", name="Checkpoint now").click()
    assert asked.value.post_data_json == {"token": dashboard.token, "name": "Mia"}
    dialog.get_by_text("saves after its current step").wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    request, *others = _requests(dashboard, "example-demo")
    assert request.action == "checkpoint"
    assert tuple(others) == tuple(before)
    page.close()


def test_an_operator_stops_a_run_and_the_log_says_so(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-qwen3-vl-8b-shared", "events"), signed_in=True)
    dialog = page.get_by_role("dialog", name="Stop this run?")
    page.get_by_role("button", name="Stop").click()
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    page.get_by_role("button", name="Stop").click()
    assert "writes a checkpoint and ends" in dialog.inner_text()
    with page.expect_request("**/stop") as asked:
        dialog.get_by_role("button", name="Stop after this step").click()
    assert asked.value.post_data is None
    dialog.get_by_role("status").get_by_text("stops after its current step").wait_for()
    dialog.get_by_role("button", name="Close").click()
    page.get_by_role("row", name="stop").get_by_text("waiting for the run").wait_for()
    request = _requests(dashboard, "example-qwen3-vl-8b-shared")[0]
    assert request.action == "stop"
    assert request.asked_by.startswith("operator")
    page.get_by_role("link", name="Log").click()
    row = page.get_by_role("row", name="example-qwen3-vl-8b-shared").filter(has_text="stop")
    row.get_by_text("waiting for the run").wait_for()
    assert page.get_by_role("row", name="a new run").filter(has_text="is queued as").count() == 1
    row.get_by_role("link", name="example-qwen3-vl-8b-shared").click()
    page.get_by_role("heading", name="example-qwen3-vl-8b-shared").wait_for()


@pytest.mark.parametrize(
    ("name", "loses"), [("example-demo-kl", "one every 20 steps"), ("example-demo-seed-2", "nothing to lose")]
)
def test_stop_now_says_what_is_lost(dashboard: Dashboard, open_page: Open, name: str, loses: str) -> None:
    page = open_page(dashboard.run(name), signed_in=True)
    page.get_by_role("button", name="Stop").click()
    dialog = page.get_by_role("dialog", name="Stop this run?")
    dialog.get_by_role("radio", name="Stop now").check()
    assert loses in dialog.inner_text()
    with page.expect_request("**/stop") as asked:
        dialog.get_by_role("button", name="Stop now").click()
    assert asked.value.post_data_json == {"now": True}
    dialog.get_by_role("status").wait_for()


def test_the_runs_state_decides_which_buttons_are_shown(dashboard: Dashboard, open_page: Open) -> None:
    offered = {
        "example-demo": ["Checkpoint now", "Stop"],
        "example-demo-kl": ["Stop", "Resume"],  # stalled and silent
        "example-demo-seed-1": [],
        "example-demo-seed-2": ["Stop"],
        "example-qwen3-vl-8b-lr3e-5": ["Resume"],
    }
    for name, buttons in offered.items():
        page = open_page(dashboard.run(name))
        page.get_by_role("heading", name=name).wait_for()
        assert page.locator(".actions button").all_inner_texts() == buttons, name
        if name == "example-demo-kl":
            assert "Resume it from its last checkpoint" in page.get_by_role("alert").inner_text()


def test_a_stuck_run_whose_process_is_alive_must_be_stopped_first(
    dashboard: Dashboard, open_page: Open
) -> None:
    run_id = register_run(
        dashboard.database, name="stuck", folder="stuck", steps=50, config={}, environment={}
    )
    writer = RunWriter(dashboard.database, run_id)
    writer.state("running")
    for step in range(10):
        writer.step(step, time.time() - 1000 + 2 * step, {"reward/mean": 0.5})
    page = open_page(dashboard.at(f"run/{run_id}/curves"))
    page.locator(".head .state").get_by_text("running").wait_for()
    began = update(RunRow).where(RunRow.id == run_id).values(started_at=time.time() - 2000)
    with dashboard.database.write() as connection:
        connection.execute(began)
    page.get_by_text("Its process is alive").wait_for()
    assert page.locator(".actions button").all_inner_texts() == ["Checkpoint now", "Stop"]
    assert "Stop it now and Resume it" in page.get_by_role("alert").inner_text()
    writer.state("stopped")
    writer.close()


def test_a_run_that_never_began_is_started_again(dashboard: Dashboard, open_page: Open) -> None:
    run_id = register_run(
        dashboard.database, name="unheard", folder="unheard", steps=50, config={}, environment={}
    )
    with dashboard.database.write() as connection:
        long_ago = {"created_at": time.time() - 600, "heartbeat_at": time.time() - 600}
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(**long_ago))
    page = open_page(dashboard.at(f"run/{run_id}/curves"), signed_in=True)
    notice = page.get_by_role("alert").inner_text()
    assert "has not begun" in notice
    assert "Resume starts it again" in notice
    assert "checkpoint" not in notice
    assert page.locator(".actions button").all_inner_texts() == ["Stop", "Resume"]
    page.get_by_role("button", name="Resume").click()
    asked = page.get_by_role("dialog", name="Resume this run?")
    assert "It is started again with the same config" in asked.inner_text()
    assert "checkpoint" not in asked.inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Stop").click()
    asked = page.get_by_role("dialog", name="Stop this run?")
    assert "Stop after" not in asked.inner_text()  # the run would not notice
    assert "There is nothing to lose yet" in asked.inner_text()
    assert "checkpoint" not in asked.inner_text()


def test_a_dialog_stays_usable_when_the_server_does_not_answer(
    browser: "Browser", dashboard: Dashboard
) -> None:
    # open_page would fail here: the browser logs the refusal as a console error.
    page = browser.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{dashboard.address}#token={dashboard.token}")
    page.get_by_role("button", name="Operator").wait_for()
    page.goto(dashboard.run("example-demo", "events"))
    page.route(
        "**/checkpoint", lambda route: route.fulfill(status=401, json={"detail": "The session is over."})
    )
    page.route("**/api/me", lambda route: route.abort())
    page.get_by_role("button", name="Checkpoint now").click()
    dialog = page.get_by_role("dialog", name="Write a checkpoint now?")
    dialog.get_by_role("button", name="Checkpoint now").click()
    dialog.get_by_text("The session is over.").wait_for()
    dialog.get_by_role("button", name="Checkpoint now").wait_for()
    assert dialog.get_by_role("button", name="Checkpoint now").is_enabled()
    assert problems == []
    page.close()


def test_the_log_is_paged(dashboard: Dashboard, open_page: Open) -> None:
    for number in range(60):
        finish_request(
            dashboard.database, add_request(dashboard.database, None, "start", f"robot {number}"), "refused"
        )
    page = open_page(dashboard.at("log"))
    page.get_by_role("row", name="robot 59", exact=False).wait_for()
    page.get_by_role("button", name="Older").click()
    page.get_by_role("row", name="robot 5 refused", exact=False).wait_for()
    assert "offset=50" in page.url
    page.get_by_role("button", name="Newer").click()
    page.get_by_role("row", name="robot 59", exact=False).wait_for()


def test_an_operator_starts_a_run(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"), signed_in=True)
    page.get_by_role("button", name="Start a run").click()
    dialog = page.get_by_role("dialog", name="Start a run")
    dialog.get_by_label("Overrides, one per line").fill("train.steps=10\nseed=3")
    dialog.get_by_role("button", name="Start", exact=True).click()
    dialog.get_by_text("started-here is queued").wait_for()
    page.get_by_role("link", name="started-here").wait_for()  # without a reload
    dialog.get_by_role("link", name="Open the run").click()
    page.get_by_role("heading", name="started-here").wait_for()
    started = RunReader(dashboard.database).run_by_name("started-here")
    assert started is not None
    assert started.config["overrides"] == ["train.steps=10", "seed=3"]


def test_the_token_in_the_address_is_used_and_removed(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(f"{dashboard.address}#token={dashboard.token}")
    page.get_by_role("button", name="Operator").wait_for()
    assert dashboard.token not in page.url
    page.get_by_role("button", name="Operator").click()
    page.get_by_role("button", name="Operator").wait_for(state="detached")
    page.goto(f"{dashboard.address}#token={dashboard.token}")  # the page is open, so nothing is loaded again
    page.get_by_role("button", name="Operator").wait_for()


def test_a_read_token_hides_everything_before_the_log_in(browser: "Browser", dashboard: Dashboard) -> None:
    reader = "read-token-of-the-tests"
    with served(dashboard.runs_dir, VIDEOSSR_TOKEN="operator-token-of-tests", VIDEOSSR_READ_TOKEN=reader) as (
        address,
        _,
    ):
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"{address}#/runs")
        page.get_by_text("This dashboard asks for a token").wait_for()
        assert not page.locator("tr[data-run]").count()
        page.get_by_label("Token").fill(reader)
        page.get_by_role("button", name="Log in").click()
        page.locator("tr[data-run]").first.wait_for()
        page.close()
