"""Keeps the rollout workers busy: hands out prompts, notices deaths, and tracks who holds which weights.

Ray restarts the process of a dead actor. Ray cannot know that the new engine holds old weights, and that the prompts
of the dead one must go to others. Both are handled here.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from actors.messages import Prompt, WorkerState
from actors.process_info import ProcessInfo
from rollout.config import RolloutConfig
from rollout.engine import Completion, Sampling
from vocabulary import events
from vocabulary.text import first_line, last_line
from vocabulary.workers import LOST, ROLLOUT, RUNNING, STARTING
from weight_sync.rollout_client import LiveWorker

logger = logging.getLogger(__name__)

T = TypeVar("T")
Deliver = Callable[
    [int, list[Completion], int], None
]  # takes a prompt's place, its completions, policy version

_MAX_FAILURES = 4  # of workers in a row over the same prompts; then the prompts are to blame
_RETRY_INTERVAL_S = 0.5  # between two attempts to reach a worker that is restarting


def _kill_process(actor: Any) -> None:
    ray.kill(actor, no_restart=False)


class NoRolloutWorkers(RuntimeError):
    """Every rollout worker is lost."""


class PoisonPrompts(RuntimeError):
    """The same prompts made several rollout workers in a row fail."""


class RolloutPool:
    """The rollout workers of a run.

    Invariants: prompts go only to workers that hold an acceptable policy version. A worker that failed in any way
    gets no prompts until it has been restarted and pushed to. Each prompt's completions are delivered exactly once.

    Args:
        actors: handles of RolloutWorker actors, created with Ray's max_restarts.
        rollout: `start_timeout_s` is the deadline for an engine to start; a worker that takes longer than `timeout_s`
            for its prompts is killed, and restarted by Ray.
        on_event: called with (kind, message) when a worker dies, is restarted or is lost.
        kill: kills an actor's process; Ray then restarts it.
    """

    def __init__(
        self,
        actors: Sequence[Any],
        rollout: RolloutConfig,
        *,
        on_event: Callable[[str, str], Awaitable[None]],
        kill: Callable[[Any], None] = _kill_process,
    ) -> None:
        self._actors, self._rollout, self._on_event, self._kill = list(actors), rollout, on_event, kill
        self._versions: dict[LiveWorker, int | None] = {}  # of live workers; None: no usable weights
        self._unfinished: dict[LiveWorker, int] = {}  # number of prompts that a busy worker has not finished
        self._processes: dict[int, ProcessInfo] = {}  # of workers that are, or were, live
        self._restarts: Counter[int] = Counter()
        self._lost: dict[int, str] = {}  # workers that will not come back, with the reason
        self._changed = asyncio.Condition()
        self._starting: set[asyncio.Task[None]] = set()

    # --- lives of workers

    def start(self) -> None:
        """Begin to wait for every worker to come up. Call once, inside the event loop."""
        for index in range(len(self._actors)):
            self._begin_start(index, old_life=None)

    def _begin_start(self, index: int, *, old_life: str | None) -> None:
        task = asyncio.ensure_future(self._start(index, old_life=old_life))
        self._starting.add(task)  # asyncio itself does not keep a task alive
        task.add_done_callback(self._starting.discard)

    async def _start(self, index: int, *, old_life: str | None) -> None:
        """Wait until worker `index` is up, in another life than `old_life`; then list it without weights."""
        timeout_s = self._rollout.start_timeout_s
        deadline = asyncio.get_running_loop().time() + timeout_s
        actor = self._actors[index]
        reason = ""
        logger.info("rollout worker %d is starting", index)
        while asyncio.get_running_loop().time() < deadline:
            try:
                life, num_ranks, process = await asyncio.wait_for(actor.describe.remote(), timeout_s)
            except ActorDiedError as error:
                reason = f"it cannot be started: {last_line(error)}"
                break
            except (RayActorError, TimeoutError) as error:
                reason = f"not up after {timeout_s:.0f} s: {first_line(error)}"
                await asyncio.sleep(_RETRY_INTERVAL_S)
            else:
                if life == old_life:  # it answers after all, or is not dead yet
                    self._kill(actor)
                    await asyncio.sleep(_RETRY_INTERVAL_S)
                    continue
                await self._list(
                    LiveWorker(actor, index, life, num_ranks), process, restarted=old_life is not None
                )
                return
        logger.error("rollout worker %d is lost: %s", index, reason)
        await self._on_event(events.ROLLOUT_LOST, f"rollout worker {index} is lost: {reason}")
        async with self._changed:
            self._lost[index] = reason
            self._changed.notify_all()

    async def _list(self, worker: LiveWorker, process: ProcessInfo, *, restarted: bool) -> None:
        logger.info("rollout worker %d is ready: %s, life %s", worker.index, process, worker.life)
        if restarted:
            self._restarts[worker.index] += 1
            await self._on_event(events.ROLLOUT_RESTARTED, f"rollout worker {worker.index} is up again")
        self._processes[worker.index] = process
        async with self._changed:
            self._versions[worker] = None
            self._changed.notify_all()

    async def restart(self, worker: LiveWorker, reason: str, *, died: bool = False) -> None:
        """Take a worker out, kill its process, and list it again when it is back.

        Args:
            died: the process is dead already, and Ray is restarting it: a second kill would hit its successor.
        """
        async with self._changed:
            if worker not in self._versions:
                return  # its failure was noticed before
            del self._versions[worker]
            self._changed.notify_all()
        logger.warning("rollout worker %d is restarted: %s", worker.index, reason)
        await self._on_event(events.ROLLOUT_DIED, f"rollout worker {worker.index}: {reason}")
        if not died:
            self._kill(worker.actor)
        self._begin_start(worker.index, old_life=worker.life)

    async def all_started(self) -> None:
        """Wait until every worker is live or lost.

        Raises:
            NoRolloutWorkers: all are lost.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._versions) + len(self._lost) >= len(self._actors))
            self._raise_if_all_lost()

    # --- who is live, and with which weights

    def live_workers(self) -> tuple[LiveWorker, ...]:
        """Return all live workers, in the order of their index."""
        return tuple(sorted(self._versions, key=lambda worker: worker.index))

    def workers_without(self, policy_version: int) -> tuple[LiveWorker, ...]:
        """Return the live workers that do not hold `policy_version`."""
        return tuple(worker for worker in self.live_workers() if self._versions[worker] != policy_version)

    def workers_without_weights(self) -> tuple[LiveWorker, ...]:
        """Return the live workers that hold no usable version."""
        return tuple(worker for worker in self.live_workers() if self._versions[worker] is None)

    def states(self) -> list[WorkerState]:
        """Return the state of every worker, in the order of their index."""
        live = {worker.index: worker for worker in self._versions}
        states = []
        for index in range(len(self._actors)):
            worker = live.get(index)
            states.append(
                WorkerState(
                    ROLLOUT,
                    index,
                    RUNNING if worker else LOST if index in self._lost else STARTING,
                    self._processes.get(index),
                    policy_version=self._versions[worker] if worker else None,
                    queue=self._unfinished.get(worker, 0) if worker else None,
                    restarts=self._restarts[index],
                )
            )
        return states

    async def wait_for(self, wanted: Callable[[], tuple[LiveWorker, ...]]) -> None:
        """Wait until `wanted` returns a worker.

        Raises:
            NoRolloutWorkers: all are lost.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: wanted() or self._all_lost())
            self._raise_if_all_lost()

    async def note_pushed(self, workers: Sequence[LiveWorker], policy_version: int) -> None:
        """Note that a push of `policy_version` to `workers` has succeeded."""
        async with self._changed:
            for worker in workers:
                if worker in self._versions:
                    self._versions[worker] = policy_version
            self._changed.notify_all()

    async def forget_versions(self) -> None:
        """Forget which versions workers hold, because the learner went back and will push again."""
        async with self._changed:
            for worker in self._versions:
                self._versions[worker] = None
            self._changed.notify_all()

    def _all_lost(self) -> bool:
        return len(self._lost) == len(self._actors)

    def _raise_if_all_lost(self) -> None:
        if self._all_lost():
            reasons = "; ".join(f"worker {index}: {reason}" for index, reason in sorted(self._lost.items()))
            raise NoRolloutWorkers(f"no rollout worker is left ({reasons}).")

    # --- generating

    async def generate(
        self, prompts: Sequence[Prompt], samplings: Sequence[Sampling], *, oldest: int, deliver: Deliver
    ) -> None:
        """Generate completions for `prompts`, an equal share on each live worker; others take over from a dead one.

        An engine that raises may be left with unfinished requests, so its worker is restarted too. If the same prompts
        then make a second engine raise, they are to blame, and its error is raised here.

        Args:
            oldest: oldest acceptable policy version.
            deliver: called once per prompt, as soon as all its completions are there.

        Raises:
            NoRolloutWorkers: all are lost.
            PoisonPrompts: the same prompts killed or hung several workers in a row.
            RayTaskError: the error of the second engine that raised for these prompts.
        """
        share = -(-len(prompts) // max(1, len(self._versions)))
        everything = list(enumerate(zip(prompts, samplings, strict=True)))
        await all_or_first_error(
            self._complete(dict(everything[start : start + share]), oldest, deliver)
            for start in range(0, len(everything), share)
        )

    async def _complete(
        self, left: dict[int, tuple[Prompt, Sampling]], oldest: int, deliver: Deliver
    ) -> None:
        """Generate for all prompts in `left`, on one worker after another until none is left."""
        failures = 0  # of workers in a row that finished no prompt
        while left:
            worker, version = await self._acquire(oldest)
            before = len(left)
            try:
                await self._stream(worker, version, left, deliver)
                assert not left, "an engine ended before all its prompts were finished"
            except RayTaskError as error:
                failures = 1 if len(left) < before else failures + 1
                await self.restart(worker, f"its engine failed ({last_line(error)})")
                if failures > 1:
                    raise
            except (RayActorError, TimeoutError) as error:
                died = isinstance(error, RayActorError)
                timeout_s = self._rollout.timeout_s
                what = "its process died" if died else f"nothing came back within {timeout_s:.0f} s"
                await self.restart(worker, f"{what}; its {len(left)} prompts go to another", died=died)
                failures = 1 if len(left) < before else failures + 1
                if failures == _MAX_FAILURES:
                    raise PoisonPrompts(
                        f"{failures} rollout workers in a row failed over the same {len(left)} prompts: {what}."
                    ) from error
            finally:
                async with self._changed:
                    del self._unfinished[worker]
                    self._changed.notify_all()

    async def _stream(
        self, worker: LiveWorker, version: int, left: dict[int, tuple[Prompt, Sampling]], deliver: Deliver
    ) -> None:
        """Have `worker` generate for all prompts in `left`, and remove each one when it is finished."""
        places = list(left)
        self._unfinished[worker] = len(left)
        logger.debug("rollout worker %d generates for %d prompts", worker.index, len(left))
        async with asyncio.timeout(self._rollout.timeout_s):
            results = worker.actor.generate.options(num_returns="streaming").remote(
                version,
                [sampling for _, sampling in left.values()],
                *[prompt.engine_input for prompt, _ in left.values()],
            )
            async for reference in results:
                for position, completions in await reference:
                    del left[places[position]]
                    self._unfinished[worker] = len(left)
                    deliver(places[position], completions, version)

    async def _acquire(self, oldest: int) -> tuple[LiveWorker, int]:
        """Wait for an idle worker that holds `oldest` or newer; return it and the version that it holds."""

        def idle() -> list[tuple[LiveWorker, int]]:
            held = [
                (worker, self._versions[worker])
                for worker in self.live_workers()
                if worker not in self._unfinished
            ]
            return [
                (worker, version) for worker, version in held if version is not None and version >= oldest
            ]

        async with self._changed:
            await self._changed.wait_for(lambda: idle() or self._all_lost())
            self._raise_if_all_lost()
            worker, version = idle()[0]
            self._unfinished[worker] = 0
            return worker, version

    # --- sleep, for GPUs shared with the learner

    async def sleep_all(self) -> None:
        """Have every live worker free its GPU memory; restart those that fail to."""
        await self._call_all("sleep", lambda actor: actor.sleep.remote())

    async def wake_up_all(self) -> None:
        """Have every live worker take its GPU memory again; restart those that fail to."""
        await self._call_all("wake_up", lambda actor: actor.wake_up.remote())

    async def _call_all(self, name: str, call: Callable[[Any], Awaitable[None]]) -> None:
        async def call_one(worker: LiveWorker) -> None:
            try:
                await asyncio.wait_for(call(worker.actor), self._rollout.timeout_s)
            except (RayActorError, RayTaskError, TimeoutError) as error:
                await self.restart(worker, f"its {name} failed ({first_line(error)})")

        await asyncio.gather(*[call_one(worker) for worker in self.live_workers()])


async def all_or_first_error(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of `calls`. The first error cancels the others, and all have ended when it is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
