"""Tests of Controller: requests to a running run, and the groups that are recorded in full."""

import asyncio

import pytest

from learner.commands import Train
from tests.unit.actors.runs import Learner, Run, changed, settled


async def test_a_request_to_stop_ends_the_run_after_the_step_with_a_checkpoint_and_no_evaluation() -> None:
    run = Run(changed(samples_per_task=2))
    learner = Learner(run, busy=[gate := asyncio.Event()])
    learning = asyncio.ensure_future(learner.learn())
    await settled()
    run.controller.request("stop")  # while step 0 is trained
    gate.set()
    await learning
    assert [command.step for command in learner.trained] == [0]
    assert [(command.step, command.cursor, command.score) for command in learner.saved] == [(1, 4, None)]
    assert run.log[-1] == "stop"
    assert [evaluation.point for evaluation in run.record.evaluations] == ["before", "before"]
    assert run.controller.stopped()
    assert run.controller.failure() is None
    assert run.record.said[-1] == ("stage", "stopped")


@pytest.mark.parametrize("max_staleness", [0, 1])
async def test_a_requested_checkpoint_is_written_once(max_staleness: int) -> None:

    run = Run(changed(max_staleness=max_staleness))
    learner = Learner(run, busy=[gate := asyncio.Event()])
    learning = asyncio.ensure_future(learner.learn())
    await settled()
    run.controller.request("checkpoint")
    gate.set()
    await learning
    assert [command.step for command in learner.saved] == [
        1,
        3,
    ]  # the requested checkpoint, and that of the last step
    assert not run.controller.stopped()


async def test_a_request_to_stop_in_the_last_step_changes_nothing() -> None:
    run = Run()
    learner = Learner(run, busy=[open_gate(), open_gate(), gate := asyncio.Event()])
    learning = asyncio.ensure_future(learner.learn())
    await settled()
    run.controller.request("stop")
    gate.set()
    await learning
    assert [command.step for command in learner.saved] == [3]
    assert not run.controller.stopped()


def open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


async def test_the_record_forgets_steps_that_are_taken_again() -> None:
    run = Run()
    await Learner(run).learn(die_at=Train, step_of_death=2)
    await Learner(run, session="second").learn(step=1)
    assert run.record.forgotten == [0, 1]


async def test_the_same_held_out_samples_are_recorded_in_full_at_every_evaluation() -> None:
    run = Run(changed(samples_per_task=3))
    await Learner(run).learn()
    by_point = {
        point: [each for each in run.record.evaluations if each.point == point]
        for point in ("before", "after")
    }
    for evaluation in by_point["before"] + by_point["after"]:
        assert [group.prompt.meta.index for group in evaluation.groups] == [0, 1]  # recorded_groups
        assert {group.prompt.meta.task for group in evaluation.groups} == {evaluation.task}
        assert all(len(group.rollouts) == 3 for group in evaluation.groups)  # sampled_completions
        assert {group.policy_version for group in evaluation.groups} == {evaluation.step}
    names = [group.group_id for each in run.record.evaluations for group in each.groups]
    assert len(set(names)) == len(names) == 8
