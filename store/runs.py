"""Runs as rows: made, named anew, waiting to be started, and given up where they never were.

A run that somebody asks for is queued here first. Each try to start it is a Launch, which only the process that was
started for it may take up: a number alone would fit any run of another store, or of a later try.
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

_LAUNCH = "launch"  # of a run's environment: the key of the launch that it is of


@dataclass(frozen=True)
class Launch:
    """One try to start a run."""

    run_id: int
    key: str

    def __str__(self) -> str:
        return f"{self.run_id}:{self.key}"

    @classmethod
    def parse(cls, text: str) -> "Launch | None":
        """The other way round; None: it is none."""
        number, _, key = text.partition(":")
        return cls(int(number), key) if number.isascii() and number.isdecimal() and key else None


def new_launch(run_id: int) -> Launch:
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
    """The number of run `name` in `folder`, made if it is new; else what is told here is written over it.

    What a run recorded before stays: one that begins anew says RunWriter.drop_after(-1).

    Args:
        launch: that this is of; if a run of the store is queued for it, it is that one from now on.

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
    about = dict(environment) | ({_LAUNCH: launch.key} if launch is not None else {})
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
    if launch is not None and _is_of(connection, launch, ("queued",)):
        number = launch.run_id
        _make_room(connection, number, key)
        connection.execute(update(RunRow).where(RunRow.id == number).values(**key, **values))
    else:
        statement = insert(connection, RunRow).values(**key, **values, created_at=now, step=0)
        statement = statement.on_conflict_do_update(index_elements=list(key), set_=values)
        number = int(connection.execute(statement.returning(RunRow.id)).scalar_one())
    if state == "running":  # what its last life's processes said is not true of this one's
        connection.execute(delete(WorkerRow).where(WorkerRow.run_id == number))
    note_changes(connection, number, ["run", "workers"])
    return number


def _make_room(connection: Connection, run_id: int, key: Mapping[str, str]) -> None:
    """An earlier run of that name whose folder somebody deleted keeps its row, under another name."""
    earlier = select(RunRow.id).where(RunRow.name == key["name"], RunRow.folder == key["folder"], RunRow.id != run_id)
    for number in connection.execute(earlier).scalars().all():
        kept = {part: f"{text}-deleted-{number}" for part, text in key.items()}
        connection.execute(update(RunRow).where(RunRow.id == number).values(**kept))
        note_changes(connection, number, ["run"])


def queue_run(
    database: Database, *, name: str, folder: str, steps: int, config: Mapping[str, Any], job_id: str | None
) -> Launch | None:
    """A new run that is about to be started; None: another of that name is. Raises StoreError.

    Args:
        folder: what stands for its own until it has one; no other run's.
    """
    key, now = secrets.token_hex(8), time.time()
    place = {"name": clean(name), "folder": clean(folder)}
    with database.write() as connection:
        if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"videossr run {name}"))))
        waiting = select(RunRow.id).where(RunRow.name == place["name"], RunRow.state == "queued", ~is_silent(now))
        if connection.execute(waiting).first() is not None:
            return None
        return Launch(
            _register(connection, place, steps, config, {_LAUNCH: key}, "queued", job_id, None), key
        )


def queue_again(database: Database, run_id: int, *, job_id: str | None = None) -> Launch | None:
    """Mark an ended run, or one that nothing is heard of, as queued; None: it goes on, or is queued already.

    Of several that ask at once, wherever they are, one is given the launch. What was asked of the run before, and
    found nobody, is not asked of it when it goes on. Raises StoreError.

    Args:
        job_id: of the Ray job that it will be.
    """
    now, launch = time.time(), new_launch(run_id)
    with database.write() as connection:
        ended = RunRow.state.in_(("stopped", "failed"))
        found = select(RunRow.environment).where(RunRow.id == run_id, or_(ended, is_silent(now))).with_for_update()
        environment = connection.execute(found).scalar_one_or_none()
        if environment is None:
            return None
        values = {"state": "queued", "job_id": job_id, "failure": None, "ended_at": None, "heartbeat_at": now}
        about = environment | {_LAUNCH: launch.key}
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(**values, environment=about))
        _forget_requests(connection, run_id, now)
        note_changes(connection, run_id, ["run", "requests"])
    return launch


def _forget_requests(connection: Connection, run_id: int, now: float) -> None:
    open_ones = RequestRow.action.in_(("stop", "checkpoint")), RequestRow.done_at.is_(None)
    outcome = "The run had ended before it heard of this: ask again."
    forget = update(RequestRow).where(RequestRow.run_id == run_id, *open_ones)
    connection.execute(forget.values(taken_at=now, done_at=now, outcome=outcome))


def keep_queued(database: Database, launch: Launch) -> None:
    """Note that somebody still sees to it that a queued run is started. Raises StoreError."""
    with database.write() as connection:
        if _is_of(connection, launch, ("queued",)):
            connection.execute(update(RunRow).where(RunRow.id == launch.run_id).values(heartbeat_at=time.time()))


def end_run(
    database: Database, launch: Launch, state: StoredState, why: str, *, only: tuple[StoredState, ...]
) -> bool:
    """Write down how a run ended that cannot say so itself.

    Returns:
        False: it is in none of the states `only`, or was started anew since.

    Raises:
        StoreError: the database does not answer.
    """
    now, run_id = time.time(), launch.run_id
    failure = clean(why) if state == "failed" else None
    with database.write() as connection:
        if not _is_of(connection, launch, only):
            return False
        connection.execute(
            update(RunRow).where(RunRow.id == run_id).values(state=state, failure=failure, ended_at=now)
        )
        write_events(connection, run_id, [EventEntry(now, state, clean(why))])
        note_changes(connection, run_id, ["run", "events"])
    return True


def launch_of(run_id: int, environment: Mapping[str, Any]) -> Launch:
    """The launch that a run is of, by its environment."""
    return Launch(run_id, str(environment.get(_LAUNCH, "")))


def _is_of(connection: Connection, launch: Launch, states: tuple[StoredState, ...]) -> bool:
    """Whether the run is in one of `states`, and of this launch. Nobody changes it until the transaction ends."""
    row = connection.execute(
        select(RunRow.state, RunRow.environment).where(RunRow.id == launch.run_id).with_for_update()
    ).one_or_none()
    return row is not None and row.state in states and row.environment.get(_LAUNCH, "") == launch.key


def rename_run(database: Database, folder: str, *, new_name: str, new_folder: str) -> None:
    """Note that the run of `folder`, if there is one, has another name and folder now. Raises StoreError."""
    with database.write() as connection:
        renamed = update(RunRow).where(RunRow.folder == clean(folder))
        renamed = renamed.values(name=clean(new_name), folder=clean(new_folder)).returning(RunRow.id)
        for run_id in connection.execute(renamed).scalars().all():
            note_changes(connection, run_id, ["run"])
