"""Prompts to scored rollouts: each prompt is scored as soon as its completions are there."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from actors.controller.weight_sync import Pushes
from actors.messages import Prompt, PromptMeta, Rollout, Score
from actors.workers.rollout_pool import RolloutPool
from rollout.engine import Completion, Sampling

ScoreAll = Callable[[Sequence[tuple[str, str, str]]], Awaitable[list[Score]]]


@dataclass(frozen=True)
class Answers:
    """A prompt's rollouts, all sampled from one version of the policy."""

    rollouts: tuple[Rollout, ...]
    policy_version: int


class Sampler:
    """Has the rollout pool answer prompts and the reward workers score them, side by side.

    Args:
        score: [(task, text, answer)] to scores.
        on_event: told once when the user's own reward fails, (kind, message).
    """

    def __init__(
        self,
        pool: RolloutPool,
        pushes: Pushes,
        score: ScoreAll,
        on_event: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._pool, self._pushes, self._score, self._on_event = pool, pushes, score, on_event
        self._told_of_reward = False

    async def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, oldest: int
    ) -> tuple[list[Answers], dict[str, float]]:
        """Answers in the order of `prompts`; workers that come up meanwhile are refitted.

        Args:
            sampling: how; each prompt gets a seed of its own, made of this one's and its number.
            oldest: the oldest policy version that will do.

        Returns:
            The answers, and seconds: `rollout` to the last completion, `reward` from there to the last reward.
        """
        scoring: dict[int, asyncio.Task[Answers]] = {}

        def deliver(index: int, completions: list[Completion], version: int) -> None:
            scoring[index] = asyncio.ensure_future(self._scored(prompts[index], completions, version))

        samplings = [replace(sampling, seed=_seed(sampling.seed, prompt.meta)) for prompt in prompts]
        started = time.perf_counter()
        try:
            async with self._pushes.refitting() as refitting:
                generating = asyncio.ensure_future(
                    self._pool.generate(prompts, samplings, oldest=oldest, deliver=deliver)
                )
                await _done_beside(generating, refitting)
            generated = time.perf_counter()
            answers = [await scoring[index] for index in range(len(prompts))]
        finally:
            for task in scoring.values():
                task.cancel()
            await asyncio.gather(*scoring.values(), return_exceptions=True)
        return answers, {"rollout": generated - started, "reward": time.perf_counter() - generated}

    async def _scored(self, prompt: Prompt, completions: Sequence[Completion], version: int) -> Answers:
        meta = prompt.meta
        # An answer that was cut off is not the whole reply: it is scored as no reply.
        texts = [each.text if each.finish_reason == "stop" else "" for each in completions]
        scores = await self._score([(meta.task, text, meta.answer) for text in texts])
        for score in scores:
            if score.error and not self._told_of_reward:
                self._told_of_reward = True
                await self._on_event(
                    "reward_failed", f"reward.function failed and counts as 0 (said once): {score.error}"
                )
        rollouts = [
            Rollout(
                f"{meta.split}-{meta.index}-{n}",
                completion.token_ids,
                completion.logprobs,
                completion.text,
                completion.finish_reason,
                score.reward,
                score.valid,
                reward_failed=bool(score.error),
            )
            for n, (completion, score) in enumerate(zip(completions, scores, strict=True))
        ]
        return Answers(tuple(rollouts), version)


async def _done_beside(task: "asyncio.Future[None]", other: "asyncio.Future[None]") -> None:
    """Wait for `task`; an error of `other`, which never ends well, is raised and ends it."""
    try:
        done, _ = await asyncio.wait({task, other}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _seed(run_seed: int, meta: PromptMeta) -> int:
    """A sampling seed that depends on the prompt alone, so a re-run prompt is answered alike."""
    return (run_seed * 1_000_003 + meta.index * 7919 + (meta.split == "held_out")) % 2**31
