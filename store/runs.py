"""Runs as rows: made, named anew, waiting to be started, and given up where they never were."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, or_, select, update

from store.backlog import EventRow
from store.database import Database
from store.records import StoredState, clean
from store.summaries import is_silent
from store.tables import Run
from store.write import insert, note_changes, write_events


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
    run_id: int | None = None,
) -> int:
    """The number of run `name` in `folder`, made if it is new; else what is told here is written over it.

    What a run recorded before stays: one that begins anew says RunWriter.drop_after(-1).

    Args:
        run_id: of the queued run that this is, which had no folder until now.

    Raises:
        StoreError: the database does not answer.
    """
    now = time.time()
    values: dict[str, Any] = {
        "steps": steps,
        "config": clean(dict(config)),
        "environment": clean(dict(environment)),
        "state": state,
        "job_id": job_id,
        "failure": None,
        "ended_at": None,
        "heartbeat_at": now,
    }
    values |= {"started_at": now} if state == "running" else {}
    key = {"name": clean(name), "folder": clean(folder)}
    with database.write() as connection:
        number = _settled(connection, run_id, key, values)
        if number is None:
            statement = insert(connection, Run).values(**key, **values, created_at=now, step=0)
            statement = statement.on_conflict_do_update(index_elements=list(key), set_=values)
            number = int(connection.execute(statement.returning(Run.id)).scalar_one())
        note_changes(connection, number, ["run"])
    return number


def _settled(
    connection: Connection, run_id: int | None, key: Mapping[str, Any], values: Mapping[str, Any]
) -> int | None:
    """Give run `run_id` its folder, unless another run has that; its number if it has it now."""
    taken = select(Run.id).where(Run.name == key["name"], Run.folder == key["folder"], Run.id != run_id)
    if run_id is None or connection.execute(taken).first() is not None:
        return None
    settle = update(Run).where(Run.id == run_id).values(**key, **values).returning(Run.id)
    return connection.execute(settle).scalar_one_or_none()


def rename_run(database: Database, folder: str, *, new_name: str, new_folder: str) -> None:
    """Note that the run of `folder`, if there is one, has another name and folder now. Raises StoreError."""
    with database.write() as connection:
        renamed = update(Run).where(Run.folder == clean(folder))
        renamed = renamed.values(name=clean(new_name), folder=clean(new_folder)).returning(Run.id)
        for run_id in connection.execute(renamed).scalars().all():
            note_changes(connection, run_id, ["run"])


def queue_again(database: Database, run_id: int, *, job_id: str | None = None) -> bool:
    """Mark an ended run, or one that nothing is heard of, as queued; False: it goes on, or is queued already.

    Of several that ask at once, wherever they are, one is told True. Raises StoreError.

    Args:
        job_id: of the Ray job that it will be.
    """
    now = time.time()
    with database.write() as connection:
        ended = Run.state.in_(("stopped", "failed"))
        queued = update(Run).where(Run.id == run_id, or_(ended, is_silent(now)))
        queued = queued.values(state="queued", failure=None, ended_at=None, heartbeat_at=now).returning(
            Run.id
        )
        if connection.execute(queued).first() is None:
            return False
        note_changes(connection, run_id, ["run"])
    return True


def keep_queued(database: Database, run_id: int) -> None:
    """Note that somebody still sees to it that a queued run is started. Raises StoreError."""
    with database.write() as connection:
        waiting = Run.id == run_id, Run.state == "queued"
        connection.execute(update(Run).where(*waiting).values(heartbeat_at=time.time()))


def end_run(
    database: Database, run_id: int, state: StoredState, why: str, *, only: tuple[StoredState, ...]
) -> bool:
    """Write down how a run ended that cannot say so itself; False: it is in none of the states `only`.

    Raises:
        StoreError: the database does not answer.
    """
    now = time.time()
    failure = clean(why) if state == "failed" else None
    with database.write() as connection:
        ended = update(Run).where(Run.id == run_id, Run.state.in_(only))
        ended = ended.values(state=state, failure=failure, ended_at=now).returning(Run.id)
        if connection.execute(ended).first() is None:
            return False
        write_events(connection, run_id, [EventRow(now, state, clean(why))])
        note_changes(connection, run_id, ["run", "events"])
    return True
