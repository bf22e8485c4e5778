"""What a step costs besides rollout and update, from 1 to 64 rollout workers.

    python -m benchmarks.overhead              # about four minutes, 10 GB of memory for 64 processes

The real producer side (Experience, RolloutPool, reward workers, pushes' calls) over real Ray actors whose answers come
from a table, and a learner that carries out every order at once: what is left of a step is ours and Ray's. All
processes share this machine's cores, where in a run each worker has its own; so a bare round of calls, in which every
worker answers once and nothing else is done, stands beside. Stored as results/overhead.json.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from actors.controller.batches import BatchPlan
from actors.controller.controller import Experience, ExperiencePlan
from actors.controller.held_out import EvaluationPlan
from actors.messages import EvaluationAnswers, Group, Prompt, PromptMeta, PushOrder, Report, StopOrder
from actors.process_info import Place, here
from actors.workers.learner_port import RolloutMembers
from actors.workers.reward_pool import RewardPool
from actors.workers.reward_worker import RewardWorker
from actors.workers.rollout_pool import RolloutPool
from benchmarks.table import Result, Target, show, store
from pretext.source import Split
from rollout.engine import Completion, Sampling

COMMAND = "python -m benchmarks.overhead"
WORKERS = (1, 4, 16, 64)
PROMPTS, COMPLETIONS, STEPS, WARM_STEPS = 64, 8, 25, 5
LIMIT_MS = Target(bound="at most", limit=50)


class TableWorker:
    """A rollout worker without an engine: the same calls, answers at once."""

    def __init__(self) -> None:
        self._life = uuid.uuid4().hex
        answer = Completion((40, 41, 42, 2), (-0.1, -0.2, -0.3, -0.4), "1-2", "stop")
        self._table = [answer] * COMPLETIONS

    def describe(self) -> tuple[str, int, Place]:
        return self._life, 1, here()

    def generate(
        self, policy_version: int, samplings: list[Sampling], *inputs: Any
    ) -> Iterator[list[tuple[int, list[Completion]]]]:
        yield [(index, self._table) for index in range(len(inputs))]

    def start_weight_update(self) -> None: ...

    def update_weights(self, update_info: dict[str, Any]) -> None: ...

    def finish_weight_update(self, policy_version: int) -> None: ...


class Recorded:
    """Keeps each step's seconds."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    async def event(self, kind: str, message: str) -> None: ...

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        self.steps.append(metrics)

    async def evaluation(self, answers: EvaluationAnswers) -> None: ...

    async def parity_failure(self, sample: Mapping[str, Any]) -> None: ...

    async def forget(self, step: int) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    counts = parser.parse_args().workers
    import ray

    results = []
    with tempfile.TemporaryDirectory() as scratch:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=f"{scratch}/ray")
        try:
            for count in counts:
                results += asyncio.run(_measure(count))
        finally:
            ray.shutdown()
    store("overhead", results)
    show(results)


async def _measure(num_workers: int) -> list[Result]:
    import ray

    workers = [ray.remote(TableWorker).options(num_cpus=0).remote() for _ in range(num_workers)]
    scorers = [ray.remote(RewardWorker).options(num_cpus=0).remote() for _ in range(2)]
    frames = ray.put(b"")  # prompts' pixels are not what is measured
    record = Recorded()

    async def make_prompt(split: Split, index: int, task: str | None) -> Prompt:
        return Prompt(PromptMeta(split, index, "grounding", "When?", "1-2", "{}", 1500, ()), frames, frames)

    pool = RolloutPool(workers, start_timeout_s=600, generate_timeout_s=600, on_event=record.event)
    experience = Experience(
        _plan(), make_prompt=make_prompt, pool=pool, score=RewardPool(scorers).score, record=record
    )
    await _learn(experience)
    bare_ms = 1000 * median([await _bare_round(workers) for _ in range(STEPS)])
    for actor in (*workers, *scorers):
        ray.kill(actor)
    seconds = record.steps[WARM_STEPS:]
    name = f"{num_workers} worker(s), {PROMPTS} prompts of {COMPLETIONS}"
    figures = {part: 1000 * median(step[f"seconds/{part}"] for step in seconds) for part in ("step", "push")}
    rows = [("step", figures["step"], LIMIT_MS), ("of it push", figures["push"], None)]
    rows += [("one bare round of Ray calls", bare_ms, None)]
    return [
        Result(name=f"{name}: {what}", value=value, unit="ms", target=target, command=COMMAND)
        for what, value, target in rows
    ]


async def _bare_round(workers: Sequence[Any]) -> float:
    """Seconds in which every worker is asked something and has answered: Ray's own."""
    started = time.perf_counter()
    await asyncio.gather(*[worker.describe.remote() for worker in workers])
    return time.perf_counter() - started


async def _learn(experience: Experience) -> None:
    """The learner's rank 0, whose every order is carried out at once; a push makes its calls to the workers."""
    session, number = uuid.uuid4().hex, 0
    await experience.begin(session, 0, 0)
    while not isinstance(order := await experience.order(session, number, 60.0), StopOrder):
        started = time.perf_counter()
        if isinstance(order, PushOrder):
            await asyncio.to_thread(_push, order)
        await experience.report(session, number, Report(seconds=time.perf_counter() - started))
        number += 1
    if failure := experience.failure():
        raise RuntimeError(failure)
    await experience.report(session, number, Report())


def _push(order: PushOrder) -> None:
    client = RolloutMembers(order.members, order.policy_version, 60.0)
    client.start_weight_update()
    client.update_weights({})
    client.finish_weight_update()


def _plan() -> ExperiencePlan:
    sampling = Sampling(COMPLETIONS, 1.0, 12, 0)
    return ExperiencePlan(
        steps=STEPS,
        max_staleness=0,
        checkpoint_every=10**6,
        shared_gpus=False,
        recorded_groups=4,
        batch=BatchPlan(prompts=PROMPTS, sampling=sampling, max_refills=0, reward_tolerance=1e-6),
        evaluation=EvaluationPlan(
            ("grounding",), samples_per_task=0, completions=1, every=0, recorded=0, sampling=sampling
        ),
    )


if __name__ == "__main__":
    main()
