"""An Experience with fakes all round it, and a learner that carries out its orders."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.controller.batches import BatchPlan
from actors.controller.controller import Experience, ExperiencePlan
from actors.controller.held_out import EvaluationPlan
from actors.messages import (
    EvaluationAnswers,
    Group,
    Order,
    Prompt,
    PushOrder,
    Report,
    SaveOrder,
    Score,
    StopOrder,
    TrainOrder,
)
from pretext.source import Split
from rollout.engine import Sampling
from tests.unit.actors.fakes import Events, pool_of, prompt, workers

SAMPLING = Sampling(num_completions=2, temperature=0.7, max_tokens=8, seed=11)
PLAN = ExperiencePlan(
    steps=3,
    max_staleness=0,
    checkpoint_every=100,
    shared_gpus=False,
    recorded_groups=2,
    batch=BatchPlan(prompts=4, sampling=SAMPLING, max_refills=0, reward_tolerance=1e-6),
    evaluation=EvaluationPlan(
        tasks=("counting", "jigsaw"),
        samples_per_task=0,
        completions=3,
        every=0,
        recorded=2,
        sampling=SAMPLING,
    ),
)


def evaluating(plan: ExperiencePlan = PLAN, **changes: Any) -> ExperiencePlan:
    return replace(plan, evaluation=replace(plan.evaluation, **changes))


@dataclass
class FakeRecord(Events):
    """A run log that keeps everything, and the pool's events too."""

    steps: list[tuple[int, dict[str, float], list[Group]]] = field(default_factory=list)
    evaluations: list[EvaluationAnswers] = field(default_factory=list)
    parity_failures: list[Mapping[str, Any]] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)

    async def event(self, kind: str, message: str) -> None:
        await self(kind, message)

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        self.steps.append((step, metrics, list(groups)))

    async def evaluation(self, answers: EvaluationAnswers) -> None:
        self.evaluations.append(answers)

    async def forget(self, step: int) -> None:
        self.forgotten.append(step)

    async def parity_failure(self, sample: Mapping[str, Any]) -> None:
        self.parity_failures.append(sample)


class Run:
    """An Experience with fakes all round it."""

    def __init__(self, plan: ExperiencePlan = PLAN, *, num_workers: int = 2) -> None:
        self.workers = workers(num_workers)
        self.log = self.workers[0].log
        self.record = FakeRecord()
        self.prompts_made: list[tuple[Split, int, str | None]] = []
        self.bad_prompt: Exception | None = None
        self.dull: Callable[[int], bool] = lambda index: False  # whose completions all earn the same
        self.reward_error = ""
        self.passed_over: tuple[str, ...] = ()
        self.overlapping = plan.max_staleness > 0
        self.experience = Experience(
            plan,
            make_prompt=self._make_prompt,
            pool=pool_of(self.workers, self.record),
            score=self._score,
            record=self.record,
        )

    async def _make_prompt(self, split: Split, index: int, task: str | None) -> Prompt:
        self.prompts_made.append((split, index, task))
        if self.bad_prompt is not None:
            raise self.bad_prompt
        made = prompt(index, split=split, task=task or PLAN.evaluation.tasks[index % 2])
        return replace(made, meta=replace(made.meta, rejected=self.passed_over))

    async def _score(self, items: Sequence[tuple[str, str, str]]) -> list[Score]:
        """Every second completion is right, the texts being "INDEX/N"; of dull prompts, none is."""
        await asyncio.sleep(0)
        rights = [
            text.endswith(("/0", "/2")) and not self.dull(int(text.split("/")[0])) for _, text, _ in items
        ]
        return [Score(float(right), True, self.reward_error) for right in rights]

    def said(self, word: str) -> list[str]:
        return [line for line in self.log if line.startswith(word)]

    def check_versions(self) -> None:
        """Every generate was of weights that this life of the worker had been pushed, and awake."""
        holds: dict[str, str] = {}
        for line in self.log:
            words = line.split()
            if words[0] == "push" and words[-1] != "failed":
                holds |= dict.fromkeys(words[2:], words[1])
            elif words[0] == "generate":
                assert holds.get(words[1]) == words[2], line


@dataclass
class Learner:
    """Carries out orders as rank 0 does; `push_failures` are what its next pushes end in."""

    run: Run
    session: str = "first"
    push_failures: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    busy: list[asyncio.Event] = field(default_factory=list)  # how long its next steps take
    sending: list[asyncio.Event] = field(default_factory=list)  # and its next pushes, once they are given

    async def learn(
        self,
        *,
        step: int = 0,
        cursor: int | None = None,
        die_at: type[Order] | None = None,
        step_of_death: int = 0,
    ) -> None:
        """From `step` to the end, or until it dies with an order of that kind in its hands."""
        await self.run.experience.begin(self.session, step, 4 * step if cursor is None else cursor)
        while True:
            number = len(self.orders)
            order = await self.run.experience.order(self.session, number, 10.0)
            assert order is not None
            self.orders.append(order)
            if die_at is not None and isinstance(order, die_at) and step_of(order) == step_of_death:
                return
            report = await self._carry_out(order)
            await self.run.experience.report(self.session, number, report)
            if isinstance(order, StopOrder):
                return

    async def _carry_out(self, order: Order) -> Report:
        if isinstance(order, PushOrder):
            failure = self.push_failures.pop(0) if self.push_failures else None
            # The others may be: a late one is refitted beside them.
            assert all(member.worker.running == 0 for member in order.members)
            lives = " ".join(member.life for member in order.members)
            suffix = " failed" if failure else ""
            self.run.log.append(f"push v{order.policy_version} {lives}{suffix}")
            if self.sending:
                await self.sending.pop(0).wait()
            return Report(failure, {}, 0.25)
        if isinstance(order, TrainOrder):
            assert self.run.overlapping or all(worker.running == 0 for worker in self.run.workers)
            self.run.log.append(f"train {order.step}")
            if self.busy:
                await self.busy.pop(0).wait()
            return Report(None, {"policy/loss": order.step + 0.5}, 1.5)
        if isinstance(order, SaveOrder):
            self.run.log.append(f"save {order.step}")
            return Report()
        self.run.log.append("stop")
        return Report()

    @property
    def trained(self) -> list[TrainOrder]:
        return [order for order in self.orders if isinstance(order, TrainOrder)]

    @property
    def saved(self) -> list[SaveOrder]:
        return [order for order in self.orders if isinstance(order, SaveOrder)]


def step_of(order: Order) -> int:
    return order.step if isinstance(order, TrainOrder | SaveOrder) else getattr(order, "policy_version", -1)


async def settled() -> None:
    """All that can happen without anyone's help has happened. Counted in turns: a busy machine has no clock."""
    for _ in range(500):
        await asyncio.sleep(0)
