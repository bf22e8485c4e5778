"""Tests of Controller: checkpoints, evaluations during a run, and failures that end the run."""

import asyncio
import time

import pytest

from actors.controller.held_out import held_out_score
from actors.messages import TaskEvaluation
from learner.commands import CommandReport, ParityFailure, Save, Stop, Train
from tests.unit.actors.runs import Clock, Learner, Run, changed, settled

JIGSAW = changed(changed(steps=5), samples_per_task=2, tasks=("jigsaw",))


async def test_checkpoints_are_written_every_few_steps_and_at_the_end() -> None:
    run = Run(changed(steps=5, checkpoint_every=2))
    learner = Learner(run)
    await learner.learn()
    assert learner.saved == [Save(2, 8, None), Save(4, 16, None), Save(5, 20, None)]
    # Each checkpoint is written after its step and before the next push.
    assert run.log.index("save 2") == run.log.index("train 1") + 1 == run.log.index("push v2 0.0 1.0") - 1


async def test_a_step_is_recorded_before_its_checkpoint_is_written() -> None:
    run = Run(changed(checkpoint_every=1))
    await Learner(run).learn(die_at=Save, step_of_death=2)
    assert [step for step, _, _ in run.record.steps] == [0, 1]


async def test_evaluations_during_a_run_write_checkpoints_with_their_score() -> None:
    run = Run(changed(JIGSAW, checkpoint_every=2, every=2))
    learner = Learner(run)
    await learner.learn()
    score = 2 / 3  # of completions 0, 1 and 2, two are right
    # A step that is both saved and evaluated has one checkpoint. The last step is saved before its evaluation, and
    # again with the score.
    assert [(command.step, command.cursor) for command in learner.saved] == [
        (2, 8),
        (4, 16),
        (5, 20),
        (5, 20),
    ]
    assert [command.score for command in learner.saved] == [
        *[pytest.approx(score)] * 2,
        None,
        pytest.approx(score),
    ]
    assert [(evaluation.point, evaluation.step) for evaluation in run.record.evaluations] == [
        *(("before", 0), ("during", 2), ("during", 4), ("after", 5))
    ]
    held_out = [line for line in run.log if line.startswith("generate") and line.endswith((" [0]", " [1]"))]
    assert {line.split()[2] for line in held_out} == {"v0", "v2", "v4", "v5"}
    assert ("held_out_score", "held-out score after step 2: 0.667") in run.record.said


async def test_the_last_step_is_evaluated_once() -> None:
    run = Run(changed(JIGSAW, steps=4, every=2))
    await Learner(run).learn()
    assert [(evaluation.point, evaluation.step) for evaluation in run.record.evaluations] == [
        *(("before", 0), ("during", 2), ("after", 4))
    ]


async def test_a_run_resumed_from_an_evaluated_checkpoint_does_not_repeat_the_evaluation() -> None:
    run = Run(changed(JIGSAW, every=2))
    await Learner(run).learn(step=2)
    assert [(evaluation.point, evaluation.step) for evaluation in run.record.evaluations] == [
        ("during", 4),
        ("after", 5),
    ]


async def test_the_seconds_of_a_step_do_not_include_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", clock := Clock())
    run = Run(changed(JIGSAW, every=1))
    hold = asyncio.Event()
    learning = asyncio.ensure_future(Learner(run).learn())
    while "train 0" not in run.log:
        await asyncio.sleep(0)
    run.workers[0].generating = [hold]  # the evaluation after step 1
    await settled()
    clock.now_s += 10
    hold.set()
    await learning
    assert sum(metrics["seconds/step"] for _, metrics, _ in run.record.steps) < 1


def test_the_held_out_score_weights_all_tasks_equally() -> None:
    few = TaskEvaluation("during", 1, "jigsaw", ((0.0, True),), ((1.0, True),) * 2, ("12",))
    many = TaskEvaluation("during", 1, "counting", ((0.0, True),), ((0.5, True),) * 8, ("1,0,0",))
    assert held_out_score([few, many]) == 0.75


@pytest.mark.parametrize("rank_0_reported_first", [False, True])
async def test_a_parity_failure_ends_the_run_and_keeps_the_sample(rank_0_reported_first: bool) -> None:
    run = Run()
    learner = Learner(run)
    await learner.learn(die_at=Train, step_of_death=1)
    number = len(learner.commands) - 1
    if rank_0_reported_first:  # then another rank reports the failure
        await run.controller.report("first", number, CommandReport())
    broken = CommandReport(
        parity_failure=ParityFailure("group 1-0, completion 1, token 3: ...", {"token": 3})
    )
    await run.controller.report(
        "old session", number, CommandReport(parity_failure=ParityFailure("ignored", {}))
    )
    await run.controller.report("first", number, broken)
    await run.controller.report("first", number, broken)  # every rank reports it
    assert isinstance(await run.controller.command("first", number + 1, 1.0), Stop)
    assert run.controller.failure() == "ParityBroken: group 1-0, completion 1, token 3: ..."
    assert run.record.parity_failures == [{"token": 3}]
    await settled()
    assert [step for step, _, _ in run.record.steps] == [0]


async def test_a_failing_reward_function_is_reported_once_and_counted() -> None:
    run = Run(changed(steps=2))
    run.reward_error = "ZeroDivisionError: division by zero"
    await Learner(run).learn()
    reported = [message for kind, message in run.record.said if kind == "reward_failed"]
    assert reported == [
        "reward.function failed and counts as 0 (reported once): ZeroDivisionError: division by zero"
    ]
    assert run.record.steps[1][1]["completion/reward_failed"] == 1.0
