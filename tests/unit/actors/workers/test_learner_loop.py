"""Tests of the learner's loop, command by command, and of the groups that it receives from the controller."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from actors.controller.batches import training_group
from actors.messages import Group, Prompt, PromptMeta, Rollout
from learner.algorithm.parity import ParityError
from learner.commands import (
    Command,
    CommandReport,
    ParityFailure,
    Push,
    Save,
    Stop,
    Train,
    TrainingGroup,
)
from learner.loop import carry_out_commands
from tests.unit.actors.fakes import recipe


@dataclass
class FakePolicy:
    """A policy that trains nothing. `broken` is the step that raises a parity error."""

    rank: int = 0
    broken: int | None = None
    trained: list[int] = field(default_factory=list)

    def update(self, groups: Sequence[TrainingGroup], *, step: int) -> dict[str, float]:
        if step == self.broken:
            raise ParityError(f"group {step}-0: they differ", {"token": 3})
        self.trained.append(step)
        return {"policy/loss": step / 2}


@dataclass
class FakePort:
    """A learner port that gives the commands of a list and keeps the reports."""

    commands: list[Command]
    reports: list[tuple[int, CommandReport]] = field(default_factory=list)

    def joined(self, rank: int) -> None:
        pass

    def begin(self, step: int, cursor: int) -> None:
        raise AssertionError("train_loop begins the session, not the command loop")

    def command(self, number: int) -> Command:
        return self.commands[number]

    def report(self, number: int, report: CommandReport) -> None:
        assert report.seconds >= 0
        self.reports.append((number, replace(report, seconds=0.0)))


PUSH = Push(0, ())
SAVE = Save(1, 8, 0.5)


def carry_out(policy: FakePolicy, *commands: Command) -> tuple[list[tuple[int, CommandReport]], list[Save]]:
    """Return the reports that the port received, and the saved checkpoints. Every push fails."""
    port, saved = FakePort([*commands, Stop()]), list[Save]()
    carry_out_commands(policy, port, push=lambda command: "no route to host", save=saved.append)
    return port.reports, saved


def test_every_command_is_carried_out_and_reported_in_order() -> None:
    policy = FakePolicy()
    reports, saved = carry_out(policy, PUSH, Train(0, ()), SAVE, Train(1, ()))
    assert reports == [
        (0, CommandReport("no route to host")),
        (1, CommandReport(metrics={"policy/loss": 0.0})),
        (2, CommandReport()),
        (3, CommandReport(metrics={"policy/loss": 0.5})),
        (4, CommandReport()),  # on Stop
    ]
    assert (saved, policy.trained) == ([SAVE], [0, 1])


def test_other_ranks_carry_out_the_same_commands_and_do_not_report() -> None:
    policy = FakePolicy(rank=1)
    reports, saved = carry_out(policy, PUSH, Train(0, ()), SAVE)
    assert (reports, saved, policy.trained) == ([], [SAVE], [0])


def test_any_rank_reports_a_parity_failure_and_the_step_is_not_repeated() -> None:
    for rank in (0, 1):
        policy = FakePolicy(rank=rank, broken=0)
        reports, _ = carry_out(policy, Train(0, ()))
        failure = ParityFailure("group 0-0: they differ", {"token": 3})
        assert reports[0] == (0, CommandReport(parity_failure=failure))
        assert policy.trained == []


def test_a_training_group_has_what_the_learner_needs_of_a_group() -> None:
    meta = PromptMeta("train", 4, "jigsaw", "Which?", "21", recipe(), 70, ())
    full = Rollout("train-4-0", (7, 8), (-0.5, -0.25), "21", "stop", 1.0, True)
    cut = replace(full, token_ids=(7,), logprobs=(-0.5,), finish_reason="length", reward=0.0)
    made = training_group(Group("3-1", Prompt(meta, None, None), (full, cut), policy_version=2))
    assert (made.group_id, made.task, made.prompt_tokens, made.policy_version) == ("3-1", "jigsaw", 70, 2)
    assert (made.completions, made.rollout_logprobs) == (((7, 8), (7,)), ((-0.5, -0.25), (-0.5,)))
    assert (made.rewards, made.truncated) == ((1.0, 0.0), (False, True))
