"""Tests that help, lists and refusals load no heavy package, because these commands should finish at once."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli.main import build_parser
from tests.unit.cluster.stored import store_run

ROOT = Path(__file__).parents[4]
DEMO = str(ROOT / "configs" / "demo.yaml")

# Importing any of these packages takes longer than a person wants to wait.
HEAVY = {
    *("torch", "ray", "transformers", "vllm", "deepspeed", "peft"),
    *("cv2", "av", "decord", "matplotlib", "PIL", "pyarrow", "fsspec", "fastapi", "aiohttp", "alembic"),
}
RUN = """
import contextlib, io, json, sys
from cluster.cli.main import main
status = 0
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for words in json.loads(sys.argv[1]):
        try:
            status = main(words)
        except SystemExit as error:
            status = error.code
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def commands(parser: argparse.ArgumentParser, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and sub-command."""
    yield path
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from commands(child, *path, name)


def loaded(*calls: tuple[str, ...], cwd: Path = ROOT) -> tuple[int, set[str]]:
    """Run commands in a new interpreter. Return the last exit status and the packages that were loaded."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(calls)], cwd=cwd, capture_output=True, text=True, check=True
    )
    status, packages = json.loads(done.stdout)
    return status, set(packages)


def test_the_help_of_every_command_loads_nothing_heavy() -> None:
    calls = [(*path, "--help") for path in commands(build_parser())]
    assert ("data", "build", "--help") in calls
    status, packages = loaded(*calls)
    assert status == 0
    assert packages & (HEAVY | {"numpy", "sqlalchemy"}) == set()


def test_the_version_names_the_commit_of_a_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["--version"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("videossr 0.")
    if (ROOT / ".git").exists():
        assert "(commit " in printed


def test_the_version_loads_nothing_heavy() -> None:
    status, packages = loaded(("--version",))
    assert status == 0
    assert packages & (HEAVY | {"numpy", "sqlalchemy"}) == set()


def test_a_list_of_runs_loads_nothing_heavy(tmp_path: Path) -> None:
    store_run(tmp_path, "demo")
    status, packages = loaded(("runs", "list", "--runs", str(tmp_path)))
    assert status == 0
    assert packages & (HEAVY | {"numpy"}) == set()


def test_an_empty_list_of_runs_loads_nothing_heavy(tmp_path: Path) -> None:
    status, packages = loaded(("runs", "list", "--runs", str(tmp_path)), cwd=tmp_path)
    assert status == 2
    assert packages & (HEAVY | {"numpy", "sqlalchemy"}) == set()


@pytest.mark.parametrize("override", ["grpo.group_size=1", "train.step=3", "data.mix={jigsaw: 0}"])
def test_a_refused_configuration_loads_nothing_heavy(override: str) -> None:
    status, packages = loaded(("train", DEMO, override))
    assert status == 2
    assert packages & (HEAVY | {"sqlalchemy"}) == set()
