"""Has completions scored in few calls: what comes while the reward workers are busy goes together in the next."""

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.messages import Score
from actors.workers.reward_worker import ANSWER_TIMEOUT_S

_TIMEOUT_S = 60.0  # of a call, beside what each answer may take

Items = Sequence[tuple[str, str, str]]  # (task, completion text, true answer)


class RewardPool:
    """The reward workers of a run, each busy with one call at a time.

    A prompt's completions are a call of a millisecond, most of it Ray's: 64 prompts that are finished at once cost
    as many calls as there are workers, not 64.

    Args:
        workers: handles of RewardWorker actors; Ray restarts a dead one and repeats its call.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        self._idle = list(workers)
        self._waiting: list[tuple[Items, asyncio.Future[list[Score]]]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def score(self, items: Items) -> list[Score]:
        """The score of each item.

        Raises:
            TimeoutError: they were not scored in time.
        """
        future: asyncio.Future[list[Score]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, future))
        # What else is finished in this turn of the loop goes along.
        asyncio.get_running_loop().call_soon(self._hand_out)
        return await future

    def _hand_out(self) -> None:
        """Share what waits among the workers that are idle."""
        while self._idle and self._waiting:
            share = -(-len(self._waiting) // len(self._idle))
            batch, self._waiting = self._waiting[:share], self._waiting[share:]
            call = asyncio.ensure_future(self._call(self._idle.pop(), batch))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _call(self, worker: Any, batch: Sequence[tuple[Items, "asyncio.Future[list[Score]]"]]) -> None:
        items = [item for part, _ in batch for item in part]
        deadline_s = _TIMEOUT_S + ANSWER_TIMEOUT_S * len(items)
        try:
            scores = iter(await asyncio.wait_for(worker.score.remote(items), deadline_s))
            for part, future in batch:
                found = [next(scores) for _ in part]
                if not future.done():  # nobody may wait for it any more
                    future.set_result(found)
        except TimeoutError:
            late = TimeoutError(f"{len(items)} answers were not scored within {deadline_s:.0f} s.")
            _fail(batch, late)
        except Exception as error:  # raised where the scores are waited for
            _fail(batch, error)
        finally:
            self._idle.append(worker)
            self._hand_out()


def _fail(batch: Sequence[tuple[Items, "asyncio.Future[list[Score]]"]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
