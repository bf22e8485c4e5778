"""The limits of subscriptions, and how the change feed handles errors."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dashboard.services.change_feed import ChangeFeed, Subject, TooManySubscriptions
from store.database import Database, StoreError
from store.reading.reader import RunReader
from store.requests import add_request

Try = Callable[..., Awaitable[None]]


def watch(database: Database, steps: Callable[[Try], Awaitable[None]], **limits: int) -> None:
    """Run `steps` with a function that subscribes and stays subscribed."""

    async def run() -> None:
        feed = ChangeFeed(database, **limits)  # type: ignore[arg-type]
        async with AsyncExitStack() as stack:

            async def once(caller: str, network: str, *subjects: Subject) -> None:
                await stack.enter_async_context(feed.subscribe(subjects or (None,), caller, network))

            await steps(once)

    asyncio.run(run())


def test_each_session_and_each_network_has_a_limit(database: Database) -> None:
    async def steps(once: Try) -> None:
        for caller in ("ann", "bob"):
            for _ in range(2):
                await once(caller, "office")
            with pytest.raises(TooManySubscriptions, match=r"you have 2 pages open already\. Close some"):
                await once(caller, "office")
        await once("eve", "office")
        with pytest.raises(TooManySubscriptions, match="office has 5 pages open already"):
            await once("mallory", "office")
        await once("zoe", "home")
        with pytest.raises(TooManySubscriptions, match="too many pages are open"):
            await once("yan", "elsewhere")

    watch(database, steps, max_subscriptions=6, max_per_caller=2, max_per_network=5)


def test_the_number_of_watched_runs_is_limited_and_freed(database: Database) -> None:
    async def steps(once: Try) -> None:
        await once("ann", "office", 1, 2)
        await once("bob", "office", 2, 1)
        await once("bob", "office", None)
        with pytest.raises(TooManySubscriptions, match="more than 2 runs would be watched"):
            await once("eve", "office", 3)

    watch(database, steps, max_runs=2)

    async def again() -> None:
        feed = ChangeFeed(database, max_runs=1, max_per_caller=1, max_per_network=1, max_subscriptions=1)
        for run_id in (1, 2, 3):
            async with feed.subscribe([run_id], "ann", "office"):
                pass

    asyncio.run(again())


def test_a_subscription_ends_after_its_time(database: Database) -> None:
    async def run() -> None:
        feed = ChangeFeed(database, poll_every_s=0.01, max_duration_s=1.0)
        polling = asyncio.create_task(feed.run())
        async with feed.subscribe([1], "ann", "office") as subscription:
            add_request(database, 1, "checkpoint", "ann")
            received = [change async for change in subscription.changes()]  # it ends
        polling.cancel()
        assert [(change.run_id, change.what) for change in received] == [(1, ("requests",))]

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_poll_that_fails_is_logged_once_and_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dashboard.services.change_feed._RETRY_S", 0.01)
    read = RunReader.changed_since
    errors = [ValueError("odd"), StoreError("away"), ValueError("odd"), KeyError("x"), ValueError("odd")]

    def broken(reader: RunReader, run_id: int | None, token: str) -> tuple[str, tuple[str, ...]]:
        if token and errors:  # a poll, not a subscription
            raise errors.pop(0)
        return read(reader, run_id, token)

    async def run() -> None:
        feed = ChangeFeed(database, poll_every_s=0.01)
        async with feed.subscribe([1], "ann", "office") as subscription:
            monkeypatch.setattr(RunReader, "changed_since", broken)
            polling = asyncio.create_task(feed.run())
            add_request(database, 1, "checkpoint", "ann")
            assert (await anext(subscription.changes())).what == ("requests",)
            assert not polling.done()
        polling.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "ValueError('odd')",
        "StoreError('away')",
        "KeyError('x')",
    ]
    assert [record.exc_info is None for record in caplog.records] == [False, True, False]
