"""Changes show on an open page without a reload."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from store.writing.writer import RunWriter
from tests.browser.conftest import Dashboard, served
from tests.browser.fill import RUNS, step_metrics

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]
_PLAN = {plan.name: plan for plan in RUNS}
_LEGEND = "[...document.querySelectorAll('.chart .u-legend')][0].querySelector('td').textContent"


def test_new_steps_extend_the_curve_and_the_end_is_shown(dashboard: Dashboard, open_page: Open) -> None:
    plan = _PLAN["example-demo-counting"]
    run_id, _ = dashboard.runs[plan.name]
    page = open_page(dashboard.run(plan.name))
    page.get_by_role("img", name="Reward over steps").locator("canvas").wait_for()
    page.wait_for_function(f"() => {_LEGEND} === '{plan.done - 1}'")
    page.evaluate("() => { window.kept = document.querySelector('.chart canvas'); window.same = true }")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    writer = RunWriter(dashboard.database, run_id)
    writer.state("running")
    rng = np.random.default_rng(0)
    for step in range(plan.done, plan.done + 5):
        writer.step(step, time.time(), step_metrics(plan, step, rng))
    page.wait_for_function(f"() => {_LEGEND} === '{plan.done + 4}'")
    page.locator(".run-head .state.running").wait_for()
    writer.state("failed", failure="The disk is full.")
    writer.close()
    page.locator(".run-head .state.failed").wait_for()
    page.get_by_text("The disk is full.").wait_for()

    # The page is the same one, the chart too, and only new points were fetched.
    assert page.evaluate("window.same && window.kept === document.querySelector('.chart canvas')")
    series = [url for url in asked if "/api/series" in url]
    assert series
    assert all("since_step" in url for url in series)


def test_an_update_of_the_list_changes_only_its_row(dashboard: Dashboard, open_page: Open) -> None:
    plan = _PLAN["example-demo"]
    run_id, writer = dashboard.runs[plan.name]
    page = open_page(dashboard.at("runs"))
    page.locator(f"tr[data-run='{run_id}'] canvas").wait_for()
    page.wait_for_timeout(2000)
    page.evaluate(
        """() => {
          window.touched = {};
          new MutationObserver((changes) => {
            for (const change of changes) {
              const at = change.target.nodeType === 1 ? change.target : change.target.parentElement;
              if (at.closest("time")) continue; // ages update on their own
              const row = at.closest("tr")?.dataset.run ?? "elsewhere";
              (window.touched[row] ??= []).push(`${change.type} ${at.outerHTML.slice(0, 80)}`);
            }
          }).observe(document.querySelector("main"), {
            subtree: true, childList: true, attributes: true, characterData: true,
          });
        }"""
    )
    rng = np.random.default_rng(1)
    writer.step(plan.done, time.time(), step_metrics(plan, plan.done, rng))
    page.wait_for_function(
        f"() => document.querySelector(\"tr[data-run='{run_id}']\").innerText.includes('{plan.done + 1}')"
    )
    page.wait_for_timeout(1500)
    touched = page.evaluate("window.touched")
    assert len(touched.pop(str(run_id))) < 30
    others = {
        row: count
        for row, count in touched.items()
        if row != str(dashboard.runs["example-qwen3-vl-8b-shared"][0])
    }
    assert not others  # the other running run may have stalled in the meantime


def test_a_lost_connection_is_shown_and_restored(dashboard: Dashboard, browser: "Browser") -> None:
    # open_page would fail here: the browser logs the refused connection as a console error.
    with served(dashboard.runs_dir) as (address, _):
        page = browser.new_page()
        page.set_default_timeout(90_000)
        page.goto(f"{address}#/runs")
        page.locator(".line.live").wait_for()
    page.locator(".line.lost").wait_for()
    assert page.locator("tr[data-run]").count() >= len(RUNS)  # known runs stay on the page
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    with served(dashboard.runs_dir, port=port):
        page.locator(".line.live").wait_for()
    page.close()


_HOLD = """() => {
  const ask = window.fetch;
  const held = new Promise((resolve) => (window.letGo = resolve));
  window.asked = 0;
  window.fetch = async (...what) => {
    if (String(what[0]).includes("after_id=")) {
      window.asked++;
      await held;
    }
    return ask(...what);
  };
}"""


def test_overlapping_changes_show_each_event_once_and_none_is_missing(
    dashboard: Dashboard, open_page: Open
) -> None:
    _, writer = dashboard.runs["example-demo"]
    page = open_page(dashboard.run("example-demo", "events"))
    entry = page.locator(".events li")
    entry.first.wait_for()
    page.locator(".line.live").wait_for()
    before = entry.count()
    page.evaluate(_HOLD)
    for number in (1, 2):
        writer.event("note", f"Number {number}.")
        page.wait_for_function("(number) => window.asked === number", arg=number)
    page.evaluate("window.letGo()")
    page.get_by_text("Number 2.").wait_for()
    page.wait_for_timeout(1000)  # the other response
    assert entry.count() == before + 2
    for number in range(450):
        writer.event("note", f"Of many {number}.")
    page.get_by_text("Of many 449.", exact=True).wait_for()
    assert entry.count() == before + 452


def test_an_expired_session_leads_to_the_log_in(browser: "Browser", dashboard: Dashboard) -> None:
    # Without open_page, because a refusal is an error on the console.
    tokens = {"VIDEOSSR_TOKEN": "operator-token-of-tests", "VIDEOSSR_READ_TOKEN": "read-token-of-the-tests"}
    page = browser.new_page()
    page.set_default_timeout(90_000)
    with served(dashboard.runs_dir, **tokens) as (address, _):
        page.goto(f"{address}#token={tokens['VIDEOSSR_READ_TOKEN']}")
        page.locator(".line.live").wait_for()
    page.locator(".line.lost").wait_for()
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    with served(dashboard.runs_dir, port=port, **{name: f"{token}-new" for name, token in tokens.items()}):
        page.get_by_text("This dashboard asks for a token").wait_for()
        assert page.locator(".line.lost").count() == 0
        page.get_by_label("Token").fill(f"{tokens['VIDEOSSR_READ_TOKEN']}-new")
        page.get_by_role("button", name="Log in").click()
        page.locator(".line.live").wait_for()
    page.close()


def test_a_refused_stream_is_reported_and_the_page_polls(browser: "Browser", dashboard: Dashboard) -> None:
    # Without open_page, because a refusal is an error on the console.
    page = browser.new_page()
    page.set_default_timeout(90_000)
    refused = "too many pages are open. Close some, or try again later."
    page.route("**/api/stream*", lambda route: route.fulfill(status=503, json={"detail": refused}))
    page.goto(dashboard.at("runs"))
    page.locator("tr[data-run]").first.wait_for()
    page.get_by_text(refused).wait_for()
    page.locator(".line.polling").wait_for()
    with page.expect_request(lambda request: "/api/runs?" in request.url, timeout=60_000):
        pass  # it fetches again, though no change arrived
    page.unroute("**/api/stream*")
    page.locator(".line.live").wait_for()
    assert page.get_by_text(refused).count() == 0
    page.close()
