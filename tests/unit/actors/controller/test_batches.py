"""Tests of `actors.controller.batches`: which prompts a step trains on."""

import asyncio

from learner.commands import Train
from tests.unit.actors.fakes import Partly, died
from tests.unit.actors.runs import Learner, Run, changed, prompt_indices, settled

REFILLING = changed(max_refills=2)


async def test_new_prompts_take_the_places_of_groups_without_spread() -> None:
    run = Run(REFILLING)
    run.dull = lambda index: index in (1, 2, 5)
    learner = Learner(run)
    await learner.learn()
    # 4 and 5 replace 1 and 2, and 6 replaces 5. The next steps take 7 to 10 and 11 to 14.
    assert [prompt_indices([command]) for command in learner.trained] == [
        [0, 4, 6, 3],
        [7, 8, 9, 10],
        [11, 12, 13, 14],
    ]
    first = learner.trained[0]
    assert [group.group_id for group in first.groups] == ["0-0", "0-1", "0-2", "0-3"]
    _, metrics, _ = run.record.steps[0]
    assert (metrics["groups/drawn"], metrics["groups/refilled"]) == (7.0, 2.0)
    assert metrics["groups/without_spread"] == 3 / 7
    assert metrics["reward/mean"] == 4 / 14  # over all groups generated
    assert [record[1]["groups/drawn"] for record in run.record.steps[1:]] == [4.0, 4.0]


async def test_groups_without_spread_after_the_last_refill_are_trained() -> None:
    run = Run(changed(REFILLING, steps=1))
    run.dull = lambda index: index >= 2
    learner = Learner(run)
    await learner.learn()
    # 2 and 3, then 4 and 5, then 6 and 7 have no spread.
    assert prompt_indices([learner.trained[0]]) == [0, 1, 6, 7]
    assert run.record.steps[0][1]["groups/refilled"] == 2.0


async def test_without_refills_no_group_is_replaced() -> None:
    run = Run()
    run.dull = lambda index: True
    learner = Learner(run)
    await learner.learn()
    assert [prompt_indices([command]) for command in learner.trained] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert run.record.steps[0][1]["groups/refilled"] == 0.0


async def test_the_prompts_do_not_depend_on_which_worker_is_faster() -> None:
    taken = []
    for num_workers in (1, 2, 3):
        run = Run(REFILLING, num_workers=num_workers)
        run.dull = lambda index: index % 3 == 0
        run.workers[-1].generating = [Partly(1, died())]
        learner = Learner(run)
        await learner.learn()
        taken.append([prompt_indices([command]) for command in learner.trained])
    assert taken[0] == taken[1] == taken[2]


async def test_prompts_for_refills_are_made_ahead() -> None:
    run = Run(REFILLING, num_workers=1)
    hold = asyncio.Event()
    run.workers[0].generating = [hold]
    learning = asyncio.ensure_future(Learner(run).learn())
    await settled()
    assert [index for _, index, _ in run.prompts_made] == list(range(8))
    hold.set()
    await learning


async def test_prompts_of_the_next_step_are_made_ahead_after_refills() -> None:
    run = Run(REFILLING)
    run.dull = lambda index: index == 1
    await Learner(run).learn(die_at=Train, step_of_death=0)
    await settled()
    assert [index for _, index, _ in run.prompts_made] == list(range(5 + 4))


async def test_a_resumed_run_takes_the_prompts_that_it_would_have_taken() -> None:
    config = changed(REFILLING, checkpoint_every=1)
    whole = Run(config)
    whole.dull = lambda index: index % 3 == 0
    learner = Learner(whole)
    await learner.learn()
    for saved in learner.saved[:-1]:
        again = Run(config)
        again.dull = whole.dull
        resumed = Learner(again)
        await resumed.learn(step=saved.step, cursor=saved.cursor)
        assert [prompt_indices([command]) for command in resumed.trained] == [
            prompt_indices([command]) for command in learner.trained[saved.step :]
        ]
    assert [saved.cursor for saved in learner.saved] != [
        4,
        8,
        12,
    ]  # with these cursors, a checkpoint would not need to store one
