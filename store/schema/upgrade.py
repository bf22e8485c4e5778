"""Bringing a database up to this version's tables, one process at a time."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

VERSION_TABLE = "store_version"  # not Alembic's own name: a database may be shared with others that use it
_LOCK = 7_205_759_403  # PostgreSQL's advisory lock: any number, always the same one
_one_thread = threading.Lock()  # Alembic keeps what it works on in a global

Transaction = Callable[[], AbstractContextManager[Connection]]


class NewerDatabase(Exception):
    """The database has tables of a version that this one does not know; says which."""


def upgrade(read: Transaction, write: Transaction) -> None:
    """Run the migrations that are missing, all in one transaction. Raises NewerDatabase."""
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    with _one_thread:
        with read() as connection:
            if _is_current(connection, scripts):
                return
        with write() as connection:  # SQLite: takes the only lock that there is
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            if not _is_current(connection, scripts):  # while we waited another may have done it
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
