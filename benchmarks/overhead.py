"""Measure what a step costs besides rollout and update, with 1 to 64 rollout workers.

    python -m benchmarks.overhead              # about four minutes, 10 GB of memory for 64 processes

The controller, rollout pool, reward workers and push calls are those of a run. The rollout workers return fixed
completions, and the learner carries out every command at once. What remains of a step is the cost of our code and of
Ray. All processes share this machine's cores, while in a run each worker has its own. For comparison, the benchmark
therefore also measures a bare round of Ray calls, one to every worker. Stored as results/overhead.json.
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from actors.config import EvaluationConfig, RewardConfig, TrainConfig
from actors.controller.controller import Controller, ControllerConfig
from actors.messages import Group, Prompt, PromptMeta, TaskEvaluation
from actors.process_info import ProcessInfo, current_process
from actors.workers.reward_pool import RewardPool
from actors.workers.reward_worker import RewardWorker
from actors.workers.rollout_pool import RolloutPool
from benchmarks.table import Result, Target, show, store
from learner.commands import CommandReport, Push, Stop
from learner.config import GrpoConfig
from pretext.recipe import Recipe
from pretext.source import Split
from rollout.config import RolloutConfig
from rollout.engine import Completion, Sampling
from weight_sync.rollout_client import RayRolloutClient

COMMAND = "python -m benchmarks.overhead"
WORKERS = (1, 4, 16, 64)
PROMPTS, COMPLETIONS, STEPS, WARM_STEPS = 64, 8, 25, 5
RECIPE = Recipe("grounding", "a.mp4", "pyav", (0, 1), (0.0, 0.5), 8, 8, {}, 0, "1-2")
LIMIT_MS = Target(bound="at most", limit=50)


class TableWorker:
    """A rollout worker without an engine, which returns the same completions at once."""

    def __init__(self) -> None:
        self._life = uuid.uuid4().hex
        completion = Completion((40, 41, 42, 2), (-0.1, -0.2, -0.3, -0.4), "1-2", "stop")
        self._table = [completion] * COMPLETIONS

    def describe(self) -> tuple[str, int, ProcessInfo]:
        return self._life, 1, current_process()

    def generate(
        self, policy_version: int, samplings: list[Sampling], *inputs: Any
    ) -> Iterator[list[tuple[int, list[Completion]]]]:
        yield [(index, self._table) for index in range(len(inputs))]

    def start_weight_update(self) -> None: ...

    def update_weights(self, update_info: dict[str, Any]) -> None: ...

    def finish_weight_update(self, policy_version: int) -> None: ...


class StepRecorder:
    """A recorder that keeps each step's metrics."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    async def event(self, kind: str, message: str) -> None: ...

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        self.steps.append(metrics)

    async def evaluation(self, evaluation: TaskEvaluation) -> None: ...

    async def parity_failure(self, sample: Mapping[str, Any]) -> None: ...

    async def forget(self, step: int) -> None: ...


def main() -> None:
    """Measure each number of workers and store the results."""
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
    reward_workers = [ray.remote(RewardWorker).options(num_cpus=0).remote(RewardConfig()) for _ in range(2)]
    frames = ray.put(b"")  # pixels are not measured here
    record = StepRecorder()

    async def make_prompt(split: Split, index: int, task: str | None) -> Prompt:
        return Prompt(PromptMeta(split, index, "grounding", "When?", "1-2", RECIPE, 1500, ()), frames, frames)

    config = _config()
    pool = RolloutPool(workers, config.rollout, on_event=record.event)
    controller = Controller(
        config, make_prompt=make_prompt, pool=pool, score=RewardPool(reward_workers).score, record=record
    )
    await _learn(controller)
    bare_ms = 1000 * median([await _bare_round(workers) for _ in range(STEPS)])
    for actor in (*workers, *reward_workers):
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
    """Return the seconds of one Ray call to every worker."""
    started = time.perf_counter()
    await asyncio.gather(*[worker.describe.remote() for worker in workers])
    return time.perf_counter() - started


async def _learn(controller: Controller) -> None:
    """Play the learner's rank 0: carry out every command at once, and for a push make its calls to the workers."""
    session, number = uuid.uuid4().hex, 0
    await controller.begin(session, 0, 0)
    while not isinstance(command := await controller.command(session, number, 60.0), Stop):
        started = time.perf_counter()
        if isinstance(command, Push):
            await asyncio.to_thread(_push, command)
        await controller.report(session, number, CommandReport(seconds=time.perf_counter() - started))
        number += 1
    if failure := controller.failure():
        raise RuntimeError(failure)
    await controller.report(session, number, CommandReport())


def _push(command: Push) -> None:
    client = RayRolloutClient(command.workers, command.policy_version, 60.0)
    client.start_weight_update()
    client.update_weights({})
    client.finish_weight_update()


def _config() -> ControllerConfig:
    return ControllerConfig(
        train=TrainConfig(steps=STEPS, prompts_per_step=PROMPTS, checkpoint_every=10**6),
        evaluation=EvaluationConfig(samples_per_task=0),
        grpo=GrpoConfig(group_size=COMPLETIONS),
        rollout=RolloutConfig(max_tokens=12, start_timeout_s=600, timeout_s=600),
        tasks=("grounding",),
        seed=0,
        shares_gpus=False,
    )


if __name__ == "__main__":
    main()
