"""Tests of RewardPool: every completion is scored once, in few calls, and errors reach the callers."""

import asyncio
from typing import Any

import pytest

import actors.workers.reward_pool
from actors.messages import Score
from actors.workers.reward_pool import Items, RewardPool
from tests.unit.actors.runs import settled


class FakeWorker:
    """A reward worker that scores a completion by the length of its text after `may_answer` is set."""

    def __init__(self) -> None:
        self.calls: list[Items] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.error: Exception | None = None
        self.score = self  # `worker.score.remote(...)`

    async def remote(self, items: Items) -> list[Score]:
        self.calls.append(items)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return [Score(len(text) / 10, True) for _, text, _ in items]


def items(*texts: str) -> Items:
    return [("counting", text, "3") for text in texts]


async def ask(pool: RewardPool, *groups: Items) -> list[Any]:
    return await asyncio.gather(*[pool.score(group) for group in groups], return_exceptions=True)


def rewards(scores: list[Score]) -> list[float]:
    return [score.reward for score in scores]


def test_groups_that_arrive_together_share_the_idle_workers() -> None:
    async def run() -> None:
        workers = [FakeWorker(), FakeWorker()]
        found = await ask(RewardPool(workers), *[items("x" * n, "x" * (n + 1)) for n in range(5)])
        assert [rewards(scores) for scores in found] == [[n / 10, (n + 1) / 10] for n in range(5)]
        assert sorted(len(call) for worker in workers for call in worker.calls) == [4, 6]

    asyncio.run(run())


def test_groups_that_arrive_while_all_workers_are_busy_share_the_next_call() -> None:
    async def run() -> None:
        worker = FakeWorker()
        worker.may_answer.clear()
        pool = RewardPool([worker])
        first = asyncio.ensure_future(pool.score(items("a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = [asyncio.ensure_future(pool.score(items("b" * n))) for n in (2, 3)]
        await asyncio.sleep(0)
        worker.may_answer.set()
        assert rewards(await first) == [0.1]
        assert [rewards(await each) for each in later] == [[0.2], [0.3]]
        assert [len(call) for call in worker.calls] == [1, 2]

    asyncio.run(run())


def test_an_error_reaches_all_callers_of_its_call_and_the_worker_is_used_again() -> None:
    async def run() -> None:
        worker = FakeWorker()
        worker.error = RuntimeError("lost")
        pool = RewardPool([worker])
        found = await ask(pool, items("a"), items("b"))
        assert [str(error) for error in found] == ["lost", "lost"]
        worker.error = None
        assert rewards(await pool.score(items("abc"))) == [0.3]

    asyncio.run(run())


def test_a_call_that_hangs_raises_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(actors.workers.reward_pool, "_CALL_TIMEOUT_S", 0.02)
        monkeypatch.setattr(actors.workers.reward_pool, "CUSTOM_REWARD_TIMEOUT_S", 0.0)
        worker = FakeWorker()
        worker.may_answer.clear()
        with pytest.raises(TimeoutError, match="2 completions were not scored within"):
            await RewardPool([worker]).score(items("a", "b"))

    asyncio.run(run())


def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    async def run() -> None:
        worker = FakeWorker()
        worker.may_answer.clear()
        pool = RewardPool([worker])
        cancelled, kept = (asyncio.ensure_future(pool.score(items(text))) for text in ("a", "bb"))
        await settled()
        cancelled.cancel()
        worker.may_answer.set()
        assert rewards(await kept) == [0.2]

    asyncio.run(run())
