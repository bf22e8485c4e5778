"""What starts runs for the dashboard."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.launch import JobLauncher, LocalLauncher
from cluster.load import ConfigError
from dashboard.launcher import Launcher, LaunchError
from store.database import Database, database_url, open_database
from tests.unit.cluster.stored import store_run
from tests.unit.cluster.test_runs import HOLD

NOBODY = "http://127.0.0.1:9"
# Passes every check but the last one of the run itself, which is made before anything is started.
CONFIG = """
name: mine
model: {path: /not/there}
cluster: {device: cpu}
learner: {dtype: float32}
rollout: {dtype: float32}
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(database_url(tmp_path))
    yield database
    database.close()


def started(message: str) -> int:
    """The process that a launcher says it has started."""
    found = re.fullmatch(r"Started run '[\w-]+' as process (\d+)\. What it prints: .+\.log", message)
    assert found, message
    return int(found.group(1))


def ended(pid: int) -> None:
    """Wait for a child to end, and leave its exit status to the launcher."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_both_are_what_the_dashboard_asks_for(tmp_path: Path, database: Database) -> None:
    launchers: list[Launcher] = [LocalLauncher(tmp_path), JobLauncher(NOBODY, None, database)]
    for launcher in launchers:
        assert yaml.safe_load(launcher.configs()["demo"])["name"] == "demo"


def test_a_run_is_started_as_a_process_of_its_own_in_the_servers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSSR_TOKEN", "of-the-operator-of-the-dashboard")
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    launcher = LocalLauncher(tmp_path)
    pid = started(launcher.start(CONFIG, ["train.steps=7", "runs_dir=/elsewhere"], "operator at 10.0.0.1"))
    assert os.getsid(pid) == pid  # the terminal's Ctrl-C does not reach it
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"HF_TOKEN=hf_1" in environment
    assert b"of-the-operator" not in environment
    with pytest.raises(ConfigError, match="name='mine': a run of that name is going on"):
        launcher.start(CONFIG, [], "operator")
    ended(pid)
    log = (tmp_path / ".launched" / "mine.log").read_text()
    assert log.startswith("--- asked for by operator at 10.0.0.1: ")
    assert "model.path='/not/there'" in log
    assert "Traceback" not in log
    read = yaml.safe_load((tmp_path / ".launched" / "mine.yaml").read_text())
    assert (read["train"]["steps"], read["runs_dir"]) == (7, str(tmp_path))
    os.kill(started(launcher.start(CONFIG, [], "operator")), signal.SIGKILL)  # its name is free again


def test_what_cannot_be_started_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "config.yaml").write_text(CONFIG)  # a run, but none of the server's
    launcher = LocalLauncher(runs)
    for config, overrides, words in (
        ("grpo: {group_size: 1}", [], "grpo.group_size=1: "),
        ("name: demo", ["train.steps=0"], "train.steps=0: "),
        ("name: ../up", [], "name='../up': "),
        ("[1]", [], "the configuration: holds no settings"),
        ("{", [], "the configuration: is not YAML"),
    ):
        with pytest.raises(ConfigError) as caught:
            launcher.start(config, overrides, "operator")
        assert str(caught.value).startswith(words)
    for name in ("nobody", "../up", "", str(tmp_path / "up")):
        with pytest.raises(ConfigError, match="has no folder in"):
            launcher.resume(name, "operator")
    assert list(runs.iterdir()) == []


def test_a_run_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="name='held': a run of that name is going on"):
            LocalLauncher(tmp_path).resume("held", "operator")
        holder.stdin.close()
        assert holder.wait(30) == 0


def test_a_run_is_resumed_from_its_own_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG + "runs_dir: /before/it/was/moved\n")
    pid = started(LocalLauncher(tmp_path).resume("mine", "operator"))
    deadline = time.monotonic() + 30
    words: list[str] = []
    while "--resume" not in words and time.monotonic() < deadline:  # until it has become the command
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    assert words[words.index("--resume") + 1] == str(folder)
    os.kill(pid, signal.SIGKILL)


def test_a_folder_that_cannot_be_written_is_the_servers_fault(tmp_path: Path) -> None:
    (tmp_path / ".launched").write_text("in the way")
    with pytest.raises(LaunchError, match="so run 'mine' was not started"):
        LocalLauncher(tmp_path).start(CONFIG, [], "operator")


def test_jobs_are_refused_in_words(tmp_path: Path, database: Database) -> None:
    launcher = JobLauncher(NOBODY, tmp_path, database)
    with pytest.raises(ConfigError, match=r"^grpo\.group_size=1: "):
        launcher.start("grpo: {group_size: 1}", [], "operator")
    with pytest.raises(ConfigError, match="the store knows no run of that name"):
        launcher.resume("nobody", "operator")
    with pytest.raises(LaunchError, match="no Ray's dashboard answers there"):
        launcher.start("name: mine", [], "operator")
    store_run(tmp_path, "mine", "stopped")
    with pytest.raises(LaunchError, match="no Ray's dashboard answers there"):
        launcher.resume("mine", "operator")
