"""Every view works by keyboard, at phone width and in both themes, and its text is readable."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]
VIEWS = (
    "curves",
    "clock",
    "rollouts?step=100&task=counting",
    "rollouts?kind=held-out",
    "evaluations",
    "workers",
    "events",
    "config",
)
PHONE = {"viewport": {"width": 360, "height": 740}}

# Returns the texts whose contrast with their background is below WCAG 2's 4.5 : 1 (3 : 1 for large text).
_FAINT = """() => {
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    const over = (under, [r, g, b, a]) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
    return layers.reverse().reduce(over, [255, 255, 255]);
  };
  const faint = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.data.trim().slice(0, 30);
    if (!words || !element.checkVisibility() || element.closest("option, :disabled, .uplot")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color).slice(0, 3)), light(ground(element))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24;
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) faint.add(`${words} ${element.className}`);
  }
  return [...faint];
}"""


def test_the_keyboard_alone_is_enough(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"))
    page.get_by_role("link", name="example-demo-seed-1").wait_for()
    _tab_to(page, "example-demo-seed-1")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="example-demo-seed-1").wait_for()
    page.get_by_role("img", name="Reward over steps").locator("canvas").wait_for()
    _tab_to(page, "grounding")  # the legend's entry, which hides its line
    page.keyboard.press("Enter")
    page.locator(".u-series.u-off:not(.u-aux)").wait_for()
    page.keyboard.press("Shift+Tab")
    page.goto(dashboard.run("example-demo-seed-1", "rollouts"))
    page.locator(".group .frame").first.wait_for()
    assert page.locator(".stepper select").input_value() == "149"
    page.locator("body").press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('.stepper select').value === '100'")
    before = page.locator(".groups [aria-current]").inner_text()
    page.locator("body").press("ArrowDown")
    page.wait_for_function(
        "(text) => document.querySelector('.groups [aria-current]').innerText !== text", arg=before
    )


def test_arrow_keys_scroll_the_page_where_there_is_nothing_to_go_to(
    dashboard: Dashboard, open_page: Open
) -> None:
    page = open_page(dashboard.run("example-demo-seed-1", "rollouts"))
    page.locator(".group .frame").first.wait_for()
    page.evaluate("addEventListener('keydown', (event) => (window.taken = event.defaultPrevented))")
    steps = page.locator(".stepper option").count()
    groups = page.locator(".groups li").count()
    assert min(steps, groups) > 1
    # The newest step and the first group are shown.
    for there, back in (("ArrowUp", "ArrowDown"), ("ArrowRight", "ArrowLeft")):
        page.locator("body").press(there)
        assert page.evaluate("window.taken") is False
        page.locator("body").press(back)
        assert page.evaluate("window.taken") is True


def test_a_dialog_keeps_the_focus_and_returns_it(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.run("example-demo-seed-1"), signed_in=True)
    page.goto(dashboard.run("example-qwen3-vl-8b-lr3e-5", "config"))
    button = page.get_by_role("button", name="Resume")
    button.focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))"
        )
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    assert page.evaluate("document.activeElement.textContent") == "Resume"


@pytest.mark.parametrize("view", ["runs", "benchmarks", "log", *VIEWS])
def test_no_view_scrolls_sideways_on_a_phone(dashboard: Dashboard, open_page: Open, view: str) -> None:
    page = open_page(_address(dashboard, view), **PHONE)
    _settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_has_enough_contrast(dashboard: Dashboard, open_page: Open, theme: str) -> None:
    page = open_page(dashboard.at("runs"), color_scheme=theme)
    for view in ("runs", "benchmarks", "log", *VIEWS):
        page.goto(_address(dashboard, view))
        _settled(page)
        assert page.evaluate(_FAINT) == []


def test_the_chosen_theme_is_remembered(dashboard: Dashboard, open_page: Open) -> None:
    page = open_page(dashboard.at("runs"), color_scheme="light")
    page.get_by_role("button", name="Switch to dark colours").click()
    page.reload()
    page.get_by_role("button", name="Switch to light colours").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def _address(dashboard: Dashboard, view: str) -> str:
    return (
        dashboard.at(view)
        if view in ("runs", "benchmarks", "log")
        else dashboard.run("example-demo-seed-1", view)
    )


def _settled(page: "Page") -> None:
    """Wait until the view has loaded."""
    page.locator(".page").wait_for()
    page.wait_for_function("() => !document.querySelector('.loading')")
    page.wait_for_timeout(300)
    page.wait_for_function("() => !document.querySelector('.loading')")


def _tab_to(page: "Page", text: str) -> None:
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == text:
            return
    raise AssertionError(f"{text!r} cannot be reached by Tab")
