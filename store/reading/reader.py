"""The interface for reading the store. Each result is a consistent snapshot, and no writer waits for readers."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select

from store.database import Database, StoreError
from store.reading.series import read_curves, read_series
from store.reading.summaries import name_contains, stalled_runs, state_is_one_of, summaries
from store.records import (
    Curve,
    EventRecord,
    GroupHistory,
    GroupSort,
    GroupSummary,
    Page,
    RunDetail,
    RunRequest,
    RunSummary,
    Series,
    StoredEvaluation,
    StoredGroup,
    WorkerStatus,
)
from store.schema.tables import (
    Base,
    ChangeRow,
    EvaluationRow,
    EventRow,
    GroupRow,
    MetricNameRow,
    PointRow,
    RequestRow,
    RunRow,
    WorkerRow,
)
from vocabulary.run_states import RunState
from vocabulary.stages import BENCH

_RUN_SORTS = ("created_at", "started_at", "ended_at", "heartbeat_at", "name", "state", "step", "steps")
_GROUP_SORTS: dict[GroupSort, Any] = {
    "-spread": GroupRow.spread.desc().nulls_last(),
    "-mean_reward": GroupRow.mean_reward.desc().nulls_last(),
    "group_id": GroupRow.group_id,
}


def _columns(table: type[Base], model: type[Any]) -> list[Any]:
    """Return the table's columns that `model` has fields for."""
    return [getattr(table, name) for name in model.model_fields if hasattr(table, name)]


class RunReader:
    """A reader of runs. Threads may share it. All methods raise StoreError if the database does not answer.

    Args:
        clock: returns seconds since the epoch, to decide which runs are stalled.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def runs(
        self,
        *,
        text: str = "",
        states: Sequence[RunState] = (),
        sort: str = "-created_at",
        offset: int = 0,
        limit: int = 50,
    ) -> Page[RunSummary]:
        """Return runs whose name contains `text` and whose state is one of `states` (empty: any).

        Rows that only hold benchmark results have no steps, and are left out.

        Args:
            sort: created_at, started_at, ended_at, heartbeat_at, name, state, step or steps; a "-" in front sorts in
                descending order.
        """
        order = _run_order(sort)
        with self._database.read() as connection:
            conditions = [RunRow.steps > 0, *([name_contains(text)] if text else [])]
            conditions += [state_is_one_of(connection, states, self._clock())] if states else []
            total = connection.execute(select(func.count(RunRow.id)).where(*conditions)).scalar_one()
            query = (
                select(RunRow.id)
                .where(*conditions)
                .order_by(order, RunRow.id.desc())
                .offset(offset)
                .limit(limit)
            )
            items = summaries(connection, query, self._clock())
        return Page(items=tuple(items), total=total, offset=offset, limit=limit)

    def run(self, run_id: int) -> RunDetail | None:
        """Return a run with its configuration, without series and lists; None: there is no run with this number."""
        return self._run(select(RunRow.id).where(RunRow.id == run_id))

    def run_by_name(self, name: str) -> RunDetail | None:
        """Return the newest run of that name; None: there is none."""
        query = (
            select(RunRow.id).where(RunRow.name == name).order_by(RunRow.created_at.desc(), RunRow.id.desc())
        )
        return self._run(query.limit(1))

    def series(
        self,
        run_ids: Sequence[int],
        names: Sequence[str],
        *,
        max_points: int = 500,
        first_step: int | None = None,
        last_step: int | None = None,
        since_step: int | None = None,
    ) -> list[Series]:
        """Return the series that exist, in the order of `run_ids` and for each run in the order of `names`.

        A series of more than `max_points` consists of means over equally long ranges of steps, with the lowest and
        the highest value of each, so that no spike is lost. A range is named by its last step.

        Args:
            first_step: first step, inclusive; None: from the start.
            last_step: last step, inclusive; None: to the end.
            since_step: only steps after this one, to extend a series that ends there.

        Raises:
            StoreError: max_points is less than 2.
        """
        if max_points < 2:
            raise StoreError(f"max_points={max_points}: a series needs at least 2 points. Ask for more.")
        if since_step is not None:
            first_step = max(since_step + 1, first_step if first_step is not None else since_step + 1)
        with self._database.read() as connection:
            return read_series(
                connection,
                run_ids,
                names,
                max_points=max_points,
                first_step=first_step,
                last_step=last_step,
            )

    def curves(self, run_ids: Sequence[int], name: str, points: int = 60) -> list[Curve]:
        """Return one metric in at most `points` points, of the runs that have it, for small plots."""
        if points < 1:
            raise StoreError(f"points={points}: a curve needs at least 1 point. Ask for more.")
        with self._database.read() as connection:
            return read_curves(connection, run_ids, name, points)

    def events(
        self,
        run_id: int,
        *,
        after_id: int = 0,
        before_id: int | None = None,
        kinds: Sequence[str] = (),
        limit: int = 200,
    ) -> list[EventRecord]:
        """Return events, oldest first: the first ones after `after_id`, or the last ones (before `before_id`)."""
        conditions = [EventRow.run_id == run_id, EventRow.id > after_id]
        conditions += [EventRow.id < before_id] if before_id is not None else []
        conditions += [EventRow.kind.in_(kinds)] if kinds else []
        order = EventRow.id if after_id else EventRow.id.desc()
        query = select(*_columns(EventRow, EventRecord)).where(*conditions).order_by(order).limit(limit)
        return sorted(self._records(query, EventRecord), key=lambda event: event.id)

    def workers(self, run_id: int) -> list[WorkerStatus]:
        """Return the latest status of each worker, by role and index."""
        query = select(*_columns(WorkerRow, WorkerStatus)).where(WorkerRow.run_id == run_id)
        return self._records(query.order_by(WorkerRow.role, WorkerRow.index), WorkerStatus)

    def group_steps(self, run_id: int) -> list[tuple[int, bool, str, int]]:
        """Return (step, whether held out, task, number of recorded groups), by step."""
        kinds = (GroupRow.step, GroupRow.held_out, GroupRow.task)
        query = (
            select(*kinds, func.count()).where(GroupRow.run_id == run_id).group_by(*kinds).order_by(*kinds)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).tuples())

    def groups(
        self,
        run_id: int,
        *,
        step: int | None = None,
        task: str | None = None,
        held_out: bool | None = None,
        sort: GroupSort = "-spread",
        offset: int = 0,
        limit: int = 50,
    ) -> Page[GroupSummary]:
        """Return a run's recorded groups, without clips and completions.

        Args:
            held_out: True: groups of evaluations; False: of training; None: both.
        """
        if sort not in _GROUP_SORTS:
            raise StoreError(
                f"sort={sort!r}: groups can be sorted by {', '.join(_GROUP_SORTS)}. Use one of these."
            )
        conditions: list[ColumnElement[bool]] = [GroupRow.run_id == run_id]
        conditions += [GroupRow.step == step] if step is not None else []
        conditions += [GroupRow.task == task] if task is not None else []
        conditions += [GroupRow.held_out == held_out] if held_out is not None else []
        query = (
            select(*_columns(GroupRow, GroupSummary))
            .where(*conditions)
            .order_by(_GROUP_SORTS[sort], GroupRow.id)
        )
        with self._database.read() as connection:
            total = connection.execute(select(func.count(GroupRow.id)).where(*conditions)).scalar_one()
            rows = connection.execute(query.offset(offset).limit(limit)).mappings()
            items = tuple(GroupSummary(**row) for row in rows)
        return Page(items=items, total=total, offset=offset, limit=limit)

    def group(self, run_id: int, group: int) -> StoredGroup | None:
        """Return one recorded group, complete; None: the run has no group with this number."""
        query = select(*_columns(GroupRow, StoredGroup)).where(
            GroupRow.run_id == run_id, GroupRow.id == group
        )
        return next(iter(self._records(query, StoredGroup)), None)

    def prompt_history(
        self, run_id: int, prompt_key: str, *, offset: int = 0, limit: int = 1000
    ) -> Page[GroupHistory]:
        """Return the groups of one prompt at all steps that used it, in order of steps."""
        query = select(*_columns(GroupRow, GroupHistory)).where(
            GroupRow.run_id == run_id, GroupRow.prompt_key == prompt_key
        )
        return self._page(query.order_by(GroupRow.step, GroupRow.id), GroupHistory, offset, limit)

    def evaluations(self, run_id: int) -> list[StoredEvaluation]:
        """Return a run's evaluations, in order of steps."""
        query = select(*_columns(EvaluationRow, StoredEvaluation)).where(EvaluationRow.run_id == run_id)
        return self._records(query.order_by(EvaluationRow.step, EvaluationRow.id), StoredEvaluation)

    def bench_results(
        self, *, offset: int = 0, limit: int = 1000
    ) -> tuple[list[tuple[str, int, bool, StoredEvaluation]], int]:
        """Return benchmark results, newest runs first, and the number of results on all pages.

        Returns:
            ([(run, its number, whether it trained, a column)], total). The columns of a result are adjacent, in order.
        """
        asked = (EvaluationRow.run_id, EvaluationRow.source, EvaluationRow.step)
        benches = select(*asked, func.min(EvaluationRow.id).label("first")).where(
            EvaluationRow.stage == BENCH
        )
        benches = benches.group_by(*asked)
        page = (
            benches.order_by(EvaluationRow.run_id.desc(), func.min(EvaluationRow.id))
            .offset(offset)
            .limit(limit)
        )
        some = page.subquery()
        about_run = (RunRow.name, RunRow.id.label("run"), (RunRow.steps > 0).label("trained"))
        query = select(*about_run, *_columns(EvaluationRow, StoredEvaluation))
        query = query.join(RunRow, RunRow.id == EvaluationRow.run_id).join(
            some, and_(*(column == some.c[column.key] for column in asked))
        )
        query = query.where(EvaluationRow.stage == BENCH)
        query = query.order_by(EvaluationRow.run_id.desc(), some.c.first, EvaluationRow.id)
        with self._database.read() as connection:
            total = connection.execute(select(func.count()).select_from(benches.subquery())).scalar_one()
            rows = [row._asdict() for row in connection.execute(query)]
        return [
            (row.pop("name"), row.pop("run"), row.pop("trained"), StoredEvaluation(**row)) for row in rows
        ], total

    def requests(self, run_id: int | None = None, *, offset: int = 0, limit: int = 50) -> Page[RunRequest]:
        """Return requests, newest first. If `run_id` is None: to all runs, and requests to start a run."""
        asked = [RequestRow.run_id == run_id] if run_id is not None else []
        columns = [getattr(RequestRow, name) for name in RunRequest.model_fields if name != "run_name"]
        query = select(*columns, RunRow.name.label("run_name")).outerjoin(
            RunRow, RunRow.id == RequestRow.run_id
        )
        query = query.where(*asked).order_by(RequestRow.id.desc()).offset(offset).limit(limit)
        with self._database.read() as connection:
            total = connection.execute(select(func.count(RequestRow.id)).where(*asked)).scalar_one()
            items = tuple(RunRequest(**row) for row in connection.execute(query).mappings())
        return Page(items=items, total=total, offset=offset, limit=limit)

    def changed_since(self, run_id: int | None, token: str) -> tuple[str, tuple[str, ...]]:
        """Return a token for the next call, and the kinds of records that changed since `token` was returned.

        Args:
            run_id: None: any run.
            token: from an earlier call; empty: everything counts as changed.

        Returns:
            (token, kinds). Kinds are "run" (state, progress), "metrics", "events", "workers", "groups", "evaluations"
            and "requests". A run that becomes stalled changes "run", though nothing was written.
        """
        query = select(ChangeRow.kind, func.sum(ChangeRow.number)).group_by(ChangeRow.kind)
        if run_id is not None:
            query = query.where(ChangeRow.run_id == run_id)
        with self._database.read() as connection:
            now = {kind: str(number) for kind, number in connection.execute(query)}
            stalled = stalled_runs(connection, self._clock())
        if run_id is not None:
            stalled = [number for number in stalled if number == run_id]
        now["run"] = ".".join([now.get("run", "0"), *map(str, stalled)])
        before = dict(entry.split(":", 1) for entry in token.split(",") if ":" in entry)
        changed = tuple(sorted(kind for kind, number in now.items() if before.get(kind) != number))
        return ",".join(f"{kind}:{number}" for kind, number in sorted(now.items())), changed

    def _run(self, query: Select[Any]) -> RunDetail | None:
        with self._database.read() as connection:
            found = summaries(connection, query, self._clock())
            if not found:
                return None
            summary = found[0]
            columns = select(RunRow.folder, RunRow.config, RunRow.environment).where(RunRow.id == summary.id)
            rest = connection.execute(columns).one()._asdict()
            of_metric = select(PointRow.step).where(
                PointRow.run_id == summary.id, PointRow.metric_id == MetricNameRow.id
            )
            # One look-up per name: EXISTS may become a join, which reads all points of the run.
            recorded = of_metric.limit(1).correlate(MetricNameRow).scalar_subquery().is_not(None)
            names = select(MetricNameRow.name).where(recorded).order_by(MetricNameRow.name)
            return RunDetail(
                **summary.model_dump(), **rest, metric_names=tuple(connection.execute(names).scalars())
            )

    def _records(self, query: Select[Any], model: type[Any]) -> list[Any]:
        with self._database.read() as connection:
            return [model(**row) for row in connection.execute(query).mappings()]

    def _page(self, query: Select[Any], model: type[Any], offset: int, limit: int) -> Page[Any]:
        counted = query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
        with self._database.read() as connection:
            total = connection.execute(counted).scalar_one()
            rows = connection.execute(query.offset(offset).limit(limit)).mappings()
            return Page(items=tuple(model(**row) for row in rows), total=total, offset=offset, limit=limit)

    def folder(self, run_id: int) -> str | None:
        """Return where a run's pictures are: its folder or its bucket; None: there is no run with this number."""
        with self._database.read() as connection:
            found = connection.execute(
                select(RunRow.folder, RunRow.environment).where(RunRow.id == run_id)
            ).one_or_none()
        return None if found is None else str(found.environment.get("bucket") or found.folder)


def _run_order(sort: str) -> Any:
    name = sort.removeprefix("-")
    if name not in _RUN_SORTS:
        raise StoreError(f"sort={sort!r}: runs can be sorted by {', '.join(_RUN_SORTS)}. Use one of these, with - in "
                         "front for descending order.")  # fmt: skip
    column = getattr(RunRow, name)
    return (column.desc() if sort.startswith("-") else column.asc()).nulls_last()
