"""`actors.controller.controller`: what people ask of a run that is going on, and what is recorded for them to look at."""

import asyncio

import pytest

from learner.commands import Train
from tests.unit.actors.runs import Learner, Run, changed, prompt_indices, settled


async def test_a_run_that_is_asked_to_stop_ends_after_its_step_with_a_checkpoint_and_no_evaluation() -> None:
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
    assert [answers.point for answers in run.record.evaluations] == ["before", "before"]
    assert run.controller.stopped()
    assert run.controller.failure() is None
    assert run.record.said[-1] == ("stage", "stopped")


@pytest.mark.parametrize("max_staleness", [0, 1])
async def test_a_checkpoint_that_is_asked_for_is_written_once(max_staleness: int) -> None:

    run = Run(changed(max_staleness=max_staleness))
    learner = Learner(run, busy=[gate := asyncio.Event()])
    learning = asyncio.ensure_future(learner.learn())
    await settled()
    run.controller.request("checkpoint")
    gate.set()
    await learning
    assert [command.step for command in learner.saved] == [1, 3]  # and the last one's, as always
    assert not run.controller.stopped()


async def test_a_wish_to_stop_in_the_last_step_changes_nothing() -> None:
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


async def test_the_record_forgets_what_is_taken_again() -> None:
    run = Run()
    await Learner(run).learn(die_at=Train, step_of_death=2)
    await Learner(run, session="second").learn(step=1)
    assert run.record.forgotten == [0, 1]


async def test_some_held_out_samples_are_recorded_whole_the_same_at_every_evaluation() -> None:
    run = Run(changed(samples_per_task=3))
    await Learner(run).learn()
    by_stage = {
        stage: [a for a in run.record.evaluations if a.point == stage] for stage in ("before", "after")
    }
    for answers in by_stage["before"] + by_stage["after"]:
        assert prompt_indices([answers]) == [0, 1]  # recorded=2
        assert {group.prompt.meta.task for group in answers.groups} == {answers.task}
        assert all(len(group.rollouts) == 3 for group in answers.groups)  # the sampled ones
        assert {group.policy_version for group in answers.groups} == {answers.step}
    names = [group.group_id for a in run.record.evaluations for group in a.groups]
    assert len(set(names)) == len(names) == 8
