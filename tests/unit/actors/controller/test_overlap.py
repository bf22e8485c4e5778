"""Tests of Controller with max_staleness 1: rollouts of the next step are generated while the learner trains."""

import asyncio
import time

import pytest

from learner.commands import Push, Stop, Train
from tests.unit.actors.fakes import Partly, died, engine_error
from tests.unit.actors.runs import Clock, Learner, Run, changed, prompt_indices, settled

AHEAD = changed(max_staleness=1)


async def test_a_step_is_generated_by_older_weights_while_the_step_before_is_trained() -> None:
    run = Run(AHEAD, num_workers=1)
    learner = Learner(run, busy=[asyncio.Event(), asyncio.Event(), asyncio.Event()])
    held = list(learner.busy)
    learning = asyncio.ensure_future(learner.learn())
    await settled()
    assert run.log == [
        *("push v0 0.0", "generate 0.0 v0 [0, 1, 2, 3]", "train 0", "generate 0.0 v0 [4, 5, 6, 7]")
    ]
    for event in held:
        event.set()
    await learning
    run.check_versions()
    assert run.log[4:] == [
        *("push v1 0.0", "train 1", "generate 0.0 v1 [8, 9, 10, 11]"),
        *("push v2 0.0", "train 2", "save 3", "stop"),
    ]
    assert [{group.policy_version for group in command.groups} for command in learner.trained] == [
        {0},
        {0},
        {1},
    ]
    trained = prompt_indices(learner.trained)
    assert trained == list(range(12))
    assert [metrics["staleness/mean"] for _, metrics, _ in run.record.steps] == [0.0, 1.0, 1.0]


async def test_nothing_is_pushed_while_engines_generate() -> None:
    run = Run(AHEAD, num_workers=1)
    hold = asyncio.Event()
    learner = Learner(run)
    learning = asyncio.ensure_future(learner.learn())
    while "train 0" not in run.log:
        await asyncio.sleep(0)
    run.workers[0].generating = [Partly(2, hold)]
    await settled()
    assert run.log[-1] == "generate 0.0 v0 [4, 5, 6, 7]"
    hold.set()
    await learning
    assert "push v1 0.0" in run.log


async def test_the_metrics_show_whether_learner_or_engines_were_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """In step 0 the learner is slow, in step 2 the engine."""
    monkeypatch.setattr(time, "perf_counter", clock := Clock())
    run = Run(AHEAD, num_workers=1)
    slow, hold = asyncio.Event(), asyncio.Event()
    learner = Learner(run, busy=[slow])
    learning = asyncio.ensure_future(learner.learn())
    while len(run.said("generate")) < 2:
        await asyncio.sleep(0)
    await settled()
    clock.now_s += 10
    run.workers[0].generating = [hold]  # the next call is for step 2
    slow.set()
    while len(run.said("generate")) < 3:
        await asyncio.sleep(0)
    await settled()
    clock.now_s += 10
    hold.set()
    await learning
    first, second, third = (metrics for _, metrics, _ in run.record.steps)
    assert first["seconds/waited_for_update"] > 9
    assert second["seconds/waited_for_update"] == 0.0
    assert third["seconds/waited_for_groups"] > 9
    assert third["seconds/rollout"] > 9
    assert second["seconds/waited_for_groups"] < third["seconds/waited_for_groups"]


async def test_the_prompts_of_a_worker_that_dies_during_an_update_go_to_the_others() -> None:
    run = Run(AHEAD)
    slow = asyncio.Event()
    learner = Learner(run, busy=[slow])
    learning = asyncio.ensure_future(learner.learn())
    while "train 0" not in run.log:
        await asyncio.sleep(0)
    run.workers[1].generating = [Partly(1, died())]
    await settled()
    # While the learner trains, the restarted worker waits for weights and the other one continues with old ones.
    assert run.said("generate")[2:] == [
        *("generate 0.0 v0 [4, 5]", "generate 1.0 v0 [6, 7]", "generate 0.0 v0 [6]")
    ]
    assert run.said("push") == ["push v0 0.0 1.0"]
    slow.set()
    await learning
    run.check_versions()
    assert run.said("push")[1:] == ["push v1 0.0 1.1", "push v2 0.0 1.1"]
    assert prompt_indices([learner.trained[1]]) == [4, 5, 6, 7]


async def test_when_all_workers_die_during_an_update_they_continue_with_its_weights() -> None:
    run = Run(AHEAD, num_workers=1)
    slow = asyncio.Event()
    learner = Learner(run, busy=[slow])
    learning = asyncio.ensure_future(learner.learn())
    while "train 0" not in run.log:
        await asyncio.sleep(0)
    run.workers[0].generating = [Partly(1, died())]
    await settled()
    assert run.log[-1] == "generate 0.0 v0 [4, 5, 6, 7]"
    slow.set()
    await learning
    run.check_versions()
    # Version 0 is gone. Version 1 is newer than required, and is not pushed twice.
    assert run.log[4:7] == ["push v1 0.1", "generate 0.1 v1 [4, 5, 6]", "train 1"]
    assert [group.policy_version for group in learner.trained[1].groups] == [1, 1, 1, 0]
    assert run.record.steps[1][1]["staleness/mean"] == 0.25


async def test_while_engines_generate_only_restarted_ones_get_newer_weights() -> None:
    run = Run(AHEAD)
    hold, slow = asyncio.Event(), asyncio.Event()
    learner = Learner(run, busy=[slow])
    learning = asyncio.ensure_future(learner.learn())
    while "train 0" not in run.log:
        await asyncio.sleep(0)
    run.workers[0].generating, run.workers[1].generating = [hold], [died()]
    await settled()
    slow.set()  # the step ends while worker 0 still generates for the next one
    await settled()
    assert run.log[-2:] == ["push v1 1.1", "generate 1.1 v1 [6, 7]"]
    hold.set()
    await learning
    run.check_versions()
    assert run.said("push")[2:] == ["push v1 0.0", "push v2 0.0 1.1"]
    assert [group.policy_version for group in learner.trained[1].groups] == [0, 0, 1, 1]


async def test_groups_generated_during_an_update_of_the_old_session_are_dropped() -> None:
    run = Run(AHEAD)
    await Learner(run).learn(die_at=Train, step_of_death=0)
    for worker in run.workers:
        worker.generating = [asyncio.Event()]  # never set
    await settled()
    assert [worker.running for worker in run.workers] == [1, 1]
    await Learner(run, "second").learn()
    assert run.said("train") == ["train 0", "train 1", "train 2"]


async def test_a_generation_that_fails_during_an_update_ends_the_run() -> None:
    run = Run(AHEAD)
    for worker in run.workers:
        # The first call has fewer than 9 prompts, so it succeeds. The next two calls fail.
        worker.generating = [Partly(9, died()), *[engine_error("video too long")] * 2]
    learner = Learner(run)
    await learner.learn()
    assert isinstance(learner.commands[-1], Stop)
    assert [command.step for command in learner.trained] == [0]
    assert "video too long" in str(run.controller.failure())


@pytest.mark.parametrize(("die_at", "step"), [(Train, 0), (Train, 1), (Push, 1), (Push, 2)])
async def test_a_new_session_takes_the_same_prompts_with_the_weights_of_its_checkpoint(
    die_at: type[Train] | type[Push], step: int
) -> None:
    run = Run(AHEAD)
    await Learner(run).learn(die_at=die_at, step_of_death=step)
    again = Learner(run, "second")
    await again.learn(step=1)
    run.check_versions()
    assert [command.step for command in again.trained] == [1, 2]
    trained = prompt_indices(again.trained)
    assert trained == list(range(4, 12))
    assert [{group.policy_version for group in command.groups} for command in again.trained] == [{1}, {1}]
    assert all(worker.running == 0 for worker in run.workers)


async def test_evaluations_run_between_steps() -> None:
    run = Run(changed(AHEAD, samples_per_task=2, every=1, tasks=("jigsaw",)), num_workers=1)
    await Learner(run).learn()
    run.check_versions()
    assert [line for line in run.log if line.startswith(("push", "save", "train", "generate 0.0 v1"))] == [
        *("push v0 0.0", "train 0"),
        *("push v1 0.0", "generate 0.0 v1 [0, 1]", "generate 0.0 v1 [0, 1]", "save 1"),
        *("train 1", "generate 0.0 v1 [8, 9, 10, 11]", "push v2 0.0", "save 2", "train 2"),
        *("save 3", "push v3 0.0", "save 3"),
    ]
