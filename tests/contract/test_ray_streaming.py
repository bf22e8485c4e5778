"""Tests of the streaming that RolloutPool needs from Ray: an actor's generator may die, raise or hang half-way."""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from actors.process_info import ProcessInfo, current_process
from actors.workers.rollout_pool import RolloutPool
from cluster.training.ray_session import allow_slow_start
from rollout.config import RolloutConfig
from rollout.engine import Completion, Sampling
from tests.unit.actors.fakes import Events, prompt

SAMPLING = Sampling(num_completions=1, temperature=1.0, max_tokens=1, seed=0)
HANG_S = 900.0  # bounds a hang; the calls themselves take far less, also on a busy machine
TIMEOUT_S = {"die": HANG_S, "raise": HANG_S, "hang": 20.0}
REASON = {
    "die": "its process died",
    "raise": "ValueError: out of blocks",
    "hang": "nothing came back within 20 s",
}


class Worker:
    """A rollout worker whose completions contain the id of its life. A prompt with a fate makes it fail once."""

    def __init__(self) -> None:
        self._life = uuid.uuid4().hex

    def describe(self) -> tuple[str, int, ProcessInfo]:
        return self._life, 1, current_process()

    def generate(
        self, version: int, samplings: list[Sampling], *inputs: tuple[str, str]
    ) -> Iterator[list[tuple[int, list[Completion]]]]:
        for place, (fate, mark) in enumerate(inputs):
            if fate and not os.path.exists(mark):
                open(mark, "w").close()
                while not os.path.exists(f"{mark}-arrived"):  # earlier results must arrive first
                    time.sleep(0.02)
                if fate == "die":
                    os._exit(1)
                if fate == "raise":
                    raise ValueError("out of blocks")
                time.sleep(HANG_S)
            yield [(place, [Completion((place,), (0.0,), self._life, "stop")])]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")  # Ray's sockets need a short path
    allow_slow_start()
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder,
        configure_logging=False,
    )  # fmt: skip
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("fate", ["die", "raise", "hang"])
def test_finished_prompts_are_kept_and_the_restarted_worker_generates_the_others(
    fate: str, tmp_path: Path
) -> None:
    async def generate() -> tuple[dict[int, str], Events]:
        events = Events()
        worker = ray.remote(Worker).options(max_restarts=3, num_cpus=0).remote()
        config = RolloutConfig(start_timeout_s=HANG_S, timeout_s=TIMEOUT_S[fate])
        pool = RolloutPool([worker], config, on_event=events)
        pool.start()
        await pool.all_started()
        await pool.note_pushed(pool.live_workers(), 0)
        lives: dict[int, str] = {}

        def deliver(index: int, completions: list[Completion], version: int) -> None:
            assert index not in lives
            lives[index] = completions[0].text
            if set(lives) == {0, 1}:
                (tmp_path / "mark-arrived").touch()

        prompts = [prompt(index) for index in range(4)]
        inputs = [(fate if index == 2 else "", str(tmp_path / "mark")) for index in range(4)]
        given = [type(each)(each.meta, entry, None) for each, entry in zip(prompts, inputs, strict=True)]
        generating = asyncio.ensure_future(pool.generate(given, [SAMPLING] * 4, oldest=0, deliver=deliver))
        await pool.wait_for(pool.workers_without_weights)
        assert sorted(lives) == [0, 1]
        await pool.note_pushed(pool.live_workers(), 0)
        await asyncio.wait_for(generating, HANG_S)
        return lives, events

    lives, events = asyncio.run(generate())
    assert lives[0] == lives[1] != lives[2] == lives[3]
    assert events.kinds == ["rollout_died", "rollout_restarted"]
    assert REASON[fate] in events.said[0][1]
