"""A step's groups: its prompts, their rollouts, and further prompts for groups without spread."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from actors.controller.sampler import Sampler
from actors.controller.step_metrics import has_spread
from actors.messages import Group, Prompt
from pretext.source import Split
from rollout.engine import Sampling

MakePrompt = Callable[[Split, int, str | None], Awaitable[Prompt]]


@dataclass(frozen=True)
class BatchPlan:
    """What a step's groups are.

    Args:
        prompts: groups of one step.
        sampling: of a training prompt; the seed is the run's.
        max_refills: times in a step that groups without spread are given up for further prompts.
        reward_tolerance: a group whose rewards differ by no more than this has no spread.
    """

    prompts: int
    sampling: Sampling
    max_refills: int
    reward_tolerance: float


@dataclass(frozen=True)
class Batch:
    """The groups of one step, ready to be trained."""

    groups: tuple[Group, ...]
    drawn: tuple[Group, ...]  # all that were sampled for the step, those given up for others among them
    next_cursor: int  # number of the prompt that the next step begins with
    seconds: Mapping[str, float]  # waited for: "prompts" (what was not ready before), "rollout", "reward"
    ready_at: float  # time.perf_counter()


class Batches:
    """Makes the batches of consecutive steps.

    Prompts are taken from the stream of training prompts in the order of their numbers, each once. Which numbers
    a step uses follows from the number it begins with and from the rewards, not from who finishes first: further
    prompts are drawn in rounds, each for the groups that have no spread when all of a round are scored.

    Args:
        make_prompt: (split, index, task or None) to Prompt.
        cursor: number of the first prompt.
        on_event: told of videos that were passed over, (kind, message).
    """

    def __init__(
        self,
        plan: BatchPlan,
        *,
        make_prompt: MakePrompt,
        sampler: Sampler,
        cursor: int,
        on_event: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._plan, self._make_prompt, self._sampler, self._on_event = plan, make_prompt, sampler, on_event
        self._cursor = cursor
        self._ahead: deque[asyncio.Future[Prompt]] = deque()  # prompts number cursor, cursor + 1, ...

    async def make(self, step: int, *, oldest: int, last: bool) -> Batch:
        """The groups of `step`, sampled from policy version `oldest` or newer.

        Args:
            last: no step follows, so no prompts are made for one.
        """
        plan = self._plan
        first = self._cursor
        groups: dict[int, Group] = {}
        drawn: list[Group] = []
        seconds = {"prompts": 0.0, "rollout": 0.0, "reward": 0.0}
        empty = list(range(plan.prompts))  # places with no group, or one without spread
        for _ in range(1 + plan.max_refills):
            started = time.perf_counter()
            prompts = await self._take(len(empty))
            seconds["prompts"] += time.perf_counter() - started
            if plan.max_refills or not last:
                self._make_ahead()  # while these are answered
            answers, took = await self._sampler.sample(prompts, plan.sampling, oldest=oldest)
            seconds |= {phase: seconds[phase] + value for phase, value in took.items()}
            for place, prompt, answer in zip(empty, prompts, answers, strict=True):
                groups[place] = Group(f"{step}-{place}", prompt, answer.rollouts, answer.policy_version)
                drawn.append(groups[place])
            empty = [place for place in empty if not has_spread(groups[place], plan.reward_tolerance)]
            if not empty:
                break
        assert self._cursor == first + len(drawn)
        trained = tuple(groups[place] for place in range(plan.prompts))
        return Batch(trained, tuple(drawn), self._cursor, seconds, time.perf_counter())

    async def close(self) -> None:
        """Give up the prompts that were made ahead."""
        for prompt in self._ahead:
            prompt.cancel()
        await asyncio.gather(*self._ahead, return_exceptions=True)

    def _make_ahead(self) -> None:
        """Have a step's prompts made, so that they are ready when they are wanted."""
        while len(self._ahead) < self._plan.prompts:
            number = self._cursor + len(self._ahead)
            self._ahead.append(asyncio.ensure_future(self._make_prompt("train", number, None)))

    async def _take(self, count: int) -> list[Prompt]:
        self._make_ahead()
        taken = [self._ahead.popleft() for _ in range(count)]
        self._cursor += count
        prompts = await asyncio.gather(*taken)
        for prompt in prompts:
            for rejected in prompt.meta.rejected:
                await self._on_event("video_rejected", rejected)
        return prompts
