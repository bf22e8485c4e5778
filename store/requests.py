"""Requests to runs, from the page or the command line, and their outcomes."""

import time
from typing import Any, get_args

from sqlalchemy import ColumnElement, select, update

from store.database import Database, StoreError
from store.records import Action, RunRequest, clean
from store.schema.tables import RequestRow, RunRow
from store.writing.write import note_changes
from vocabulary.run_states import ENDED


def add_request(
    database: Database, run_id: int | None, action: Action, asked_by: str, *, of_the_run: bool = True
) -> int:
    """Store a request and return its number.

    Args:
        run_id: None for "start", which precedes the run.
        of_the_run: whether the run itself carries the request out; otherwise the caller does.

    Raises:
        StoreError: there is no such action or run, or the run has ended and there is nothing to stop.
    """
    if action not in get_args(Action):
        raise StoreError(
            f"{action!r}: there is no such action. Ask for one of {', '.join(get_args(Action))}."
        )
    if (run_id is None) != (action == "start"):
        raise StoreError(f"{action!r}: is asked of {'no run' if action == 'start' else 'a run'}. Name a run for every "
                         "action but start.")  # fmt: skip
    with database.write() as connection:
        if run_id is not None:
            run = connection.execute(
                select(RunRow.name, RunRow.state).where(RunRow.id == run_id)
            ).one_or_none()
            if run is None:
                raise StoreError(f"run {run_id}: there is no run with this number. See the list of runs.")
            if action in ("stop", "checkpoint") and run.state in ENDED:
                raise StoreError(
                    f"{run.name}: has ended ({run.state}), so it cannot do a {action}. Resume it first."
                )
        now = time.time()
        values = {"run_id": run_id, "action": action, "asked_by": clean(asked_by), "asked_at": now}
        values |= {} if of_the_run else {"taken_at": now}
        statement = RequestRow.__table__.insert().values(values)  # type: ignore[attr-defined]
        number: int = connection.execute(statement.returning(RequestRow.id)).scalar_one()
        if run_id is not None:
            note_changes(connection, run_id, ["requests"])
    return number


def take_requests(database: Database, run_id: int) -> list[RunRequest]:
    """Take the requests that the running run must carry out, and return them, oldest first.

    Each request is returned to one caller only. Requests to resume are not for the run, but for the process that
    starts it. Raises StoreError.
    """
    with database.read() as connection:  # a read takes no lock, and there is rarely a request
        if connection.execute(select(RequestRow.id).where(*_is_waiting(run_id)).limit(1)).first() is None:
            return []
    with database.write() as connection:
        statement = (
            update(RequestRow)
            .where(*_is_waiting(run_id))
            .values(taken_at=time.time())
            .returning(*RequestRow.__table__.columns)
        )
        taken = [RunRequest(**row) for row in connection.execute(statement).mappings()]
        note_changes(connection, run_id, ["requests"] if taken else [])
    return sorted(taken, key=lambda request: request.id)


def _is_waiting(run_id: int) -> tuple[ColumnElement[bool], ...]:
    for_the_run = RequestRow.action.in_(("stop", "checkpoint"))
    return (
        RequestRow.run_id == run_id,
        for_the_run,
        RequestRow.taken_at.is_(None),
        RequestRow.done_at.is_(None),
    )


def finish_request(database: Database, request_id: int, outcome: str, *, run_id: int | None = None) -> None:
    """Store the outcome of a request. Raises StoreError if there is no request with this number.

    Args:
        run_id: the run that was started, if the request was to start one.
    """
    values: dict[str, Any] = {"done_at": time.time(), "outcome": clean(outcome)}
    values |= {"run_id": run_id} if run_id is not None else {}
    with database.write() as connection:
        statement = update(RequestRow).where(RequestRow.id == request_id).values(values)
        row = connection.execute(statement.returning(RequestRow.run_id)).one_or_none()
        if row is None:
            raise StoreError(f"request {request_id}: there is no request with this number.")
        if row.run_id is not None:
            note_changes(connection, row.run_id, ["requests"])
