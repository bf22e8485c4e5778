"""Writes a run's record to the store: entries go into a backlog, and a thread writes it to the database."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy import update

from store.database import Database, StoreUnavailable, display_url
from store.records import EvaluationRecord, GroupRecord, WorkerStatus, clean
from store.schema.tables import RunRow
from store.writing.backlog import Backlog, EventEntry, StateEntry, StepEntry
from store.writing.write import metric_ids, write_backlog
from vocabulary import events
from vocabulary.run_states import StoredState

logger = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
_MAX_RETRY_PAUSE_S = 10.0  # between two attempts while the database is unavailable
_MAX_BACKLOG_BYTES = 64 * 2**20


class RunWriter:
    """The writer of one run's record. Any thread may call it; no call waits for the database or fails because of it.

    Entries of `flush_s` seconds are written in one transaction. While the database is unavailable, entries are kept,
    and writing is retried after growing pauses. If they need more than `max_backlog_bytes`, groups are dropped first,
    then steps, the oldest first, and an event says how many. An entry that the database refuses is dropped alone.

    Args:
        flush_s: seconds between two writes; a killed process loses the entries since the last one.
        max_backlog_bytes: approximate limit of the memory for entries.
        clock: returns seconds since the epoch.
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
        self._lock = threading.Lock()  # guards the backlog; held only for moments
        self._waiting = Backlog()
        self._metric_ids: dict[str, int] = {}
        self._next_heartbeat = 0.0  # by time.monotonic
        self._unavailable = False
        self._closing = threading.Event()
        self._deadline = 0.0  # by time.monotonic; set by close
        self._thread = threading.Thread(target=self._work, name=f"run-store-{run_id}", daemon=True)
        self._thread.start()
        logger.info("Run store: recording run %d in %s.", run_id, display_url(database.engine.url))

    def step(self, step: int, time_s: float, metrics: Mapping[str, float]) -> None:
        """Record that step number `step` ended at `time_s`. Values that are not finite are stored as NULL."""
        row = StepEntry(float(time_s), {clean(name): clean(float(value)) for name, value in metrics.items()})
        self._add(lambda backlog: backlog.add_step(int(step), row))

    def event(self, kind: str, message: str, time_s: float | None = None) -> None:
        """Record an event, now or at `time_s`."""
        row = EventEntry(self._clock() if time_s is None else time_s, clean(kind), clean(message))
        self._add(lambda backlog: backlog.add_event(row))

    def state(self, state: StoredState, failure: str | None = None) -> None:
        """Record the run's state, from now on."""
        row = StateEntry(state, clean(failure), self._clock())
        self._add(lambda backlog: setattr(backlog, "state", row))

    def worker(self, status: WorkerStatus) -> None:
        """Record a worker's latest status."""
        self._add(lambda backlog: backlog.add_worker(status))

    def group(self, group: GroupRecord) -> None:
        """Record a group; one with the same step and group_id is replaced."""
        self._add(lambda backlog: backlog.add_group(group))

    def evaluation(self, record: EvaluationRecord) -> None:
        """Record an evaluation; one of the same point, step, task and source is replaced."""
        self._add(lambda backlog: backlog.add_evaluation(record))

    def drop_after(self, step: int) -> None:
        """Delete the records of steps after number `step`, and of policy versions that contain such a step."""
        self._add(lambda backlog: backlog.forget(step))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write the remaining entries and stop. Entries not written within `timeout_s` are lost, which is logged."""
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._thread.join(timeout_s + 1)
        with self._lock:
            if self._waiting:
                logger.warning("Run store: closed before all entries were written.")

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
                time.sleep(0.1)  # waiting for the closing event would return at once
            pause_s = self._flush_s if written else min(2 * pause_s, _MAX_RETRY_PAUSE_S)

    def _flush(self) -> bool:
        """Write all waiting entries; False: the database is unavailable."""
        with self._lock:
            batch, self._waiting = self._waiting, Backlog()
        try:
            self._write(batch)
        except StoreUnavailable as error:
            self._keep(batch, error)
            return False
        except Exception as error:
            # Training must continue, and one bad entry must not keep the others from being written.
            logger.warning("Run store: a batch was refused, so its entries are written one by one: %s", error)
            return self._write_pieces(batch)
        if self._unavailable:
            logger.warning("Run store: the database is available again, and all kept entries are written.")
            self._unavailable = False
        return True

    def _write(self, batch: Backlog) -> None:
        beats = time.monotonic() >= self._next_heartbeat
        if not batch and not beats:
            return
        self._learn_names(batch)
        if lost := batch.lost():
            message = f"The database was unavailable for so long that these were not stored: {lost}."
            batch.add_event(EventEntry(self._clock(), events.RECORD_LOST, message))
            batch.lost_groups = batch.lost_steps = batch.lost_events = 0
        with self._database.write() as connection:
            if beats:  # first, because every writer locks the run's row before its change counters
                beat = update(RunRow).where(RunRow.id == self._run_id).values(heartbeat_at=self._clock())
                connection.execute(beat)
            write_backlog(connection, self._run_id, batch, self._metric_ids)
        if beats:
            self._next_heartbeat = time.monotonic() + HEARTBEAT_S

    def _learn_names(self, batch: Backlog) -> None:
        """Look up the numbers of new metrics, in a separate transaction: remembered numbers must be committed."""
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
            except StoreUnavailable as error:
                self._keep(batch, error)
                return False
            except Exception as error:
                refused += 1
                logger.warning("Run store: an entry was refused and is not stored: %s", error)
        if refused:
            logger.warning("Run store: %d entries were refused.", refused)
        return True

    def _keep(self, batch: Backlog, error: StoreUnavailable) -> None:
        """Put `batch` back before the entries that were added since it was taken."""
        with self._lock:
            batch.absorb(self._waiting)
            batch.trim(self._max_bytes)
            self._waiting = batch
        if not self._unavailable:
            logger.warning("Run store: %s Training continues; entries are kept and written later.", error)
            self._unavailable = True
