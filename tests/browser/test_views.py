"""Each view shows the content of the store, without errors in the browser."""

import csv
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from store.reading.reader import RunReader
from tests.browser.conftest import Dashboard
from tests.browser.fill import UNTRAINED

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


def test_the_list_shows_each_run_with_its_state_in_words(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"))
    runs = RunReader(dashboard.database).runs().items
    assert {run.state for run in runs} >= {"queued", "stalled", "failed", "done"}
    for run in runs:
        row = page.locator(f"tr[data-run='{run.id}']")
        row.get_by_text(f"{run.step:,} / {run.steps:,}".replace(",", "\u202f")).wait_for()
        assert row.locator(".state").inner_text().split()[-1] == run.state
    # One canvas per run with a curve.
    page.wait_for_function(
        f"() => document.querySelectorAll('.spark canvas').length === {sum(run.step > 0 for run in runs)}"
    )
    failed = page.locator(f"tr[data-run='{dashboard.runs['example-qwen3-vl-8b-lr3e-5'][0]}']")
    assert "0.41 nats" in failed.inner_text()


def test_the_address_keeps_the_lists_filter_and_order(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"))
    page.get_by_placeholder("Find a run…").fill("seed")
    page.wait_for_function("() => document.querySelectorAll('tr[data-run]').length === 2")
    page.get_by_role("button", name="done").click()
    page.wait_for_function("() => document.querySelectorAll('tr[data-run]').length === 1")
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('tr[data-run]').length === 1")
    page.get_by_placeholder("Find a run…").fill("nothing is called that")
    page.get_by_text("No run matches").wait_for()
    page.get_by_role("button", name="Show all runs").click()
    page.get_by_role("button", name="Progress").click()
    page.wait_for_function(
        "() => document.querySelector('tr[data-run] .name a').textContent === 'example-qwen3-vl-8b-shared'"
    )
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Progress")


def test_ticked_runs_share_a_chart(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"))
    for name in ("example-demo-kl", "example-demo-seed-1"):
        page.get_by_role("checkbox", name=f"Compare {name}", exact=True).check()
    legend = page.locator(".compare .u-legend")
    legend.get_by_text("example-demo-seed-1").wait_for()
    assert legend.get_by_text("example-demo-kl").count() == 1
    page.get_by_label("Metric").select_option("policy/entropy")
    page.get_by_text("2 runs: Entropy").wait_for()
    page.get_by_role("button", name="Time").click()
    page.locator(".compare .u-legend").get_by_text("time").wait_for()


def test_curves_zoom_together_and_reset(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1"))
    reward = page.get_by_role("img", name="Reward over steps").locator(".u-over")
    reward.wait_for()
    assert page.locator(".chart").count() > 12
    box = reward.bounding_box()
    assert box is not None
    with page.expect_request(lambda request: "first_step=" in request.url):
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
        page.mouse.up()
    first = int(page.get_by_label("First step shown").input_value())
    assert 35 <= first <= 55
    reward.dblclick()
    page.wait_for_function("() => document.querySelector('[aria-label=\"First step shown\"]').value === '0'")
    page.get_by_label("Last step shown").fill("20")
    page.get_by_label("Last step shown").press("Enter")
    page.get_by_role("button", name="Reset zoom").wait_for()


def test_a_chart_is_saved_as_csv_and_png(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1"))
    page.get_by_role("img", name="Reward over steps").locator("canvas").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("link", name="Reward as CSV").click()
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert len(rows) == 150
    assert {"step", "reward/mean", "reward/jigsaw"} <= rows[0].keys()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Reward as PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")


def test_a_queued_run_shows_in_every_tab_what_it_waits_for(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-2"))
    for tab in ("Curves", "Clock", "Rollouts", "Evaluations", "Workers"):
        page.locator(".tabs").get_by_role("link", name=tab).click()
        page.locator(".tabs a[aria-current]").get_by_text(tab).wait_for()
        words = page.locator(".empty").inner_text()
        assert "raysubmit_h6Lq2wR8sT4vYc1K until the cluster has room" in words
    page.locator(".tabs").get_by_role("link", name="Config").click()
    page.get_by_text("prompts_per_step").wait_for()


@pytest.mark.parametrize(
    "name", ["example-demo-seed-1", "example-qwen3-vl-8b-shared"]
)  # max_staleness 0 and 1
def test_each_side_of_the_clock_adds_up_to_a_step(dashboard: Dashboard, open_page: Open, name: str) -> None:
    page = open_page(dashboard.run(name, "clock"))
    page.get_by_text("take turns" if name == "example-demo-seed-1" else "work at once").wait_for()
    for side in ("Learner", "Engines"):
        shares = page.get_by_role("region", name=side).locator("td.share")
        shares.first.wait_for()
        percents = [float(text.replace("\u202f%", "")) for text in shares.all_inner_texts()]
        assert len(percents) >= 4
        assert 98 <= sum(percents) <= 102  # each is rounded
    rollout = page.get_by_role("row", name="Rollout generated completions")
    share = float(rollout.locator("td.share").inner_text().replace("\u202f%", ""))
    assert 55 <= share <= 75 if name == "example-demo-seed-1" else share > 80  # see tests/browser/fill.py
    page.get_by_role("img", name="Seconds of each part").locator("canvas").wait_for()
    legend = page.locator(".chart .u-legend")
    assert legend.get_by_text("Learner waited for groups").count() == 1
    page.get_by_role("group", name="Whose parts").get_by_role("button", name="Engines").click()
    legend.get_by_text("Engines waited for the update").wait_for()


def test_missing_charts_are_listed_with_the_reason(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1"))
    page.get_by_text("KL: not computed, because grpo.kl_coef is 0.").wait_for()
    page.goto(dashboard.run("example-demo-kl"))
    page.get_by_role("heading", name="KL", exact=True).wait_for()
    assert page.get_by_text("not computed").count() == 0


def test_workers_events_and_config_are_shown(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-kl", "workers"))
    page.get_by_text("Rollout workers").wait_for()
    assert page.locator("tr.silent").count() == 8  # the run was last seen minutes ago
    assert page.locator(".workers .pill.warn").all_inner_texts() == ["silent"] * 8
    page.get_by_role("link", name="Events").click()
    page.locator("li.bad").get_by_text("exit code -9").wait_for()
    page.locator(".chips").get_by_role("button", name="checkpoint").click()
    page.wait_for_function("() => document.querySelectorAll('.events li').length === 1")
    page.get_by_role("link", name="Config").click()
    page.get_by_label("Compare with").select_option(str(dashboard.runs["example-demo-seed-1"][0]))
    page.get_by_role("row", name="grpo.kl_coef").wait_for()
    assert "0.02" in page.get_by_role("row", name="grpo.kl_coef").inner_text()


def test_workers_of_an_ended_run_are_shown_as_ended(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1", "workers"))
    page.get_by_text("Rollout workers").wait_for()
    assert page.locator(".workers .pill").all_inner_texts() == ["ended"] * 8
    assert page.locator(".workers .pill.warn, .workers .pill.bad").count() == 0


@pytest.mark.parametrize("task", ["grounding", "jigsaw", "counting"])
def test_a_group_shows_its_clips_and_completions(dashboard: Dashboard, open_page: Open, task: str) -> None:
    page = open_page(dashboard.run("example-demo-seed-1", f"rollouts?step=100&task={task}"))
    page.locator(".frame img").first.wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.frame img')].some((one) => one.naturalWidth === 256)"
    )
    assert page.locator(".frame").count() == 12
    assert page.locator(".completions tbody tr").count() == 8
    if task == "grounding":
        assert page.locator(".frame.edited").count() >= 3
    elif task == "jigsaw":
        assert page.locator(".clip").count() == 4
        assert page.get_by_text("really").count() >= 2
    else:
        page.locator(".box").first.wait_for()
        box, picture = (page.locator(one).first.bounding_box() for one in (".box", ".picture:has(.box)"))
        assert box is not None
        assert picture is not None
        assert picture["x"] < box["x"] < picture["x"] + picture["width"]
        assert 10 < box["width"] < 30  # 24 to 40 pixels of 256, shown smaller
    page.get_by_text("training step 100, generated by the weights after 100 steps").wait_for()
    page.get_by_text("Training used this prompt once.").wait_for()
    page.get_by_role("link", name=f"held-out groups of {task}").click()
    page.locator(".history tr.here").wait_for()
    assert page.locator(".history tbody tr").count() == 4  # before, after 50, after 100, after 150
    assert page.locator(".groups li").count() == 2
    page.get_by_text("evaluation after 150 steps, not trained on").wait_for()


def test_training_and_held_out_groups_are_separate(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1", "rollouts"))
    page.locator(".group .frame").first.wait_for()
    step = page.locator(".stepper select")
    assert step.input_value() == "149"  # the last training step, though an evaluation came later
    assert page.locator(".groups li").count() == 9
    page.get_by_role("button", name="Held out").click()
    page.get_by_role("group", name="Evaluation after steps").wait_for()
    assert step.locator("option").all_inner_texts() == ["150", "100", "50", "0, before training"]
    page.locator(".groups li").nth(5).wait_for()
    page.reload()
    page.get_by_role("button", name="Held out").and_(page.locator("[aria-pressed=true]")).wait_for()
    page.goto(dashboard.run("example-demo", "rollouts?kind=held-out&step=50"))
    page.get_by_text("evaluation after 50 steps").wait_for()


def test_comparing_fetches_each_run_once(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.split("/api/")[-1]))
    for name in ("example-demo", "example-demo-seed-1"):
        page.get_by_role("checkbox", name=f"Compare {name}", exact=True).check()
    page.locator(".compare .u-legend").get_by_text("example-demo-seed-1").wait_for()
    run_id, writer = dashboard.runs["example-demo"]
    for message in ("one", "another"):
        with page.expect_response(lambda response: "/api/runs?" in response.url):
            writer.event("note", message)
        page.wait_for_timeout(500)
    whole = [
        url for url in asked if url in (f"runs/{run_id}", f"runs/{dashboard.runs['example-demo-seed-1'][0]}")
    ]
    assert len(whole) == len(set(whole)) == 2


def test_evaluations_and_benchmarks(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1", "evaluations"))
    page.get_by_role("row", name="jigsaw after 150").wait_for()
    page.get_by_role("link", name="Benchmarks").click()
    page.get_by_role("row", name="VideoSSR-8B, published 29.0").wait_for()
    assert (
        page.locator(".benchmarks").get_by_role("row", name="example-demo-seed-1").inner_text().count("10.1")
        == 1
    )
    page.get_by_role("img", name="Scores of each benchmark").locator("canvas").wait_for()
    untrained = page.get_by_role("row", name=UNTRAINED)
    assert untrained.get_by_role("link").count() == 0  # no run to open
    assert untrained.locator(".when").count() == 0  # its time is unknown
    assert page.get_by_role("row", name="example-demo-seed-1").get_by_role("link").count() == 1
    with page.expect_download() as saved:
        page.get_by_role("button", name="Scores as CSV").click()
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text())))
    assert {row["model"] for row in rows} >= {UNTRAINED, "VideoSSR-8B, published", "Guessing"}
    assert all(None not in row for row in rows)  # no row has too many cells


def test_an_unknown_address_is_reported(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("nowhere"))
    page.get_by_text("There is nothing at this address").wait_for()


def test_the_browsers_tab_is_named_after_the_view(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1"))
    page.wait_for_function("() => document.title === 'example-demo-seed-1 · Runs · VideoSSR'")
    page.get_by_role("link", name="Benchmarks").click()
    page.wait_for_function("() => document.title === 'Benchmarks · VideoSSR'")
