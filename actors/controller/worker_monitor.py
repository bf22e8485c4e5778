"""Looks at a run's processes now and then, for people who watch it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from actors.messages import WorkerState
from actors.workers.rollout_pool import RolloutPool

_EVERY_S = 2.0  # between two looks at what the pool knows
_LOOKS_PER_ROUND = 5  # of those, until the others are asked where they are


class Watch:
    """How rollout workers are is what the pool knows; prompt makers and reward workers are asked.

    Args:
        makers, scorers: actor handles; each has `place`.
        tell: takes all states, as often as they are looked at.
    """

    def __init__(
        self,
        pool: RolloutPool,
        *,
        makers: Sequence[Any],
        scorers: Sequence[Any],
        tell: Callable[[Sequence[WorkerState]], Awaitable[None]],
    ) -> None:
        self._pool, self._tell = pool, tell
        self._handles = {
            (role, index): handle
            for role, handles in (("prompts", makers), ("rewards", scorers))
            for index, handle in enumerate(handles)
        }
        self._states = {key: WorkerState(*key, "starting") for key in self._handles}

    async def keep_watching(self) -> None:
        while True:
            asking = [asyncio.ensure_future(self._ask(*key)) for key in self._handles]
            for _ in range(_LOOKS_PER_ROUND):
                await self._tell([*self._pool.states(), *self._states.values()])
                await asyncio.sleep(_EVERY_S)
            await asyncio.gather(*asking)  # one that is busy answers when it is not

    async def _ask(self, role: str, index: int) -> None:
        state = self._states[role, index]
        try:
            place = await self._handles[role, index].place.remote()
        except Exception:  # it is being restarted, which Ray does, or the run is over
            self._states[role, index] = replace(state, state="starting")
            return
        moved = state.place is not None and place.pid != state.place.pid
        self._states[role, index] = replace(
            state, state="running", place=place, restarts=state.restarts + moved
        )
