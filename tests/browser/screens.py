"""Pictures of every view for docs/screens: `python -m tests.browser.screens [FOLDER]`. Takes a minute or two.

The made-up runs are kept in FOLDER meanwhile, whose name is in the pictures; without one, in a temporary folder.
"""

import io
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from store.database import database_url, open_database
from store.writing.writer import RunWriter
from tests.browser.conftest import CHROMIUM, WAIT_MS, served
from tests.browser.fill import RUNS, Plan, fill, step_metrics, workers

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
_MAX_BYTES = 300_000
_DESK, _PHONE = ViewportSize(width=1360, height=860), ViewportSize(width=360, height=740)
_VIEWS = {
    "run": "run/{demo}/curves",
    "long-run": "run/{qwen3-vl-8b-shared}/curves",
    "clock": "run/{qwen3-vl-8b-shared}/clock",
    "rollouts": "run/{demo}/rollouts?step=72&task=grounding",
    "rollouts-jigsaw": "run/{demo}/rollouts?step=72&task=jigsaw",
    "rollouts-counting": "run/{demo}/rollouts?step=72&task=counting",
    "rollouts-held-out": "run/{demo-seed-1}/rollouts?kind=held-out&step=100&task=jigsaw",
    "evaluations": "run/{demo-seed-1}/evaluations",
    "workers": "run/{demo}/workers",
    "events": "run/{qwen3-vl-8b-lr3e-5}/events",
    "config": "run/{demo-kl}/config",
    "stalled": "run/{demo-kl}/curves",
    "queued": "run/{demo-seed-2}/curves",
    "benchmarks": "benchmarks",
    "log": "log",
    "runs": "runs",
}
_ON_PHONE = ("runs", "run", "clock", "rollouts", "workers", "benchmarks", "log")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="videossr-") as scratch:
        runs_dir = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "runs"
        runs_dir.mkdir(parents=True)
        database = open_database(database_url(runs_dir))
        runs = fill(database, runs_dir)
        ending = threading.Event()
        living = [
            threading.Thread(target=_go_on, args=(plan, runs[plan.name][1], ending))
            for plan in RUNS
            if plan.state == "running" and not plan.silent_s
        ]
        for thread in living:
            thread.start()
        numbers = {name: str(number) for name, (number, _) in runs.items()}
        try:
            with served(runs_dir) as (address, token):
                _shoot(address, token, numbers)
        finally:
            ending.set()
            for thread in living:
                thread.join()
            for _, writer in runs.values():
                writer.close()
            database.close()


def _go_on(plan: Plan, writer: RunWriter, ending: threading.Event) -> None:
    """A running run does not stand still while its pictures are taken."""
    rng, step = np.random.default_rng(2), plan.done
    while not ending.wait(min(2 * plan.step_s, 10)):
        writer.step(step, time.time(), step_metrics(plan, step, rng))
        step += 1
        workers(writer, step, time.time())


def _shoot(address: str, token: str, numbers: dict[str, str]) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    rootless = [] if os.getuid() else ["--no-sandbox"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=rootless, timeout=WAIT_MS)
        for theme in ("light", "dark"):
            page = browser.new_context(viewport=_DESK, color_scheme=theme).new_page()
            page.set_default_timeout(WAIT_MS)
            for name, view in _VIEWS.items():
                _visit(page, address, view.format_map(numbers))
                _save(page, f"{name}-{theme}")
            _compare(page, address, numbers)
            _save(page, f"compare-{theme}")
            page.goto(f"{address}#token={token}")
            page.get_by_role("button", name="Operator").wait_for()
            page.get_by_role("button", name="Start a run").click()
            page.get_by_role("dialog").wait_for()
            _save(page, f"start-{theme}")
            page.keyboard.press("Escape")
            _visit(page, address, _VIEWS["run"].format_map(numbers))
            page.get_by_role("button", name="Stop").click()
            page.get_by_role("radio", name="Stop now").check()
            _save(page, f"stop-{theme}")
        phone = browser.new_context(viewport=_PHONE, device_scale_factor=2, color_scheme="light").new_page()
        phone.set_default_timeout(WAIT_MS)
        for name in _ON_PHONE:
            _visit(phone, address, _VIEWS[name].format_map(numbers))
            _save(phone, f"{name}-phone")
        browser.close()


def _visit(page: Page, address: str, view: str) -> None:
    page.goto(f"{address}#/{view}")
    page.locator(".page").wait_for()
    page.wait_for_timeout(500)
    page.wait_for_function("() => !document.querySelector('.loading')")
    if "config" in view:
        page.get_by_label("Compare with").select_option(index=1)
        page.locator(".differences").wait_for()
    page.wait_for_timeout(2000)


def _compare(page: Page, address: str, numbers: dict[str, str]) -> None:
    chosen = ("demo-seed-1", "demo", "demo-kl")
    _visit(page, address, "runs?" + "&".join(f"compare={numbers[name]}" for name in chosen))
    page.locator(".compare .u-legend").wait_for()


def _save(page: Page, name: str) -> None:
    """As a PNG; one of few colours if it would be large, which costs little and looks nearly the same."""
    path = SCREENS / f"{name}.png"
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(path, optimize=True)
    if path.stat().st_size > _MAX_BYTES:
        picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes are more than {_MAX_BYTES}")


if __name__ == "__main__":
    main()
