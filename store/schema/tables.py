"""The tables, the same in SQLite and PostgreSQL. Every change needs a file in `store/schema/migrations/versions`."""

from typing import Any, ClassVar

from sqlalchemy import JSON, Double, ForeignKey, Index, MetaData, Text, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Migrations refer to these by name, and each database would choose other names.
_CONSTRAINT_NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class Base(DeclarativeBase):
    """Base class of all tables."""

    metadata = MetaData(naming_convention=_CONSTRAINT_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Double(), str: Text(), Any: JSON()}


def _run_key() -> Any:
    return ForeignKey("runs.id", ondelete="CASCADE")


class RunRow(Base):
    """One run: a name and a folder. A resumed run keeps its row."""

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
    started_at: Mapped[float | None]  # when it last started or resumed
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
    """A metric's number, which points hold instead of its name: names would take more space than values."""

    __tablename__ = "metric_names"
    __table_args__ = (UniqueConstraint("name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class PointRow(Base):
    """A metric's value at a step, stored in the order of the key, so that a curve is contiguous on disk."""

    __tablename__ = "points"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(_run_key(), primary_key=True)
    metric_id: Mapped[int] = mapped_column(ForeignKey("metric_names.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float | None]  # NULL: not a finite number


class StepRow(Base):
    """The time at which a step ended."""

    __tablename__ = "steps"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(_run_key(), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float]


class EventRow(Base):
    """An event of a run, described in one sentence."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("key"), Index(None, "run_id", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(_run_key())
    # The writer chooses the key, so that an event written again after an unconfirmed commit is stored once.
    key: Mapped[str]
    time: Mapped[float]
    kind: Mapped[str]
    message: Mapped[str]


class WorkerRow(Base):
    """The latest status of a worker."""

    __tablename__ = "workers"

    run_id: Mapped[int] = mapped_column(_run_key(), primary_key=True)
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
    """A recorded group. Long columns come last, so that reading a list does not touch them."""

    __tablename__ = "groups"
    __table_args__ = (
        UniqueConstraint("run_id", "step", "group_id"),
        Index(None, "run_id", "step", "held_out", "task"),
        Index(None, "run_id", "prompt_key", "step"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(_run_key())
    step: Mapped[int]
    group_id: Mapped[str]
    task: Mapped[str]
    prompt_key: Mapped[str]  # the same for the same prompt at other steps
    policy_version: Mapped[int]
    held_out: Mapped[bool] = mapped_column(server_default=false())  # from an evaluation, not trained on
    mean_reward: Mapped[float | None]
    spread: Mapped[float | None]  # largest reward - smallest
    question: Mapped[str]
    truth: Mapped[str]
    details: Mapped[str]
    completions: Mapped[Any]
    frames: Mapped[Any]


class EvaluationRow(Base):
    """Scores of one task at one point of a run, or of a benchmark."""

    __tablename__ = "evaluations"
    __table_args__ = (UniqueConstraint("run_id", "stage", "step", "task", "source"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(_run_key())
    stage: Mapped[str]
    step: Mapped[int]  # steps done, which is the policy version
    task: Mapped[str]
    source: Mapped[str]
    scores: Mapped[Any]


class RequestRow(Base):
    """A request to a run, and its outcome."""

    __tablename__ = "requests"
    __table_args__ = (Index(None, "run_id", "taken_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int | None] = mapped_column(_run_key())
    action: Mapped[str]
    asked_by: Mapped[str]
    asked_at: Mapped[float]
    taken_at: Mapped[float | None]
    done_at: Mapped[float | None]
    outcome: Mapped[str | None]


class ChangeRow(Base):
    """The number of writes of one kind of a run's records. Readers compare it to see which kinds changed."""

    __tablename__ = "changes"

    run_id: Mapped[int] = mapped_column(_run_key(), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)  # a ChangeKind of store.records
    number: Mapped[int]
