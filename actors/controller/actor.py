"""`Experience` as a Ray actor: its hands on the other actors."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from actors.controller.controller import Experience, ExperiencePlan, Wish
from actors.controller.worker_monitor import Watch
from actors.messages import EvaluationAnswers, Group, Order, Prompt, Report, WorkerState
from actors.process_info import Place
from actors.workers.reward_pool import RewardPool
from actors.workers.rollout_pool import RolloutPool, last_line
from pretext.source import Split

_PROMPTS_PER_MAKER = 2  # asked for at once: one being made, one waiting
_PROMPT_TIMEOUT_S = 300.0
_PICTURES_TIMEOUT_S = 30.0  # at the end of a run, for those that are not drawn yet


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
        self._learners: dict[int, Place] = {}  # by rank
        self._running: set[asyncio.Task[None]] = set()
        self._pictures: set[asyncio.Task[None]] = set()
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
            self._watch = Watch(pool, makers=self._makers, scorers=self._scorers, tell=self._tell_of_workers)
            self._beside(self._watch.keep_watching())
        await self._experience.begin(session, step, cursor)

    async def learner_joined(self, rank: int, place: Place) -> None:
        self._learners[rank] = place

    async def order(self, session: str, number: int, wait_s: float) -> Order | None:
        assert self._experience is not None
        return await self._experience.order(session, number, wait_s)

    async def report(self, session: str, number: int, report: Report) -> None:
        assert self._experience is not None
        await self._experience.report(session, number, report)

    async def failure(self) -> str | None:
        return self._experience.failure() if self._experience is not None else None

    async def ask(self, wish: Wish) -> str | None:
        """What comes of a person's wish, in words; None: no step has begun yet, so there is nothing to save."""
        if self._experience is None or not self._experience.ask(wish):
            return None
        what = "The run ends, with a checkpoint," if wish == "stop" else "A checkpoint is written"
        return f"{what} after the step under way."

    async def stopped(self) -> bool:
        return self._experience is not None and self._experience.stopped()

    async def settled(self) -> None:
        """All that was under way for the record is told."""
        await asyncio.wait_for(asyncio.gather(*self._pictures, return_exceptions=True), _PICTURES_TIMEOUT_S)

    # --- called by Experience

    async def event(self, kind: str, message: str) -> None:
        await self._run_log.event.remote(kind, message)

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        await self._run_log.step.remote(step, metrics, groups)
        self._picture(step, groups)

    async def evaluation(self, answers: EvaluationAnswers) -> None:
        await self._run_log.evaluation.remote(answers)
        self._picture(answers.step, answers.groups)

    async def forget(self, step: int) -> None:
        await self._run_log.forget.remote(step)

    async def parity_failure(self, sample: Mapping[str, Any]) -> None:
        await self._run_log.parity_failure.remote(sample)

    def _picture(self, step: int, groups: Sequence[Group]) -> None:
        """Have the frames of `groups` drawn and told of; nothing waits for it."""
        for group in groups:
            task = self._beside(self._pictured(step, group))
            self._pictures.add(task)
            task.add_done_callback(self._pictures.discard)

    async def _pictured(self, step: int, group: Group) -> None:
        clips = await self._next(self._makers).pictures.remote(group.prompt.meta.recipe)
        await self._run_log.pictures.remote(step, group, clips)

    async def _tell_of_workers(self, states: Sequence[WorkerState]) -> None:
        version = None if self._experience is None else self._experience.version
        learners = [
            WorkerState("learner", rank, "running", place, policy_version=version)
            for rank, place in sorted(self._learners.items())
        ]
        await self._run_log.workers.remote([*learners, *states])

    def _beside(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do it beside everything else; what it raises is not worth a run."""

        async def quietly() -> None:
            try:
                await work
            except Exception as error:  # whatever it is: it was for the record alone
                await self.event("record_failed", f"a part of the record is missing: {last_line(error)}")

        task = asyncio.ensure_future(quietly())
        self._running.add(task)  # asyncio itself does not keep a task alive
        task.add_done_callback(self._running.discard)
        return task

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
