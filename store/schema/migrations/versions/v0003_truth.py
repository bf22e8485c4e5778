"""Rename a group's `answer` to `truth`, the word for what a task knows to be right."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Rename the column in place, which SQLite and PostgreSQL spell alike."""
    op.execute("ALTER TABLE groups RENAME COLUMN answer TO truth")
