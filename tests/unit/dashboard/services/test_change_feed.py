"""Who may watch how much, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dashboard.services.change_feed import Hub, NoRoom, Subject
from store.database import Database, StoreError
from store.reading.reader import RunReader
from store.requests import ask

Try = Callable[..., Awaitable[None]]


def watch(database: Database, steps: Callable[[Try], Awaitable[None]], **limits: int) -> None:
    """Runs `steps` with something that watches, and keeps on."""

    async def run() -> None:
        hub = Hub(database, **limits)  # type: ignore[arg-type]
        async with AsyncExitStack() as stack:

            async def once(caller: str, network: str, *subjects: Subject) -> None:
                await stack.enter_async_context(hub.subscribe(subjects or (None,), caller, network))

            await steps(once)

    asyncio.run(run())


def test_sessions_behind_one_address_have_each_their_own(database: Database) -> None:
    async def steps(once: Try) -> None:
        for caller in ("ann", "bob"):
            for _ in range(2):
                await once(caller, "office")
            with pytest.raises(NoRoom, match=r"you watch 2 times already\. Close some pages"):
                await once(caller, "office")
        await once("eve", "office")
        with pytest.raises(NoRoom, match="office watches 5 times already"):
            await once("mallory", "office")
        await once("zoe", "home")
        with pytest.raises(NoRoom, match="too many pages are open"):
            await once("yan", "elsewhere")

    watch(database, steps, most=6, most_per_caller=2, most_per_network=5)


def test_watched_runs_are_bounded_and_let_go(database: Database) -> None:
    async def steps(once: Try) -> None:
        await once("ann", "office", 1, 2)
        await once("bob", "office", 2, 1)
        await once("bob", "office", None)
        with pytest.raises(NoRoom, match="more than 2 runs would be watched"):
            await once("eve", "office", 3)

    watch(database, steps, most_runs=2)

    async def again() -> None:
        hub = Hub(database, most_runs=1, most_per_caller=1, most_per_network=1, most=1)
        for run_id in (1, 2, 3):
            async with hub.subscribe([run_id], "ann", "office"):
                pass

    asyncio.run(again())


def test_a_subscription_ends_after_its_time(database: Database) -> None:
    async def run() -> None:
        hub = Hub(database, every_s=0.01, longest_s=1.0)
        looks = asyncio.create_task(hub.run())
        async with hub.subscribe([1], "ann", "office") as subscription:
            ask(database, 1, "checkpoint", "ann")
            told = [change async for change in subscription.news()]  # it ends
        looks.cancel()
        assert [(change.run_id, change.what) for change in told] == [(1, ("requests",))]

    asyncio.run(asyncio.wait_for(run(), 60))


def test_whatever_a_look_runs_into_the_next_one_sees_more(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dashboard.services.change_feed._AWAY_S", 0.01)
    look = RunReader.changed_since
    errors = [ValueError("odd"), StoreError("away"), ValueError("odd"), KeyError("x"), ValueError("odd")]

    def broken(reader: RunReader, run_id: int | None, token: str) -> tuple[str, tuple[str, ...]]:
        if token and errors:  # a look, not a subscription
            raise errors.pop(0)
        return look(reader, run_id, token)

    async def run() -> None:
        hub = Hub(database, every_s=0.01)
        async with hub.subscribe([1], "ann", "office") as subscription:
            monkeypatch.setattr(RunReader, "changed_since", broken)
            looks = asyncio.create_task(hub.run())
            ask(database, 1, "checkpoint", "ann")
            assert (await anext(subscription.news())).what == ("requests",)
            assert not looks.done()
        looks.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "ValueError('odd')",
        "StoreError('away')",
        "KeyError('x')",
    ]
    assert [record.exc_info is None for record in caplog.records] == [False, True, False]
