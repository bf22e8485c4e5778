"""Pictures of the views for docs/screens: `python -m tests.browser.screens [FOLDER]`. It takes about a minute.

The made-up runs are kept in FOLDER, whose name is visible in the pictures; without it, in a temporary folder. Their
names begin with "example".
"""

import io
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from store.database import database_url, open_database
from store.writing.writer import RunWriter
from tests.browser.conftest import CHROMIUM, TIMEOUT_MS, served
from tests.browser.fill import RUNS, Plan, fill, step_metrics, workers

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
_MAX_BYTES = 300_000
_DESKTOP, _PHONE = ViewportSize(width=1360, height=860), ViewportSize(width=360, height=740)
# The picture's name, which ends with its theme or with "phone", and the view's address.
_VIEWS = {
    "runs-light": "runs",
    "runs-phone": "runs",
    "compare-dark": "runs?compare={example-demo-seed-1}&compare={example-demo}&compare={example-demo-kl}",
    "curves-light": "run/{example-demo}/curves",
    "clock-dark": "run/{example-qwen3-vl-8b-shared}/clock",
    "rollouts-grounding-light": "run/{example-demo}/rollouts?step=72&task=grounding",
    "rollouts-jigsaw-dark": "run/{example-demo}/rollouts?step=72&task=jigsaw",
    "rollouts-counting-light": "run/{example-demo}/rollouts?step=72&task=counting",
    "rollouts-held-out-light": "run/{example-demo-seed-1}/rollouts?kind=held-out&step=100&task=jigsaw",
    "evaluations-light": "run/{example-demo-seed-1}/evaluations",
    "workers-dark": "run/{example-demo}/workers",
    "events-light": "run/{example-qwen3-vl-8b-lr3e-5}/events",
    "config-light": "run/{example-demo-kl}/config",
    "benchmarks-light": "benchmarks",
    "stop-dark": "run/{example-demo}/curves",
    "log-light": "log",
}


# The same for a real run of the demo, which `python -m tests.browser.screens --demo RUNS_DIR` takes.
_DEMO_VIEWS = {
    "demo-run-light": "run/1/curves",
    "demo-rollouts-light": "run/1/rollouts?step=102&task=grounding",
}


def main() -> None:
    """Take the pictures of made-up runs, or of a real run of the demo."""
    if sys.argv[1:2] == ["--demo"]:
        with served(Path(sys.argv[2])) as (address, token):
            _take_pictures(address, token, _DEMO_VIEWS, {})
    else:
        _picture_made_up_runs()


def _picture_made_up_runs() -> None:
    """Fill a store, serve it, and take all pictures."""
    with tempfile.TemporaryDirectory(prefix="videossr-") as scratch:
        runs_dir = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "runs"
        runs_dir.mkdir(parents=True)
        database = open_database(database_url(runs_dir))
        runs = fill(database, runs_dir)
        ending = threading.Event()
        training = [
            threading.Thread(target=_train, args=(plan, runs[plan.name][1], ending))
            for plan in RUNS
            if plan.state == "running" and not plan.silent_s
        ]
        for thread in training:
            thread.start()
        numbers = {name: str(number) for name, (number, _) in runs.items()}
        try:
            with served(runs_dir) as (address, token):
                _take_pictures(address, token, _VIEWS, numbers)
        finally:
            ending.set()
            for thread in training:
                thread.join()
            for _, writer in runs.values():
                writer.close()
            database.close()


def _train(plan: Plan, writer: RunWriter, ending: threading.Event) -> None:
    """Add steps to a running run while the pictures are taken."""
    rng, step = np.random.default_rng(2), plan.done
    while not ending.wait(min(2 * plan.step_s, 10)):
        writer.step(step, time.time(), step_metrics(plan, step, rng))
        step += 1
        workers(writer, step, time.time())


def _take_pictures(address: str, token: str, views: dict[str, str], numbers: dict[str, str]) -> None:
    rootless = [] if os.getuid() else ["--no-sandbox"]  # Chromium's sandbox refuses to run as root
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=rootless, timeout=TIMEOUT_MS)
        for name, view in views.items():
            page = _new_page(browser, kind=name.rsplit("-", 1)[1])
            if name.startswith("stop"):
                page.goto(f"{address}#token={token}")
                page.get_by_role("button", name="Operator").wait_for()
            _visit(page, address, view.format_map(numbers))
            _PREPARATIONS.get(name.rsplit("-", 1)[0], lambda page: None)(page)
            _save(page, name)
            page.context.close()
        browser.close()


def _new_page(browser: Browser, kind: str) -> Page:
    if kind == "phone":
        context = browser.new_context(viewport=_PHONE, device_scale_factor=2, color_scheme="light")
    else:
        context = browser.new_context(viewport=_DESKTOP, color_scheme="dark" if kind == "dark" else "light")
    context.set_default_timeout(TIMEOUT_MS)
    return context.new_page()


def _visit(page: Page, address: str, view: str) -> None:
    page.goto(f"{address}#/{view}")
    page.locator(".page").wait_for()
    page.wait_for_timeout(500)
    page.wait_for_function("() => !document.querySelector('.loading')")
    page.wait_for_timeout(2000)


def _compare_configs(page: Page) -> None:
    page.get_by_label("Compare with").select_option(index=1)
    page.locator(".differences").wait_for()


def _ask_to_stop(page: Page) -> None:
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("radio", name="Stop now").check()


_PREPARATIONS: dict[str, Callable[[Page], None]] = {"config": _compare_configs, "stop": _ask_to_stop}


def _save(page: Page, name: str) -> None:
    """Save a screenshot as PNG, without empty space below the view.

    A large picture gets 256 colours, which looks nearly the same.
    """
    path = SCREENS / f"{name}.png"
    bottom = page.evaluate("document.querySelector('.page').getBoundingClientRect().bottom")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if name.endswith(("light", "dark")) and not page.get_by_role("dialog").count():
        picture = picture.crop((0, 0, picture.width, min(picture.height, math.ceil(bottom))))
    picture.save(path, optimize=True)
    if path.stat().st_size > _MAX_BYTES:
        picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(
            f"{path}: has {path.stat().st_size} bytes, more than {_MAX_BYTES}. Crop the picture."
        )


if __name__ == "__main__":
    main()
