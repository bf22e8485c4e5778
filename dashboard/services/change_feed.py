"""News of runs, for all who watch: one look at the store for everybody.

    store ──► Hub, a few looks a second ──► each Subscription's news ──► server-sent events

A subscription holds what its client was not told yet, each kind once: a slow client is told less often, and nothing
piles up.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool

from dashboard.lookups import steps_done
from dashboard.schemas import Change
from store.database import Database, StoreError
from store.reading.reader import RunReader

_log = logging.getLogger(__name__)

Subject = int | None  # a run, or all of them
_AWAY_S = 3.0  # from one look to the next while the store does not answer


class NoRoom(RuntimeError):
    """Too many watch already."""


class Subscription:
    """What one client watches."""

    def __init__(self, subjects: Sequence[Subject], longest_s: float) -> None:
        self.subjects = tuple(dict.fromkeys(subjects))
        self._kinds: dict[Subject, set[str]] = {}
        self._steps: dict[Subject, int | None] = {}
        self._woken = asyncio.Event()
        self._closed = False
        self._ends_at = time.monotonic() + longest_s

    def put(self, subject: Subject, kinds: Sequence[str], step: int | None) -> None:
        self._kinds.setdefault(subject, set()).update(kinds)
        self._steps[subject] = step
        self._woken.set()

    def close(self) -> None:
        self._closed = True
        self._woken.set()

    async def news(self) -> AsyncIterator[Change]:
        """What changed, as it comes, until the hub closes or the time is over."""
        while not self._closed:
            try:
                await asyncio.wait_for(self._woken.wait(), self._ends_at - time.monotonic())
            except TimeoutError:
                return
            self._woken.clear()
            kinds, self._kinds = self._kinds, {}
            for subject, what in kinds.items():
                yield Change(run_id=subject, what=tuple(sorted(what)), step=self._steps[subject])


class Hub:
    """Looks at the store for all subscriptions, as long as there are any.

    Args:
        every_s: from one look to the next.
        most: subscriptions.
        most_per_caller: of one session, or of one network of those who have none.
        most_per_network: of all sessions there, which anybody with a token can have many of.
        most_runs: different ones that are watched: each is asked for when anything is new.
        longest_s: a subscription ends then. Who watches on has to show again that they may.
    """

    def __init__(
        self,
        database: Database,
        *,
        every_s: float = 0.5,
        most: int = 400,
        most_per_caller: int = 40,
        most_per_network: int = 200,
        most_runs: int = 300,
        longest_s: float = 3600.0,
    ) -> None:
        self._database, self._reader, self._every_s = database, RunReader(database), every_s
        self._most, self._most_runs, self._longest_s = most, most_runs, longest_s
        self._most_per_caller, self._most_per_network = most_per_caller, most_per_network
        self._tokens: dict[Subject, str] = {}  # of what was seen last, of all that somebody watches
        self._subscriptions: set[Subscription] = set()
        self._callers: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._watched = asyncio.Event()
        self._closed = False

    @asynccontextmanager
    async def subscribe(
        self, subjects: Sequence[Subject], caller: str, network: str
    ) -> AsyncIterator[Subscription]:
        """Whatever changes after this is entered is told.

        Args:
            caller: a session, or whatever else is counted.
            network: where from.

        Raises:
            NoRoom: too many subscriptions, of all or of this caller, or of too many runs.
            StoreError: the store does not answer.
        """
        subscription = Subscription(subjects, self._longest_s)
        self._demand_room(subscription, caller, network)
        self._subscriptions.add(subscription)
        self._callers[caller] += 1
        self._networks[network] += 1
        try:
            for subject in {None, *subscription.subjects} - self._tokens.keys():
                token, _ = await run_in_threadpool(self._reader.changed_since, subject, "")
                self._tokens.setdefault(subject, token)
            self._watched.set()
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            self._callers -= Counter([caller])  # which leaves those out that are at 0
            self._networks -= Counter([network])
            self._forget()

    async def run(self) -> None:
        """Look, for ever: whatever a look runs into, the next one may see more, and pages that watch rely on it."""
        trouble: set[type[Exception]] = set()  # each kind is told once, until a look succeeds
        while True:
            await self._watched.wait()
            try:
                await self._look()
            except Exception as error:
                if type(error) not in trouble:
                    known = isinstance(error, StoreError)
                    _log.warning("The stream of news waits: %r", error, exc_info=None if known else error)
                trouble.add(type(error))
            else:
                trouble.clear()
            await asyncio.sleep(_AWAY_S if trouble else self._every_s)

    def close(self) -> None:
        """End all streams: a server that stops waits for them."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _demand_room(self, subscription: Subscription, caller: str, network: str) -> None:
        if self._closed or len(self._subscriptions) >= self._most:
            raise NoRoom("too many pages are open. Close some, or ask again later.")
        if self._callers[caller] >= self._most_per_caller:
            raise NoRoom(f"you watch {self._most_per_caller} times already. Close some pages.")
        if self._networks[network] >= self._most_per_network:
            raise NoRoom(f"{network} watches {self._most_per_network} times already. Close some pages.")
        watched = self._watched_subjects() | set(subscription.subjects) | {None}
        if len(watched) > self._most_runs + 1:
            raise NoRoom(
                f"more than {self._most_runs} runs would be watched. Name fewer, or close some pages."
            )

    async def _look(self) -> None:
        """First whether there is anything new at all: mostly there is not, whatever number of runs is watched."""
        overall = await self._new_of(None)
        if not overall:
            return
        self._tell(None, overall, None)
        runs = [subject for subject in self._tokens if subject is not None]
        changed = {run: kinds for run in runs if (kinds := await self._new_of(run))}
        if changed:
            steps = await run_in_threadpool(steps_done, self._database, list(changed))
            for run, kinds in changed.items():
                self._tell(run, kinds, steps.get(run))

    async def _new_of(self, subject: Subject) -> tuple[str, ...]:
        before = self._tokens.get(subject)
        if before is None:  # nobody watches it any more
            return ()
        token, kinds = await run_in_threadpool(self._reader.changed_since, subject, before)
        if subject in self._tokens:
            self._tokens[subject] = token
        return kinds

    def _tell(self, subject: Subject, kinds: Sequence[str], step: int | None) -> None:
        for subscription in self._subscriptions:
            if subject in subscription.subjects:
                subscription.put(subject, kinds, step)

    def _forget(self) -> None:
        """What nobody watches is not looked at."""
        watched = self._watched_subjects()
        self._tokens = {
            subject: token for subject, token in self._tokens.items() if subject in watched | {None}
        }
        if not watched:
            self._tokens = {}
            self._watched.clear()

    def _watched_subjects(self) -> set[Subject]:
        return {subject for subscription in self._subscriptions for subject in subscription.subjects}
