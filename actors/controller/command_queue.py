"""The one sequence of orders that the learner carries out, and what it says of them."""

import asyncio

from actors.messages import Order, Report, StopOrder, TrainOrder


class Orders:
    """Between whoever decides what the learner does next, and its ranks.

    Invariants:
    - An order is given only after the one before is reported done: its giver holds `turn` until then.
    - Every rank gets every order, however late it asks.
    - `version` is that of the weights the learner holds whenever `turn` is free.
    - A learner that starts over begins a new session; the old one's ranks and reports are not heard any more.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.version = 0
        self._session = ""
        self._orders: list[Order | None] = []  # None: carried out and forgotten
        self._reports: list[asyncio.Future[Report]] = []
        self._changed = asyncio.Condition()
        self._failure: BaseException | None = None

    # --- what the learner calls

    async def begin(self, session: str, version: int) -> None:
        """A learner session starts, with the weights of `version`. The old one must have been dropped."""
        async with self._changed:
            self._session, self._orders, self._reports, self._failure = session, [], [], None
            self.version = version
            self._changed.notify_all()

    def is_of(self, session: str) -> bool:
        """Whether this is the present session."""
        return session == self._session

    async def order(self, session: str, number: int, wait_s: float) -> Order | None:
        """Order `number` (from 0) of the session, or None if it is not there within `wait_s`.

        Once there will be none any more the order is to stop; `failure` then says why.

        Raises:
            RuntimeError: another session has taken over.
        """
        async with self._changed:
            ready = self._changed.wait_for(
                lambda: session != self._session or self._failure or number < len(self._orders)
            )
            try:
                await asyncio.wait_for(ready, wait_s)
            except TimeoutError:
                return None
            if session != self._session:
                raise RuntimeError(f"learner session {session} was replaced by {self._session}.")
            if self._failure is not None:
                return StopOrder()
            order = self._orders[number]
            if order is None:
                raise RuntimeError(f"order {number} was carried out before this rank asked for it.")
            return order

    def report(self, session: str, number: int, report: Report) -> None:
        """The learner's rank 0 has carried out order `number`, or says why it could not."""
        if session == self._session and number < len(self._reports) and not self._reports[number].done():
            self._reports[number].set_result(report)

    # --- what the producer side calls

    async def give(self, order: Order) -> Report:
        """Hand the next order to the learner and wait until it reports. The caller holds `turn`."""
        assert self.turn.locked()
        report: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        async with self._changed:
            self._orders.append(order)
            self._reports.append(report)
            self._changed.notify_all()
        said = await report
        if isinstance(order, TrainOrder):
            self.version = order.step + 1
            # Every rank took part in the step, so every rank has fetched all orders up to it: let their groups go.
            self._orders = [None] * len(self._orders)
        return said

    def drop(self) -> None:
        """Nobody will report to this session any more: whoever waits for it is cancelled."""
        for report in self._reports:
            report.cancel()

    async def fail(self, failure: BaseException) -> None:
        """There will be no more orders. The first reason is the one that is told."""
        async with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()

    def failure(self) -> str | None:
        """Why the run had to stop early; None while all is well."""
        return None if self._failure is None else f"{type(self._failure).__name__}: {self._failure}"
