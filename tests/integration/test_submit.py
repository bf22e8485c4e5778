"""Tests of `videossr submit` and `videossr runs` with jobs on a Ray cluster that requires a token."""

import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from store.database import database_url, open_database
from store.reading.reader import RunReader
from tests.integration.runs import HANG_S, RAY, ROOT, SMALL
from tests.unit.cluster.stored import store_run

VIDEOSSR = str(Path(sys.executable).with_name("videossr"))
SECRET = "hf_secret_that_must_not_be_printed"
pytestmark = pytest.mark.long

LAUNCH_SCRIPT = """
import sys
from pathlib import Path
from cluster.jobs.launchers import JobLauncher
from store.database import database_url, open_database
address, runs, name = sys.argv[1:]
launcher = JobLauncher(address, Path(runs), open_database(database_url(runs)))
print(launcher.start(launcher.configs()["demo"], [f"name={name}", "model.path=/not/there"], "operator"))
"""


class Ray:
    """A Ray cluster, with methods that run commands on it."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.address = environment["RAY_API_SERVER_ADDRESS"]
        self._own, self._folder = environment, folder
        # Ray reads the address in the environment first. It is wrong here, because the --address option must win.
        self.environment = environment | {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9", "HF_TOKEN": SECRET}
        self.environment.pop("VIDEOSSR_DB", None)

    def run(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command from a folder outside the checkout."""
        return subprocess.run(
            words,
            cwd=self._folder,
            env=self.environment | changes,
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )

    def submit(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return self.run(VIDEOSSR, "submit", *words, "--address", self.address, **changes)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [VIDEOSSR, "submit", *words, "--address", self.address], cwd=self._folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def job(self, *words: str) -> str:
        done = subprocess.run(
            [RAY, "job", *words], env=self._own, capture_output=True, text=True, timeout=HANG_S
        )
        return done.stdout + done.stderr

    def wait_for(self, words: str, *command: str, timeout_s: float = HANG_S) -> None:
        """Wait until the output of `ray job` contains `words`."""
        deadline = time.monotonic() + timeout_s
        while words not in (said := self.job(*command)):
            assert time.monotonic() < deadline, said
            time.sleep(1)


@pytest.fixture
def ray(cluster: dict[str, str], tmp_path: Path) -> Ray:
    found = Ray(cluster, tmp_path)
    found.wait_for("[]", "list")
    return found


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Return the path of a configuration file outside the checkout."""
    file = tmp_path / "mine.yaml"
    file.write_text((ROOT / "configs" / "demo.yaml").read_text())
    return str(file)


def test_a_run_is_submitted_followed_resumed_and_stopped(ray: Ray, config: str, tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    done = ray.submit(config, *SMALL, f"runs_dir={tmp_path}", "train.steps=2", "--name", "sent")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert re.search(r"Job videossr-sent-\w+: run 'sent'\. Look at it here: http://", done.stdout)
    assert "Sent along from the environment: HF_TOKEN." in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert "step 2/2 " in done.stdout  # the job's output, up to its end
    assert done.stdout.count("Starting the rollout workers") == 1  # each line is printed once
    assert "Dashboard:" not in done.stdout

    # The run resumes from its folder and its row in the store.
    store_run(tmp_path, "sent", "stopped", config=yaml.safe_load((folder / "config.yaml").read_text()))
    place = ("--address", ray.address, "--runs", str(tmp_path))
    done = ray.run(VIDEOSSR, "runs", "resume", "sent", "train.steps=3", *place)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3

    # Ctrl-C stops following the job, not the job itself.
    running = ray.start(config, *SMALL, f"runs_dir={tmp_path}", "train.steps=200", "--name", "long")
    job_id = first(running, r"Job (videossr-long-\w+)")
    first(running, r"(Starting) the rollout")
    running.send_signal(signal.SIGINT)
    rest = running.communicate(timeout=HANG_S)[0]
    assert running.returncode == 130
    assert "No longer followed; the job continues." in rest
    assert f"ray job stop --address {ray.address} {job_id}" in rest
    assert "RUNNING" in ray.job("status", job_id)
    again = ray.submit(config, f"runs_dir={tmp_path}", "--name", "long")
    assert again.returncode == 2
    assert f"a run of that name is running there (job {job_id})" in again.stderr

    store_run(tmp_path, "long", job_id=job_id)
    done = ray.run(VIDEOSSR, "runs", "stop", "long", "--now", *place)
    assert f"its job {job_id} is being stopped" in done.stdout, done.stderr
    ray.wait_for(f"{job_id}' was stopped", "status", job_id)


def test_refusals_of_a_job_and_of_its_cluster_reach_the_user(ray: Ray, config: str, tmp_path: Path) -> None:
    # If the job refuses its configuration, the command exits with the job's status.
    missing = ray.submit(config, "model.path=/not/there", f"runs_dir={tmp_path}")
    assert missing.returncode == 2, missing.stdout + missing.stderr
    assert "model.path='/not/there'" in missing.stdout

    refused = ray.submit(config, RAY_AUTH_TOKEN=secrets.token_hex(16))
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "the token is not the one of this cluster" in refused.stderr

    # The dashboard starts jobs in this way. The job uses the dashboard's folder of runs.
    launched = ray.run(
        sys.executable, "-c", LAUNCH_SCRIPT, ray.address, str(tmp_path), "clicked", PYTHONPATH=str(ROOT)
    )
    found = re.search(r"Started run 'clicked' as job (\S+) of http", launched.stdout)
    assert found, launched.stderr
    ray.wait_for(f"{found.group(1)}' failed", "status", found.group(1))
    assert "model.path='/not/there'" in ray.job("logs", found.group(1))
    database = open_database(database_url(tmp_path))
    run = RunReader(database).run_by_name("clicked")
    assert run is not None
    assert (run.state, run.job_id) == ("failed", found.group(1))
    assert (run.failure or "").startswith("model.path='/not/there'")
    database.close()


def first(running: subprocess.Popen[str], pattern: str) -> str:
    """Return the first group of `pattern` in the first line that it matches."""
    assert running.stdout is not None
    seen = []
    for line in running.stdout:
        seen.append(line)
        if found := re.search(pattern, line):
            return found.group(1)
    pytest.fail("".join(seen))
