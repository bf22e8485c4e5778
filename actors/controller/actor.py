"""The controller as a Ray actor."""

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.controller.controller import Controller, ControllerConfig
from actors.controller.worker_monitor import WorkerMonitor
from actors.messages import WorkerState
from actors.process_info import ProcessInfo
from actors.record.recorder import RunLogRecorder
from actors.workers.prompt_pool import PromptPool
from actors.workers.reward_pool import RewardPool
from actors.workers.rollout_pool import RolloutPool
from vocabulary import workers


class ControllerActor(Controller):
    """A Controller whose workers, learner and record are Ray actors.

    The learner calls `begin`, `learner_joined`, `command` and `report`; the driver calls `request`, `failure`,
    `stopped` and `drain_record`.

    Args:
        prompt_workers, rollout_workers, reward_workers: handles of PromptWorkerActor, RolloutWorker and RewardWorker
            actors. Prompt and reward workers are stateless: Ray restarts a dead one and repeats its calls. RolloutPool
            takes care of rollout workers.
        run_log: handle of the RunLog actor.
    """

    def __init__(
        self,
        config: ControllerConfig,
        *,
        prompt_workers: Sequence[Any],
        rollout_workers: Sequence[Any],
        reward_workers: Sequence[Any],
        run_log: Any,
    ) -> None:
        prompts = PromptPool(prompt_workers)
        self._recorder = RunLogRecorder(run_log, prompts.render)
        pool = RolloutPool(rollout_workers, config.rollout, on_event=self._recorder.event)
        super().__init__(
            config,
            make_prompt=prompts.make,
            pool=pool,
            score=RewardPool(reward_workers).score,
            record=self._recorder,
        )
        self._monitor = WorkerMonitor(
            pool,
            prompt_workers=prompt_workers,
            reward_workers=reward_workers,
            report=self._report_workers,
        )
        self._learner_ranks: dict[int, ProcessInfo] = {}
        self._monitoring: asyncio.Task[None] | None = None

    async def begin(self, session: str, step: int, cursor: int) -> None:
        """Start a learner session; with the first one, also the monitoring of workers."""
        if self._monitoring is None:
            self._monitoring = asyncio.ensure_future(self._recorder.guard(self._monitor.run()))
        await super().begin(session, step, cursor)

    async def learner_joined(self, rank: int, process: ProcessInfo) -> None:
        """Note where a learner rank runs."""
        self._learner_ranks[rank] = process

    async def drain_record(self) -> None:
        """Wait until everything that is being recorded is recorded."""
        await self._recorder.drain()

    async def _report_workers(self, states: Sequence[WorkerState]) -> None:
        ranks = [
            WorkerState(workers.LEARNER, rank, workers.RUNNING, process, policy_version=self.version)
            for rank, process in sorted(self._learner_ranks.items())
        ]
        await self._recorder.workers([*ranks, *states])
