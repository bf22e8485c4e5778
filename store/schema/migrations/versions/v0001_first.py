"""Create the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Column = sa.Column[object]


def upgrade() -> None:
    """Create all tables."""
    _runs()
    _metrics()
    _happenings()
    _groups()
    _evaluations()
    _requests()


def _runs() -> None:
    op.create_table(
        "runs",
        *[_number("id"), _text("name"), _text("state"), _real("created_at")],
        *[_real("started_at", True), _real("ended_at", True), _real("heartbeat_at", True)],
        *[_number("step"), _number("steps"), _text("folder"), _text("failure", True), _text("job_id", True)],
        *[_json("config"), _json("environment")],
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("name", "folder", name="uq_runs_name_folder"),
    )
    op.create_index("ix_runs_created_at", "runs", ["created_at"])
    op.create_index("ix_runs_state", "runs", ["state"])
    op.create_table(
        "changes",
        *[_number("run_id"), _text("kind"), _number("number")],
        _of_run("changes"),
        sa.PrimaryKeyConstraint("run_id", "kind", name="pk_changes"),
    )


def _metrics() -> None:
    op.create_table(
        "metric_names",
        *[_number("id"), _text("name")],
        sa.PrimaryKeyConstraint("id", name="pk_metric_names"),
        sa.UniqueConstraint("name", name="uq_metric_names_name"),
    )
    op.create_table(
        "points",
        *[_number("run_id"), _number("metric_id"), _number("step"), _real("value", True)],
        _of_run("points"),
        sa.ForeignKeyConstraint(["metric_id"], ["metric_names.id"], name="fk_points_metric_id"),
        sa.PrimaryKeyConstraint("run_id", "metric_id", "step", name="pk_points"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "steps",
        *[_number("run_id"), _number("step"), _real("time")],
        _of_run("steps"),
        sa.PrimaryKeyConstraint("run_id", "step", name="pk_steps"),
        sqlite_with_rowid=False,
    )


def _happenings() -> None:
    op.create_table(
        "events",
        *[_number("id"), _number("run_id"), _text("key"), _real("time"), _text("kind"), _text("message")],
        _of_run("events"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("key", name="uq_events_key"),
    )
    op.create_index("ix_events_run_id_id", "events", ["run_id", "id"])
    op.create_table(
        "workers",
        *[_number("run_id"), _text("role"), _number("index"), _text("node"), _text("gpu", True)],
        *[_number("pid", True), _number("policy_version", True), _number("queue", True)],
        *[_number("restarts"), _text("state"), _real("updated_at")],
        _of_run("workers"),
        sa.PrimaryKeyConstraint("run_id", "role", "index", name="pk_workers"),
    )


def _groups() -> None:
    op.create_table(
        "groups",
        *[_number("id"), _number("run_id"), _number("step"), _text("group_id"), _text("task")],
        *[_text("prompt_key"), _number("policy_version"), _real("mean_reward", True), _real("spread", True)],
        *[_text("question"), _text("answer"), _text("details"), _json("completions"), _json("frames")],
        _of_run("groups"),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("run_id", "step", "group_id", name="uq_groups_run_id_step_group_id"),
    )
    op.create_index("ix_groups_run_id_step_task", "groups", ["run_id", "step", "task"])
    op.create_index("ix_groups_run_id_prompt_key_step", "groups", ["run_id", "prompt_key", "step"])


def _evaluations() -> None:
    key = ["run_id", "stage", "step", "task", "source"]
    op.create_table(
        "evaluations",
        *[_number("id"), _number("run_id"), _text("stage"), _number("step"), _text("task"), _text("source")],
        _json("scores"),
        _of_run("evaluations"),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.UniqueConstraint(*key, name="uq_evaluations_" + "_".join(key)),
    )


def _requests() -> None:
    op.create_table(
        "requests",
        *[_number("id"), _number("run_id", True), _text("action"), _text("asked_by"), _real("asked_at")],
        *[_real("taken_at", True), _real("done_at", True), _text("outcome", True)],
        _of_run("requests"),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
    )
    op.create_index("ix_requests_run_id_taken_at", "requests", ["run_id", "taken_at"])


def _number(name: str, nullable: bool = False) -> Column:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _real(name: str, nullable: bool = False) -> Column:
    return sa.Column(name, sa.Double(), nullable=nullable)


def _text(name: str, nullable: bool = False) -> Column:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _json(name: str) -> Column:
    return sa.Column(name, sa.JSON(), nullable=False)


def _of_run(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=f"fk_{table}_run_id", ondelete="CASCADE")
