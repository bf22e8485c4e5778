"""A Controller with fake workers and a fake record, and a learner that carries out its commands."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.config import EvaluationConfig, TrainConfig
from actors.controller.controller import Controller, ControllerConfig
from actors.messages import Group, Prompt, Score, TaskEvaluation
from learner.commands import Command, CommandReport, Push, Save, Stop, Train, TrainingGroup
from learner.config import GrpoConfig
from pretext.source import Split
from rollout.config import RolloutConfig
from tests.unit.actors.fakes import Events, pool_of, prompt, workers

CONFIG = ControllerConfig(
    train=TrainConfig(steps=3, prompts_per_step=4, checkpoint_every=100, recorded_groups=2),
    evaluation=EvaluationConfig(samples_per_task=0, sampled_completions=3),
    grpo=GrpoConfig(group_size=2),
    rollout=RolloutConfig(temperature=0.7, max_tokens=8),
    tasks=("counting", "jigsaw"),
    seed=11,
    shares_gpus=False,
)


def changed(config: ControllerConfig = CONFIG, **settings: Any) -> ControllerConfig:
    """Return `config` with changed settings, each named without its section."""
    for name, value in settings.items():
        section = next(
            (key for key, part in vars(config).items() if name in getattr(part, "model_fields", ())), None
        )
        if section is None:
            config = replace(config, **{name: value})
        else:
            part = getattr(config, section).model_copy(update={name: value})
            config = replace(config, **{section: part})
    return config


@dataclass
class FakeRecord(Events):
    """A Recorder that keeps everything in memory."""

    steps: list[tuple[int, dict[str, float], list[Group]]] = field(default_factory=list)
    evaluations: list[TaskEvaluation] = field(default_factory=list)
    parity_failures: list[Mapping[str, Any]] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)

    async def event(self, kind: str, message: str) -> None:
        await self(kind, message)

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        self.steps.append((step, metrics, list(groups)))

    async def evaluation(self, evaluation: TaskEvaluation) -> None:
        self.evaluations.append(evaluation)

    async def forget(self, step: int) -> None:
        self.forgotten.append(step)

    async def parity_failure(self, sample: Mapping[str, Any]) -> None:
        self.parity_failures.append(sample)


class Run:
    """A Controller with fake workers and a fake record."""

    def __init__(self, config: ControllerConfig = CONFIG, *, num_workers: int = 2) -> None:
        self.workers = workers(num_workers)
        self.log = self.workers[0].log
        self.record = FakeRecord()
        self.prompts_made: list[tuple[Split, int, str | None]] = []
        self.bad_prompt: Exception | None = None
        self.dull: Callable[[int], bool] = lambda index: (
            False
        )  # prompts whose completions all have the same reward
        self.reward_error = ""
        self.skipped: tuple[str, ...] = ()
        self.overlapping = config.train.max_staleness > 0
        self.controller = Controller(
            config,
            make_prompt=self._make_prompt,
            pool=pool_of(self.workers, self.record),
            score=self._score,
            record=self.record,
        )

    async def _make_prompt(self, split: Split, index: int, task: str | None) -> Prompt:
        self.prompts_made.append((split, index, task))
        if self.bad_prompt is not None:
            raise self.bad_prompt
        made = prompt(index, split=split, task=task or CONFIG.tasks[index % 2])
        return replace(made, meta=replace(made.meta, skipped=self.skipped))

    async def _score(self, items: Sequence[tuple[str, str, str]]) -> list[Score]:
        """Score texts "INDEX/N": completions 0 and 2 are right, except for dull prompts."""
        await asyncio.sleep(0)
        rights = [
            text.endswith(("/0", "/2")) and not self.dull(int(text.split("/")[0])) for _, text, _ in items
        ]
        return [Score(float(right), True, self.reward_error) for right in rights]

    def said(self, word: str) -> list[str]:
        return [line for line in self.log if line.startswith(word)]

    def check_versions(self) -> None:
        """Check every call of a worker: it was awake, and its version had been pushed to it in the same life."""
        holds: dict[str, str] = {}
        for line in self.log:
            words = line.split()
            if words[0] == "push" and words[-1] != "failed":
                holds |= dict.fromkeys(words[2:], words[1])
            elif words[0] == "generate":
                assert holds.get(words[1]) == words[2], line


@dataclass
class Learner:
    """A learner that carries out commands as rank 0 does. `push_failures` are the reasons why its next pushes fail."""

    run: Run
    session: str = "first"
    push_failures: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    busy: list[asyncio.Event] = field(default_factory=list)  # events that its next steps wait for
    sending: list[asyncio.Event] = field(default_factory=list)  # events that its next pushes wait for

    async def learn(
        self,
        *,
        step: int = 0,
        cursor: int | None = None,
        die_at: type[Command] | None = None,
        step_of_death: int = 0,
    ) -> None:
        """Carry out commands from `step` to the end, or die at the first command of type `die_at`."""
        controller = self.run.controller
        await controller.begin(self.session, step, 4 * step if cursor is None else cursor)
        while True:
            number = len(self.commands)
            command = await controller.command(self.session, number, 10.0)
            assert command is not None
            self.commands.append(command)
            if die_at is not None and isinstance(command, die_at) and step_of(command) == step_of_death:
                return
            report = await self._carry_out(command)
            await controller.report(self.session, number, report)
            if isinstance(command, Stop):
                return

    async def _carry_out(self, command: Command) -> CommandReport:
        log = self.run.log
        match command:
            case Push():
                failure = self.push_failures.pop(0) if self.push_failures else None
                # Other workers may be generating while a late one is pushed to.
                assert all(worker.actor.running == 0 for worker in command.workers)
                lives = " ".join(worker.life for worker in command.workers)
                log.append(f"push v{command.policy_version} {lives}{' failed' if failure else ''}")
                if self.sending:
                    await self.sending.pop(0).wait()
                return CommandReport(failure, {}, 0.25)
            case Train():
                assert self.run.overlapping or all(worker.running == 0 for worker in self.run.workers)
                log.append(f"train {command.step}")
                if self.busy:
                    await self.busy.pop(0).wait()
                return CommandReport(None, {"policy/loss": command.step + 0.5}, 1.5)
            case Save():
                log.append(f"save {command.step}")
            case Stop():
                log.append("stop")
        return CommandReport()

    @property
    def trained(self) -> list[Train]:
        """Return all Train commands so far."""
        return [command for command in self.commands if isinstance(command, Train)]

    @property
    def saved(self) -> list[Save]:
        """Return all Save commands so far."""
        return [command for command in self.commands if isinstance(command, Save)]


def step_of(command: Command) -> int:
    """Return the step of a command, or the policy version of a push."""
    return command.step if isinstance(command, Train | Save) else getattr(command, "policy_version", -1)


def prompt_index(group: TrainingGroup) -> int:
    """Return the number of a group's prompt, which the fake worker puts into every completion."""
    return group.completions[0][0]


def prompt_indices(commands: Sequence[Train]) -> list[int]:
    """Return the numbers of all prompts trained on, in order."""
    return [prompt_index(group) for command in commands for group in command.groups]


class Clock:
    """A `time.perf_counter` that a test moves by hand: `monkeypatch.setattr(time, "perf_counter", Clock())`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1e-6  # so that no duration is 0
        return self.now_s


async def settled() -> None:
    """Run the event loop until only the test can continue.

    The limit is a number of the loop's turns, because seconds mean little on a busy machine.
    """
    for _ in range(500):
        await asyncio.sleep(0)
