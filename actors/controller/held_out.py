"""Evaluation during a run: held-out samples, with greedy and with sampled completions."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from actors.config import EvaluationConfig
from actors.controller.batches import MakePrompt
from actors.controller.sampler import Sampler
from actors.messages import Group, Prompt, TaskEvaluation
from rollout.engine import Sampling
from vocabulary.stages import EvaluationPoint


class HeldOut:
    """Evaluates the held-out samples, the same ones each time.

    Args:
        tasks: tasks of the mix.
        sampling: temperature and length of sampled completions; its seed is the run's.
        num_recorded: number of samples per task whose sampled completions are recorded in full.
    """

    def __init__(
        self,
        evaluation: EvaluationConfig,
        tasks: Sequence[str],
        sampling: Sampling,
        *,
        num_recorded: int,
        make_prompt: MakePrompt,
        sampler: Sampler,
    ) -> None:
        self._evaluation, self._tasks, self._sampling = evaluation, tasks, sampling
        self._num_recorded, self._make_prompt, self._sampler = num_recorded, make_prompt, sampler

    async def evaluate(self, point: EvaluationPoint, step: int) -> list[TaskEvaluation]:
        """Return the results of the weights after `step` steps, which all rollout workers hold, one per task."""
        return [await self._evaluate(point, step, task) for task in self._tasks]

    async def _evaluate(self, point: EvaluationPoint, step: int, task: str) -> TaskEvaluation:
        prompts = await asyncio.gather(
            *[
                self._make_prompt("held_out", index, task)
                for index in range(self._evaluation.samples_per_task)
            ]
        )
        ids = [f"held-out-{point}-{task}-{place}" for place in range(len(prompts))]
        greedy = replace(self._sampling, num_completions=1, temperature=0.0)
        sampled = replace(self._sampling, num_completions=self._evaluation.sampled_completions)
        greedy_groups = await self._groups(prompts, ids, greedy, step)
        sampled_groups = await self._groups(prompts, ids, sampled, step)
        return TaskEvaluation(
            point,
            step,
            task,
            _results(greedy_groups),
            _results(sampled_groups),
            tuple(prompt.meta.truth for prompt in prompts),
            tuple(sampled_groups[: self._num_recorded]),
        )

    async def _groups(
        self, prompts: Sequence[Prompt], ids: Sequence[str], sampling: Sampling, step: int
    ) -> list[Group]:
        groups, _ = await self._sampler.sample(prompts, ids, sampling, oldest=step)
        return groups


def _results(groups: Sequence[Group]) -> tuple[tuple[float, bool], ...]:
    return tuple((rollout.reward, rollout.valid) for group in groups for rollout in group.rollouts)


def held_out_score(evaluations: Sequence[TaskEvaluation]) -> float:
    """Return the score by which the best checkpoints are kept: the mean over tasks of the mean sampled reward.

    Sampled rather than greedy rewards, because there are several per sample and their mean varies less.
    """
    return fmean(fmean(reward for reward, _ in each.sampled) for each in evaluations)
