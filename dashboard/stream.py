"""News of runs, for all who watch: one look at the store for everybody.

    store ──► Hub, a few looks a second ──► each Subscription's news ──► server-sent events

A subscription holds what its client was not told yet, each kind once: a slow client is told less often, and nothing
piles up.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool

from dashboard.answers import Change
from dashboard.lookups import steps_done
from store.database import Database, StoreError
from store.reader import RunReader

_log = logging.getLogger(__name__)

Subject = int | None  # a run, or all of them
_AWAY_S = 3.0  # from one look to the next while the store does not answer


class NoRoom(RuntimeError):
    """Too many watch already."""


class Subscription:
    """What one client watches."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = tuple(dict.fromkeys(subjects))
        self._kinds: dict[Subject, set[str]] = {}
        self._steps: dict[Subject, int | None] = {}
        self._woken = asyncio.Event()
        self._closed = False

    def put(self, subject: Subject, kinds: Sequence[str], step: int | None) -> None:
        self._kinds.setdefault(subject, set()).update(kinds)
        self._steps[subject] = step
        self._woken.set()

    def close(self) -> None:
        self._closed = True
        self._woken.set()

    async def news(self) -> AsyncIterator[Change]:
        """What changed, as it comes, until the hub closes."""
        while not self._closed:
            await self._woken.wait()
            self._woken.clear()
            kinds, self._kinds = self._kinds, {}
            for subject, what in kinds.items():
                yield Change(run_id=subject, what=tuple(sorted(what)), step=self._steps[subject])


class Hub:
    """Looks at the store for all subscriptions, as long as there are any."""

    def __init__(
        self,
        database: Database,
        *,
        every_s: float = 0.5,
        most: int = 200,
        most_per_client: int = 20,
    ) -> None:
        self._database, self._reader, self._every_s = database, RunReader(database), every_s
        self._most, self._most_per_client = most, most_per_client
        self._tokens: dict[Subject, str] = {}  # of what was seen last, of all that somebody watches
        self._subscriptions: set[Subscription] = set()
        self._clients: Counter[str] = Counter()
        self._watched = asyncio.Event()
        self._closed = False

    @asynccontextmanager
    async def subscribe(self, subjects: Sequence[Subject], client: str) -> AsyncIterator[Subscription]:
        """Whatever changes after this is entered is told.

        Raises:
            NoRoom: too many subscriptions, of all or of this client.
            StoreError: the store does not answer.
        """
        if self._closed or len(self._subscriptions) >= self._most:
            raise NoRoom("too many pages are open. Close some, or ask again later.")
        if self._clients[client] >= self._most_per_client:
            raise NoRoom(f"{client} watches {self._most_per_client} times already. Close some pages.")
        subscription = Subscription(subjects)
        self._subscriptions.add(subscription)
        self._clients[client] += 1
        try:
            for subject in {None, *subscription.subjects} - self._tokens.keys():
                token, _ = await run_in_threadpool(self._reader.changed_since, subject, "")
                self._tokens.setdefault(subject, token)
            self._watched.set()
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            self._clients[client] -= 1
            self._clients += Counter()  # without those that are at 0
            self._forget()

    async def run(self) -> None:
        """Look, for ever."""
        away = False
        while True:
            await self._watched.wait()
            try:
                await self._look()
            except StoreError as error:
                if not away:
                    _log.warning("The stream of news waits: %s", error)
                away = True
            else:
                away = False
            await asyncio.sleep(_AWAY_S if away else self._every_s)

    def close(self) -> None:
        """End all streams: a server that stops waits for them."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

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
        watched = {subject for subscription in self._subscriptions for subject in subscription.subjects}
        self._tokens = {
            subject: token for subject, token in self._tokens.items() if subject in watched | {None}
        }
        if not watched:
            self._tokens = {}
            self._watched.clear()
