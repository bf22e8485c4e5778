"""Creates, renames, queues and ends a run's row.

A run that is started from the page is queued first. Each attempt to start it is a `Launch` with a secret key, which
only the started process gets. A run's number alone would be ambiguous: another store may use the same number, and a run
may be started several times.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from store.database import Database
from store.reading.summaries import is_silent
from store.records import clean
from store.schema.tables import RequestRow, RunRow, WorkerRow
from store.writing.backlog import EventEntry
from store.writing.write import insert, note_changes, write_events
from vocabulary.run_states import StoredState

_LAUNCH_KEY = "launch"  # entry of a run's environment: the key of its launch


@dataclass(frozen=True)
class Launch:
    """One attempt to start a run."""

    run_id: int
    key: str

    def __str__(self) -> str:
        """Return "NUMBER:KEY", the form that a started process is given."""
        return f"{self.run_id}:{self.key}"

    @classmethod
    def parse(cls, text: str) -> "Launch | None":
        """Return the launch that `text`, a result of `str`, stands for; None: `text` has another form."""
        number, _, key = text.partition(":")
        return cls(int(number), key) if number.isascii() and number.isdecimal() and key else None


def new_launch(run_id: int) -> Launch:
    """Return a launch with a new key."""
    return Launch(run_id, secrets.token_hex(8))


def register_run(
    database: Database,
    *,
    name: str,
    folder: str,
    steps: int,
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    state: StoredState = "queued",
    job_id: str | None = None,
    launch: Launch | None = None,
) -> int:
    """Create the run `name` in `folder`, or update its row, and return its number.

    Records of the run stay; a run that starts from scratch calls RunWriter.drop_after(-1).

    Args:
        launch: the launch that started this run; if a run is queued for it, that run's row is taken over.

    Raises:
        StoreError: the database does not answer.
    """
    with database.write() as connection:
        return _register(
            connection,
            {"name": clean(name), "folder": clean(folder)},
            steps,
            config,
            environment,
            state,
            job_id,
            launch,
        )


def _register(
    connection: Connection,
    key: Mapping[str, str],
    steps: int,
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    state: StoredState,
    job_id: str | None,
    launch: Launch | None,
) -> int:
    now = time.time()
    about = dict(environment) | ({_LAUNCH_KEY: launch.key} if launch is not None else {})
    values: dict[str, Any] = {
        "steps": steps,
        "config": clean(dict(config)),
        "environment": clean(about),
        "state": state,
        "job_id": job_id,
        "failure": None,
        "ended_at": None,
        "heartbeat_at": now,
    }
    values |= {"started_at": now} if state == "running" else {}
    if launch is not None and _lock_if(connection, launch, ("queued",)):
        number = launch.run_id
        _free_name(connection, number, key)
        connection.execute(update(RunRow).where(RunRow.id == number).values(**key, **values))
    else:
        statement = insert(connection, RunRow).values(**key, **values, created_at=now, step=0)
        statement = statement.on_conflict_do_update(index_elements=list(key), set_=values)
        number = int(connection.execute(statement.returning(RunRow.id)).scalar_one())
    if state == "running":  # the previous processes of a resumed run are gone
        connection.execute(delete(WorkerRow).where(WorkerRow.run_id == number))
    note_changes(connection, number, ["run", "workers"])
    return number


def _free_name(connection: Connection, run_id: int, key: Mapping[str, str]) -> None:
    """Rename the earlier run of this name, whose folder was deleted."""
    earlier = select(RunRow.id).where(
        RunRow.name == key["name"], RunRow.folder == key["folder"], RunRow.id != run_id
    )
    for number in connection.execute(earlier).scalars().all():
        kept = {part: f"{text}-deleted-{number}" for part, text in key.items()}
        connection.execute(update(RunRow).where(RunRow.id == number).values(**kept))
        note_changes(connection, number, ["run"])


def queue_run(
    database: Database, *, name: str, folder: str, steps: int, config: Mapping[str, Any], job_id: str | None
) -> Launch | None:
    """Create a queued run and return its launch; None: another run of that name is queued. Raises StoreError.

    Args:
        folder: a unique placeholder, until the run has its folder.
    """
    key, now = secrets.token_hex(8), time.time()
    place = {"name": clean(name), "folder": clean(folder)}
    with database.write() as connection:
        if connection.dialect.name == "postgresql":  # SQLite allows one writer at a time anyway
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"videossr run {name}"))))
        waiting = select(RunRow.id).where(
            RunRow.name == place["name"], RunRow.state == "queued", ~is_silent(now)
        )
        if connection.execute(waiting).first() is not None:
            return None
        return Launch(
            _register(connection, place, steps, config, {_LAUNCH_KEY: key}, "queued", job_id, None), key
        )


def queue_again(database: Database, run_id: int, *, job_id: str | None = None) -> Launch | None:
    """Queue an ended or silent run again and return its launch; None: it is running or queued.

    Of several callers at the same time, one gets the launch. Requests left over from before are discarded. Raises
    StoreError.

    Args:
        job_id: of the Ray job that the run will be.
    """
    now, launch = time.time(), new_launch(run_id)
    with database.write() as connection:
        ended = RunRow.state.in_(("stopped", "failed"))
        found = (
            select(RunRow.environment)
            .where(RunRow.id == run_id, or_(ended, is_silent(now)))
            .with_for_update()
        )
        environment = connection.execute(found).scalar_one_or_none()
        if environment is None:
            return None
        values = {"state": "queued", "job_id": job_id, "failure": None, "ended_at": None, "heartbeat_at": now}
        about = environment | {_LAUNCH_KEY: launch.key}
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(**values, environment=about))
        _discard_requests(connection, run_id, now)
        note_changes(connection, run_id, ["run", "requests"])
    return launch


def _discard_requests(connection: Connection, run_id: int, now: float) -> None:
    """Close requests left over from an earlier attempt."""
    open_ones = RequestRow.action.in_(("stop", "checkpoint")), RequestRow.done_at.is_(None)
    outcome = "The run ended before it received this request: ask again."
    discard = update(RequestRow).where(RequestRow.run_id == run_id, *open_ones)
    connection.execute(discard.values(taken_at=now, done_at=now, outcome=outcome))


def keep_queued(database: Database, launch: Launch) -> None:
    """Record a heartbeat for a queued run: the process that starts it is alive. Raises StoreError."""
    with database.write() as connection:
        if _lock_if(connection, launch, ("queued",)):
            connection.execute(
                update(RunRow).where(RunRow.id == launch.run_id).values(heartbeat_at=time.time())
            )


def end_run(
    database: Database, launch: Launch, state: StoredState, why: str, *, only: tuple[StoredState, ...]
) -> bool:
    """Record the end of a run that could not record it itself.

    Args:
        why: one sentence for an event and, if the run failed, for its row.
        only: the states that the run may be in.

    Returns:
        False: nothing was recorded, because the run is in another state or has a newer launch.

    Raises:
        StoreError: the database does not answer.
    """
    now, run_id = time.time(), launch.run_id
    failure = clean(why) if state == "failed" else None
    with database.write() as connection:
        if not _lock_if(connection, launch, only):
            return False
        connection.execute(
            update(RunRow).where(RunRow.id == run_id).values(state=state, failure=failure, ended_at=now)
        )
        write_events(connection, run_id, [EventEntry(now, state, clean(why))])
        note_changes(connection, run_id, ["run", "events"])
    return True


def launch_of(run_id: int, environment: Mapping[str, Any]) -> Launch:
    """Return the launch of a run, given the environment in its row."""
    return Launch(run_id, str(environment.get(_LAUNCH_KEY, "")))


def _lock_if(connection: Connection, launch: Launch, states: tuple[StoredState, ...]) -> bool:
    """Check that the run is in one of `states` and has this launch, and lock its row until the transaction ends."""
    row = connection.execute(
        select(RunRow.state, RunRow.environment).where(RunRow.id == launch.run_id).with_for_update()
    ).one_or_none()
    return row is not None and row.state in states and row.environment.get(_LAUNCH_KEY, "") == launch.key


def rename_run(database: Database, folder: str, *, new_name: str, new_folder: str) -> None:
    """Give the run of `folder`, if there is one, another name and folder. Raises StoreError."""
    with database.write() as connection:
        renamed = update(RunRow).where(RunRow.folder == clean(folder))
        renamed = renamed.values(name=clean(new_name), folder=clean(new_folder)).returning(RunRow.id)
        for run_id in connection.execute(renamed).scalars().all():
            note_changes(connection, run_id, ["run"])
