"""From prompts to groups of scored rollouts. Each prompt is scored as soon as its completions are there."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from actors.controller.weight_sync import WeightSync
from actors.messages import Group, Prompt, PromptMeta, Rollout, Score
from actors.workers.rollout_pool import RolloutPool
from rollout.engine import Completion, Sampling
from vocabulary import events

logger = logging.getLogger(__name__)

ScoreAll = Callable[[Sequence[tuple[str, str, str]]], Awaitable[list[Score]]]  # of (task, text, truth)


class Sampler:
    """Has the rollout pool generate completions and the reward workers score them, at the same time.

    Args:
        score: scores a list of (task, completion text, truth).
        on_event: called once with (kind, message) when the user's own reward function fails.
    """

    def __init__(
        self,
        pool: RolloutPool,
        weight_sync: WeightSync,
        score: ScoreAll,
        on_event: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._pool, self._weight_sync, self._score, self._on_event = pool, weight_sync, score, on_event
        self._reported_reward_failure = False

    async def sample(
        self, prompts: Sequence[Prompt], group_ids: Sequence[str], sampling: Sampling, *, oldest: int
    ) -> tuple[list[Group], dict[str, float]]:
        """Return one group per prompt, in the order of `prompts`. Workers that come up meanwhile are pushed to.

        Args:
            sampling: how to sample; each prompt gets its own seed, derived from this one and the prompt's number.
            oldest: oldest acceptable policy version.

        Returns:
            The groups, and seconds by part: `rollout` until the last completion, `reward` from then until the last
            reward.
        """
        scoring: dict[int, asyncio.Task[Group]] = {}

        def deliver(index: int, completions: list[Completion], version: int) -> None:
            group = self._scored(group_ids[index], prompts[index], completions, version)
            scoring[index] = asyncio.ensure_future(group)

        samplings = [replace(sampling, seed=_seed(sampling.seed, prompt.meta)) for prompt in prompts]
        started = time.perf_counter()
        try:
            async with self._weight_sync.late_pushes() as pushing:
                generating = asyncio.ensure_future(
                    self._pool.generate(prompts, samplings, oldest=oldest, deliver=deliver)
                )
                await _wait_for_first(generating, watched=pushing)
            generated = time.perf_counter()
            groups = [await scoring[index] for index in range(len(prompts))]
        finally:
            for task in scoring.values():
                task.cancel()
            await asyncio.gather(*scoring.values(), return_exceptions=True)
        seconds = {"rollout": generated - started, "reward": time.perf_counter() - generated}
        logger.debug("generated and scored %d groups: %s", len(groups), seconds)
        return groups, seconds

    async def _scored(
        self, group_id: str, prompt: Prompt, completions: Sequence[Completion], version: int
    ) -> Group:
        meta = prompt.meta
        # A completion that was cut off is not a whole reply, so it is scored as an empty one.
        texts = [each.text if each.finish_reason == "stop" else "" for each in completions]
        scores = await self._score([(meta.task, text, meta.truth) for text in texts])
        await self._report_reward_failure(scores)
        rollouts = tuple(
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
        )
        return Group(group_id, prompt, rollouts, version)

    async def _report_reward_failure(self, scores: Sequence[Score]) -> None:
        for score in scores:
            if score.error and not self._reported_reward_failure:
                self._reported_reward_failure = True
                logger.warning("reward.function failed: %s", score.error)
                await self._on_event(
                    events.REWARD_FAILED,
                    f"reward.function failed and counts as 0 (reported once): {score.error}",
                )


async def _wait_for_first(task: "asyncio.Future[None]", *, watched: "asyncio.Future[None]") -> None:
    """Wait until `task` ends. An error of `watched` cancels it and is raised; `watched` never ends without one."""
    try:
        done, _ = await asyncio.wait({task, watched}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _seed(run_seed: int, meta: PromptMeta) -> int:
    """Return a seed that depends only on the run and the prompt, so that a repeated prompt gives the same result."""
    return (run_seed * 1_000_003 + meta.index * 7919 + (meta.split == "held_out")) % 2**31
