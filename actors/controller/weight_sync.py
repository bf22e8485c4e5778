"""When weights are pushed, and to which rollout workers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from actors.controller.command_queue import CommandQueue
from actors.workers.rollout_pool import RolloutPool
from learner.commands import Push
from vocabulary import events
from weight_sync.rollout_client import LiveWorker

logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 5


class PushFailed(RuntimeError):
    """No attempt to push the weights succeeded."""


class WeightSync:
    """Owns the ordering of weight pushes.

    Invariants:
    - No engine generates while it is pushed to. `push` is called while no engine generates. Inside `late_pushes`,
      only workers without usable weights are pushed to, and those are given no prompts.
    - A push sends the learner's weights as of its turn, and workers are noted with that version.
    - A push that has begun is completed: only the end of the session cancels it.
    - A worker whose push failed holds parts of two versions, so it is restarted.

    Args:
        on_event: called with (kind, message) when a push fails.
    """

    def __init__(
        self, commands: CommandQueue, pool: RolloutPool, on_event: Callable[[str, str], Awaitable[None]]
    ) -> None:
        self._commands, self._pool, self._on_event = commands, pool, on_event
        self._pushing = asyncio.Lock()

    async def push(self) -> None:
        """Push the learner's weights to every live worker that lacks them; wait for one if there is none.

        Raises:
            PushFailed: every attempt failed.
            NoRolloutWorkers: all are lost.
        """
        await self._push_to(lambda: self._pool.workers_without(self._commands.version))

    @asynccontextmanager
    async def late_pushes(self) -> AsyncIterator["asyncio.Task[None]"]:
        """While other workers generate, push to those that come up, between two other commands of the learner.

        Yields:
            The task that pushes. It ends only with an error, so the caller must watch it.
        """
        task = asyncio.ensure_future(self._push_to_late_workers())
        try:
            yield task
        finally:
            async with self._pushing:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _push_to_late_workers(self) -> None:
        while True:
            await self._pool.wait_for(self._pool.workers_without_weights)
            await self._push_to(self._pool.workers_without_weights)

    async def _push_to(self, lacking: Callable[[], tuple[LiveWorker, ...]]) -> None:
        """Push to the workers that `lacking` returns; if that fails, restart them and push to those it returns next."""
        for _ in range(_MAX_ATTEMPTS):
            await self._pool.wait_for(self._pool.live_workers)
            async with self._commands.turn, self._pushing:
                workers, version = lacking(), self._commands.version
                if not workers:
                    return
                started = time.perf_counter()
                report = await self._commands.give(Push(version, workers))
                if report.failure is None:
                    seconds = time.perf_counter() - started
                    logger.info(
                        "push of version %d to %d workers took %.2f s", version, len(workers), seconds
                    )
                    await self._pool.note_pushed(workers, version)
                    return
                logger.warning("%s", report.failure)
                await self._on_event(events.PUSH_FAILED, report.failure)
                for worker in workers:
                    await self._pool.restart(worker, "its weight push failed")
        raise PushFailed(
            f"the weights could not be pushed in {_MAX_ATTEMPTS} attempts; last: {report.failure}"
        )
