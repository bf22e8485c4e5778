"""Tests of logging: which lines appear on the terminal, and which only in the log file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LINES = """
import logging
from cluster.logs import {set_up}
{set_up}()
logger = logging.getLogger("actors.workers.some_worker")
logger.debug("a debug line")
logger.info("an info line")
logger.warning("a warning line")
"""
DRIVER = """
import logging, os, sys, warnings
from pathlib import Path
from cluster.logs import DriverLog, set_up_logging
from cluster.terminal import say, say_error
set_up_logging()
try:
    with DriverLog() as log:
        print("printed at import")
        os.write(2, b"written by native code\\n")
        say("a message")
        say_error("an error message")
        log.keep_in(Path(sys.argv[1]))
        logging.getLogger("cluster.some_room").info("an info line")
        logging.getLogger("cluster.some_room").warning("a warning line")
        warnings.warn("a library's warning")
        print("printed later", file=sys.stderr)
        os.write(1, b"written later\\n")
        raise RuntimeError("it broke")
except RuntimeError as error:
    say_error(f"failed: {error}")
print("printed afterwards")
"""


def run(code: str, *arguments: str, level: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "VIDEOSSR_LOG"}
    if level is not None:
        environment["VIDEOSSR_LOG"] = level
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    ("set_up", "level", "shown"),
    [
        ("set_up_logging", None, ["a warning line"]),
        ("set_up_logging", "INFO", ["an info line", "a warning line"]),
        ("set_up_logging", "debug", ["a debug line", "an info line", "a warning line"]),
        ("set_up_logging", "ERROR", []),
        ("set_up_worker_logging", None, ["an info line", "a warning line"]),
        ("set_up_worker_logging", "DEBUG", ["a debug line", "an info line", "a warning line"]),
    ],
)
def test_the_level_decides_which_lines_are_shown(set_up: str, level: str | None, shown: list[str]) -> None:
    done = run(LINES.format(set_up=set_up), level=level)
    assert done.stdout == ""
    assert [line.partition("]: ")[2] for line in done.stderr.splitlines()] == shown
    assert all("actors.workers.some_worker[" in line for line in done.stderr.splitlines())


def test_an_unknown_level_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster", "runs", "list", "--runs", str(tmp_path)],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"VIDEOSSR_LOG": "LOUD"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "VIDEOSSR_LOG='LOUD': is not a log level. Set it to one of DEBUG, INFO, WARNING, ERROR.\n"
    )


def test_what_libraries_print_goes_to_the_file_and_messages_to_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "driver.log"
    done = run(DRIVER, str(file))
    assert done.stdout == "a message\nprinted afterwards\n"
    errors = done.stderr.splitlines()
    assert [errors[0], errors[-1]] == ["an error message", "failed: it broke"]
    assert [line.partition("]: ")[2] for line in errors[1:-1]] == ["a warning line"]
    kept = file.read_text()
    for text in (
        "printed at import",
        "written by native code",
        "an info line",
        "a warning line",
        "a library's warning",
        "printed later",
        "written later",
        "Traceback (most recent call last)",
        "RuntimeError: it broke",
    ):
        assert kept.count(text) == 1 or text in ("a library's warning", "RuntimeError: it broke")
    assert "a message" not in kept


def test_a_resumed_run_appends_to_its_log(tmp_path: Path) -> None:
    file = tmp_path / "driver.log"
    run(DRIVER, str(file))
    run(DRIVER, str(file))
    assert file.read_text().count("printed at import") == 2
