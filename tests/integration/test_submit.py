"""`videossr submit` to a Ray with token authentication, through the real command."""

import re
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.conftest import RAY
from tests.integration.runs import ROOT, SMALL

VIDEOSSR = str(Path(sys.executable).with_name("videossr"))
TOKEN = "hf_that_nobody_shall_see"


def submit(cluster: dict[str, str], *words: str) -> list[str]:
    return [VIDEOSSR, "submit", *words, "--address", cluster["RAY_API_SERVER_ADDRESS"]]


def environment_of(cluster: dict[str, str]) -> dict[str, str]:
    """With an address that is wrong where Ray looks first: the one that is named has to win."""
    return cluster | {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9", "HF_TOKEN": TOKEN}


def test_a_run_is_submitted_followed_and_refused_to_strangers(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    # A configuration that is not in the checkout goes along.
    config = tmp_path / "mine.yaml"
    config.write_text((ROOT / "configs" / "demo.yaml").read_text())
    wait_for_ray(cluster)
    words = (str(config), *SMALL, f"runs_dir={tmp_path}", "train.steps=2", "--name", "sent")
    done = subprocess.run(
        submit(cluster, *words),
        cwd=tmp_path,
        env=environment_of(cluster),
        capture_output=True,
        text=True,
        timeout=600,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    assert len((tmp_path / "sent" / "metrics.jsonl").read_text().splitlines()) == 2
    assert re.search(r"Job videossr-sent-\w+: run 'sent'\. Look at it here: http://", printed)
    assert "Sent along from the environment: HF_TOKEN." in printed
    assert TOKEN not in printed
    assert re.search(r"step 2/2 ", printed)  # what the job printed, to its end
    assert printed.count("Starting the rollout engine(s)") == 1  # each line once
    assert "Dashboard:" not in printed

    # A job that refuses its configuration hands its own exit status on.
    missing = subprocess.run(
        submit(cluster, str(config), "model.path=/not/there", "cluster.device=cpu", f"runs_dir={tmp_path}"),
        cwd=tmp_path, env=environment_of(cluster), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert missing.returncode == 2, missing.stdout + missing.stderr
    assert "model.path='/not/there'" in missing.stdout

    stranger = environment_of(cluster) | {"RAY_AUTH_TOKEN": secrets.token_hex(16)}
    refused = subprocess.run(
        submit(cluster, str(config)), cwd=tmp_path, env=stranger, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "the token given is not its own" in refused.stderr

    # Ctrl-C ends the following, not the job.
    running = subprocess.Popen(
        submit(cluster, str(config), *SMALL, f"runs_dir={tmp_path}", "train.steps=200", "--name", "long"),
        cwd=tmp_path, env=environment_of(cluster), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    job_id = first(running, r"Job (videossr-long-\w+)")
    first(running, r"(Starting) the rollout")
    running.send_signal(signal.SIGINT)
    rest = running.communicate(timeout=60)[0]
    assert running.returncode == 130
    assert "No longer followed; the job goes on." in rest
    assert f"ray job stop --address {cluster['RAY_API_SERVER_ADDRESS']} {job_id}" in rest
    assert "RUNNING" in ray(cluster, "status", job_id)
    again = subprocess.run(
        submit(cluster, str(config), f"runs_dir={tmp_path}", "--name", "long"),
        cwd=tmp_path, env=environment_of(cluster), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert again.returncode == 2
    assert f"a run of that name is going on there (job {job_id})" in again.stderr
    ray(cluster, "stop", job_id)


def wait_for_ray(cluster: dict[str, str], timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while "Failed to connect" in (said := ray(cluster, "list")):
        assert time.monotonic() < deadline, said
        time.sleep(1)


def ray(cluster: dict[str, str], *words: str) -> str:
    done = subprocess.run([RAY, "job", *words], env=cluster, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def first(running: subprocess.Popen[str], pattern: str) -> str:
    """The first group of the first line that `pattern` matches."""
    assert running.stdout is not None
    seen = []
    for line in running.stdout:
        seen.append(line)
        if found := re.search(pattern, line):
            return found.group(1)
    pytest.fail("".join(seen))
