"""Keeps the rollout workers serving: hands out prompts, notices deaths, has the restarted refitted.

Ray restarts a dead actor's process; what Ray cannot know is that the new engine holds old weights and that
the prompts the dead one was working on must go to others. That is what stands here.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from actors.messages import Member, Prompt, WorkerState
from actors.process_info import Place
from rollout.engine import Completion, Sampling

T = TypeVar("T")
Deliver = Callable[[int, list[Completion], int], None]  # prompt's place, completions, policy version

_MOST_DEATHS = 4  # of workers over the same prompts, until the prompts are to blame
_RETRY_S = 0.5  # between two looks at a worker that is being restarted


def _kill_process(worker: Any) -> None:
    ray.kill(worker, no_restart=False)


class NoRolloutWorkers(RuntimeError):
    """Every rollout worker is dead for good."""


class PoisonPrompts(RuntimeError):
    """Prompts that no rollout worker survives."""


class RolloutPool:
    """The rollout workers of a run.

    Invariants: prompts go only to members that hold a version that will do; a member that failed in any way
    is out until it has been restarted and refitted; a prompt's completions are handed on exactly once.

    Args:
        workers: actor handles, created with Ray's max_restarts.
        start_timeout_s: an engine that is not up by then has failed.
        generate_timeout_s: a worker that has not answered by then is killed (and restarted by Ray).
        on_event: told of deaths and restarts, (kind, message).
        kill: ends a worker's process; Ray then starts it anew.
    """

    def __init__(
        self,
        workers: Sequence[Any],
        *,
        start_timeout_s: float,
        generate_timeout_s: float,
        on_event: Callable[[str, str], Awaitable[None]],
        kill: Callable[[Any], None] = _kill_process,
    ) -> None:
        self._start_timeout_s, self._generate_timeout_s = start_timeout_s, generate_timeout_s
        self._on_event, self._kill = on_event, kill
        self._workers = list(workers)
        self._version: dict[Member, int | None] = {}  # members that are up; None: holds no usable weights
        self._busy: dict[Member, int] = {}  # with the number of prompts that each has still to answer
        self._places: dict[int, Place] = {}  # of workers that are, or were, up
        self._restarts: Counter[int] = Counter()
        self._lost: dict[int, str] = {}  # workers that will not come back, with the reason
        self._changed = asyncio.Condition()
        self._starting = [
            asyncio.ensure_future(self._start(index, old_life=None)) for index in range(len(workers))
        ]

    async def _start(self, index: int, *, old_life: str | None) -> None:
        """Wait until worker `index` is up (in another life than `old_life`), then list it without weights."""
        deadline = asyncio.get_running_loop().time() + self._start_timeout_s
        worker = self._workers[index]
        reason = ""
        while asyncio.get_running_loop().time() < deadline:
            try:
                life, num_ranks, place = await asyncio.wait_for(
                    worker.describe.remote(), self._start_timeout_s
                )
            except ActorDiedError as error:
                reason = f"it cannot be started: {last_line(error)}"
                break
            except (RayActorError, TimeoutError) as error:
                reason = f"not up after {self._start_timeout_s:.0f} s: {_first_line(error)}"
                await asyncio.sleep(_RETRY_S)
            else:
                if life == old_life:  # it answers after all, or is not dead yet
                    self._kill(worker)
                    await asyncio.sleep(_RETRY_S)
                    continue
                if old_life is not None:
                    self._restarts[index] += 1
                    await self._on_event("rollout_restarted", f"rollout worker {index} is up again")
                self._places[index] = place
                async with self._changed:
                    self._version[Member(worker, index, life, num_ranks)] = None
                    self._changed.notify_all()
                return
        await self._on_event("rollout_lost", f"rollout worker {index} is given up: {reason}")
        async with self._changed:
            self._lost[index] = reason
            self._changed.notify_all()

    async def all_started(self) -> None:
        """Wait until every worker is up or given up for good.

        Raises:
            NoRolloutWorkers: none is up.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._version) + len(self._lost) >= len(self._workers))
            self._check_any_left()

    def members(self) -> tuple[Member, ...]:
        """All members that are up, in the order of their index."""
        return tuple(sorted(self._version, key=lambda member: member.index))

    def members_without(self, policy_version: int) -> tuple[Member, ...]:
        """Those that are up but do not hold `policy_version`."""
        return tuple(member for member in self.members() if self._version[member] != policy_version)

    def members_without_weights(self) -> tuple[Member, ...]:
        """Those that are up but hold no version: new, restarted or invalidated ones."""
        return tuple(member for member in self.members() if self._version[member] is None)

    def states(self) -> list[WorkerState]:
        """How every worker is, in the order of their index."""
        up = {member.index: member for member in self._version}
        states = []
        for index in range(len(self._workers)):
            member = up.get(index)
            states.append(
                WorkerState(
                    "rollout",
                    index,
                    "running" if member else "lost" if index in self._lost else "starting",
                    self._places.get(index),
                    policy_version=self._version[member] if member else None,
                    queue=self._busy.get(member, 0) if member else None,
                    restarts=self._restarts[index],
                )
            )
        return states

    async def wait_for(self, wanted: Callable[[], tuple[Member, ...]]) -> None:
        """Wait until `wanted` names a member.

        Raises:
            NoRolloutWorkers: none is left.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: wanted() or self._nobody_left())
            self._check_any_left()

    async def refitted(self, members: Sequence[Member], policy_version: int) -> None:
        """Note that a push to `members` has succeeded."""
        async with self._changed:
            for member in members:
                if member in self._version:
                    self._version[member] = policy_version
            self._changed.notify_all()

    async def invalidate(self) -> None:
        """Forget what versions members hold: the learner has gone back, and will push again."""
        async with self._changed:
            for member in self._version:
                self._version[member] = None
            self._changed.notify_all()

    async def restart(self, member: Member, reason: str, *, died: bool = False) -> None:
        """Take a member out, end its process, and list it again when it is back.

        Args:
            died: the process is dead already, and Ray is restarting it: a second kill would hit its successor.
        """
        async with self._changed:
            if self._version.pop(member, _GONE) is _GONE:
                return  # someone else noticed first
            self._changed.notify_all()
        await self._on_event("rollout_died", f"rollout worker {member.index}: {reason}")
        if not died:
            self._kill(member.worker)
        self._starting.append(asyncio.ensure_future(self._start(member.index, old_life=member.life)))

    async def generate(
        self, prompts: Sequence[Prompt], samplings: Sequence[Sampling], *, oldest: int, deliver: Deliver
    ) -> None:
        """Complete `prompts`, an equal share on every member that is up; what a dead one leaves, on others.

        An engine that raises may be left with half-done requests, so its worker is restarted too; what the
        same prompts make a second engine raise is their fault, and is raised here.

        Args:
            oldest: the oldest policy version that will do.
            deliver: called once for every prompt, as soon as all its completions are there.

        Raises:
            NoRolloutWorkers: none is left.
            PoisonPrompts: they killed or hung one worker after another.
            RayTaskError: what a second engine raised for these prompts.
        """
        share = -(-len(prompts) // max(1, len(self._version)))
        everything = list(enumerate(zip(prompts, samplings, strict=True)))
        await all_or_first_error(
            self._complete(dict(everything[start : start + share]), oldest, deliver)
            for start in range(0, len(everything), share)
        )

    async def _complete(
        self, left: dict[int, tuple[Prompt, Sampling]], oldest: int, deliver: Deliver
    ) -> None:
        """Complete what is `left`, on one member after another until nothing is."""
        failures = 0  # of workers in a row that finished no prompt
        while left:
            member, version = await self._acquire(oldest)
            before = len(left)
            try:
                await self._stream(member, version, left, deliver)
                assert not left, "an engine ended before all its prompts were finished"
            except RayTaskError as error:
                failures = 1 if len(left) < before else failures + 1
                await self.restart(member, f"its engine failed ({last_line(error)})")
                if failures > 1:
                    raise
            except (RayActorError, TimeoutError) as error:
                died = isinstance(error, RayActorError)
                what = "its process died" if died else f"no answer within {self._generate_timeout_s:.0f} s"
                await self.restart(member, f"{what}; its {len(left)} prompts go to another", died=died)
                failures = 1 if len(left) < before else failures + 1
                if failures == _MOST_DEATHS:
                    raise PoisonPrompts(
                        f"{failures} rollout workers in a row failed over the same {len(left)} prompts: {what}."
                    ) from error
            finally:
                async with self._changed:
                    del self._busy[member]
                    self._changed.notify_all()

    async def _stream(
        self, member: Member, version: int, left: dict[int, tuple[Prompt, Sampling]], deliver: Deliver
    ) -> None:
        """Have `member` complete all that is left, taking each prompt out of `left` when it is finished."""
        asked = list(left)
        self._busy[member] = len(left)
        async with asyncio.timeout(self._generate_timeout_s):
            groups = member.worker.generate.options(num_returns="streaming").remote(
                version,
                [sampling for _, sampling in left.values()],
                *[prompt.engine_input for prompt, _ in left.values()],
            )
            async for reference in groups:
                for position, completions in await reference:
                    del left[asked[position]]
                    self._busy[member] = len(left)
                    deliver(asked[position], completions, version)

    async def _acquire(self, oldest: int) -> tuple[Member, int]:
        """An idle member that holds `oldest` or newer, and what it holds."""

        def idle() -> list[tuple[Member, int]]:
            held = [(member, self._version[member]) for member in self.members() if member not in self._busy]
            return [
                (member, version) for member, version in held if version is not None and version >= oldest
            ]

        async with self._changed:
            await self._changed.wait_for(lambda: idle() or self._nobody_left())
            self._check_any_left()
            member, version = idle()[0]
            self._busy[member] = 0
            return member, version

    def _nobody_left(self) -> bool:
        return len(self._lost) == len(self._workers)

    def _check_any_left(self) -> None:
        if self._nobody_left():
            reasons = "; ".join(f"worker {index}: {reason}" for index, reason in sorted(self._lost.items()))
            raise NoRolloutWorkers(f"no rollout worker is left ({reasons}).")

    async def on_all(self, method: str) -> None:
        """Call `sleep` or `wake_up` on every member; one that does not carry it out is restarted."""

        async def call(member: Member) -> None:
            try:
                await asyncio.wait_for(getattr(member.worker, method).remote(), self._generate_timeout_s)
            except (RayActorError, RayTaskError, TimeoutError) as error:
                await self.restart(member, f"its {method} failed ({_first_line(error)})")

        await asyncio.gather(*[call(member) for member in self.members()])


async def all_or_first_error(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of `calls`; the first error ends the others, and all have ended when it is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_GONE = object()
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def last_line(error: BaseException | str) -> str:
    """The innermost cause, out of Ray's traceback text and its colours."""
    lines = [line for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
