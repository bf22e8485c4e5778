"""Gives prompt workers, in turn, prompts to make and frames to render."""

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.messages import Prompt, PromptMeta
from dataset.view.thumbnails import ClipThumbnails
from pretext.recipe import Recipe
from pretext.source import Split

_CALLS_PER_WORKER = 2  # one prompt being made, one waiting
_PROMPT_TIMEOUT_S = 300.0


class PromptPool:
    """The prompt workers of a run.

    Args:
        workers: handles of PromptWorkerActor actors; Ray restarts a dead one and repeats its calls.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        self._workers = list(workers)
        self._turn = 0
        self._slots = asyncio.Semaphore(_CALLS_PER_WORKER * len(workers))
        self._render_slots = asyncio.Semaphore(
            len(workers)
        )  # separate, so that prompts do not wait for frames

    async def make(self, split: Split, index: int, task: str | None) -> Prompt:
        """Return prompt `index` of a split; see PromptWorker.make.

        Raises:
            TimeoutError: it was not made in time.
        """
        async with self._slots:  # the deadline is for making the prompt, not for waiting for a slot
            call = self._next_worker().make.options(num_returns=3)
            meta_ref, engine_input, model_input = call.remote(split, index, task)
            try:
                meta: PromptMeta = await asyncio.wait_for(meta_ref, _PROMPT_TIMEOUT_S)
            except TimeoutError:
                raise TimeoutError(
                    f"{split} prompt {index} was not made within {_PROMPT_TIMEOUT_S:.0f} s."
                ) from None
            return Prompt(meta, engine_input, model_input)

    async def render(self, recipe: Recipe) -> Sequence[ClipThumbnails]:
        """Return the frames of a recipe as the page shows them."""
        async with self._render_slots:
            clips: Sequence[ClipThumbnails] = await self._next_worker().frames.remote(recipe)
        return clips

    def _next_worker(self) -> Any:
        self._turn = (self._turn + 1) % len(self._workers)
        return self._workers[self._turn]
