"""What people ask of runs, from the page or the command line, and what came of it."""

import time
from typing import Any, get_args

from sqlalchemy import ColumnElement, select, update

from store.database import Database, StoreError
from store.records import Action, RunRequest, clean
from store.schema.tables import RunRequest as RequestRow
from store.schema.tables import RunRow
from store.writing.write import note_changes
from vocabulary.run_states import ENDED


def ask(
    database: Database, run_id: int | None, action: Action, asked_by: str, *, of_the_run: bool = True
) -> int:
    """Write a request down and return its number.

    Args:
        run_id: None for "start", which is of no run yet.
        of_the_run: the run itself is to see to it; else whoever asks does.

    Raises:
        StoreError: no such action or run, or the run has ended and there is nothing to stop.
    """
    if action not in get_args(Action):
        raise StoreError(
            f"{action!r}: there is no such action. Ask for one of {', '.join(get_args(Action))}."
        )
    if (run_id is None) != (action == "start"):
        raise StoreError(f"{action!r}: is asked of {'no run' if action == 'start' else 'a run'}. Leave the run out "
                         "to start one, and name it for all else.")  # fmt: skip
    with database.write() as connection:
        if run_id is not None:
            run = connection.execute(select(RunRow.name, RunRow.state).where(RunRow.id == run_id)).one_or_none()
            if run is None:
                raise StoreError(
                    f"run {run_id}: there is none of that number. Look it up in the list of runs."
                )
            if action in ("stop", "checkpoint") and run.state in ENDED:
                raise StoreError(
                    f"{run.name}: has ended ({run.state}), so it cannot do a {action}. Resume it first."
                )
        now = time.time()
        values = {"run_id": run_id, "action": action, "asked_by": clean(asked_by), "asked_at": now}
        values |= {} if of_the_run else {"taken_at": now}
        statement = RequestRow.__table__.insert().values(values).returning(RequestRow.id)  # type: ignore[attr-defined]
        number: int = connection.execute(statement).scalar_one()
        if run_id is not None:
            note_changes(connection, run_id, ["requests"])
    return number


def take(database: Database, run_id: int) -> list[RunRequest]:
    """What the running run itself has to do and nobody took yet, oldest first. Each goes to one taker only.

    To resume it is the affair of whoever starts it. Raises StoreError.
    """
    with database.read() as connection:  # nearly always there is nothing, and looking takes no lock
        waiting = select(RequestRow.id).where(*_waiting(run_id)).limit(1)
        if connection.execute(waiting).first() is None:
            return []
    with database.write() as connection:
        statement = (
            update(RequestRow)
            .where(*_waiting(run_id))
            .values(taken_at=time.time())
            .returning(*RequestRow.__table__.columns)
        )
        taken = [RunRequest(**row) for row in connection.execute(statement).mappings()]
        note_changes(connection, run_id, ["requests"] if taken else [])
    return sorted(taken, key=lambda request: request.id)


def _waiting(run_id: int) -> tuple[ColumnElement[bool], ...]:
    to_do = RequestRow.action.in_(("stop", "checkpoint"))
    return RequestRow.run_id == run_id, to_do, RequestRow.taken_at.is_(None), RequestRow.done_at.is_(None)


def finish(database: Database, request_id: int, outcome: str, *, run_id: int | None = None) -> None:
    """Say what came of a request. Raises StoreError if there is none of that number.

    Args:
        run_id: of the run that was started, where that is what was asked.
    """
    values: dict[str, Any] = {"done_at": time.time(), "outcome": clean(outcome)}
    values |= {"run_id": run_id} if run_id is not None else {}
    with database.write() as connection:
        statement = update(RequestRow).where(RequestRow.id == request_id).values(values).returning(RequestRow.run_id)
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise StoreError(f"request {request_id}: there is none of that number.")
        if row.run_id is not None:
            note_changes(connection, row.run_id, ["requests"])
