"""Tests of the `videossr` command: exit statuses, and the messages for mistakes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli.main import main
from cluster.terminal import PIPE_CLOSED

DEMO = str(Path(__file__).parents[4] / "configs" / "demo.yaml")


@pytest.fixture(autouse=True)
def _same_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_refused_config_exits_with_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", DEMO, "grpo.group_size=1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("grpo.group_size=1: ")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["--dry-run", DEMO, "train.steps=7"],
        [DEMO, "--dry-run", "train.steps=7"],
        [DEMO, "train.steps=7", "--dry-run"],
        [DEMO, "train.steps=5", "--dry-run", "train.steps=7"],
    ],
)
def test_overrides_may_stand_on_either_side_of_options(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words]) == 0
    assert "  steps: 7\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["train"],
        ["train", DEMO, "--dryrun"],
        ["train", DEMO, "--steps=3"],
        ["export", "x"],
        ["trian", DEMO],
        [],
    ],
)
def test_an_invalid_command_line_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: videossr" in capsys.readouterr().err


def test_resume_names_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", DEMO, f"runs_dir={tmp_path}", "--dry-run", "--resume", "mine"]) == 0
    assert "name: mine\n" in capsys.readouterr().out


def test_export_of_an_unknown_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "no-such-run", "--out", str(tmp_path / "out")]) == 2
    assert "RUN='no-such-run': there is no run of that name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_export_of_a_run_without_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("name: x")
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "has no checkpoint yet" in capsys.readouterr().err


def test_a_closed_pipe_ends_the_command_quietly() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "cluster", "--version"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "")
