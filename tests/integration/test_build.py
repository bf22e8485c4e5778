"""Tests of `videossr data build` on a real Ray cluster.

Any number of workers builds the same bytes, an interrupted build resumes, and a bad video is skipped.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from dataset.store import Dataset
from pretext.scenes import draw_videos
from tests.integration.runs import HANG_S, ROOT


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    draw_videos(tmp_path / "videos", count=12, seed=0)
    return tmp_path / "videos"


def command(videos: Path, out: Path, num_cpus: int, **options: Any) -> list[str]:
    given = {"videos": [str(videos)], "out": str(out), "num_cpus": num_cpus, "count": 300} | options
    return [sys.executable, "-m", "tests.integration.build_process", json.dumps(given)]


@pytest.mark.long  # the next test also compares one worker with two
def test_a_dataset_has_the_same_bytes_on_any_number_of_workers(
    videos: Path, tmp_path: Path, ray_environment: dict[str, str]
) -> None:
    for num_cpus in (1, 3):
        subprocess.run(
            command(videos, tmp_path / str(num_cpus), num_cpus),
            cwd=ROOT,
            env=ray_environment,
            check=True,
            timeout=HANG_S,
        )
    names = ("recipes.parquet", "videos.parquet", "rejected.parquet", "dataset.json")
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes(), name
    assert {path.name for path in (tmp_path / "1").iterdir()} == set(names)
    dataset = Dataset(tmp_path / "1")
    assert Counter(dataset.tasks()) == {"grounding": 120, "jigsaw": 120, "counting": 60}
    kinds = Counter(recipe.params["perturbation"] for recipe in dataset if recipe.task == "grounding")
    assert set(kinds.values()) == {30}  # the paper's four anomalies, equally often


def test_a_killed_build_resumes_where_it_stopped(
    videos: Path, tmp_path: Path, ray_environment: dict[str, str]
) -> None:
    out = tmp_path / "dataset"
    slowly = command(videos, out, 1, inspect="tests.integration.inspectors:slow", save_every_s=0.5)
    first = subprocess.Popen(slowly, cwd=ROOT, env=ray_environment)
    deadline = time.monotonic() + HANG_S
    while len(list(out.glob("work/videos-*.parquet"))) < 2:
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGKILL)
    first.wait()
    for process in children:  # Ray's processes end shortly after their parent
        if process.is_running():
            process.kill()
    psutil.wait_procs(children, timeout=HANG_S)
    shards = [pq.read_table(path) for path in out.glob("work/videos-*.parquet")]
    saved = {Path(path).name for table in shards for path in table["path"].to_pylist()}
    assert 2 <= len(saved) < 12
    subprocess.run(slowly, cwd=ROOT, env=ray_environment, check=True, timeout=HANG_S)
    counts = Counter((tmp_path / "looked_at").read_text().split())
    assert len(counts) == 12
    assert {counts[name] for name in saved} == {1}  # saved videos are not inspected again
    subprocess.run(
        command(videos, tmp_path / "whole", 2), cwd=ROOT, env=ray_environment, check=True, timeout=HANG_S
    )
    assert (out / "recipes.parquet").read_bytes() == (tmp_path / "whole" / "recipes.parquet").read_bytes()
    assert not (out / "work").exists()


@pytest.mark.long  # tests/unit/dataset also tests the sandbox
def test_a_decode_that_hangs_or_crashes_skips_only_that_video(
    videos: Path, tmp_path: Path, ray_environment: dict[str, str]
) -> None:
    for name in ("hang", "crash"):
        shutil.copy(videos / "00000.mp4", videos / f"{name}.mp4")
    mishap = command(
        videos, tmp_path / "dataset", 2, inspect="tests.integration.inspectors:mishap", timeout_s=3
    )
    subprocess.run(mishap, cwd=ROOT, env=ray_environment, check=True, timeout=HANG_S)
    dataset = Dataset(tmp_path / "dataset")
    assert len(dataset.videos()) == 12
    assert {Path(entry.path).name: entry.reason for entry in dataset.skipped()} == {
        "hang.mp4": "decoding did not end within 3 s",
        "crash.mp4": "decoding it killed its process (SIGSEGV)",
    }
