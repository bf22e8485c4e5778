"""Batches scoring calls: completions that arrive while all reward workers are busy share the next call."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from actors.messages import Score
from actors.workers.reward_worker import CUSTOM_REWARD_TIMEOUT_S

logger = logging.getLogger(__name__)

_CALL_TIMEOUT_S = 60.0  # deadline of a call, besides CUSTOM_REWARD_TIMEOUT_S per completion

Items = Sequence[tuple[str, str, str]]  # (task, completion text, truth)


class RewardPool:
    """The reward workers of a run, each busy with one call at a time.

    Scoring a prompt's completions takes about a millisecond, most of it Ray's overhead. So 64 prompts that finish
    together cost one call per worker instead of 64.

    Args:
        workers: handles of RewardWorker actors; Ray restarts a dead one and repeats its call.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        self._idle = list(workers)
        self._waiting: list[tuple[Items, asyncio.Future[list[Score]]]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def score(self, items: Items) -> list[Score]:
        """Return the score of each item.

        Raises:
            TimeoutError: they were not scored in time.
            Exception: the error of the worker's call.
        """
        future: asyncio.Future[list[Score]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        # Hand out at the end of this turn of the event loop, so that everything that arrives in it shares the calls.
        asyncio.get_running_loop().call_soon(self._hand_out)
        return await future

    def _hand_out(self) -> None:
        """Divide what is waiting among the idle workers."""
        while self._idle and self._waiting:
            share = -(-len(self._waiting) // len(self._idle))
            batch, self._waiting = self._waiting[:share], self._waiting[share:]
            call = asyncio.ensure_future(self._call(self._idle.pop(), batch))
            self._calls.add(call)  # asyncio itself does not keep a task alive
            call.add_done_callback(self._calls.discard)

    async def _call(self, worker: Any, batch: Sequence[tuple[Items, "asyncio.Future[list[Score]]"]]) -> None:
        items = [item for part, _ in batch for item in part]
        timeout_s = _CALL_TIMEOUT_S + CUSTOM_REWARD_TIMEOUT_S * len(items)
        logger.debug("scoring %d completions", len(items))
        try:
            scores = iter(await asyncio.wait_for(worker.score.remote(items), timeout_s))
            for part, future in batch:
                found = [next(scores) for _ in part]
                if not future.done():  # its caller may have been cancelled
                    future.set_result(found)
        except TimeoutError:
            late = TimeoutError(f"{len(items)} completions were not scored within {timeout_s:.0f} s.")
            _fail(batch, late)
        except Exception as error:  # raised where the scores are awaited
            _fail(batch, error)
        finally:
            self._idle.append(worker)
            self._hand_out()


def _fail(batch: Sequence[tuple[Items, "asyncio.Future[list[Score]]"]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
