"""Tests of the catalogue of metrics: it contains all metrics that runs record, and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vocabulary import metrics
from vocabulary.metrics import METRICS, gauge_of, gauges, metric

ROOT = Path(__file__).parents[3]
AREAS = {entry.name.partition("/")[0] for entry in METRICS if "/" in entry.name}
NAME = re.compile(rf"({'|'.join(sorted(AREAS))})/[a-z0-9_{{}}]+")


def recorders() -> Iterator[Path]:
    """Yield the modules of the packages that record metrics."""
    for folder in ("actors", "learner"):
        yield from (ROOT / folder).rglob("*.py")


def names_in(path: Path) -> Iterator[str]:
    """Yield the strings of a module that look like a metric's name. An f-string becomes "area/{expression}"."""
    inside: set[ast.AST] = set()  # constants that are parts of f-strings
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = None
        if isinstance(node, ast.JoinedStr):
            inside |= set(node.values)
            text = ast.unparse(node)[2:-1]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            text = node.value
        if text is not None and NAME.fullmatch(text):
            yield text


def seconds_in(folder: str) -> Iterator[str]:
    """Yield the names of the metrics for the parts of a step that the modules measure."""
    for path in (ROOT / folder).glob("*.py"):
        code = path.read_text(encoding="utf-8")
        parts = re.findall(r'\.timed\("(\w+)"\)|seconds\["(\w+)"\]|"(\w+)": \w+ - \w+[,}]', code)
        yield from (f"seconds/{part}" for found in parts for part in found if part)


def test_every_name_in_the_recording_modules_is_in_the_catalogue() -> None:
    found = {name for path in recorders() for name in names_in(path)}
    assert {"policy/kl", "policy/grad_norm", "reward/{task}", "staleness/mean"} <= found
    for name in found - {name for name in found if name.startswith("seconds/{")}:
        assert metric(name)


def test_every_part_of_a_step_is_in_the_catalogue() -> None:
    found = set(seconds_in("actors/controller"))
    assert {"seconds/push", "seconds/save", "seconds/waited_for_groups", "seconds/prompts"} <= found
    for name in found - {"seconds/learner", "seconds/evaluation"}:  # intermediate: they are not recorded
        assert metric(name)


def test_every_entry_of_the_catalogue_is_recorded() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("actors", "learner")
        for path in (ROOT / folder).rglob("*.py")
    )
    constants = {value: name for name, value in vars(metrics).items() if isinstance(value, str)}
    for entry in METRICS:
        area, _, rest = entry.name.partition("/")
        spellings = [f'"{entry.name}"', constants.get(entry.name, f'"{entry.name}"')]
        spellings += [f'f"{area}/{{'] if entry.is_per_task else []
        spellings += [f'"{rest}"'] if area == "seconds" else []
        assert any(spelling in code for spelling in spellings), entry.name


def test_names_and_titles_are_unique_and_meanings_are_sentences() -> None:
    assert len({entry.name for entry in METRICS}) == len(METRICS)
    assert len({entry.title for entry in METRICS}) == len(METRICS)
    assert all(re.fullmatch(r"[A-Z].*\.", entry.meaning) for entry in METRICS)


def test_an_unknown_metric_is_refused_with_what_to_do() -> None:
    assert metric("reward/jigsaw").name == "reward/{task}"
    for name in ("nothing", "reward", "reward/", "policy/nothing"):
        with pytest.raises(KeyError, match="Add it to vocabulary"):
            metric(name)


def test_a_metric_finds_its_gauge_and_its_label() -> None:
    for name, gauge, labels in (
        ("reward/mean", "videossr_reward_mean", {}),
        ("reward/jigsaw", "videossr_reward", {"task": "jigsaw"}),
        ("seconds/waited_for_groups", "videossr_seconds", {"phase": "waited_for_groups"}),
    ):
        found = gauge_of(name)
        assert found is not None
        assert (found[0].name, found[1]) == (gauge, labels)
    for name in ("prompt/tokens", "groups/drawn", "reward", "reward/", "nothing"):
        assert gauge_of(name) is None


def test_prometheus_accepts_the_names_of_gauges() -> None:
    names = [gauge.name for gauge in gauges()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
