"""Tests of RolloutPool: which worker gets which prompts, and what happens when workers fail."""

import asyncio

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from actors.workers.rollout_pool import NoRolloutWorkers, PoisonPrompts, RolloutPool
from rollout.engine import Completion, Sampling
from tests.unit.actors.fakes import Events, FakeWorker, Partly, died, engine_error, pool_of, prompt, workers
from tests.unit.actors.runs import settled
from weight_sync.rollout_client import LiveWorker

SAMPLING = Sampling(num_completions=2, temperature=1.0, max_tokens=8, seed=0)


async def started(fakes: list[FakeWorker], events: Events, **timeouts: float) -> RolloutPool:
    """Return a pool whose workers all hold version 0."""
    pool = pool_of(fakes, events, **timeouts)
    pool.start()
    await pool.all_started()
    await pool.note_pushed(pool.live_workers(), 0)
    return pool


async def stale(pool: RolloutPool, version: int) -> tuple[LiveWorker, ...]:
    """Wait for live workers that lack `version`, and return them."""
    await pool.wait_for(lambda: pool.workers_without(version))
    return pool.workers_without(version)


async def texts(pool: RolloutPool, *indices: int, oldest: int = 0) -> list[list[str]]:
    """Generate, check that each prompt is delivered once, and return the texts of each prompt."""
    groups: dict[int, list[str]] = {}

    def deliver(index: int, completions: list[Completion], version: int) -> None:
        assert index not in groups
        groups[index] = [completion.text for completion in completions]

    prompts, samplings = [prompt(i) for i in indices], [SAMPLING] * len(indices)
    await pool.generate(prompts, samplings, oldest=oldest, deliver=deliver)
    return [groups[place] for place in range(len(indices))]


async def test_live_workers_are_in_the_order_of_their_index_and_start_without_weights() -> None:
    fakes = workers(3)
    late = asyncio.Event()
    fakes[0].describing = [late]
    pool = pool_of(fakes, Events())
    pool.start()
    await settled()
    assert [worker.index for worker in pool.live_workers()] == [1, 2]
    late.set()
    await pool.all_started()
    assert [(worker.index, worker.life) for worker in pool.live_workers()] == [
        (0, "0.0"),
        (1, "1.0"),
        (2, "2.0"),
    ]
    assert pool.workers_without(0) == pool.live_workers()


async def test_no_prompt_goes_to_a_worker_with_too_old_a_version() -> None:
    fakes = workers(2)
    pool = pool_of(fakes, Events())
    pool.start()
    await pool.all_started()
    waiting = asyncio.ensure_future(texts(pool, 5, 6, oldest=3))
    await settled()
    assert fakes[0].log == []
    first, second = pool.live_workers()
    await pool.note_pushed([first], 2)
    await pool.note_pushed([second], 3)
    assert await waiting == [["5/0", "5/1"], ["6/0", "6/1"]]
    assert fakes[0].log == ["generate 1.0 v3 [5]", "generate 1.0 v3 [6]"]
    assert pool.workers_without(3) == (first,)


async def test_a_newer_version_than_the_oldest_acceptable_one_is_used_and_reported() -> None:
    fakes = workers(2)
    pool = pool_of(fakes, Events())
    pool.start()
    await pool.all_started()
    first, second = pool.live_workers()
    await pool.note_pushed([first], 3)
    await pool.note_pushed([second], 2)
    versions: dict[int, int] = {}
    await pool.generate(
        [prompt(5), prompt(6)],
        [SAMPLING] * 2,
        oldest=2,
        deliver=lambda index, _, version: versions.update({index: version}),
    )
    assert versions == {0: 3, 1: 2}
    assert fakes[0].log == ["generate 0.0 v3 [5]", "generate 1.0 v2 [6]"]


async def test_prompts_are_divided_equally_and_delivered_as_they_finish() -> None:
    fakes = workers(2)
    pool = await started(fakes, Events())
    hold = asyncio.Event()
    fakes[1].generating = [Partly(1, hold)]
    delivered: list[int] = []
    generating = asyncio.ensure_future(
        pool.generate(
            [prompt(i) for i in range(5)],
            [SAMPLING] * 5,
            oldest=0,
            deliver=lambda index, completions, version: delivered.append(index),
        )
    )
    await settled()
    assert fakes[0].log == ["generate 0.0 v0 [0, 1, 2]", "generate 1.0 v0 [3, 4]"]
    assert sorted(delivered) == [0, 1, 2, 4]  # each fake worker finishes its last prompt first
    assert not generating.done()
    hold.set()
    await generating
    assert delivered[-1] == 3


async def test_only_the_unfinished_prompts_of_a_dead_worker_go_to_another() -> None:
    fakes, events = workers(2), Events()
    pool = await started(fakes, events)
    fakes[0].generating = [Partly(1, died())]
    assert await texts(pool, 1, 2, 3, 4) == [[f"{i}/0", f"{i}/1"] for i in (1, 2, 3, 4)]
    assert fakes[0].log == [*("generate 0.0 v0 [1, 2]", "generate 1.0 v0 [3, 4]", "generate 1.0 v0 [1]")]
    assert events.said[0] == (
        "rollout_died",
        "rollout worker 0: its process died; its 1 prompts go to another",
    )


async def test_workers_run_in_parallel_and_none_gets_two_calls_at_once() -> None:
    fakes = workers(2)
    pool = await started(fakes, Events())
    hold = [asyncio.Event(), asyncio.Event()]
    fakes[0].generating, fakes[1].generating = [hold[0]], [hold[1]]
    calls = [asyncio.ensure_future(texts(pool, index)) for index in range(3)]
    await settled()
    assert (fakes[0].running, fakes[1].running) == (1, 1)
    hold[1].set()
    await settled()
    assert fakes[0].log == ["generate 0.0 v0 [0]", "generate 1.0 v0 [1]", "generate 1.0 v0 [2]"]
    hold[0].set()
    assert [await call for call in calls] == [[[f"{i}/0", f"{i}/1"]] for i in range(3)]


async def test_a_dead_worker_comes_back_in_another_life() -> None:
    fakes, events = workers(2), Events()
    pool = await started(fakes, events)
    fakes[0].generating = [died()]
    assert await texts(pool, 1) == [["1/0", "1/1"]]
    # It is not killed: Ray restarts a dead process, and a kill would hit the new one.
    assert fakes[0].log == ["generate 0.0 v0 [1]", "generate 1.0 v0 [1]"]
    (back,) = await stale(pool, 0)
    assert (back.index, back.life) == (0, "0.1")
    assert events.said == [
        ("rollout_died", "rollout worker 0: its process died; its 1 prompts go to another"),
        ("rollout_restarted", "rollout worker 0 is up again"),
    ]
    # It gets no prompts before a push, and then serves like any other.
    await texts(pool, 3)
    assert fakes[0].log[-1] == "generate 1.0 v0 [3]"
    await pool.note_pushed([back], 0)
    await texts(pool, 4)
    assert fakes[0].log[-1] == "generate 0.1 v0 [4]"


async def test_the_prompts_of_the_only_worker_wait_until_it_is_back_and_pushed_to() -> None:
    (fake,) = fakes = workers(1)
    pool = await started(fakes, Events())
    fake.generating = [died()]
    call = asyncio.ensure_future(texts(pool, 1))
    live = await stale(pool, 0)
    assert not call.done()
    await pool.note_pushed(live, 0)
    assert await call == [["1/0", "1/1"]]


async def test_a_worker_that_hangs_is_killed_at_its_deadline() -> None:
    fakes, events = workers(2), Events()
    pool = await started(fakes, events, timeout_s=1.0)
    fakes[0].generating = [asyncio.Event()]
    assert await texts(pool, 1) == [["1/0", "1/1"]]
    assert fakes[0].log == ["generate 0.0 v0 [1]", "kill 0", "generate 1.0 v0 [1]"]
    assert events.said[0][1] == "rollout worker 0: nothing came back within 1 s; its 1 prompts go to another"


async def test_an_engine_that_raises_is_restarted_and_its_prompts_are_tried_once_more() -> None:
    fakes, events = workers(2), Events()
    pool = await started(fakes, events)
    fakes[0].generating = [engine_error("out of blocks")]
    assert await texts(pool, 1) == [["1/0", "1/1"]]
    assert events.said[0] == (
        "rollout_died",
        "rollout worker 0: its engine failed (ValueError: out of blocks)",
    )


async def test_the_error_of_a_second_engine_for_the_same_prompts_is_raised() -> None:
    fakes = workers(3)
    pool = await started(fakes, Events())
    for fake in fakes:
        fake.generating = [engine_error("bad prompt")]
    with pytest.raises(RayTaskError, match="bad prompt"):
        await texts(pool, 1)
    assert [line for line in fakes[0].log if line.startswith("kill")] == ["kill 0", "kill 1"]
    fakes[2].generating = []
    assert await texts(pool, 2) == [["2/0", "2/1"]]


async def test_prompts_that_kill_every_worker_raise_an_error_and_a_finished_prompt_resets_the_count() -> None:
    fakes = workers(1)
    pool = await started(fakes, Events())
    fakes[0].generating = [died(), died(), Partly(1, died()), died(), died(), died()]

    async def push() -> None:
        while True:
            await pool.note_pushed(await stale(pool, 0), 0)

    pushing = asyncio.ensure_future(push())
    with pytest.raises(PoisonPrompts, match="4 rollout workers in a row failed over the same 1 prompts"):
        await texts(pool, 1, 2)
    pushing.cancel()
    assert len(fakes[0].log) == 6


async def test_a_worker_reported_twice_is_restarted_once() -> None:
    fakes = workers(1)
    pool = await started(fakes, Events())
    (worker,) = pool.live_workers()
    await asyncio.gather(pool.restart(worker, "one"), pool.restart(worker, "two"))
    await stale(pool, 0)
    await pool.restart(worker, "three: it is long gone")
    assert fakes[0].log == ["kill 0"]
    assert [entry.life for entry in pool.live_workers()] == ["0.1"]


async def test_a_worker_reported_dead_that_still_answers_is_killed_and_not_taken_for_its_successor() -> None:
    (fake,) = fakes = workers(1)
    pool = await started(fakes, Events())
    (worker,) = pool.live_workers()
    await pool.restart(worker, "out of reach for a moment", died=True)
    assert fake.log == []
    (back,) = await stale(pool, 0)
    assert fake.log == ["kill 0"]
    assert back.life == "0.1"


async def test_a_worker_that_has_not_started_yet_is_called_again() -> None:
    fakes = workers(1)
    fakes[0].describing = [died()]
    pool = pool_of(fakes, Events())
    pool.start()
    await pool.all_started()
    assert len(pool.live_workers()) == 1


async def test_a_worker_that_cannot_start_is_lost_and_the_others_continue() -> None:
    fakes, events = workers(2), Events()
    fakes[1].describing = [ActorDiedError()]
    pool = await started(fakes, events)
    assert [worker.index for worker in pool.live_workers()] == [0]
    assert events.kinds == ["rollout_lost"]
    assert await texts(pool, 1) == [["1/0", "1/1"]]


async def test_a_start_has_a_deadline() -> None:
    fakes, events = workers(2), Events()
    fakes[1].describing = [asyncio.Event()]
    pool = await started(fakes, events, start_timeout_s=1.0)
    assert [worker.index for worker in pool.live_workers()] == [0]
    assert events.said == [("rollout_lost", "rollout worker 1 is lost: not up after 1 s: TimeoutError")]


async def test_when_all_workers_are_lost_every_waiter_gets_the_reasons() -> None:
    fakes = workers(2)
    pool = await started(fakes, Events())
    push = asyncio.ensure_future(stale(pool, 0))
    for fake in fakes:
        fake.generating, fake.after_kill = [died()], [ActorDiedError()]
    with pytest.raises(NoRolloutWorkers, match=r"worker 0: it cannot be started.*; worker 1: "):
        await texts(pool, 1)
    with pytest.raises(NoRolloutWorkers):
        await push
    with pytest.raises(NoRolloutWorkers):
        await pool.all_started()


async def test_after_forget_versions_no_worker_holds_usable_weights() -> None:
    pool = await started(workers(2), Events())
    assert (pool.workers_without(0), pool.workers_without_weights()) == ((), ())
    assert pool.workers_without(1) == pool.live_workers()
    await pool.forget_versions()
    assert pool.workers_without(0) == pool.workers_without_weights() == pool.live_workers()


async def test_a_push_to_a_worker_that_died_meanwhile_is_not_noted() -> None:
    fakes = workers(1)
    pool = await started(fakes, Events())
    (worker,) = pool.live_workers()
    await pool.restart(worker, "died")
    await pool.note_pushed([worker], 1)
    (back,) = await stale(pool, 1)
    assert back != worker


async def test_a_worker_that_dies_when_it_is_put_to_sleep_is_restarted() -> None:
    fakes, events = workers(2), Events()
    pool = await started(fakes, events)
    fakes[0].describing = [died()]
    await pool.sleep_all()
    assert (fakes[0].log, fakes[1].asleep) == (["sleep 1", "kill 0"], True)
    assert [worker.index for worker in await stale(pool, 0)] == [0]
