"""The groups of a step: its prompts, their rollouts, and new prompts in place of groups without spread."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from actors.config import TrainConfig
from actors.controller.sampler import Sampler
from actors.controller.step_metrics import has_spread
from actors.messages import Group, Prompt
from learner.commands import PromptTensors, TrainingGroup
from learner.config import GrpoConfig
from pretext.source import Split
from rollout.engine import Sampling
from vocabulary import events

logger = logging.getLogger(__name__)

MakePrompt = Callable[[Split, int, str | None], Awaitable[Prompt]]


@dataclass(frozen=True)
class Batch:
    """The groups of one step, ready for training."""

    groups: tuple[Group, ...]
    sampled: tuple[Group, ...]  # all groups generated for the step, replaced ones included
    next_cursor: int  # number of the prompt that the next step begins with
    seconds: Mapping[str, float]  # "prompts" (waited for), "rollout" and "reward"
    ready_at: float  # time.perf_counter() when the last group was ready

    def for_learner(self) -> tuple[TrainingGroup, ...]:
        """Return the groups as the learner takes them."""
        return tuple(training_group(group) for group in self.groups)


class Batches:
    """The maker of the batches of consecutive steps.

    Training prompts are taken in the order of their numbers, each once. Which prompts a step uses follows from the
    number it begins with and from the rewards, never from which worker is faster: replacements are drawn in rounds,
    and a round begins only when all groups of the round before are scored.

    Args:
        sampling: how the completions of training prompts are sampled.
        make_prompt: takes (split, index, task or None).
        cursor: number of the first prompt.
        on_event: called with (kind, message) for every video that was skipped.
    """

    def __init__(
        self,
        train: TrainConfig,
        grpo: GrpoConfig,
        sampling: Sampling,
        *,
        make_prompt: MakePrompt,
        sampler: Sampler,
        cursor: int,
        on_event: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._train, self._grpo, self._sampling = train, grpo, sampling
        self._make_prompt, self._sampler, self._on_event = make_prompt, sampler, on_event
        self._cursor = cursor
        self._prompts: deque[asyncio.Future[Prompt]] = deque()  # being made: number cursor, cursor + 1, ...
        self._ahead: asyncio.Task[Batch] | None = None  # of the next step

    async def batch(self, step: int) -> Batch:
        """Return the batch of `step`: the one that was generated ahead, or else one from policy version `step`."""
        if self._ahead is None:
            return await self._make(step, oldest=step)
        batch, self._ahead = await self._ahead, None
        return batch

    def generate_ahead(self, step: int, *, oldest: int) -> None:
        """Start to generate the batch of `step` with policy version `oldest` or newer."""
        self._ahead = asyncio.ensure_future(self._make(step, oldest=oldest))

    async def wait_until_generated(self) -> None:
        """Wait until the batch that is being generated ahead is ready, so that no engine is generating."""
        if self._ahead is not None:
            await self._ahead

    def idle_s(self, period_s: float) -> float:
        """Return for how many of the last `period_s` seconds the engines had nothing to generate."""
        if self._ahead is None:
            return period_s
        if not self._ahead.done():
            return 0.0
        return min(period_s, time.perf_counter() - self._ahead.result().ready_at)

    async def close(self) -> None:
        """Cancel everything that is being made ahead."""
        pending: list[asyncio.Future[Any]] = [*self._prompts]
        if self._ahead is not None:
            pending.append(self._ahead)
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _make(self, step: int, *, oldest: int) -> Batch:
        """Generate and score the groups of `step`, and replace groups without spread up to grpo.max_refills times."""
        first, num_groups = self._cursor, self._train.prompts_per_step
        is_last_step = step + 1 == self._train.steps
        groups: dict[int, Group] = {}
        sampled: list[Group] = []
        seconds = {"prompts": 0.0, "rollout": 0.0, "reward": 0.0}
        open_places = list(range(num_groups))  # places without a group, or with one without spread
        for _ in range(1 + self._grpo.max_refills):
            started = time.perf_counter()
            prompts = await self._take_prompts(len(open_places))
            seconds["prompts"] += time.perf_counter() - started
            if self._grpo.max_refills or not is_last_step:
                self._make_prompts_ahead()  # while the engines generate
            ids = [f"{step}-{place}" for place in open_places]
            found, took = await self._sampler.sample(prompts, ids, self._sampling, oldest=oldest)
            seconds |= {part: seconds[part] + value for part, value in took.items()}
            groups |= dict(zip(open_places, found, strict=True))
            sampled += found
            tolerance = self._grpo.reward_tolerance
            open_places = [place for place in open_places if not has_spread(groups[place], tolerance)]
            if not open_places:
                break
        assert self._cursor == first + len(sampled)
        logger.debug("step %d: %d groups sampled, %d without spread", step, len(sampled), len(open_places))
        in_order = tuple(groups[place] for place in range(num_groups))
        return Batch(in_order, tuple(sampled), self._cursor, seconds, time.perf_counter())

    def _make_prompts_ahead(self) -> None:
        """Start to make prompts, so that those of a whole step are ready or on their way."""
        while len(self._prompts) < self._train.prompts_per_step:
            number = self._cursor + len(self._prompts)
            self._prompts.append(asyncio.ensure_future(self._make_prompt("train", number, None)))

    async def _take_prompts(self, count: int) -> list[Prompt]:
        self._make_prompts_ahead()
        taken = [self._prompts.popleft() for _ in range(count)]
        self._cursor += count
        prompts = await asyncio.gather(*taken)
        for prompt in prompts:
            for video in prompt.meta.skipped:
                await self._on_event(events.VIDEO_SKIPPED, video)
        return prompts


def training_group(group: Group) -> TrainingGroup:
    """Return a group as the learner takes it. Its prompt stays in Ray's object store until a rank trains it."""
    meta = group.prompt.meta
    return TrainingGroup(
        group_id=group.group_id,
        task=meta.task,
        fetch_prompt=partial(_fetch, group.prompt.model_input),
        prompt_tokens=meta.num_tokens,
        completions=tuple(rollout.token_ids for rollout in group.rollouts),
        rollout_logprobs=tuple(rollout.logprobs for rollout in group.rollouts),
        rewards=tuple(rollout.reward for rollout in group.rollouts),
        truncated=tuple(rollout.finish_reason == "length" for rollout in group.rollouts),
        policy_version=group.policy_version,
    )


def _fetch(reference: Any) -> PromptTensors:
    import ray

    prompt: PromptTensors = ray.get(reference)
    return prompt
