"""Upgrades a database to this version's tables, one process at a time.

Alembic is imported only if a migration is missing, because the import takes longer than a command should take.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

VERSION_TABLE = "store_version"  # not Alembic's default: the database may be shared with others that use it
_MIGRATIONS = Path(__file__).parent / "migrations"
# The newest migration's file is named after its revision: v0003_truth.py has revision 0003.
LATEST_REVISION = max(file.name[1:5] for file in (_MIGRATIONS / "versions").glob("v[0-9]*.py"))
_ADVISORY_LOCK_ID = 7_205_759_403  # arbitrary, but the same in every process and version
_alembic_lock = threading.Lock()  # Alembic keeps the running migration in global variables

Transaction = Callable[[], AbstractContextManager[Connection]]
logger = logging.getLogger(__name__)


class NewerDatabase(Exception):
    """An error for a database that a newer version of videossr upgraded; the message names the tables' version."""


def upgrade(read: Transaction, write: Transaction) -> None:
    """Run the missing migrations in one transaction.

    Raises:
        NewerDatabase: a newer version of videossr upgraded the database.
    """
    with read() as connection:
        if _revision(connection) == LATEST_REVISION:
            return
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config()
    scripts = ScriptDirectory.from_config(config)
    with _alembic_lock:
        with read() as connection:
            if _is_current(connection, scripts):
                return
        with write() as connection:  # in SQLite this takes the only write lock
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _ADVISORY_LOCK_ID})
            # Another process may have upgraded the database while this one waited.
            if not _is_current(connection, scripts):
                logger.info("Run store: upgrading its tables to version %s.", ", ".join(scripts.get_heads()))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    """Return the database's revision; None if there is none or more than one."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalars().all()
    return str(found[0]) if len(found) == 1 else None


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _is_current(connection: Connection, scripts: "ScriptDirectory") -> bool:
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    found = context.get_current_heads()
    known = {script.revision for script in scripts.walk_revisions()}
    if newer := set(found) - known:
        raise NewerDatabase(", ".join(sorted(newer)))
    return set(found) == set(scripts.get_heads())
