"""`Experience` as a Ray actor: its hands on the other actors."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from actors.experience import Experience, ExperiencePlan
from actors.messages import EvaluationAnswers, Group, Order, Prompt, Report
from actors.reward_pool import RewardPool
from actors.rollout_pool import RolloutPool
from pretext.source import Split

_PROMPTS_PER_MAKER = 2  # asked for at once: one being made, one waiting
_PROMPT_TIMEOUT_S = 300.0


class ExperienceActor:
    """Turns what Experience asks for into actor calls, and the learner's calls into Experience's.

    Prompt makers and reward workers are stateless: Ray restarts a dead one and repeats its calls. Rollout
    workers are RolloutPool's care.

    Args:
        makers, workers, scorers: handles of PromptMaker, RolloutWorker and RewardWorker actors.
        run_log: handle of the RunLog.
        start_timeout_s, generate_timeout_s: see RolloutPool.
    """

    def __init__(
        self,
        plan: ExperiencePlan,
        *,
        makers: Sequence[Any],
        workers: Sequence[Any],
        scorers: Sequence[Any],
        run_log: Any,
        start_timeout_s: float,
        generate_timeout_s: float,
    ) -> None:
        self._plan = plan
        self._makers, self._workers, self._scorers, self._run_log = makers, workers, scorers, run_log
        self._start_timeout_s, self._generate_timeout_s = start_timeout_s, generate_timeout_s
        self._experience: Experience | None = None
        self._turn = 0
        self._making = asyncio.Semaphore(_PROMPTS_PER_MAKER * len(makers))

    # --- called by the learner and the driver

    async def begin(self, session: str, step: int, cursor: int) -> None:
        if self._experience is None:  # made here because the pool needs the running event loop
            pool = RolloutPool(
                self._workers,
                start_timeout_s=self._start_timeout_s,
                generate_timeout_s=self._generate_timeout_s,
                on_event=self.event,
            )
            scorers = RewardPool(self._scorers)
            self._experience = Experience(
                self._plan, make_prompt=self._make_prompt, pool=pool, score=scorers.score, record=self
            )
        await self._experience.begin(session, step, cursor)

    async def order(self, session: str, number: int, wait_s: float) -> Order | None:
        assert self._experience is not None
        return await self._experience.order(session, number, wait_s)

    async def report(self, session: str, number: int, report: Report) -> None:
        assert self._experience is not None
        await self._experience.report(session, number, report)

    async def failure(self) -> str | None:
        return self._experience.failure() if self._experience is not None else None

    # --- called by Experience

    async def event(self, kind: str, message: str) -> None:
        await self._run_log.event.remote(kind, message)

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        await self._run_log.step.remote(step, metrics, groups)

    async def evaluation(self, answers: EvaluationAnswers) -> None:
        await self._run_log.evaluation.remote(answers)

    async def parity_failure(self, sample: Mapping[str, Any]) -> None:
        await self._run_log.parity_failure.remote(sample)

    async def _make_prompt(self, split: Split, index: int, task: str | None) -> Prompt:
        async with self._making:  # so that the deadline is the making's, not the queue's
            make = self._next(self._makers).make.options(num_returns=3)
            meta, engine_input, model_input = make.remote(split, index, task)
            what = f"{split} prompt {index} was not made"
            return Prompt(await _within(_PROMPT_TIMEOUT_S, meta, what), engine_input, model_input)

    def _next(self, workers: Sequence[Any]) -> Any:
        self._turn += 1
        return workers[self._turn % len(workers)]


async def _within(timeout_s: float, call: Any, what: str) -> Any:
    """The call's result, or a TimeoutError that says what did not happen."""
    try:
        return await asyncio.wait_for(call, timeout_s)
    except TimeoutError:
        raise TimeoutError(f"{what} within {timeout_s:.0f} s.") from None
