"""A run as the run store knows it: since when, how it ends, and what people ask of it meanwhile."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.config.schema import Config
from cluster.runs.environment import environment
from cluster.training.prepare import Say
from cluster.runs.folder import bucket_of
from store.database import Database, StoreError, database_url, open_database
from store.records import Request, StoredState
from store.requests import finish, take
from store.runs import Launch, end_run, keep_queued, register_run, rename_run
from store.writing.writer import HEARTBEAT_S, RunWriter

LAUNCH = (
    "VIDEOSSR_LAUNCH"  # in the environment of a process that a run of the store is queued for: the launch
)
_LOOK_EVERY_S = 1.0  # for requests


class RunRecord:
    """Of one run, in the driver. Without a store all of it does nothing.

    Args:
        address: of the store, and the run's number there.
    """

    def __init__(self, database: Database | None = None, address: tuple[str, int] | None = None) -> None:
        self._database, self.address = database, address
        self._writer = RunWriter(database, address[1]) if database and address else None
        self._looked_at = 0.0
        self._looking = threading.Lock()
        self.was_stopped = False

    def began(self, *, was_queued: bool) -> None:
        """What was asked of the run before, and found nobody, is not asked of it now: unless it waited to begin."""
        for request in [] if was_queued else self.requests():
            self.answer(request, "The run had ended, and began anew after this was asked: ask again.")

    @contextmanager
    def stops_at_once(self) -> Iterator[None]:
        """While the block lasts, which is before anything is learned, asking the run to stop is as Ctrl-C."""
        over = threading.Event()

        def listen() -> None:
            while not over.wait(_LOOK_EVERY_S):
                for request in self.requests():
                    self.stop_at_once(request)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield
        finally:
            over.set()
            listener.join()

    def stop_at_once(self, request: Request) -> None:
        """Answer a request that comes before the first step: there is nothing to save yet."""
        if request.action != "stop":
            self.answer(
                request, "Nothing was learned yet since the run began or went on: there is nothing to save."
            )
            return
        self.answer(request, "The run ends now: no step has begun yet.")
        # As a signal it ends whatever the main thread waits for; cluster.cli.main has it raise KeyboardInterrupt.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def event(self, kind: str, message: str) -> None:
        """What the run says before its actors are there to say so."""
        if self._writer is not None:
            self._writer.event(kind, message)

    def requests(self) -> list[Request]:
        """What was asked of the run since the last look; looks once a second at most."""
        with self._looking:
            soon = time.monotonic() - self._looked_at < _LOOK_EVERY_S
            if self._database is None or self.address is None or soon:
                return []
            self._looked_at = time.monotonic()
        try:
            return take(self._database, self.address[1])
        except StoreError:  # it is away; the request stays where it is
            return []

    def answer(self, request: Request, outcome: str) -> None:
        assert self._database is not None
        if self._writer is not None:
            self._writer.event("request", f"{request.asked_by} asked for: {request.action}. {outcome}")
        try:
            finish(self._database, request.id, outcome)
        except StoreError:
            return  # the event says it too

    def close(self, state: StoredState, failure: str | None = None) -> None:
        if self._writer is not None:
            if failure is not None:
                self._writer.event("failed", failure)
            self._writer.state(state, failure)
            self._writer.close()
        if self._database is not None:
            self._database.close()


class RunStore:
    """The store that this run is recorded in, if it can be opened: a run does without rather than not at all."""

    def __init__(self, runs_dir: Path, say: Say) -> None:
        self._say, self._url = say, database_url(runs_dir)
        self._database: Database | None = None
        self._launch = Launch.parse(os.environ.pop(LAUNCH, ""))
        try:
            self._database = open_database(self._url)
        except StoreError as error:
            say(f"The run store is not written, so no page will show this run: {error}")

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have a run that is queued for this process end in the store if the block does before it has begun."""
        database, launch = self._database, self._launch
        if database is None or launch is None:
            yield
            return
        over = threading.Event()

        def keep() -> None:  # the checks may take minutes
            while not over.wait(HEARTBEAT_S):
                with suppress(StoreError):
                    keep_queued(database, launch)

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            why = str(error) or ("Stopped before it had begun." if stopped else type(error).__name__)
            with suppress(StoreError):
                end_run(database, launch, "stopped" if stopped else "failed", why, only=("queued",))
            raise
        finally:
            over.set()
            keeper.join()
            database.close()

    def kept(self, before: Path, after: Path) -> None:
        """An earlier run of the name is another's now."""
        if self._database is not None:
            with suppress(StoreError):  # the page then shows one run less
                rename_run(self._database, str(before), new_name=after.name, new_folder=str(after))

    @contextmanager
    def recorded(self, config: Config, folder: Path) -> Iterator[RunRecord]:
        """The run, from now until the block ends, and how it ends."""
        record = self._register(config, folder)
        queued = self._launch is not None and record.address == (self._url, self._launch.run_id)
        record.began(was_queued=queued)
        try:
            yield record
        except KeyboardInterrupt:
            record.close("stopped")
            raise
        except BaseException as error:
            record.close("failed", str(error) or type(error).__name__)
            raise
        record.close("stopped" if record.was_stopped else "done")

    def _register(self, config: Config, folder: Path) -> RunRecord:
        if self._database is None:
            return RunRecord()
        try:
            run_id = register_run(
                self._database,
                name=config.name,
                folder=str(folder),
                steps=config.train.steps,
                config=config.model_dump(mode="json"),
                environment=environment(bucket_of(folder)),
                job_id=_job_id(),
                state="running",
                launch=self._launch,
            )
        except StoreError as error:
            self._say(f"The run store is not written, so no page will show this run: {error}")
            return RunRecord()
        return RunRecord(self._database, (self._url, run_id))


def _job_id() -> str | None:
    """Of the Ray job that this process is the driver of."""
    try:
        job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    except ValueError:
        return None
    submission_id = job.get("metadata", {}).get("job_submission_id")
    return str(submission_id) if submission_id else None
