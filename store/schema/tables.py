"""The tables, the same in SQLite and PostgreSQL. Change them together with a file in `store/migrations/versions`."""

from typing import Any, ClassVar

from sqlalchemy import JSON, Double, ForeignKey, Index, MetaData, Text, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Names for what databases would otherwise name each in its own way; migrations refer to them.
_NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Double(), str: Text(), Any: JSON()}


def _run() -> Any:
    return ForeignKey("runs.id", ondelete="CASCADE")


class RunRow(Base):
    """One run: a name in a folder, through all its resumptions."""

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("name", "folder"),
        Index(None, "created_at"),
        Index(None, "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    state: Mapped[str]  # a StoredState of vocabulary.run_states
    created_at: Mapped[float]
    started_at: Mapped[float | None]  # last time it began or went on
    ended_at: Mapped[float | None]
    heartbeat_at: Mapped[float | None]
    step: Mapped[int]  # steps done
    steps: Mapped[int]  # steps to do
    folder: Mapped[str]
    failure: Mapped[str | None]
    job_id: Mapped[str | None]
    config: Mapped[Any]
    environment: Mapped[Any]  # git commit, dirty, package versions, host


class MetricNameRow(Base):
    """Points name their metric by number: the names would take more room than the values."""

    __tablename__ = "metric_names"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class PointRow(Base):
    """A metric's value at a step. In the order of its key, so that a curve is one stretch of the file."""

    __tablename__ = "points"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(_run(), primary_key=True)
    metric_id: Mapped[int] = mapped_column(ForeignKey("metric_names.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float | None]  # NULL: it was not a finite number


class StepRow(Base):
    """When a step ended."""

    __tablename__ = "steps"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(_run(), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float]


class EventRow(Base):
    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("key"), Index(None, "run_id", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(_run())
    key: Mapped[
        str
    ]  # the writer's own: an event whose commit was not confirmed is written twice, and there once
    time: Mapped[float]
    kind: Mapped[str]
    message: Mapped[str]


class WorkerRow(Base):
    """What a worker last said of itself."""

    __tablename__ = "workers"

    run_id: Mapped[int] = mapped_column(_run(), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    node: Mapped[str]
    gpu: Mapped[str | None]
    pid: Mapped[int | None]
    policy_version: Mapped[int | None]
    queue: Mapped[int | None]
    restarts: Mapped[int]
    state: Mapped[str]
    updated_at: Mapped[float]


class GroupRow(Base):
    """A sampled group. What is long stands last: lists are read without touching it."""

    __tablename__ = "groups"
    __table_args__ = (
        UniqueConstraint("run_id", "step", "group_id"),
        Index(None, "run_id", "step", "held_out", "task"),
        Index(None, "run_id", "prompt_key", "step"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(_run())
    step: Mapped[int]
    group_id: Mapped[str]
    task: Mapped[str]
    prompt_key: Mapped[str]  # the same for the same prompt at other steps
    policy_version: Mapped[int]
    held_out: Mapped[bool] = mapped_column(server_default=false())  # of an evaluation: it trained nothing
    mean_reward: Mapped[float | None]
    spread: Mapped[float | None]  # largest reward - smallest
    question: Mapped[str]
    truth: Mapped[str]
    details: Mapped[str]
    completions: Mapped[Any]
    frames: Mapped[Any]


class EvaluationRow(Base):
    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("run_id", "stage", "step", "task", "source"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(_run())
    stage: Mapped[str]
    step: Mapped[int]  # steps taken, which is the policy version
    task: Mapped[str]
    source: Mapped[str]
    scores: Mapped[Any]


class RequestRow(Base):
    """What somebody asked of a run, and what came of it."""

    __tablename__ = "requests"
    __table_args__ = (Index(None, "run_id", "taken_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int | None] = mapped_column(_run())
    action: Mapped[str]
    asked_by: Mapped[str]
    asked_at: Mapped[float]
    taken_at: Mapped[float | None]
    done_at: Mapped[float | None]
    outcome: Mapped[str | None]


class ChangeRow(Base):
    """How often a kind of a run's records was written: what tells a reader, in one look, what to read again."""

    __tablename__ = "changes"

    run_id: Mapped[int] = mapped_column(_run(), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)  # a ChangeKind of store.records
    number: Mapped[int]
