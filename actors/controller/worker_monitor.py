"""Reports the state of a run's workers every few seconds, for the page and the metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from actors.messages import WorkerState
from actors.workers.rollout_pool import RolloutPool
from vocabulary.workers import PROMPTS, REWARDS, RUNNING, STARTING, WorkerRole

_REPORT_INTERVAL_S = 2.0
_REPORTS_PER_POLL = 5  # prompt and reward workers are polled once per so many reports


class WorkerMonitor:
    """Reports worker states: rollout workers from the pool, prompt and reward workers by polling them.

    Args:
        prompt_workers, reward_workers: actor handles with a method `process_info`.
        report: called with the states of all workers.
    """

    def __init__(
        self,
        pool: RolloutPool,
        *,
        prompt_workers: Sequence[Any],
        reward_workers: Sequence[Any],
        report: Callable[[Sequence[WorkerState]], Awaitable[None]],
    ) -> None:
        self._pool, self._report = pool, report
        by_role: dict[WorkerRole, Sequence[Any]] = {PROMPTS: prompt_workers, REWARDS: reward_workers}
        self._handles = {
            (role, index): handle for role, handles in by_role.items() for index, handle in enumerate(handles)
        }
        self._states = {key: WorkerState(*key, STARTING) for key in self._handles}

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            polls = [asyncio.ensure_future(self._poll(*key)) for key in self._handles]
            for _ in range(_REPORTS_PER_POLL):
                await self._report([*self._pool.states(), *self._states.values()])
                await asyncio.sleep(_REPORT_INTERVAL_S)
            await asyncio.gather(*polls)  # a busy worker answers when it has finished its call

    async def _poll(self, role: WorkerRole, index: int) -> None:
        state = self._states[role, index]
        try:
            process = await self._handles[role, index].process_info.remote()
        except Exception:  # Ray is restarting it, or the run is over
            self._states[role, index] = replace(state, state=STARTING)
            return
        restarted = state.process is not None and process.pid != state.process.pid
        self._states[role, index] = replace(
            state, state=RUNNING, process=process, restarts=state.restarts + restarted
        )
