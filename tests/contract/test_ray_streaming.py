"""What RolloutPool relies on of Ray: generators of actors that stream, die, raise and hang in the middle."""

import asyncio
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from actors.process_info import Place, here
from actors.workers.rollout_pool import RolloutPool
from rollout.engine import Completion, Sampling
from tests.unit.actors.fakes import Events, prompt

SAMPLING = Sampling(num_completions=1, temperature=1.0, max_tokens=1, seed=0)


class Worker:
    """Answers a prompt with its place; over the first that names a fate, once, it meets it."""

    def __init__(self) -> None:
        self._life = uuid.uuid4().hex

    def describe(self) -> tuple[str, int, Place]:
        return self._life, 1, here()

    def generate(
        self, version: int, samplings: list[Sampling], *inputs: Any
    ) -> Iterator[tuple[int, list[Completion]]]:
        for place, entry in enumerate(inputs):
            fate, mark = entry
            if fate and not os.path.exists(mark):
                open(mark, "w").close()
                if fate == "die":
                    time.sleep(0.3)  # what was yielded is on its way
                    os._exit(1)
                if fate == "raise":
                    raise ValueError("out of blocks")
                time.sleep(1000)
            yield [(place, [Completion((place,), (0.0,), self._life, "stop")])]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="vssr-", dir="/tmp")  # Ray's sockets need a short path
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder,
        configure_logging=False,
    )  # fmt: skip
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("fate", ["die", "raise", "hang"])
def test_what_a_worker_finished_is_kept_and_the_rest_is_done_by_its_next_life(
    fate: str, tmp_path: Any
) -> None:
    async def answered() -> tuple[dict[int, str], Events]:
        events = Events()
        worker = ray.remote(Worker).options(max_restarts=3, num_cpus=0).remote()
        pool = RolloutPool([worker], start_timeout_s=60, generate_timeout_s=8, on_event=events)
        await pool.all_started()
        await pool.refitted(pool.members(), 0)
        lives: dict[int, str] = {}

        def deliver(index: int, completions: list[Completion], version: int) -> None:
            assert index not in lives
            lives[index] = completions[0].text

        prompts = [prompt(index) for index in range(4)]
        inputs = [(fate if index == 2 else "", str(tmp_path / "mark")) for index in range(4)]
        asked = [type(each)(each.meta, entry, None) for each, entry in zip(prompts, inputs, strict=True)]
        generating = asyncio.ensure_future(pool.generate(asked, [SAMPLING] * 4, oldest=0, deliver=deliver))
        await pool.wait_for(pool.members_without_weights)
        assert sorted(lives) == [0, 1]
        await pool.refitted(pool.members(), 0)
        await asyncio.wait_for(generating, 60)
        return lives, events

    lives, events = asyncio.run(answered())
    assert lives[0] == lives[1] != lives[2] == lives[3]
    assert events.kinds == ["rollout_died", "rollout_restarted"]
    said = {"die": "its process died", "raise": "ValueError: out of blocks", "hang": "no answer within 8 s"}
    assert said[fate] in events.said[0][1]
