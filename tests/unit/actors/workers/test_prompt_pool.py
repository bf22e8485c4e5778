"""Tests of PromptPool: prompt workers take turns, and each prompt has a deadline."""

import asyncio
from typing import Any

import pytest

from actors.messages import PromptMeta
from actors.workers.prompt_pool import PromptPool
from tests.unit.actors.fakes import Remote, prompt, recipe


class FakePromptWorker:
    """A prompt worker that makes prompts with the meta of `fakes.prompt` after `may_make` is set."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.may_make = asyncio.Event()
        self.may_make.set()
        self.make = self  # `worker.make.options(...).remote(...)`
        self.frames = Remote(self._frames)

    def options(self, *, num_returns: int) -> "FakePromptWorker":
        assert num_returns == 3
        return self

    def remote(self, split: Any, index: int, task: str | None) -> tuple[Any, str, str]:
        self.made.append(index)
        return asyncio.ensure_future(self._meta(index)), f"engine input {index}", f"model input {index}"

    async def _meta(self, index: int) -> PromptMeta:
        await self.may_make.wait()
        return prompt(index).meta

    async def _frames(self, made: Any) -> list[Any]:
        return [made]


async def test_workers_take_turns_and_inputs_stay_references() -> None:
    workers = [FakePromptWorker(), FakePromptWorker()]
    pool = PromptPool(workers)
    made = [await pool.make("train", index, None) for index in range(4)]
    assert [worker.made for worker in workers] == [[1, 3], [0, 2]]
    assert [each.meta.index for each in made] == [0, 1, 2, 3]
    assert (made[3].engine_input, made[3].model_input) == ("engine input 3", "model input 3")
    rendered: list[Any] = [*await pool.render(recipe())]
    assert rendered == [recipe()]


async def test_no_more_than_two_prompts_per_worker_are_made_at_a_time() -> None:
    worker = FakePromptWorker()
    worker.may_make.clear()
    pool = PromptPool([worker])
    making = [asyncio.ensure_future(pool.make("train", index, None)) for index in range(3)]
    await asyncio.sleep(0.01)
    assert worker.made == [0, 1]
    worker.may_make.set()
    await asyncio.gather(*making)
    assert worker.made == [0, 1, 2]


async def test_a_prompt_that_takes_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.workers.prompt_pool._PROMPT_TIMEOUT_S", 0.01)
    worker = FakePromptWorker()
    worker.may_make.clear()
    with pytest.raises(TimeoutError, match="train prompt 7 was not made within 0 s"):
        await PromptPool([worker]).make("train", 7, None)


async def test_each_worker_renders_one_recipe_at_a_time() -> None:
    worker, may_render, rendering = FakePromptWorker(), asyncio.Event(), list[Any]()

    async def frames(made: Any) -> list[Any]:
        rendering.append(made)
        await may_render.wait()
        return []

    worker.frames = Remote(frames)
    pool = PromptPool([worker])
    calls = [asyncio.ensure_future(pool.render(recipe())) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert len(rendering) == 1
    may_render.set()
    await asyncio.gather(*calls)
    assert len(rendering) == 2
