"""Tests of `videossr runs` on a real run store."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli.main import main
from cluster.cli.runs_text import span
from store.database import database_url, open_database
from store.reading.reader import RunReader
from store.requests import take_requests
from tests.unit.cluster.stored import store_run

HOLD = """
import sys
from collections.abc import Iterator
from pathlib import Path
from cluster.config.load import load_config
from cluster.runs.claim import claim_run_folder
with claim_run_folder(load_config(Path("configs/demo.yaml"), ["name=held", f"runs_dir={sys.argv[1]}"]), resume=False):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("VIDEOSSR_DB", "VIDEOSSR_RUNS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def run(runs: Path, *words: str) -> int:
    return main(["runs", *words, "--runs", str(runs)])


def refusal(runs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the message of a command that must refuse, in one line and with exit status 2."""
    assert run(runs, *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


def test_the_list_fits_80_columns_and_shows_states_and_rewards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    store_run(tmp_path, "demo")
    store_run(
        tmp_path,
        "a-run-with-a-very-long-name-that-says-what-it-does-differently",
        "failed",
        failure="no room",
    )
    store_run(tmp_path, "silent", age_s=300)
    assert run(tmp_path, "list") == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    assert re.search(r"demo +running +3/150 +counting 0\.25 +\d+ (s|min) ago", printed)
    assert "grounding 0.40" in printed
    assert "failed" in printed
    assert re.search(r"silent +stalled", printed)
    assert "".join(re.findall(r"^(\S+) ", printed, re.M)).count("differently") == 1  # folded, not truncated


def test_the_list_can_be_filtered_limited_and_printed_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_run(tmp_path, "demo")
    store_run(tmp_path, "over", "done")
    assert run(tmp_path, "list", "--json", "--state", "done") == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == ["over"]
    assert run(tmp_path, "list", "--limit", "1") == 0
    assert "... and 1 older ones" in capsys.readouterr().out


def test_show_prints_everything_about_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = store_run(tmp_path, "demo", "failed", failure="the learner died\nof this")
    assert run(tmp_path, "show", "demo") == 0
    printed = capsys.readouterr().out
    assert run(tmp_path, "show", str(number)) == 0
    assert capsys.readouterr().out.splitlines()[0] == printed.splitlines()[0]
    for words in (
        "demo, run 1: failed, 3 of 150 steps",
        "Failed: the learner died",
        "train.steps: 150  (default 468)",
        "reward/grounding  0.4",
        "policy/kl         not a number",
        "before, step 0, jigsaw: greedy_mean 0.25",
        "rollout 0: running on here, 2 waiting",
        "odd: a message of two lines\ufffd[31m",
        "videossr runs resume demo",
    ):
        assert words in printed
    assert "\x1b" not in printed


def test_a_stop_reaches_the_run_through_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = store_run(tmp_path, "demo")
    assert run(tmp_path, "stop", "demo") == 0
    assert "demo stops after its current step (request 1)." in capsys.readouterr().out
    database = open_database(database_url(tmp_path))
    (asked,) = take_requests(database, number)
    assert (asked.action, asked.run_id) == ("stop", number)
    assert asked.asked_by.endswith(f"at {socket.gethostname()}")
    database.close()


def test_stop_now_ends_the_process_that_holds_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        about = {"host": socket.gethostname(), "pid": holder.pid}
        store_run(tmp_path, "held", environment=about)
        assert run(tmp_path, "stop", "held", "--now") == 0
        assert f"its process {holder.pid} was told to end" in capsys.readouterr().out
        assert holder.wait(30) == -signal.SIGTERM
    # Another process may have this id by now, so a process is ended only if it holds the run.
    assert "no process of it is left" in refusal(tmp_path, capsys, "stop", "held", "--now")


def test_a_run_that_cannot_be_stopped_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_run(tmp_path, "over", "done")
    store_run(tmp_path, "far", environment={"host": "elsewhere", "pid": os.getpid()})
    store_run(tmp_path, "job", job_id="raysubmit_1")
    assert "has ended (done)" in refusal(tmp_path, capsys, "stop", "over")
    assert "has ended (done)" in refusal(tmp_path, capsys, "stop", "over", "--now")
    assert "not on this machine but on elsewhere" in refusal(tmp_path, capsys, "stop", "far", "--now")
    assert "Name that cluster by --address" in refusal(tmp_path, capsys, "stop", "job", "--now")
    assert "no run has that name" in refusal(tmp_path, capsys, "stop", "nobody")
    words = refusal(tmp_path, capsys, "stop", "job", "--now", "--address", "http://127.0.0.1:9")
    assert "no Ray dashboard answers there" in words
    assert RunReader(open_database(database_url(tmp_path))).requests(2).total == 0


def test_a_run_that_cannot_be_resumed_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_run(tmp_path, "gone", "failed")
    assert "is not on this machine" in refusal(tmp_path, capsys, "resume", "gone")
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: gone\ntrain: {steps: 5}\n")
    words = refusal(tmp_path, capsys, "resume", "gone", "grpo.group_size=1")
    # The command read the run's own configuration and applied the override.
    assert words.startswith("grpo.group_size=1: ")


def test_a_folder_without_runs_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there are no runs yet" in refusal(tmp_path / "none", capsys, "list")
    assert not (tmp_path / "none").exists()


def test_an_unsupported_database_is_refused_without_showing_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSSR_DB", "mysql://me:secret@host/db")
    words = refusal(tmp_path, capsys, "list")
    assert "SQLite or PostgreSQL" in words
    assert "secret" not in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (90000, "25 h"), (-3, "0 s")],
)
def test_spans_are_in_the_largest_unit_that_fits_twice(seconds: float, words: str) -> None:
    assert span(seconds) == words
