"""Mark the groups of evaluations as held out."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column `held_out`, and set it for groups named like those of evaluations."""
    # SQLite appends a new column after long texts, which every look at the column would read past. So the table is
    # created again.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    column: sa.Column[bool] = sa.Column("held_out", sa.Boolean(), nullable=False, server_default=sa.false())
    with op.batch_alter_table("groups", recreate="always" if is_sqlite else "never") as table:
        table.add_column(column, insert_after="policy_version" if is_sqlite else None)
        table.drop_index("ix_groups_run_id_step_task")
        table.create_index("ix_groups_run_id_step_held_out_task", ["run_id", "step", "held_out", "task"])
    groups = sa.table("groups", sa.column("group_id", sa.Text()), sa.column("held_out", sa.Boolean()))
    of_evaluations = groups.c.group_id.startswith("held-out-", autoescape=True)
    op.execute(groups.update().where(of_evaluations).values(held_out=True))
