"""The driver's handle on its run's row in the run store: launch, state, end, and requests of people.

What happens inside the run (metrics, rollouts, events) is written by the `RunLog` actor (`actors/record/`).
"""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.config.schema import Config
from cluster.runs.environment import environment
from cluster.runs.folder import run_bucket
from cluster.terminal import Say
from store.database import Database, StoreError, database_url, open_database
from store.records import RunRequest
from store.requests import finish_request, take_requests
from store.runs import Launch, end_run, keep_queued, register_run, rename_run
from store.writing.writer import HEARTBEAT_S, RunWriter
from vocabulary import events
from vocabulary.run_states import StoredState
from vocabulary.stages import STAGE_EVENT, Stage

logger = logging.getLogger(__name__)

# Environment variable that a launcher gives a queued run's process; its value is a `Launch` as text.
LAUNCH_ENV = "VIDEOSSR_LAUNCH"

_REQUEST_POLL_S = 1.0


class StoredRun:
    """The driver's handle on its run's row in the run store. Every method does nothing if there is no store.

    Attributes:
        address: URL of the store, and the run's number in it; None without a store.
        was_stopped: whether the run ended early on request.
    """

    def __init__(self, database: Database | None = None, address: tuple[str, int] | None = None) -> None:
        self._database, self.address = database, address
        self._writer = RunWriter(database, address[1]) if database and address else None
        self._polled_at = 0.0
        self._poll_lock = threading.Lock()
        self.was_stopped = False

    def discard_old_requests(self) -> None:
        """Answer requests that were made before the run resumed, without acting on them."""
        for request in self.new_requests():
            self.answer(request, "The run has started again since then. Request it again.")

    @contextmanager
    def stopping_at_once(self) -> Iterator[None]:
        """Answer requests on a thread while the block prepares the run. A stop request then acts like Ctrl-C."""
        over = threading.Event()

        def listen() -> None:
            while not over.wait(_REQUEST_POLL_S):
                for request in self.new_requests():
                    self.answer_before_first_step(request)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield
        finally:
            over.set()
            listener.join()

    def answer_before_first_step(self, request: RunRequest) -> None:
        """Answer a request that arrives before the first step, when there is nothing to save yet."""
        if request.action != "stop":
            self.answer(
                request, "There is nothing to save: no step was done since the run started or resumed."
            )
            return
        self.answer(request, "The run ends now, before its first step.")
        # A signal interrupts whatever the main thread waits for; its handler raises KeyboardInterrupt there.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def stage(self, stage: Stage) -> None:
        """Record the run's stage, while its actors have not started yet."""
        self.event(STAGE_EVENT, stage)

    def event(self, kind: str, message: str) -> None:
        """Record an event of the driver."""
        if self._writer is not None:
            self._writer.event(kind, message)

    def new_requests(self) -> list[RunRequest]:
        """Return requests that arrived since the last call. The store is read at most once a second."""
        with self._poll_lock:
            too_soon = time.monotonic() - self._polled_at < _REQUEST_POLL_S
            if self._database is None or self.address is None or too_soon:
                return []
            self._polled_at = time.monotonic()
        try:
            return take_requests(self._database, self.address[1])
        except StoreError as error:  # the requests stay in the store, and the next call reads them
            logger.debug("requests could not be read: %s", error)
            return []

    def answer(self, request: RunRequest, outcome: str) -> None:
        """Store the outcome of a request, and record it as an event."""
        assert self._database is not None
        logger.info("request %d (%s by %s): %s", request.id, request.action, request.asked_by, outcome)
        if self._writer is not None:
            self._writer.event(events.REQUEST, f"{request.asked_by} requested: {request.action}. {outcome}")
        with suppress(StoreError):  # the outcome is in the event too
            finish_request(self._database, request.id, outcome)

    def close(self, state: StoredState, failure: str | None = None) -> None:
        """Store how the run ended, and close the store."""
        if self._writer is not None:
            if failure is not None:
                self._writer.event(events.FAILED, failure)
            self._writer.state(state, failure)
            self._writer.close()
        if self._database is not None:
            self._database.close()


class RunRegistration:
    """The registration of this process's run in the run store, in a new row or in the row that was queued for it.

    If the store cannot be opened, the run continues without a row.
    """

    def __init__(self, runs_dir: Path, say: Say) -> None:
        self._say, self._url = say, database_url(runs_dir)
        self._database: Database | None = None
        self._launch = Launch.parse(os.environ.pop(LAUNCH_ENV, ""))
        try:
            self._database = open_database(self._url)
        except StoreError as error:
            self._say_not_recorded(error)

    @contextmanager
    def reporting_launch(self) -> Iterator[None]:
        """Keep a queued run's row alive during the block's checks, and end the row if the block fails before it starts.

        Without this, a run that was started from the dashboard and refused by a check would stay queued.
        """
        database, launch = self._database, self._launch
        if database is None or launch is None:
            yield
            return
        over = threading.Event()

        def send_heartbeats() -> None:  # the checks may take minutes
            while not over.wait(HEARTBEAT_S):
                with suppress(StoreError):
                    keep_queued(database, launch)

        heartbeat = threading.Thread(target=send_heartbeats, daemon=True)
        heartbeat.start()
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            why = str(error) or ("Stopped before it started." if stopped else type(error).__name__)
            with suppress(StoreError):
                end_run(database, launch, "stopped" if stopped else "failed", why, only=("queued",))
            raise
        finally:
            over.set()
            heartbeat.join()
            database.close()

    def rename_earlier_run(self, before: Path, after: Path) -> None:
        """Rename the earlier run that had this run's name, after its folder was renamed from `before` to `after`."""
        self._say(f"An earlier run has this name; it is kept as {after.name}.")
        if self._database is not None:
            with suppress(StoreError):  # then the new run takes over the row of the earlier one
                rename_run(self._database, str(before), new_name=after.name, new_folder=str(after))

    @contextmanager
    def recording(self, config: Config, folder: Path) -> Iterator[StoredRun]:
        """Record the run as running from now on, and how it ended when the block ends."""
        stored_run = self._register(config, folder)
        was_queued = self._launch is not None and stored_run.address == (self._url, self._launch.run_id)
        if not was_queued:  # a queued run may have been asked to stop while it waited
            stored_run.discard_old_requests()
        try:
            yield stored_run
        except KeyboardInterrupt:
            stored_run.close("stopped")
            raise
        except BaseException as error:
            stored_run.close("failed", str(error) or type(error).__name__)
            raise
        stored_run.close("stopped" if stored_run.was_stopped else "done")

    def _register(self, config: Config, folder: Path) -> StoredRun:
        if self._database is None:
            return StoredRun()
        try:
            run_id = register_run(
                self._database,
                name=config.name,
                folder=str(folder),
                steps=config.train.steps,
                config=config.model_dump(mode="json"),
                environment=environment(run_bucket(folder)),
                job_id=_ray_job_id(),
                state="running",
                launch=self._launch,
            )
        except StoreError as error:
            self._say_not_recorded(error)
            return StoredRun()
        logger.info("run %s is number %d in the run store", config.name, run_id)
        return StoredRun(self._database, (self._url, run_id))

    def _say_not_recorded(self, error: StoreError) -> None:
        self._say(f"The run store cannot be written, so the dashboard will not show this run: {error}")


def _ray_job_id() -> str | None:
    """Return the submission id of the Ray job that this process runs in, or None outside a Ray job."""
    try:
        job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    except ValueError:
        return None
    submission_id = job.get("metadata", {}).get("job_submission_id")
    return str(submission_id) if submission_id else None
