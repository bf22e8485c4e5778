"""Tests of the launchers, which start runs for the dashboard."""

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
from sqlalchemy import update

from cluster.config.errors import ConfigError
from cluster.jobs.launchers import JobLauncher, LocalLauncher
from dashboard.launching.launcher import Launched, Launcher, LaunchError
from store.database import Database, database_url, open_database
from store.reading.reader import RunReader
from store.records import RunDetail
from store.runs import queue_run
from store.schema.tables import RunRow
from tests.unit.cluster.cli.test_runs import HOLD
from tests.unit.cluster.stored import store_run

NOTHING_THERE = "http://127.0.0.1:9"
# The launcher accepts this configuration. The run's own check of the model refuses it before anything starts.
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


@pytest.fixture
def launcher(tmp_path: Path, database: Database) -> LocalLauncher:
    return LocalLauncher(tmp_path, database)


def process_of(launched: Launched) -> int:
    """Return the id of the process that a launcher started."""
    found = re.fullmatch(r"Started run '[\w-]+' as process (\d+)\. Its output: .+\.log", launched.message)
    assert found, launched.message
    return int(found.group(1))


def run_of(database: Database, run_id: int) -> RunDetail:
    run = RunReader(database).run(run_id)
    assert run is not None
    return run


def in_state(database: Database, run_id: int, state: str) -> RunDetail:
    """Wait until the run is in `state`, and return the run."""
    deadline = time.monotonic() + 600
    while (run := run_of(database, run_id)).state != state:
        assert time.monotonic() < deadline, run.state
        time.sleep(0.1)
    return run


def test_both_launchers_offer_the_configurations(launcher: LocalLauncher, database: Database) -> None:
    launchers: list[Launcher] = [launcher, JobLauncher(NOTHING_THERE, None, database)]
    for each in launchers:
        assert yaml.safe_load(each.configs()["demo"])["name"] == "demo"


def test_a_run_is_started_in_its_own_session_and_in_the_servers_folder(
    tmp_path: Path, launcher: LocalLauncher, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSSR_TOKEN", "of-the-operator-of-the-dashboard")
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    launched = launcher.start(CONFIG, ["train.steps=7", "runs_dir=/elsewhere"], "operator at 10.0.0.1")
    pid = process_of(launched)
    run = run_of(database, launched.run_id)
    assert (run.name, run.state, run.steps, run.started_at) == ("mine", "queued", 7, None)
    assert os.getsid(pid) == pid  # Ctrl-C in the dashboard's terminal must not reach it
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"HF_TOKEN=hf_1" in environment
    assert b"of-the-operator" not in environment
    # The run's own check refuses the configuration and records the reason in the store.
    run = in_state(database, launched.run_id, "failed")
    assert (run.failure or "").startswith("model.path='/not/there': ")
    assert RunReader(database).events(run.id)[-1].kind == "failed"
    log = (Path(run.folder) / "output.log").read_text()
    assert log.startswith("--- requested by operator at 10.0.0.1: ")
    assert "Traceback" not in log
    read = yaml.safe_load((Path(run.folder) / "config.yaml").read_text())
    assert (read["train"]["steps"], read["runs_dir"]) == (7, str(tmp_path))


def test_a_run_that_never_started_is_started_again_under_its_number(
    launcher: LocalLauncher, database: Database
) -> None:
    first = launcher.start(CONFIG, ["train.steps=7"], "operator")
    again = launcher.resume(in_state(database, first.run_id, "failed"), "operator")
    assert again.run_id == first.run_id
    words = in_command(process_of(again), "train")
    assert "--resume" not in words
    with pytest.raises(ConfigError, match="a run of that name is running"):
        launcher.resume(run_of(database, first.run_id), "operator")
    assert in_state(database, first.run_id, "failed").steps == 7


def test_the_launcher_records_the_end_of_a_killed_process(
    launcher: LocalLauncher, database: Database
) -> None:
    launched = launcher.start(CONFIG, [], "operator")
    os.kill(process_of(launched), signal.SIGKILL)
    run = in_state(database, launched.run_id, "failed")
    assert run.failure == "The run's process was ended by signal 9. Its last output: (none)"


def test_a_process_is_ended_at_once(launcher: LocalLauncher, database: Database) -> None:
    launched = launcher.start(CONFIG, [], "operator")
    pid = process_of(launched)
    assert launcher.end(run_of(database, launched.run_id)) == f"mine: its process {pid} was told to end."
    in_state(database, launched.run_id, "stopped")  # the launcher records it, because the run had not started
    with pytest.raises(ConfigError, match="no process of it is known yet"):
        launcher.end(run_of(database, launched.run_id))


def test_a_queued_run_without_a_launcher_can_be_ended(launcher: LocalLauncher, database: Database) -> None:
    launch = queue_run(database, name="lost", folder="lost", steps=1, config={}, job_id=None)
    assert launch is not None
    with database.write() as connection:
        connection.execute(update(RunRow).values(heartbeat_at=1.0, created_at=1.0))
    assert "counts as stopped" in launcher.end(run_of(database, launch.run_id))
    assert run_of(database, launch.run_id).state == "stopped"


def test_a_refused_run_leaves_nothing_behind(tmp_path: Path, database: Database) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "config.yaml").write_text(CONFIG)  # a run outside the server's folder
    launcher = LocalLauncher(runs, database)
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
    store_run(tmp_path, "up", "stopped")
    store_run(tmp_path, "emptied", "stopped", folder=str(runs / "emptied"))
    for name in ("up", "emptied"):
        run = RunReader(database).run_by_name(name)
        assert run is not None
        with pytest.raises(ConfigError, match="Resume it on the machine it ran on"):
            launcher.resume(run, "operator")
        assert run_of(database, run.id).state == "stopped"
    assert [path for path in runs.iterdir() if path.name == ".launched"] == []


def test_a_run_that_another_process_has_claimed_is_refused(tmp_path: Path, database: Database) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="name='held': a run of that name is running"):
            LocalLauncher(tmp_path, database).start(CONFIG, ["name=held"], "operator")
        holder.stdin.close()
        assert holder.wait(30) == 0
    assert RunReader(database).runs().total == 0


def test_a_run_is_resumed_from_its_own_configuration(
    tmp_path: Path, launcher: LocalLauncher, database: Database
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG + "runs_dir: /before/it/was/moved\n")
    store_run(tmp_path, "mine", "stopped")
    run = RunReader(database).run_by_name("mine")
    assert run is not None
    launched = launcher.resume(run, "operator")
    assert launched.run_id == run.id
    words = in_command(process_of(launched), "--resume")
    assert words[words.index("--resume") + 1] == str(folder)
    assert in_state(database, run.id, "failed").folder == str(folder)


def in_command(pid: int, word: str) -> list[str]:
    """Wait until the process's command line contains `word`, and return the words of the command line."""
    deadline = time.monotonic() + 600
    words: list[str] = []
    while word not in words and time.monotonic() < deadline:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words


def test_an_unwritable_folder_is_a_launch_error(
    tmp_path: Path, launcher: LocalLauncher, database: Database
) -> None:
    (tmp_path / ".launched").write_text("in the way")
    with pytest.raises(LaunchError, match="so run 'mine' was not started"):
        launcher.start(CONFIG, [], "operator")
    (run,) = RunReader(database).runs().items
    assert (run.state, "so run 'mine' was not started" in (run.failure or "")) == ("failed", True)


def test_a_refused_job_says_why(tmp_path: Path, database: Database) -> None:
    launcher = JobLauncher(NOTHING_THERE, tmp_path, database)
    with pytest.raises(ConfigError, match=r"^grpo\.group_size=1: "):
        launcher.start("grpo: {group_size: 1}", [], "operator")
    with pytest.raises(LaunchError, match="no Ray dashboard answers there"):
        launcher.start("name: mine", [], "operator")
    assert RunReader(database).runs().total == 0
    store_run(tmp_path, "mine", "stopped")
    run = RunReader(database).run_by_name("mine")
    assert run is not None
    with pytest.raises(LaunchError, match="no Ray dashboard answers there"):
        launcher.resume(run, "operator")
    assert run_of(database, run.id).state == "stopped"


def test_of_two_runs_with_one_name_the_requested_one_is_resumed(
    tmp_path: Path, launcher: LocalLauncher, database: Database
) -> None:
    for folder in (tmp_path / "mine", tmp_path / "other" / "mine"):
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(CONFIG)
        store_run(tmp_path, "mine", "stopped", folder=str(folder))
    older, newer = sorted(RunReader(database).runs().items, key=lambda run: run.id)
    words = in_command(process_of(launcher.resume(run_of(database, older.id), "operator")), "--resume")
    assert words[words.index("--resume") + 1] == str(tmp_path / "mine")
    with pytest.raises(ConfigError, match="Resume it on the machine it ran on"):
        launcher.resume(run_of(database, newer.id), "operator")
