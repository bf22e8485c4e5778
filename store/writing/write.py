"""SQL statements that write a run's backlog.

A backlog may be written again after a commit whose outcome is unknown. Each entry is then stored once: an event in its
first form, any other entry in its last form.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from store.records import ChangeKind, GroupRecord
from store.schema.tables import (
    Base,
    ChangeRow,
    EvaluationRow,
    EventRow,
    GroupRow,
    MetricNameRow,
    PointRow,
    RunRow,
    StepRow,
    WorkerRow,
)
from store.writing.backlog import Backlog, EventEntry, StateEntry, first_forgotten
from vocabulary.run_states import ENDED

Row = dict[str, Any]


def insert(connection: Connection, table: type[Base]) -> Any:
    """Return an insert statement of the connection's dialect, which supports ON CONFLICT."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def upsert(connection: Connection, table: type[Base], keys: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert `rows`, replacing rows with the same `keys`."""
    if not rows:
        return
    statement = insert(connection, table)
    new = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=new), list(rows))


def metric_ids(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of metrics; new names are inserted, in sorted order so that two writers cannot deadlock."""
    new = insert(connection, MetricNameRow).on_conflict_do_nothing(index_elements=["name"])
    connection.execute(new, [{"name": name} for name in sorted(names)])
    found = connection.execute(
        select(MetricNameRow.name, MetricNameRow.id).where(MetricNameRow.name.in_(names))
    )
    return dict(found.tuples().all())


def note_changes(connection: Connection, run_id: int, kinds: Sequence[ChangeKind]) -> None:
    """Tell readers that the run has new records of these kinds."""
    if not kinds:
        return
    statement = insert(connection, ChangeRow)
    counted = statement.on_conflict_do_update(
        index_elements=["run_id", "kind"], set_={"number": ChangeRow.number + 1}
    )
    connection.execute(counted, [{"run_id": run_id, "kind": kind, "number": 1} for kind in sorted(kinds)])


def write_backlog(connection: Connection, run_id: int, backlog: Backlog, ids: Mapping[str, int]) -> None:
    """Write a whole backlog. `ids` maps the names of all its metrics to their numbers."""
    kinds: list[ChangeKind] = []
    if backlog.forget_after is not None:
        _forget(connection, run_id, backlog.forget_after)
        kinds += ["run", "metrics", "groups", "evaluations"]
    if backlog.state is not None:
        _write_state(connection, run_id, backlog.state)
        kinds.append("run")
    if backlog.steps:
        _write_steps(connection, run_id, backlog, ids)
        kinds += ["run", "metrics"]
    if backlog.groups:
        rows = [{"run_id": run_id, **_group_row(group)} for group in backlog.groups.values()]
        upsert(connection, GroupRow, ("run_id", "step", "group_id"), rows)
        kinds.append("groups")
    if backlog.events:
        write_events(connection, run_id, backlog.events.values())
        kinds.append("events")
    if backlog.evaluations:
        rows = [{"run_id": run_id, **record.model_dump()} for record in backlog.evaluations.values()]
        upsert(connection, EvaluationRow, ("run_id", "stage", "step", "task", "source"), rows)
        kinds.append("evaluations")
    if backlog.workers:
        rows = [{"run_id": run_id, **status.model_dump()} for status in backlog.workers.values()]
        upsert(connection, WorkerRow, ("run_id", "role", "index"), rows)
        kinds.append("workers")
    note_changes(connection, run_id, list(dict.fromkeys(kinds)))


def _forget(connection: Connection, run_id: int, after: int) -> None:
    trained = first_forgotten(after, evaluated=False)
    evaluated = first_forgotten(after, evaluated=True)
    for table in (PointRow, StepRow):
        connection.execute(delete(table).where(table.run_id == run_id, table.step >= trained))
    forgotten = or_(and_(GroupRow.step >= trained, ~GroupRow.held_out), GroupRow.step >= evaluated)
    connection.execute(delete(GroupRow).where(GroupRow.run_id == run_id, forgotten))
    connection.execute(
        delete(EvaluationRow).where(EvaluationRow.run_id == run_id, EvaluationRow.step >= evaluated)
    )
    connection.execute(
        update(RunRow).where(RunRow.id == run_id, RunRow.step > after + 1).values(step=after + 1)
    )


def _write_state(connection: Connection, run_id: int, row: StateEntry) -> None:
    values: Row = {"state": row.state, "failure": row.failure}
    if row.state == "running":
        values["started_at"] = case((RunRow.state == "running", RunRow.started_at), else_=row.time_s)
        values["ended_at"] = None
    elif row.state in ENDED:
        values["ended_at"] = row.time_s
    connection.execute(update(RunRow).where(RunRow.id == run_id).values(values))


def _write_steps(connection: Connection, run_id: int, backlog: Backlog, ids: Mapping[str, int]) -> None:
    steps = [{"run_id": run_id, "step": step, "time": row.time_s} for step, row in backlog.steps.items()]
    upsert(connection, StepRow, ("run_id", "step"), steps)
    points = [
        {"run_id": run_id, "metric_id": ids[name], "step": step, "value": value}
        for step, row in backlog.steps.items()
        for name, value in row.metrics.items()
    ]
    upsert(connection, PointRow, ("run_id", "metric_id", "step"), points)
    last = next(reversed(backlog.steps))
    connection.execute(update(RunRow).where(RunRow.id == run_id).values(step=last + 1))


def write_events(connection: Connection, run_id: int, events: Iterable[EventEntry]) -> None:
    """Insert events that are not stored yet."""
    rows = [
        {"run_id": run_id, "key": row.key, "time": row.time_s, "kind": row.kind, "message": row.message}
        for row in events
    ]
    connection.execute(insert(connection, EventRow).on_conflict_do_nothing(index_elements=["key"]), rows)


def _group_row(group: GroupRecord) -> Row:
    return group.model_dump() | {"mean_reward": group.mean_reward, "spread": group.spread}
