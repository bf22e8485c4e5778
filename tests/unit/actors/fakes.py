"""A fake rollout worker without Ray and without an engine, and prompts, events and errors for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayActorError, RayTaskError

from actors.messages import Prompt, PromptMeta
from actors.process_info import ProcessInfo
from actors.workers.rollout_pool import RolloutPool
from pretext.recipe import Recipe
from pretext.source import Split
from rollout.config import RolloutConfig
from rollout.engine import Completion, Sampling


@dataclass(frozen=True)
class Partly:
    """The outcome of a generate call that finishes some prompts and then raises or waits."""

    finished: int
    then: "Exception | asyncio.Event"


Outcome = Exception | asyncio.Event | Partly  # an error to raise, or an event to wait for first


@dataclass
class Remote:
    """A method of a Ray actor: `.remote(...)` returns an awaitable at once."""

    call: Callable[..., Awaitable[Any]]

    def remote(self, *arguments: Any) -> "asyncio.Future[Any]":
        return asyncio.ensure_future(self.call(*arguments))


@dataclass
class Streaming:
    """A generator method of a Ray actor: it yields references, and awaiting the last one may raise."""

    call: Callable[..., AsyncIterator[Any]]

    def options(self, *, num_returns: str) -> "Streaming":
        assert num_returns == "streaming"
        return self

    async def remote(self, *arguments: Any) -> AsyncIterator["asyncio.Future[Any]"]:
        try:
            async for value in self.call(*arguments):
                yield _reference(value)
        except (RayActorError, RayTaskError) as error:
            yield _reference(error)


def _reference(value: Any) -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


@dataclass(eq=False)
class FakeWorker:
    """A rollout worker that completes every prompt with its index, and logs the policy version of every call.

    `generating` and `describing` are the outcomes of the next calls. Calls without an outcome succeed. `after_kill` is
    the `describing` of the next process.
    """

    index: int
    log: list[str] = field(default_factory=list)  # calls of all workers, in order
    generating: list[Outcome] = field(default_factory=list)
    describing: list[Exception | asyncio.Event] = field(default_factory=list)
    after_kill: list[Exception | asyncio.Event] = field(default_factory=list)
    samplings: list[Sampling] = field(default_factory=list)  # one per prompt received
    life: int = 0
    asleep: bool = False
    running: int = 0  # number of generate calls in progress

    def __post_init__(self) -> None:
        self.describe = Remote(self._describe)
        self.generate = Streaming(self._generate)
        self.sleep = Remote(self._sleep)
        self.wake_up = Remote(self._wake_up)

    def kill(self) -> None:
        """Replace the process by a new one that is awake, as Ray does while the worker may restart."""
        self.log.append(f"kill {self.index}")
        self._respawn()

    def _respawn(self) -> None:
        self.life, self.asleep = self.life + 1, False
        self.describing, self.after_kill = self.after_kill, []

    async def _describe(self) -> tuple[str, int, ProcessInfo]:
        await _meet_outcome(self.describing)
        return f"{self.index}.{self.life}", 1, ProcessInfo("10.0.0.1", 100 + self.life)

    async def _generate(
        self, version: int, samplings: Sequence[Sampling], *inputs: Any
    ) -> AsyncIterator[list[tuple[int, list[Completion]]]]:
        """Yield the prompts one by one, the last one first."""
        assert not self.asleep
        self.log.append(f"generate {self.index}.{self.life} v{version} {list(inputs)}")
        self.samplings += samplings
        self.running += 1
        fate = self.generating.pop(0) if self.generating else None
        if not isinstance(fate, Partly):
            fate = None if fate is None else Partly(0, fate)
        try:
            for finished, place in enumerate(reversed(range(len(inputs)))):
                if fate is not None and finished == fate.finished:
                    await _meet_outcome([fate.then])
                await asyncio.sleep(0)
                entry = inputs[place]
                completions = [
                    Completion((entry, n), (-1.0, -1.0), f"{entry}/{n}", "stop")
                    for n in range(samplings[place].num_completions)
                ]
                yield [(place, completions)]
        except RayActorError:  # the process died, and Ray restarts it
            self._respawn()
            raise
        finally:
            self.running -= 1

    async def _sleep(self) -> None:
        await _meet_outcome(self.describing)
        self.log.append(f"sleep {self.index}")
        self.asleep = True

    async def _wake_up(self) -> None:
        await _meet_outcome(self.describing)
        self.log.append(f"wake up {self.index}")
        self.asleep = False


async def _meet_outcome(outcomes: list[Exception | asyncio.Event]) -> None:
    if not outcomes:
        return
    outcome = outcomes.pop(0)
    if isinstance(outcome, Exception):
        raise outcome
    await outcome.wait()


@dataclass
class Events:
    """A list of all events of the pool."""

    said: list[tuple[str, str]] = field(default_factory=list)

    async def __call__(self, kind: str, message: str) -> None:
        self.said.append((kind, message))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.said]


def workers(count: int) -> list[FakeWorker]:
    """Return workers that share one log."""
    log: list[str] = []
    return [FakeWorker(index, log) for index in range(count)]


def pool_of(
    fakes: Sequence[FakeWorker],
    events: Events,
    *,
    start_timeout_s: float = 5.0,
    timeout_s: float = 5.0,
) -> RolloutPool:
    """Return a pool of fake workers that has not been started."""
    config = RolloutConfig(start_timeout_s=start_timeout_s, timeout_s=timeout_s)
    return RolloutPool(fakes, config, on_event=events, kill=FakeWorker.kill)


def recipe(task: str = "jigsaw") -> Recipe:
    """Return a recipe of two frames."""
    return Recipe(task, "a.mp4", "pyav", (0, 1), (0.0, 0.5), 8, 8, {"gap": 1}, 0, "truth")


def prompt(index: int, *, split: Split = "train", task: str = "jigsaw") -> Prompt:
    """Return a prompt whose engine input is its index."""
    meta = PromptMeta(split, index, task, "question", "truth", recipe(task), 10, ())
    return Prompt(meta, index, None)


def died() -> RayActorError:
    return RayActorError()


def engine_error(message: str) -> RayTaskError:
    return RayTaskError("generate", f"Traceback ...\nValueError: {message}", ValueError(message))
