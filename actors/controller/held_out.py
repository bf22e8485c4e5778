"""Evaluation while a run goes on: held-out samples, answered greedily and sampled."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from actors.controller.batches import MakePrompt
from actors.controller.sampler import Answers, Sampler
from actors.messages import EvaluationAnswers, Group, Prompt, Stage
from rollout.engine import Sampling


@dataclass(frozen=True)
class EvaluationPlan:
    """When is asked what.

    Args:
        tasks: of the mix.
        samples_per_task: held out, always the same; 0: no evaluation.
        completions: per sample, for the sampled score.
        every: steps from one evaluation to the next; 0: before the first step and after the last only.
        recorded: samples of a task whose sampled answers are written down whole, always the same.
        sampling: temperature and length of the sampled answers; the seed is the run's.
    """

    tasks: tuple[str, ...]
    samples_per_task: int
    completions: int
    every: int
    recorded: int
    sampling: Sampling

    def is_due(self, step: int) -> bool:
        """Whether the weights after `step` steps are evaluated on the way, whatever comes before and after."""
        return self.samples_per_task > 0 and self.every > 0 and step > 0 and step % self.every == 0


class HeldOut:
    """Asks the held-out samples."""

    def __init__(self, plan: EvaluationPlan, make_prompt: MakePrompt, sampler: Sampler) -> None:
        self._plan, self._make_prompt, self._sampler = plan, make_prompt, sampler

    async def ask(self, stage: Stage, step: int) -> list[EvaluationAnswers]:
        """Every task's answers from the weights after `step` steps, which all rollout workers hold."""
        plan = self._plan
        answers = []
        for task in plan.tasks:
            prompts = await asyncio.gather(
                *[self._make_prompt("held_out", index, task) for index in range(plan.samples_per_task)]
            )
            greedy = await self._answers(prompts, 1, 0.0, step)
            sampled = await self._answers(prompts, plan.completions, plan.sampling.temperature, step)
            groups = tuple(
                Group(f"held-out-{stage}-{task}-{place}", prompt, each.rollouts, each.policy_version)
                for place, (prompt, each) in enumerate(zip(prompts[: plan.recorded], sampled, strict=False))
            )
            truths = tuple(prompt.meta.answer for prompt in prompts)
            answers.append(
                EvaluationAnswers(stage, step, task, _rewards(greedy), _rewards(sampled), truths, groups)
            )
        return answers

    async def _answers(
        self, prompts: Sequence[Prompt], count: int, temperature: float, step: int
    ) -> list[Answers]:
        sampling = replace(self._plan.sampling, num_completions=count, temperature=temperature)
        answers, _ = await self._sampler.sample(prompts, sampling, oldest=step)
        return answers


def _rewards(answers: Sequence[Answers]) -> tuple[tuple[float, bool], ...]:
    return tuple((rollout.reward, rollout.valid) for each in answers for rollout in each.rollouts)


def held_out_score(answers: Sequence[EvaluationAnswers]) -> float:
    """What the best checkpoint is chosen by: the mean over tasks of the mean reward of sampled answers.

    Sampled rather than greedy ones, as there are several per sample and the mean is that much steadier.
    """
    return fmean(fmean(reward for reward, _ in each.sampled) for each in answers)
