"""Upgrading a database to this version's tables, one process at a time."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

VERSION_TABLE = "store_version"  # not Alembic's default: the database may be shared with others that use it
_ADVISORY_LOCK_ID = 7_205_759_403  # arbitrary, but the same in every process and version
_alembic_lock = threading.Lock()  # Alembic keeps the running migration in global variables

Transaction = Callable[[], AbstractContextManager[Connection]]


class NewerDatabase(Exception):
    """The database was upgraded to a version that this code does not know; the message names it."""


def upgrade(read: Transaction, write: Transaction) -> None:
    """Run the missing migrations in one transaction.

    Raises:
        NewerDatabase: a newer version of videossr upgraded the database.
    """
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    with _alembic_lock:
        with read() as connection:
            if _is_current(connection, scripts):
                return
        with write() as connection:  # in SQLite this takes the only write lock
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _ADVISORY_LOCK_ID})
            if not _is_current(
                connection, scripts
            ):  # another process may have upgraded while this one waited
                config.attributes["connection"] = connection
                command.upgrade(config, "head")


def _config() -> Config:
    folder = str(Path(__file__).parent / "migrations")
    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config


def _is_current(connection: Connection, scripts: ScriptDirectory) -> bool:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    found = context.get_current_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    if newer := set(found) - known:
        raise NewerDatabase(", ".join(sorted(newer)))
    return set(found) == set(scripts.get_heads())
