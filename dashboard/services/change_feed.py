"""The change feed: polls the store once for all clients, and reports to each client what changed.

    store ──► ChangeFeed, two polls a second ──► Subscription.changes() ──► server-sent events

A subscription holds the changes that its client has not received yet, each kind once. So a slow client receives
fewer notices, and memory stays bounded.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from dashboard.schemas import ChangeNotice
from store.database import Database, StoreError
from store.reading.reader import RunReader
from store.schema.tables import RunRow

logger = logging.getLogger(__name__)

Subject = int | None  # number of a run, or None for the list of runs
_RETRY_S = 3.0  # time between polls while the store is unavailable


class TooManySubscriptions(RuntimeError):
    """A subscription that would exceed a limit. The message names the limit."""


def steps_done(database: Database, run_ids: Collection[int]) -> dict[int, int]:
    """Return the number of finished steps of each run that exists. Raises StoreError."""
    with database.read() as connection:
        found = connection.execute(select(RunRow.id, RunRow.step).where(RunRow.id.in_(run_ids)))
        return {row.id: row.step for row in found}


class Subscription:
    """The runs that one client watches, and the changes that the client has not received yet."""

    def __init__(self, subjects: Sequence[Subject], max_duration_s: float) -> None:
        self.subjects = tuple(dict.fromkeys(subjects))
        self._kinds: dict[Subject, set[str]] = {}
        self._steps: dict[Subject, int | None] = {}
        self._woken = asyncio.Event()
        self._closed = False
        self._ends_at = time.monotonic() + max_duration_s

    def put(self, subject: Subject, kinds: Sequence[str], step: int | None) -> None:
        """Add changes of a subject, which has done `step` steps by now."""
        self._kinds.setdefault(subject, set()).update(kinds)
        self._steps[subject] = step
        self._woken.set()

    def close(self) -> None:
        """End the iteration over `changes`."""
        self._closed = True
        self._woken.set()

    async def changes(self) -> AsyncIterator[ChangeNotice]:
        """Yield changes until the subscription is closed or its maximum duration has passed."""
        while not self._closed:
            try:
                await asyncio.wait_for(self._woken.wait(), self._ends_at - time.monotonic())
            except TimeoutError:
                return
            self._woken.clear()
            kinds, self._kinds = self._kinds, {}
            for subject, what in kinds.items():
                yield ChangeNotice(run_id=subject, what=tuple(sorted(what)), step=self._steps[subject])


class ChangeFeed:
    """A poller of the store that serves all subscriptions; without subscriptions it does not poll.

    Args:
        poll_every_s: seconds between polls.
        max_subscriptions: largest number of subscriptions in all.
        max_per_caller: largest number per session, or per network for callers without a session.
        max_per_network: largest number per network, because a client with a token can open many sessions.
        max_runs: largest number of different runs that are watched; each costs a query whenever anything changes.
        max_duration_s: seconds after which a subscription ends, so that the client's access is checked again.
    """

    def __init__(
        self,
        database: Database,
        *,
        poll_every_s: float = 0.5,
        max_subscriptions: int = 400,
        max_per_caller: int = 40,
        max_per_network: int = 200,
        max_runs: int = 300,
        max_duration_s: float = 3600.0,
    ) -> None:
        self._database, self._reader, self._poll_every_s = database, RunReader(database), poll_every_s
        self._max_subscriptions, self._max_runs, self._max_duration_s = (
            max_subscriptions,
            max_runs,
            max_duration_s,
        )
        self._max_per_caller, self._max_per_network = max_per_caller, max_per_network
        self._cursors: dict[Subject, str] = {}  # last cursor of each watched subject, from changed_since
        self._subscriptions: set[Subscription] = set()
        self._callers: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._watched = asyncio.Event()
        self._closed = False

    @asynccontextmanager
    async def subscribe(
        self, subjects: Sequence[Subject], caller: str, network: str
    ) -> AsyncIterator[Subscription]:
        """Subscribe to changes that happen after the context is entered.

        Args:
            caller: key under which this client's subscriptions are counted; see identity.Caller.
            network: network of the client; see identity.network_of.

        Raises:
            TooManySubscriptions: a limit is reached.
            StoreError: the store is unavailable.
        """
        subscription = Subscription(subjects, self._max_duration_s)
        self._require_room(subscription, caller, network)
        self._subscriptions.add(subscription)
        self._callers[caller] += 1
        self._networks[network] += 1
        try:
            for subject in {None, *subscription.subjects} - self._cursors.keys():
                cursor, _ = await run_in_threadpool(self._reader.changed_since, subject, "")
                self._cursors.setdefault(subject, cursor)
            self._watched.set()
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
            self._callers -= Counter([caller])  # subtraction drops counts of 0
            self._networks -= Counter([network])
            self._forget_unwatched()

    async def run(self) -> None:
        """Poll until the task is cancelled. A failed poll is logged and repeated, so that open pages recover."""
        trouble: set[type[Exception]] = set()  # types of errors already logged since the last successful poll
        while True:
            await self._watched.wait()
            try:
                await self._poll()
            except Exception as error:
                if type(error) not in trouble:
                    known = isinstance(error, StoreError)
                    logger.warning(
                        "The change feed cannot read the store: %r",
                        error,
                        exc_info=None if known else error,
                    )
                trouble.add(type(error))
            else:
                trouble.clear()
            await asyncio.sleep(_RETRY_S if trouble else self._poll_every_s)

    def close(self) -> None:
        """End all subscriptions, because a server that shuts down waits for open streams."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _require_room(self, subscription: Subscription, caller: str, network: str) -> None:
        if self._closed or len(self._subscriptions) >= self._max_subscriptions:
            raise TooManySubscriptions("too many pages are open. Close some, or try again later.")
        if self._callers[caller] >= self._max_per_caller:
            raise TooManySubscriptions(f"you have {self._max_per_caller} pages open already. Close some.")
        if self._networks[network] >= self._max_per_network:
            raise TooManySubscriptions(
                f"{network} has {self._max_per_network} pages open already. Close some."
            )
        watched = self._watched_subjects() | set(subscription.subjects) | {None}
        if len(watched) > self._max_runs + 1:
            raise TooManySubscriptions(
                f"more than {self._max_runs} runs would be watched. Watch fewer, or close some pages."
            )

    async def _poll(self) -> None:
        """Query the store once for any change, because there usually is none, then once for each watched run."""
        overall = await self._changes_of(None)
        if not overall:
            return
        self._notify(None, overall, None)
        runs = [subject for subject in self._cursors if subject is not None]
        changed = {run: kinds for run in runs if (kinds := await self._changes_of(run))}
        if changed:
            steps = await run_in_threadpool(steps_done, self._database, list(changed))
            for run, kinds in changed.items():
                self._notify(run, kinds, steps.get(run))

    async def _changes_of(self, subject: Subject) -> tuple[str, ...]:
        before = self._cursors.get(subject)
        if before is None:  # No client watches it any more.
            return ()
        cursor, kinds = await run_in_threadpool(self._reader.changed_since, subject, before)
        if subject in self._cursors:
            self._cursors[subject] = cursor
        return kinds

    def _notify(self, subject: Subject, kinds: Sequence[str], step: int | None) -> None:
        for subscription in self._subscriptions:
            if subject in subscription.subjects:
                subscription.put(subject, kinds, step)

    def _forget_unwatched(self) -> None:
        """Drop the cursors of subjects that no client watches any more."""
        watched = self._watched_subjects()
        self._cursors = {
            subject: cursor for subject, cursor in self._cursors.items() if subject in watched | {None}
        }
        if not watched:
            self._cursors = {}
            self._watched.clear()

    def _watched_subjects(self) -> set[Subject]:
        return {subject for subscription in self._subscriptions for subject in subscription.subjects}
