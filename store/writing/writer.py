"""How a run writes: what it says goes into a backlog, and a thread of its own carries it to the database."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy import update

from store.database import Database, StoreAway
from store.records import EvaluationRecord, GroupRecord, WorkerStatus, clean
from store.schema.tables import RunRow
from store.writing.backlog import Backlog, EventEntry, StateEntry, StepEntry
from store.writing.write import metric_ids, write_backlog
from vocabulary.run_states import StoredState

_log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
_LONGEST_PAUSE_S = 10.0  # between two tries while the database is away
_MAX_BACKLOG_BYTES = 64 * 2**20


class RunWriter:
    """Writes one run's record, from any thread. No call waits for the database, and none fails because of it.

    What came within `flush_s` is written in one transaction. While the database is away, everything is kept and tried
    again after growing pauses; if that takes more than `max_backlog_bytes`, sampled groups are given up first, then
    metrics, the oldest first, and an event says how many. What the database refuses for good is given up by itself.

    Args:
        flush_s: seconds between two writes, which is what a killed process loses.
        max_backlog_bytes: about what may be kept in memory.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        run_id: int,
        *,
        flush_s: float = 0.5,
        max_backlog_bytes: int = _MAX_BACKLOG_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database, self._run_id, self._flush_s, self._clock = database, run_id, flush_s, clock
        self._max_bytes = max_backlog_bytes
        self._lock = threading.Lock()  # of the backlog; held for moments
        self._waiting = Backlog()
        self._metric_ids: dict[str, int] = {}
        self._next_heartbeat = 0.0  # of time.monotonic
        self._away = False
        self._closing = threading.EventRow()
        self._deadline = 0.0  # of time.monotonic; set by close
        self._thread = threading.Thread(target=self._work, name=f"run-store-{run_id}", daemon=True)
        self._thread.start()

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Step number `step` ended at `time_s`. What is not finite is stored as NULL."""
        row = StepEntry(float(time_s), {clean(name): clean(float(value)) for name, value in metrics.items()})
        self._add(lambda backlog: backlog.add_step(int(step), row))

    def event(self, kind: str, message: str, time_s: float | None = None) -> None:
        row = EventEntry(self._clock() if time_s is None else time_s, clean(kind), clean(message))
        self._add(lambda backlog: backlog.add_event(row))

    def state(self, state: StoredState, failure: str | None = None) -> None:
        row = StateEntry(state, clean(failure), self._clock())
        self._add(lambda backlog: setattr(backlog, "state", row))

    def worker(self, status: WorkerStatus) -> None:
        self._add(lambda backlog: backlog.add_worker(status))

    def group(self, group: GroupRecord) -> None:
        self._add(lambda backlog: backlog.add_group(group))

    def evaluation(self, record: EvaluationRecord) -> None:
        self._add(lambda backlog: backlog.add_evaluation(record))

    def drop_after(self, step: int) -> None:
        """Forget what was recorded of steps after number `step`, and of the policies that they made."""
        self._add(lambda backlog: backlog.forget(step))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left and end; what is not written within `timeout_s` is lost, and logged."""
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._thread.join(timeout_s + 1)
        with self._lock:
            if self._waiting:
                _log.warning("Run store: closed with entries that were not written.")

    def _add(self, put: Callable[[Backlog], None]) -> None:
        with self._lock:
            put(self._waiting)
            self._waiting.trim(self._max_bytes)

    def _work(self) -> None:
        pause_s = self._flush_s
        while True:
            closing = self._closing.wait(pause_s)
            written = self._flush()
            if closing and (written or time.monotonic() > self._deadline):
                return
            if closing:
                time.sleep(0.1)  # the event is set: waiting for it would be none
            pause_s = self._flush_s if written else min(2 * pause_s, _LONGEST_PAUSE_S)

    def _flush(self) -> bool:
        """Write all that waits; False if the database is away."""
        with self._lock:
            batch, self._waiting = self._waiting, Backlog()
        try:
            self._write(batch)
        except StoreAway as error:
            self._keep(batch, error)
            return False
        except Exception as error:
            # Whatever it is, training goes on, and one bad entry must not keep the others from being written.
            _log.warning("Run store: a batch was refused, so its entries are written one by one: %s", error)
            return self._write_pieces(batch)
        if self._away:
            _log.warning("Run store: the database is back, and has what it missed.")
            self._away = False
        return True

    def _write(self, batch: Backlog) -> None:
        beats = time.monotonic() >= self._next_heartbeat
        if not batch and not beats:
            return
        self._learn_names(batch)
        if lost := batch.lost():
            message = f"The database was away for so long that these were not stored: {lost}."
            batch.add_event(EventEntry(self._clock(), "record_lost", message))
            batch.lost_groups = batch.lost_steps = batch.lost_events = 0
        with self._database.write() as connection:
            if beats:  # first, as everybody locks a run before what counts its changes
                beat = update(RunRow).where(RunRow.id == self._run_id).values(heartbeat_at=self._clock())
                connection.execute(beat)
            write_backlog(connection, self._run_id, batch, self._metric_ids)
        if beats:
            self._next_heartbeat = time.monotonic() + HEARTBEAT_S

    def _learn_names(self, batch: Backlog) -> None:
        """In a transaction of its own: numbers that are remembered must have been committed."""
        names = {name for row in batch.steps.values() for name in row.metrics} - self._metric_ids.keys()
        if names:
            with self._database.write() as connection:
                found = metric_ids(connection, sorted(names))
            self._metric_ids |= found

    def _write_pieces(self, batch: Backlog) -> bool:
        refused = 0
        for piece in batch.pieces():
            try:
                self._write(piece)
            except StoreAway as error:
                self._keep(batch, error)
                return False
            except Exception as error:
                refused += 1
                _log.warning("Run store: an entry was refused and is not stored: %s", error)
        if refused:
            _log.warning("Run store: %d entries were refused.", refused)
        return True

    def _keep(self, batch: Backlog, error: StoreAway) -> None:
        """Put `batch` back before what has come since."""
        with self._lock:
            batch.absorb(self._waiting)
            batch.trim(self._max_bytes)
            self._waiting = batch
        if not self._away:
            _log.warning("Run store: %s The run goes on, and what it says is kept and written later.", error)
            self._away = True
