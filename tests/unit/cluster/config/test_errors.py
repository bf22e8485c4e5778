"""Tests of ConfigError: it carries the parts of each problem, and every problem has the same form as text."""

import pickle

import pytest

from cluster.config.errors import ConfigError
from vocabulary.problems import NO_VALUE, Problem


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("train.steps", 0, "is too small", "Raise it"), "train.steps=0: is too small. Raise it."),
        (Problem("name", "x y", "has a blank"), "name='x y': has a blank."),
        (Problem("--out", "a b", "exists", "Name another."), "--out=a b: exists. Name another."),
        (Problem("--videos", ("a", "b c"), "hold no video"), "--videos=a 'b c': hold no video."),
        (Problem("run.yaml", NO_VALUE, "is not YAML"), "run.yaml: is not YAML."),
        (Problem("bucket", None, "is needed", "Set it!"), "bucket=None: is needed. Set it!"),
        (Problem("a", 1, "too many", "Lower them", {"b": 2}), "a=1, b=2: too many. Lower them."),
        (Problem("", NO_VALUE, "said elsewhere. Do this."), "said elsewhere. Do this."),
        (Problem("--videos", "d", "none. Reasons:\n  a.mp4: cut off"), "--videos=d: none. Reasons:\n  a.mp4: cut off"),
    ],
)  # fmt: skip
def test_a_problem_is_one_line_of_name_value_rule_and_fix(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_long_value_keeps_its_ends() -> None:
    text = str(Problem("model.path", "/start" + 500 * "x" + "/end", "is not there"))
    assert text.startswith("model.path='/start")
    assert text.endswith("/end': is not there.")
    assert len(text) < 160


def test_an_error_has_one_line_for_each_problem() -> None:
    error = ConfigError([Problem("a", 1, "is odd"), Problem("b", 2, "is even")])
    assert str(error).splitlines() == ["a=1: is odd.", "b=2: is even."]
    assert [problem.name for problem in error.problems] == ["a", "b"]


def test_a_setting_is_shown_under_the_name_that_was_typed() -> None:
    error = ConfigError([Problem("model.path", "/tmp/x", "is a llama"), Problem("seed", 1, "is odd")])
    assert str(error.renamed("model.path", "--model", "mine")).splitlines() == [
        "--model=mine: is a llama.",
        "seed=1: is odd.",
    ]


def test_an_error_survives_pickling() -> None:
    error = ConfigError("a", 1, "is odd", "Change it", also={"b": 2})
    assert str(pickle.loads(pickle.dumps(error))) == "a=1, b=2: is odd. Change it."
    without_value = ConfigError("run.yaml", NO_VALUE, "is not YAML")
    assert str(pickle.loads(pickle.dumps(without_value))) == "run.yaml: is not YAML."


def test_the_text_of_another_package_is_quoted_as_it_is() -> None:
    assert (
        str(ConfigError.quoting(ValueError("d: holds no dataset. Build one.")))
        == "d: holds no dataset. Build one."
    )
