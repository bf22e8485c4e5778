"""The producer side of a run: makes each step's scored groups and tells the learner what to do next.

    prompt makers ──► rollout pool ──► reward workers ──► groups ──► TrainOrder ─┐
                          ▲                                                      ▼
                          └──────────── PushOrder ◄─────────────────────────  learner

Strictly on-policy: a step's groups are sampled from the weights that the step before produced. The next
step's prompts are made while the learner trains.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from actors.messages import (
    EvaluationAnswers,
    Group,
    Order,
    Prompt,
    PromptMeta,
    PushOrder,
    Rollout,
    StopOrder,
    TrainOrder,
)
from actors.rollout_pool import RolloutPool
from actors.step_metrics import step_metrics
from pretext.source import Split
from rollout.engine import Completion, Sampling

_PUSH_ATTEMPTS = 5


@dataclass(frozen=True)
class Report:
    """What the learner says of an order."""

    failure: str | None = None  # None: carried out
    metrics: Mapping[str, float] = field(default_factory=dict)  # of a step
    seconds: float = 0.0


@dataclass(frozen=True)
class ExperiencePlan:
    """What to produce."""

    steps: int
    prompts_per_step: int
    sampling: Sampling  # of a training prompt; the seed is the run's
    tasks: tuple[str, ...]  # of the mix, for evaluation
    samples_per_task: int  # held out; 0: no evaluation
    sampled_completions: int  # per held-out sample
    shared_gpus: bool  # engines sleep while the learner trains
    recorded_groups: int  # per step, whose rollouts are written down
    reward_tolerance: float  # see GrpoConfig


class PushFailed(RuntimeError):
    """Weights could not be brought to any rollout worker."""


class Recorder(Protocol):
    """Where a run's record goes."""

    async def event(self, kind: str, message: str) -> None: ...

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None: ...

    async def evaluation(self, answers: EvaluationAnswers) -> None: ...


class Experience:
    """Owns the order of pushes and steps.

    Invariants:
    - Orders form one sequence per learner session; each is given only after the one before is reported done.
    - Before TrainOrder(step), a PushOrder of version `step` has succeeded on every member that sampled its
      groups; a member that comes up later gets a PushOrder of its own before it is given prompts.
    - No engine is generating while it is being pushed to.
    - A learner that starts over (from its last checkpoint) begins a new session: what the old session had
      under way is dropped, and the new one starts with a push.

    Args:
        make_prompt: (split, index, task or None) to Prompt.
        score: [(task, text, answer)] to [(reward, valid)].
        record: told of every step, evaluation and event.
    """

    def __init__(
        self,
        plan: ExperiencePlan,
        *,
        make_prompt: Callable[[Split, int, str | None], Awaitable[Prompt]],
        pool: RolloutPool,
        score: Callable[[Sequence[tuple[str, str, str]]], Awaitable[list[tuple[float, bool]]]],
        record: Recorder,
    ) -> None:
        self._plan, self._pool = plan, pool
        self._make_prompt, self._score, self._record = make_prompt, score, record
        self._session = ""
        self._orders: list[Order | None] = []  # None: carried out and forgotten
        self._reports: list[asyncio.Future[Report]] = []
        self._changed = asyncio.Condition()
        self._producing: asyncio.Task[None] | None = None
        self._pushing = asyncio.Lock()
        self._failure: BaseException | None = None
        self._evaluated: set[str] = set()
        self._seconds: dict[str, float] = {}  # of the step being made, per phase

    # --- what the learner calls ---------------------------------------------------------------------

    async def begin(self, session: str, step: int) -> None:
        """A learner session starts: it holds the weights of version `step` and wants orders from there."""
        if self._producing is not None:
            for report in self._reports:
                report.cancel()  # nobody will report to the old session any more
            self._producing.cancel()
            await asyncio.gather(self._producing, return_exceptions=True)
            await self._record.event("learner_restarted", f"the learner goes on from step {step}")
        async with self._changed:
            self._session, self._orders, self._reports, self._failure = session, [], [], None
            self._changed.notify_all()
        await self._pool.invalidate()
        self._producing = asyncio.ensure_future(self._produce(step))
        self._producing.add_done_callback(self._note_failure)

    async def order(self, session: str, number: int, wait_s: float) -> Order | None:
        """Order `number` (from 0) of the session, or None if it is not there within `wait_s`.

        When no more groups can be made the order is to stop; `failure` then says why.

        Raises:
            RuntimeError: another session has taken over.
        """
        async with self._changed:
            ready = self._changed.wait_for(
                lambda: session != self._session or self._failure or number < len(self._orders)
            )
            try:
                await asyncio.wait_for(ready, wait_s)
            except TimeoutError:
                return None
            if session != self._session:
                raise RuntimeError(f"learner session {session} was replaced by {self._session}.")
            if self._failure is not None:
                return StopOrder()
            order = self._orders[number]
            if order is None:
                raise RuntimeError(f"order {number} was carried out before this rank asked for it.")
            return order

    def failure(self) -> str | None:
        """Why the run had to stop early; None while all is well."""
        return None if self._failure is None else f"{type(self._failure).__name__}: {self._failure}"

    async def report(self, session: str, number: int, report: Report) -> None:
        """The learner's rank 0 has carried out order `number`, or says why it could not."""
        if session == self._session and number < len(self._reports) and not self._reports[number].done():
            self._reports[number].set_result(report)

    # --- producing ----------------------------------------------------------------------------------

    async def _produce(self, first_step: int) -> None:
        plan = self._plan
        prompts = asyncio.ensure_future(self._make_prompts(first_step))
        try:
            await self._pool.all_started()
            await self._push(first_step)
            if first_step == 0:
                await self._evaluate("before", 0)
            await self._record.event("stage", "training")
            for step in range(first_step, plan.steps):
                started = time.perf_counter()
                self._seconds = {}
                made = await prompts
                self._seconds["prompts"] = time.perf_counter() - started  # what was not ready before
                groups = await self._make_groups(step, made)
                prompts = asyncio.ensure_future(self._make_prompts(step + 1))
                update = await self._train(step, groups)
                await self._push(step + 1)
                self._seconds["step"] = time.perf_counter() - started
                metrics = step_metrics(groups, plan.reward_tolerance) | dict(update.metrics)
                metrics |= {f"seconds/{phase}": value for phase, value in self._seconds.items()}
                await self._record.step(step, metrics, groups[: plan.recorded_groups])
            await self._evaluate("after", plan.steps)
            await self._record.event("stage", "done")
            await self._give(StopOrder())
        finally:
            prompts.cancel()

    async def _train(self, step: int, groups: tuple[Group, ...]) -> Report:
        if self._plan.shared_gpus:
            await self._pool.on_all("sleep")
        try:
            report = await self._give(TrainOrder(step, groups))
        finally:  # also where the learner died over it: the next session pushes to engines that are awake
            if self._plan.shared_gpus:
                await self._pool.on_all("wake_up")
        self._seconds["update"] = report.seconds
        # Every rank took part in the step, so every rank has fetched all orders up to it: let their groups go.
        self._orders = [None] * len(self._orders)
        return report

    def _note_failure(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or task.exception() is None:
            return

        async def tell() -> None:
            async with self._changed:
                self._failure = task.exception()
                self._changed.notify_all()

        self._telling = asyncio.ensure_future(tell())  # a task nobody holds may be collected

    async def _give(self, order: Order) -> Report:
        """Hand the next order to the learner and wait until it reports."""
        report: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        async with self._changed:
            self._orders.append(order)
            self._reports.append(report)
            self._changed.notify_all()
        return await report

    async def _push(self, version: int) -> None:
        """Bring `version` to every member that is up; a member that fails is restarted and left for later."""
        for _ in range(_PUSH_ATTEMPTS):
            members = await self._pool.wait_for_stale(version)
            async with self._pushing:
                report = await self._give(PushOrder(version, members))
                if report.failure is None:
                    await self._pool.refitted(members, version)
                    self._seconds["push"] = report.seconds
                    return
            await self._record.event("push_failed", report.failure)
            for member in members:
                # An engine whose update broke off holds parts of two versions.
                await self._pool.restart(member, "its weight push broke off")
        raise PushFailed(
            f"the weights could not be pushed in {_PUSH_ATTEMPTS} attempts; last: {report.failure}"
        )

    async def _make_prompts(self, step: int) -> list[Prompt]:
        plan = self._plan
        if step >= plan.steps:
            return []
        first = step * plan.prompts_per_step
        return list(
            await asyncio.gather(
                *[self._make_prompt("train", first + i, None) for i in range(plan.prompts_per_step)]
            )
        )

    async def _make_groups(self, step: int, prompts: Sequence[Prompt]) -> tuple[Group, ...]:
        for prompt in prompts:
            for rejected in prompt.meta.rejected:
                await self._record.event("video_rejected", rejected)
        started = time.perf_counter()
        samplings = [
            replace(self._plan.sampling, seed=_seed(self._plan.sampling.seed, prompt.meta))
            for prompt in prompts
        ]
        rollouts = await self._roll_out(prompts, samplings, step)
        self._seconds["rollout"] = time.perf_counter() - started
        return tuple(
            Group(f"{step}-{i}", prompt, tuple(members), step)
            for i, (prompt, members) in enumerate(zip(prompts, rollouts, strict=True))
        )

    async def _roll_out(
        self, prompts: Sequence[Prompt], samplings: Sequence[Sampling], version: int
    ) -> list[list[Rollout]]:
        """Completions with rewards, in the order of `prompts`; workers that come up meanwhile are refitted."""
        refitting = asyncio.ensure_future(self._keep_refitting(version))
        share = -(-len(prompts) // max(1, len(self._pool.members())))
        try:
            parts = await _all_or_first_error(
                refitting,
                [
                    self._roll_out_part(prompts[i : i + share], samplings[i : i + share], version)
                    for i in range(0, len(prompts), share)
                ],
            )
            return [rollouts for part in parts for rollouts in part]
        finally:
            async with self._pushing:  # a push that is under way is carried out, not left half reported
                refitting.cancel()
            await asyncio.gather(refitting, return_exceptions=True)

    async def _keep_refitting(self, version: int) -> None:
        while True:
            await self._pool.wait_for_stale(version)
            await self._push(version)

    async def _roll_out_part(
        self, prompts: Sequence[Prompt], samplings: Sequence[Sampling], version: int
    ) -> list[list[Rollout]]:
        completions = await self._pool.generate(prompts, samplings, version)
        started = time.perf_counter()
        items = [
            # An answer that was cut off is not the whole reply: it is scored as no reply.
            (
                prompt.meta.task,
                completion.text if completion.finish_reason == "stop" else "",
                prompt.meta.answer,
            )
            for prompt, group in zip(prompts, completions, strict=True)
            for completion in group
        ]
        scores = iter(await self._score(items))
        self._seconds["reward"] = max(self._seconds.get("reward", 0.0), time.perf_counter() - started)
        return [
            [
                _rollout(f"{prompt.meta.split}-{prompt.meta.index}-{n}", completion, *next(scores))
                for n, completion in enumerate(group)
            ]
            for prompt, group in zip(prompts, completions, strict=True)
        ]

    async def _evaluate(self, stage: Literal["before", "after"], version: int) -> None:
        """Answer held-out samples, greedily and sampled."""
        plan = self._plan
        if plan.samples_per_task == 0 or stage in self._evaluated:
            return
        await self._record.event("stage", f"evaluating {stage} training")
        for task in plan.tasks:
            prompts = await asyncio.gather(
                *[self._make_prompt("held_out", index, task) for index in range(plan.samples_per_task)]
            )
            greedy = await self._answers(prompts, 1, 0.0, version)
            sampled = await self._answers(
                prompts, plan.sampled_completions, plan.sampling.temperature, version
            )
            truths = tuple(prompt.meta.answer for prompt in prompts)
            await self._record.evaluation(EvaluationAnswers(stage, task, greedy, sampled, truths))
        self._evaluated.add(stage)

    async def _answers(
        self, prompts: Sequence[Prompt], count: int, temperature: float, version: int
    ) -> tuple[tuple[float, bool], ...]:
        sampling = replace(self._plan.sampling, num_completions=count, temperature=temperature)
        samplings = [replace(sampling, seed=_seed(sampling.seed, prompt.meta)) for prompt in prompts]
        groups = await self._roll_out(prompts, samplings, version)
        return tuple((rollout.reward, rollout.valid) for group in groups for rollout in group)


async def _all_or_first_error(
    beside: "asyncio.Future[None]", calls: Sequence[Coroutine[Any, Any, Any]]
) -> list[Any]:
    """The results of `calls`; the first error of theirs, or of `beside` (which never ends well), if there is one."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        pending = {beside, *tasks}
        while pending - {beside}:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()


def _seed(run_seed: int, meta: PromptMeta) -> int:
    """A sampling seed that depends on the prompt alone, so a re-run prompt is answered alike."""
    return (run_seed * 1_000_003 + meta.index * 7919 + (meta.split == "held_out")) % 2**31


def _rollout(rollout_id: str, completion: Completion, reward: float, valid: bool) -> Rollout:
    return Rollout(
        rollout_id,
        completion.token_ids,
        completion.logprobs,
        completion.text,
        completion.finish_reason,
        reward,
        valid,
    )
