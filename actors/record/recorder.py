"""The controller's connection to the run's record."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from actors.messages import Group, TaskEvaluation, WorkerState
from dataset.view.thumbnails import ClipThumbnails
from pretext.recipe import Recipe
from vocabulary import events
from vocabulary.text import last_line

logger = logging.getLogger(__name__)

_MAX_RENDERING = 256  # groups whose frames are being rendered or wait for it
_DRAIN_TIMEOUT_S = 30.0  # for frames that are not rendered when the run ends


class Recorder(Protocol):
    """What the controller tells the run's record."""

    async def event(self, kind: str, message: str) -> None: ...

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None: ...

    async def evaluation(self, evaluation: TaskEvaluation) -> None: ...

    async def parity_failure(self, sample: Mapping[str, Any]) -> None: ...

    async def forget(self, step: int) -> None: ...  # steps from this one on are taken again


class RunLogRecorder:
    """A Recorder that calls the RunLog actor, and has the frames of recorded groups rendered in the background.

    Args:
        run_log: handle of the RunLog actor.
        render: renders the frames of a recipe as the page shows them.
    """

    def __init__(self, run_log: Any, render: Callable[[Recipe], Awaitable[Sequence[ClipThumbnails]]]) -> None:
        self._run_log, self._render = run_log, render
        self._rendering: set[asyncio.Task[None]] = set()
        self._reported_left_out = False

    async def event(self, kind: str, message: str) -> None:
        """Record an event."""
        await self._run_log.event.remote(kind, message)

    async def step(self, step: int, metrics: dict[str, float], groups: Sequence[Group]) -> None:
        """Record a step and some of its groups."""
        await self._run_log.step.remote(step, metrics, groups)
        await self._render_frames(step, groups)

    async def evaluation(self, evaluation: TaskEvaluation) -> None:
        """Record the results on the held-out samples of one task."""
        await self._run_log.evaluation.remote(evaluation)
        await self._render_frames(evaluation.step, evaluation.groups)

    async def parity_failure(self, sample: Mapping[str, Any]) -> None:
        """Record the completion that shows a parity failure."""
        await self._run_log.parity_failure.remote(sample)

    async def forget(self, step: int) -> None:
        """Drop the steps from this one on, because they are taken again."""
        await self._run_log.forget.remote(step)

    async def workers(self, states: Sequence[WorkerState]) -> None:
        """Record the state of every worker."""
        await self._run_log.workers.remote(states)

    async def drain(self) -> None:
        """Wait until all frames that are being rendered are recorded. Raises TimeoutError after 30 s."""
        await asyncio.wait_for(asyncio.gather(*self._rendering, return_exceptions=True), _DRAIN_TIMEOUT_S)

    async def guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, which serves only the record: an error becomes an event and does not end the run."""
        try:
            await work
        except Exception as error:
            logger.warning("a part of the record is missing", exc_info=True)
            await self.event(events.RECORD_FAILED, f"a part of the record is missing: {last_line(error)}")

    async def _render_frames(self, step: int, groups: Sequence[Group]) -> None:
        """Render the frames of the groups in the background; leave out those beyond `_MAX_RENDERING`."""
        for group in groups:
            if len(self._rendering) >= _MAX_RENDERING:
                await self._report_left_out()
                return
            # Without its references, the group does not keep frames and patches in Ray's object store.
            bare = replace(group, prompt=replace(group.prompt, engine_input=None, model_input=None))
            task = asyncio.ensure_future(self.guard(self._record_frames(step, bare)))
            self._rendering.add(task)  # asyncio itself does not keep a task alive
            task.add_done_callback(self._rendering.discard)

    async def _report_left_out(self) -> None:
        if not self._reported_left_out:
            self._reported_left_out = True
            message = "frames are rendered more slowly than groups are recorded, so some are left out (reported once)"
            logger.warning("%s", message)
            await self.event(events.RECORD_FAILED, message)

    async def _record_frames(self, step: int, group: Group) -> None:
        clips = await self._render(group.prompt.meta.recipe)
        await self._run_log.frames.remote(step, group, clips)
