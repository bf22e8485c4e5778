"""The producer side of a run: makes each step's scored groups and tells the learner what to do next.

    prompt makers ──► rollout pool ──► reward workers ──► groups ──► TrainOrder ─┐
                          ▲                                                      ▼
                          └──────────── PushOrder ◄─────────────────────────  learner ──► SaveOrder

    max_staleness 0   push s │ sample s │ train s │ push s+1 │ sample s+1 │ train s+1 │ ...
    max_staleness 1   push s │ train s               │ push s+1 │ train s+1  │ ...
                             │ sample s+1 from v. s  │          │ sample s+2 │ ...

The next step's prompts are made while this one's are answered, and a prompt's answers are scored as soon as
they are there, while others are still being sampled.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from actors.controller.batches import Batch, Batches, BatchPlan, MakePrompt
from actors.controller.command_queue import Orders
from actors.controller.held_out import EvaluationPlan, HeldOut, held_out_score
from actors.controller.sampler import Sampler, ScoreAll
from actors.controller.step_metrics import Stopwatch, batch_metrics, step_metrics
from actors.controller.weight_sync import Pushes
from actors.messages import (
    EvaluationAnswers,
    Group,
    Order,
    ParityFailure,
    Report,
    SaveOrder,
    Stage,
    StopOrder,
    TrainOrder,
)
from actors.workers.rollout_pool import RolloutPool


@dataclass(frozen=True)
class ExperiencePlan:
    """What to produce.

    Args:
        steps: of the whole run.
        max_staleness: 0 or 1: steps by which the policy that samples may be behind the one that is trained.
        checkpoint_every: steps from one checkpoint to the next.
        shared_gpus: engines sleep while the learner trains; with max_staleness 0 only.
        recorded_groups: per step, whose rollouts are written down.
    """

    steps: int
    max_staleness: int
    checkpoint_every: int
    shared_gpus: bool
    recorded_groups: int
    batch: BatchPlan
    evaluation: EvaluationPlan


Wish = Literal["stop", "checkpoint"]


class ParityBroken(RuntimeError):
    """The learner's logprobs differ from the engine's by more than the configuration allows."""


class Recorder(Protocol):
    """Where a run's record goes."""

    async def event(self, kind: str, message: str) -> None: ...

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None: ...

    async def evaluation(self, answers: EvaluationAnswers) -> None: ...

    async def parity_failure(self, sample: Mapping[str, Any]) -> None: ...

    async def forget(self, step: int) -> None: ...  # steps from this one on are taken again


class Experience:
    """Decides what happens next, and in which order.

    Invariants:
    - Orders form one sequence per learner session; each is given only after the one before is reported done.
    - The groups of TrainOrder(step) are sampled from version `step` (max_staleness 0), or `step - 1` or newer
      (max_staleness 1), which a PushOrder brought to the members that sampled them; a member that comes up later
      gets a PushOrder of its own before it is given prompts.
    - No engine is generating while it is being pushed to.
    - The prompts of a step follow from the number its first one has, which a SaveOrder has the learner keep.
      So a run that goes on from a checkpoint takes the same prompts in the same order; with max_staleness 0 from
      the same weights. (With 1, the first step after a checkpoint is sampled from the checkpoint's own weights:
      those before it are gone.)
    - A SaveOrder comes after its step is recorded, so no step that was saved is missing from the record.
    - A learner that starts over (from its last checkpoint) begins a new session: what the old session had
      under way is dropped, and the new one starts with a push.

    Args:
        make_prompt: (split, index, task or None) to Prompt.
        score: [(task, text, answer)] to scores.
        record: told of every step, evaluation and event.
    """

    def __init__(
        self,
        plan: ExperiencePlan,
        *,
        make_prompt: MakePrompt,
        pool: RolloutPool,
        score: ScoreAll,
        record: Recorder,
    ) -> None:
        self._plan, self._pool, self._make_prompt, self._record = plan, pool, make_prompt, record
        self._orders = Orders()
        self._pushes = Pushes(self._orders, pool, record.event)
        self._sampler = Sampler(pool, self._pushes, score, record.event)
        self._held_out = HeldOut(plan.evaluation, make_prompt, self._sampler)
        self._producing: asyncio.Task[None] | None = None
        self._evaluated_before = False
        self._asked: set[Wish] = set()
        self._steps_began = False
        self._stopped = False

    # --- what the learner calls ---------------------------------------------------------------------

    async def begin(self, session: str, step: int, cursor: int) -> None:
        """A learner session starts: it holds the weights of version `step` and wants orders from there.

        Args:
            cursor: number of the training prompt that step `step` begins with.
        """
        if self._producing is not None:
            self._orders.drop()
            self._producing.cancel()
            await asyncio.gather(self._producing, return_exceptions=True)
            await self._record.event("learner_restarted", f"the learner goes on from step {step}")
        await self._record.forget(step)
        await self._orders.begin(session, step)
        await self._pool.invalidate()
        self._producing = asyncio.ensure_future(self._produce(step, cursor))

    async def order(self, session: str, number: int, wait_s: float) -> Order | None:
        """See Orders.order."""
        return await self._orders.order(session, number, wait_s)

    async def report(self, session: str, number: int, report: Report) -> None:
        """The learner's rank 0 has carried out order `number`, or says why it could not.

        Any rank may report that parity is broken, which ends the run.
        """
        if report.parity_failure is not None and self._orders.is_of(session):
            await self._stop_for_parity(report.parity_failure)
        self._orders.report(session, number, report)

    # --- what people call

    def ask(self, wish: Wish) -> bool:
        """A checkpoint after the step under way, or also the run's end there; False: no step has begun yet."""
        if self._steps_began:
            self._asked.add(wish)
        return self._steps_began

    def failure(self) -> str | None:
        """Why the run had to stop early; None while all is well."""
        return self._orders.failure()

    @property
    def version(self) -> int:
        """Of the weights that the learner holds."""
        return self._orders.version

    def stopped(self) -> bool:
        """Whether the run ended before its last step because it was asked to."""
        return self._stopped

    # --- producing ----------------------------------------------------------------------------------

    async def _produce(self, first_step: int, cursor: int) -> None:
        """All steps of a session; what it cannot go on from is told to the learner as the order to stop."""
        batches = Batches(
            self._plan.batch,
            make_prompt=self._make_prompt,
            sampler=self._sampler,
            cursor=cursor,
            on_event=self._record.event,
        )
        try:
            await self._pool.all_started()
            await self._pushes.push()
            await self._evaluate_before(first_step)
            await self._record.event("stage", "training")
            cursor = await self._steps(first_step, cursor, batches)
            if not self._stopped:
                await self._evaluate_after(cursor)
            await self._record.event("stage", "stopped" if self._stopped else "done")
            await self._give(StopOrder())
        except Exception as error:  # whatever it is: the learner must not wait for ever
            await self._orders.fail(error)
        finally:
            await batches.close()

    async def _steps(self, first_step: int, cursor: int, batches: Batches) -> int:
        """Steps `first_step` to the last; the number of the first prompt that they left."""
        plan = self._plan
        self._steps_began = True
        making: asyncio.Task[Batch] | None = None  # the next step's, while the learner trains
        watch = Stopwatch()
        try:
            for step in range(first_step, plan.steps):
                if making is not None:
                    with watch.timed("waited_for_groups"):
                        await making
                with watch.timed("push"):
                    await self._pushes.push()
                if step > first_step and plan.evaluation.is_due(step):
                    with watch.timed("evaluation"):
                        await self._evaluate_and_save("during", step, cursor)
                        await self._record.event("stage", "training")
                with watch.timed("waited_for_groups"):
                    batch = await (making or batches.make(step, oldest=step, last=step + 1 == plan.steps))
                making = None
                if plan.max_staleness and step + 1 < plan.steps:
                    following = batches.make(step + 1, oldest=step, last=step + 2 == plan.steps)
                    making = asyncio.ensure_future(following)
                with watch.timed("learner"):
                    update = await self._train(step, batch)
                await self._record_step(step, batch, update, watch, making)
                cursor = batch.next_cursor
                watch = Stopwatch()
                if self._is_saved_without_score(step + 1):
                    with watch.timed("save"):
                        await self._save(step + 1, cursor)
                if "stop" in self._asked and step + 1 < plan.steps:
                    self._stopped = True
                    break
            return cursor
        finally:
            if making is not None:
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)

    async def _give(self, order: Order) -> Report:
        async with self._orders.turn:
            return await self._orders.give(order)

    async def _save(self, step: int, cursor: int) -> None:
        await self._give(SaveOrder(step, cursor, None))
        if self._asked:
            await self._record.event("checkpoint", f"a checkpoint was written after step {step}, as asked")
            self._asked.discard("checkpoint")

    async def _train(self, step: int, batch: Batch) -> Report:
        assert all(0 <= step - group.policy_version <= self._plan.max_staleness for group in batch.groups)
        if self._plan.shared_gpus:
            await self._pool.on_all("sleep")
        try:
            return await self._give(TrainOrder(step, batch.groups))
        finally:  # also where the learner died over it: the next session pushes to engines that are awake
            if self._plan.shared_gpus:
                await self._pool.on_all("wake_up")

    async def _record_step(
        self, step: int, batch: Batch, update: Report, watch: Stopwatch, making: "asyncio.Task[Batch] | None"
    ) -> None:
        """Write a step down.

        Its seconds, by `seconds/...`: `step` from the end of the step before, evaluation left out; in it `save`
        (after the step before), `push`, `waited_for_groups` (the learner stood still), `waited_for_update` (the
        engines stood still) and `update`, the learner's own. `prompts` (not ready before), `rollout` and `reward`
        are those of the step's groups; with max_staleness 1 they passed during the step before.
        """
        plan, seconds = self._plan, watch.seconds
        learner_s, evaluation_s = seconds.pop("learner"), seconds.pop("evaluation", 0.0)
        seconds |= {"update": update.seconds, "waited_for_update": _idle_s(making, learner_s)}
        seconds |= {**batch.seconds, "step": time.perf_counter() - watch.started - evaluation_s}
        metrics = step_metrics(batch.drawn, plan.batch.reward_tolerance)
        metrics |= batch_metrics(step, batch.groups, batch.drawn) | dict(update.metrics)
        metrics |= {f"seconds/{phase}": value for phase, value in seconds.items()}
        await self._record.step(step, metrics, batch.groups[: plan.recorded_groups])

    def _is_saved_without_score(self, step: int) -> bool:
        """After an evaluation a checkpoint is written anyway. The last step's is not left to hang on that one."""
        plan = self._plan
        if step == plan.steps or self._asked:
            return True
        return step % plan.checkpoint_every == 0 and not plan.evaluation.is_due(step)

    async def _stop_for_parity(self, broken: ParityFailure) -> None:
        if self._orders.failure() is not None:
            return  # another rank was faster
        await self._record.parity_failure(broken.sample)
        await self._orders.fail(ParityBroken(broken.message))
        assert self._producing is not None
        self._producing.cancel()

    # --- evaluation ---------------------------------------------------------------------------------

    async def _evaluate_before(self, first_step: int) -> None:
        if first_step == 0 and self._plan.evaluation.samples_per_task > 0 and not self._evaluated_before:
            await self._evaluate("before", 0)
            self._evaluated_before = True

    async def _evaluate_after(self, cursor: int) -> None:
        if self._plan.evaluation.samples_per_task > 0:
            await self._pushes.push()
            await self._evaluate_and_save("after", self._plan.steps, cursor)

    async def _evaluate_and_save(self, stage: Stage, step: int, cursor: int) -> None:
        """Evaluate the weights after `step` steps, which all members hold, and keep them with their score."""
        score = await self._evaluate(stage, step)
        await self._give(SaveOrder(step, cursor, score))

    async def _evaluate(self, stage: Stage, step: int) -> float:
        await self._record.event("stage", f"evaluating {stage} training")
        answers = await self._held_out.ask(stage, step)
        for each in answers:
            await self._record.evaluation(each)
        score = held_out_score(answers)
        await self._record.event("held_out_score", f"held-out score after step {step}: {score:.3f}")
        return score


def _idle_s(making: "asyncio.Task[Batch] | None", learner_s: float) -> float:
    """Seconds of the learner's `learner_s` in which the engines had nothing to do."""
    if making is None:
        return learner_s
    if not making.done():
        return 0.0
    return min(learner_s, time.perf_counter() - making.result().ready_at)
