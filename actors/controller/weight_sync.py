"""Brings the learner's weights to the rollout workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from actors.controller.command_queue import Orders
from actors.messages import Member, PushOrder
from actors.workers.rollout_pool import RolloutPool

_ATTEMPTS = 5


class PushFailed(RuntimeError):
    """Weights could not be brought to any rollout worker."""


class Pushes:
    """Owns the ordering of weight pushes.

    Invariants:
    - No engine is generating while it is pushed to. `push` is called while none generates; within `refitting`,
      only members without usable weights are pushed to, which are given no prompts.
    - A push brings what the learner holds when its turn comes, and members are noted with that version.
    - A push that was begun is carried out: nothing is cancelled over it but by the end of the session.
    - An engine whose update broke off holds parts of two versions, and is restarted.

    Args:
        on_event: told of pushes that failed, (kind, message).
    """

    def __init__(
        self, orders: Orders, pool: RolloutPool, on_event: Callable[[str, str], Awaitable[None]]
    ) -> None:
        self._orders, self._pool, self._on_event = orders, pool, on_event
        self._pushing = asyncio.Lock()

    async def push(self) -> None:
        """Bring the learner's weights to every member that is up and lacks them; without any, wait for one.

        Raises:
            PushFailed: they could not be.
            NoRolloutWorkers: none is left.
        """
        await self._bring(lambda: self._pool.members_without(self._orders.version))

    @asynccontextmanager
    async def refitting(self) -> AsyncIterator["asyncio.Task[None]"]:
        """While others generate: members that come up are pushed to, between two other orders of the learner.

        Yields:
            The task that does it, which ends only by an error: the caller must look out for it.
        """
        task = asyncio.ensure_future(self._keep_refitting())
        try:
            yield task
        finally:
            async with self._pushing:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_refitting(self) -> None:
        while True:
            await self._pool.wait_for(self._pool.members_without_weights)
            await self._bring(self._pool.members_without_weights)

    async def _bring(self, lacking: Callable[[], tuple[Member, ...]]) -> None:
        """Push to the members that `lacking` names, and to those that come after them if it fails."""
        for _ in range(_ATTEMPTS):
            await self._pool.wait_for(self._pool.members)
            async with self._orders.turn, self._pushing:
                members, version = lacking(), self._orders.version
                if not members:
                    return
                report = await self._orders.give(PushOrder(version, members))
                if report.failure is None:
                    await self._pool.refitted(members, version)
                    return
                await self._on_event("push_failed", report.failure)
                for member in members:
                    await self._pool.restart(member, "its weight push broke off")
        raise PushFailed(f"the weights could not be pushed in {_ATTEMPTS} attempts; last: {report.failure}")
