"""Tests of Controller: the order of pushes and steps, with and without failures."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from actors.controller.batches import training_group
from learner.commands import CommandReport, PromptTensors, Push, Stop, Train
from rollout.prompt import PromptError
from tests.unit.actors.fakes import Partly, died, engine_error
from tests.unit.actors.runs import CONFIG, Learner, Run, changed, prompt_indices, settled

# --- nothing fails ----------------------------------------------------------------------------------


async def test_each_step_uses_the_weights_of_the_step_before() -> None:
    run = Run()
    learner = Learner(run)
    await learner.learn()
    run.check_versions()
    assert [line for line in run.log if not line.startswith("generate")] == [
        *("push v0 0.0 1.0", "train 0", "push v1 0.0 1.0", "train 1", "push v2 0.0 1.0", "train 2"),
        *("save 3", "stop"),
    ]
    assert run.said("generate") == [
        *("generate 0.0 v0 [0, 1]", "generate 1.0 v0 [2, 3]"),
        *("generate 0.0 v1 [4, 5]", "generate 1.0 v1 [6, 7]"),
        *("generate 0.0 v2 [8, 9]", "generate 1.0 v2 [10, 11]"),
    ]
    assert run.controller.failure() is None


async def test_groups_keep_prompts_completions_and_rewards_together() -> None:
    run = Run(changed(recorded_groups=4))
    learner = Learner(run)
    await learner.learn()
    _, _, groups = run.record.steps[1]
    assert [group.group_id for group in groups] == ["1-0", "1-1", "1-2", "1-3"]
    assert {group.policy_version for group in groups} == {1}
    for index, group in zip((4, 5, 6, 7), groups, strict=True):
        assert group.prompt.meta.index == index
        assert [rollout.rollout_id for rollout in group.rollouts] == [f"train-{index}-0", f"train-{index}-1"]
        assert [rollout.token_ids for rollout in group.rollouts] == [(index, 0), (index, 1)]
        assert [rollout.text for rollout in group.rollouts] == [f"{index}/0", f"{index}/1"]
        assert [rollout.reward for rollout in group.rollouts] == [1.0, 0.0]
    expected = [replace(training_group(group), fetch_prompt=_no_prompt) for group in groups]
    assert [replace(group, fetch_prompt=_no_prompt) for group in learner.trained[1].groups] == expected


def _no_prompt() -> PromptTensors:
    raise AssertionError("no rank trains here")


async def test_a_step_is_recorded_with_its_metrics_and_seconds() -> None:
    run = Run()
    await Learner(run).learn()
    assert [step for step, _, _ in run.record.steps] == [0, 1, 2]
    _, metrics, groups = run.record.steps[1]
    assert (metrics["policy/loss"], metrics["reward/mean"], metrics["valid/mean"]) == (1.5, 0.5, 1.0)
    assert metrics["seconds/update"] == 1.5  # as the learner reported it
    assert metrics["staleness/mean"] == 0
    waited = [metrics[f"seconds/waited_for_{what}"] for what in ("groups", "update")]
    assert metrics["seconds/step"] > metrics["seconds/push"] + sum(waited)
    # The learner was idle while groups were generated. The engines were idle while the learner trained.
    parts = ("prompts", "rollout", "reward")
    assert waited[0] >= sum(metrics[f"seconds/{part}"] for part in parts) > 0
    assert waited[1] > 0
    assert [group.group_id for group in groups] == ["1-0", "1-1"]  # recorded_groups


async def test_the_next_steps_prompts_are_made_while_the_learner_trains() -> None:
    run = Run()
    learner = Learner(run)
    await learner.learn(die_at=Train, step_of_death=0)
    await settled()
    assert [index for _, index, _ in run.prompts_made] == list(range(8))


async def test_no_prompt_is_made_after_the_last_step() -> None:
    run = Run()
    await Learner(run).learn()
    assert run.prompts_made == [("train", index, None) for index in range(12)]


async def test_a_sampling_seed_depends_only_on_its_prompt() -> None:
    seeds = []
    for num_workers in (1, 3):
        run = Run(num_workers=num_workers)
        await Learner(run).learn()
        samplings = [sampling for worker in run.workers for sampling in worker.samplings]
        assert {replace(sampling, seed=0) for sampling in samplings} == {replace(CONFIG.sampling, seed=0)}
        seeds.append(sorted(sampling.seed for sampling in samplings))
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 12


async def test_skipped_videos_become_events() -> None:
    run = Run(changed(steps=1, prompts_per_step=1))
    run.skipped = ("a.mp4: broken",)
    await Learner(run).learn()
    assert ("video_skipped", "a.mp4: broken") in run.record.said


# --- evaluation ------------------------------------------------------------------------------------


async def test_held_out_samples_are_evaluated_before_the_first_step_and_after_the_last() -> None:
    run = Run(changed(steps=1, samples_per_task=5))
    await Learner(run).learn()
    run.check_versions()
    assert [(evaluation.point, evaluation.task) for evaluation in run.record.evaluations] == [
        *(("before", "counting"), ("before", "jigsaw"), ("after", "counting"), ("after", "jigsaw"))
    ]
    first_train = run.log.index("train 0")
    generated = [index for index, line in enumerate(run.log) if line.startswith("generate")]
    # Each evaluation makes 2 tasks x (greedy, sampled) x 2 workers calls; the step makes 2.
    assert sum(index < first_train for index in generated) == 8 + 2
    assert sum(index > first_train for index in generated) == 8
    assert {line.split()[2] for line in run.log[first_train:] if line.startswith("generate")} == {"v1"}
    held_out = [made for made in run.prompts_made if made[0] == "held_out"]
    assert held_out[:10] == [("held_out", index, task) for task in CONFIG.tasks for index in range(5)]
    assert held_out[:10] == held_out[10:]
    assert [message for kind, message in run.record.said if kind == "stage"] == [
        *("evaluating before training", "training", "evaluating after training", "done")
    ]


async def test_every_sample_has_one_greedy_completion_and_several_sampled_ones() -> None:
    run = Run(changed(steps=1, samples_per_task=5), num_workers=1)
    await Learner(run).learn()
    evaluation = run.record.evaluations[0]
    assert evaluation.greedy == ((1.0, True),) * 5  # completion 0 of each
    assert evaluation.sampled == ((1.0, True), (0.0, True), (1.0, True)) * 5
    assert evaluation.truths == ("truth",) * 5
    greedy, sampled = run.workers[0].samplings[0], run.workers[0].samplings[5]
    assert (greedy.num_completions, greedy.temperature) == (1, 0.0)
    assert (sampled.num_completions, sampled.temperature) == (3, 0.7)


async def test_a_resumed_run_is_not_evaluated_before_its_first_step() -> None:
    run = Run(changed(samples_per_task=2))
    await Learner(run).learn(step=2)
    assert {evaluation.point for evaluation in run.record.evaluations} == {"after"}


async def test_a_run_resumed_after_its_last_step_only_evaluates() -> None:
    run = Run(changed(samples_per_task=2))
    learner = Learner(run)
    await learner.learn(step=3)
    assert learner.trained == []
    assert [evaluation.point for evaluation in run.record.evaluations] == ["after", "after"]
    assert isinstance(learner.commands[-1], Stop)


# --- rollout workers fail --------------------------------------------------------------------------


async def test_a_worker_that_dies_in_a_step_gets_the_weights_before_it_serves_and_no_prompt_is_lost() -> None:
    run = Run()
    learner = Learner(run)
    run.workers[1].generating = [died()]
    await learner.learn()
    run.check_versions()
    assert run.said("push")[:2] == ["push v0 0.0 1.0", "push v0 1.1"]  # the second one during step 0
    assert run.said("push")[2:] == ["push v1 0.0 1.1", "push v2 0.0 1.1"]
    assert run.said("train") == ["train 0", "train 1", "train 2"]
    trained = prompt_indices(learner.trained)
    assert trained == list(range(12))
    assert [kind for kind in run.record.kinds if kind != "stage"] == ["rollout_died", "rollout_restarted"]


async def test_the_run_survives_the_death_of_all_workers() -> None:
    run = Run()
    for worker in run.workers:
        worker.generating = [died()]
    learner = Learner(run)
    await learner.learn()
    run.check_versions()
    assert prompt_indices([learner.trained[0]]) == [0, 1, 2, 3]


async def test_a_worker_that_restarts_between_steps_is_pushed_to_with_the_others() -> None:
    run = Run(changed(steps=4))
    late = asyncio.Event()
    run.workers[1].generating, run.workers[1].after_kill = [died()], [late]  # its restart takes a long time
    learning = asyncio.ensure_future(Learner(run).learn())
    while "train 1" not in run.log:
        await asyncio.sleep(0)
    late.set()
    await learning
    run.check_versions()
    assert run.said("push")[-1] == "push v3 0.0 1.1"
    assert run.said("train") == ["train 0", "train 1", "train 2", "train 3"]


async def test_when_all_workers_are_lost_the_learner_is_stopped_and_the_reason_is_kept() -> None:
    run = Run(num_workers=1)
    run.workers[0].generating, run.workers[0].after_kill = [died()], [ActorDiedError()]
    learner = Learner(run)
    await learner.learn()
    assert isinstance(learner.commands[-1], Stop)
    assert learner.trained == []
    said = run.controller.failure()
    assert said is not None
    assert said.startswith("NoRolloutWorkers: no rollout worker is left (worker 0: it cannot be started")


async def test_prompts_that_break_every_engine_end_the_run() -> None:
    run = Run(num_workers=2)
    for worker in run.workers:
        worker.generating = [engine_error("video too long")] * 2
    learner = Learner(run)
    await learner.learn()
    assert isinstance(learner.commands[-1], Stop)
    assert "video too long" in str(run.controller.failure())


async def test_a_prompt_that_cannot_be_made_ends_the_run() -> None:
    run = Run()
    run.bad_prompt = PromptError("prompt of 9000 tokens is over the limit of 8192")
    learner = Learner(run)
    await learner.learn()
    assert isinstance(learner.commands[-1], Stop)
    assert run.controller.failure() == "PromptError: prompt of 9000 tokens is over the limit of 8192"


# --- pushes fail -----------------------------------------------------------------------------------


async def test_a_failed_push_is_repeated_after_its_workers_are_restarted() -> None:
    run = Run()
    await Learner(run, push_failures=["rollout worker 1 did not receive the weights"]).learn()
    run.check_versions()
    assert run.log[:3] == ["push v0 0.0 1.0 failed", "kill 0", "kill 1"]
    assert "generate" not in "".join(run.log[: run.log.index("kill 1")])
    assert ("push_failed", "rollout worker 1 did not receive the weights") in run.record.said
    assert run.said("train") == ["train 0", "train 1", "train 2"]


async def test_a_push_that_never_succeeds_ends_the_run() -> None:
    run = Run(num_workers=1)
    learner = Learner(run, push_failures=["no route to host"] * 5)
    await learner.learn()
    assert isinstance(learner.commands[-1], Stop)
    said = run.controller.failure()
    assert said == "PushFailed: the weights could not be pushed in 5 attempts; last: no route to host"


async def test_a_failed_push_to_a_late_worker_does_not_disturb_the_others() -> None:
    run = Run()
    run.workers[1].generating = [died()]
    learner = Learner(run, push_failures=[])
    learning = asyncio.ensure_future(learner.learn())
    while run.workers[1].life == 0:
        await asyncio.sleep(0)
    learner.push_failures.append("the late one broke")
    await learning
    run.check_versions()
    assert "kill 0" not in run.log
    assert run.said("train") == ["train 0", "train 1", "train 2"]


async def test_a_push_to_a_late_worker_is_completed_before_the_step() -> None:
    run = Run()
    hold, send = asyncio.Event(), asyncio.Event()
    run.workers[0].generating, run.workers[1].generating = [Partly(1, hold)], [Partly(1, died())]
    learner = Learner(run)
    learning = asyncio.ensure_future(learner.learn())
    while run.workers[1].life == 0:
        await asyncio.sleep(0)
    learner.sending.append(send)
    await settled()
    assert run.log[-1] == "push v0 1.1"
    hold.set()  # worker 0 finishes its own prompts, then the unfinished ones of worker 1
    await settled()
    assert run.log[-1] == "generate 0.0 v0 [2]"
    assert learner.trained == []
    send.set()
    await learning
    assert run.said("train") == ["train 0", "train 1", "train 2"]


# --- the learner fails -----------------------------------------------------------------------------


@pytest.mark.parametrize(("die_at", "step_of_death"), [(Train, 0), (Train, 1), (Push, 0), (Push, 2)])
async def test_a_new_session_starts_from_its_step(die_at: type[Any], step_of_death: int) -> None:
    run = Run()
    await Learner(run).learn(die_at=die_at, step_of_death=step_of_death)
    again = Learner(run, "second")
    await again.learn(step=min(step_of_death, 1))
    run.check_versions()
    first = again.commands[0]
    assert isinstance(first, Push)
    assert (first.policy_version, len(first.workers)) == (min(step_of_death, 1), 2)
    assert [command.step for command in again.trained] == list(range(min(step_of_death, 1), 3))
    for command in again.trained:
        assert prompt_indices([command]) == list(range(4 * command.step, 4 * command.step + 4))
    assert "learner_restarted" in run.record.kinds


async def test_the_work_of_the_old_session_is_cancelled() -> None:
    run = Run(num_workers=1)
    never = asyncio.Event()
    run.workers[0].generating = [never]
    old = asyncio.ensure_future(Learner(run).learn())
    while run.workers[0].running == 0:
        await asyncio.sleep(0)
    await Learner(run, "second").learn()
    assert run.said("generate") == [
        *("generate 0.0 v0 [0, 1, 2, 3]", "generate 0.0 v0 [0, 1, 2, 3]"),
        *("generate 0.0 v1 [4, 5, 6, 7]", "generate 0.0 v2 [8, 9, 10, 11]"),
    ]
    with pytest.raises(RuntimeError, match="session first was replaced by second"):
        await old


async def test_a_learner_that_dies_during_a_push_to_a_late_worker_starts_a_new_session() -> None:
    run = Run()
    never = asyncio.Event()
    run.workers[0].generating, run.workers[1].generating = [never], [died()]
    first = Learner(run)
    learning = asyncio.ensure_future(first.learn())
    while run.workers[1].life == 0:
        await asyncio.sleep(0)
    first.sending.append(never)
    await settled()
    assert run.log[-1] == "push v0 1.1"
    learning.cancel()
    await Learner(run, "second").learn()
    run.check_versions()
    assert run.said("train") == ["train 0", "train 1", "train 2"]


async def test_late_reports_of_an_old_session_are_ignored() -> None:
    run = Run()
    await Learner(run).learn(die_at=Train)
    await run.controller.begin("second", 0, 0)
    push = await run.controller.command("second", 0, 5.0)
    assert isinstance(push, Push)
    await run.controller.report("first", 0, CommandReport("not of this session"))
    await run.controller.report("second", 7, CommandReport("on a command that was not given"))
    assert await run.controller.command("second", 1, 0.05) is None
    with pytest.raises(RuntimeError, match="replaced"):
        await run.controller.command("first", 1, 5.0)


async def test_a_second_session_does_not_repeat_the_first_evaluation() -> None:
    run = Run(changed(samples_per_task=2, tasks=("jigsaw",)))
    await Learner(run).learn(die_at=Train)
    await Learner(run, "second").learn()
    assert [evaluation.point for evaluation in run.record.evaluations] == ["before", "after"]


# --- commands --------------------------------------------------------------------------------------


async def test_every_rank_gets_every_command_even_if_it_asks_late() -> None:
    run = Run()
    await run.controller.begin("s", 0, 0)
    first = await run.controller.command("s", 0, 5.0)
    await run.controller.report("s", 0, CommandReport())
    train = await run.controller.command("s", 1, 5.0)
    assert isinstance(train, Train)
    # Rank 0 has reached the training step; rank 1 still asks for the push.
    assert await run.controller.command("s", 0, 5.0) is first
    assert await run.controller.command("s", 1, 5.0) is train


async def test_a_command_that_is_not_given_in_time_is_none() -> None:
    run = Run()
    await run.controller.begin("s", 0, 0)
    assert await run.controller.command("s", 1, 0.05) is None


async def test_a_repeated_report_counts_once() -> None:
    run = Run()
    await run.controller.begin("s", 0, 0)
    await run.controller.command("s", 0, 5.0)
    await run.controller.report("s", 0, CommandReport())
    await run.controller.report("s", 0, CommandReport("again"))
    assert isinstance(await run.controller.command("s", 1, 5.0), Train)


async def test_commands_up_to_a_finished_step_are_dropped() -> None:
    run = Run(changed(steps=2))
    learner = Learner(run)
    await learner.learn(die_at=Train, step_of_death=1)
    assert [type(command) for command in learner.commands] == [Push, Train, Push, Train]
    with pytest.raises(RuntimeError, match="command 1 was carried out before this rank asked for it"):
        await run.controller.command("first", 1, 1.0)
    assert await run.controller.command("first", 2, 1.0) is learner.commands[2]


# --- shared GPUs -----------------------------------------------------------------------------------

SHARED = changed(shares_gpus=True, steps=2)


async def test_engines_sleep_while_the_learner_trains() -> None:
    run = Run(SHARED, num_workers=1)
    await Learner(run).learn()
    run.check_versions()
    assert run.log == [
        *("push v0 0.0", "generate 0.0 v0 [0, 1, 2, 3]", "sleep 0", "train 0", "wake up 0", "push v1 0.0"),
        *("generate 0.0 v1 [4, 5, 6, 7]", "sleep 0", "train 1", "wake up 0", "save 2", "stop"),
    ]


async def test_engines_are_woken_after_a_learner_died_while_they_slept() -> None:
    run = Run(SHARED)
    await Learner(run).learn(die_at=Train)
    assert all(worker.asleep for worker in run.workers)
    await Learner(run, "second").learn()
    run.check_versions()
    woken, pushed = run.log.index("wake up 0"), run.log.index("push v0 0.0 1.0", 1)
    assert woken < pushed
