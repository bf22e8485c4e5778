"""Figures are printed in 80 columns, and stored files are read back."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.table import Result, ResultsError, Target, load, number, show, store

AT_LEAST_8 = Target(bound="at least", limit=8)
COMMAND = (
    "python -m benchmarks.against_trl --trl-python /somewhere/rather/deep/in/a/tree/bin/python --rounds 5"
)


def result(name: str = "speed", value: float = 9.0, target: Target | None = None) -> Result:
    return Result(name=name, value=value, unit="times", target=target, command=COMMAND)


def shown(*results: Result, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(results, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [
        ("at least", 8.0, True),
        ("at least", 7.99, False),
        ("at most", 8.0, True),
        ("at most", 8.01, False),
    ],
)
def test_a_target_is_met_on_one_side_of_its_limit(bound: str, value: float, met: bool) -> None:
    target = Target.model_validate({"bound": bound, "limit": 8})
    assert target.met_by(value) is met


def test_the_table_shows_which_targets_were_met_and_the_command() -> None:
    text = shown(
        result("fast", 9.26, AT_LEAST_8), result("slow", 3.0, AT_LEAST_8), result("[just] to know", 0.5)
    )
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert lines["fast"].split() == ["fast", "9.26", "times", "≥", "8", "met"]
    assert lines["slow"].split()[-1] == "missed"
    assert lines["[just]"].split() == ["[just]", "to", "know", "0.5", "times"]
    assert text.count("$ python") == 1


def test_results_are_grouped_under_their_command() -> None:
    other = result("of another").model_copy(update={"command": "make other"})
    lines = [
        line.strip() for line in shown(result("first"), other, result("second")).splitlines() if line.strip()
    ]
    order = [line.split()[0] if not line.startswith("$") else line for line in lines]
    assert order.index("second") < order.index("$ make other") < order.index("of")


def test_no_line_is_longer_than_80_columns() -> None:
    long = result(
        "completions trained per second at 48 frames, a very long and wordy name " * 2, 1e-7, AT_LEAST_8
    )
    text = shown(long)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.count("missed") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.012345, "0.0123"),
        (7.813, "7.81"),
        (146.2, "146"),
        (12_345.0, "12,300"),
        (2.4e-6, "2.4e-06"),
        (1000.0, "1,000"),
    ],
)
def test_numbers_have_three_significant_figures(value: float, text: str) -> None:
    assert number(value) == text


def test_stored_results_are_read_back_with_their_machine(tmp_path: Path) -> None:
    results = (result("fast", 1 / 3, AT_LEAST_8), result("plain"))
    store("trl", [result("an earlier one")], folder=tmp_path)
    path = store("trl", results, folder=tmp_path)
    report = load(path)
    assert report.results == results
    assert report.machine.cores >= 1
    assert report.machine.packages["torch"]
    assert [file.name for file in tmp_path.iterdir()] == ["trl.json"]


def test_a_figure_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite number"):
        result(value=math.nan)


def test_a_missing_or_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = store("trl", [result()], folder=tmp_path)
    with pytest.raises(ResultsError, match=r"other\.json: there are no such results\. .* one of trl\."):
        load(tmp_path / "other.json")
    path.write_text(path.read_text().replace('"value"', '"valeu"'))
    with pytest.raises(ResultsError, match=r"trl\.json: results\.0\.value: .*again"):
        load(path)
    path.write_text("not json")
    with pytest.raises(ResultsError, match=r"trl\.json: the file: Invalid JSON"):
        load(path)
