"""Opening the store: which database, its settings, transactions, and errors."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from store.schema.upgrade import NewerDatabase, upgrade

SQLITE_BUSY_TIMEOUT_MS = 10_000  # how long a SQLite writer waits for others
# The dashboard reads from as many threads as its server has (anyio's 40). When idle it keeps only a few connections
# open, because a PostgreSQL server has 100 for all its clients.
_MAX_CONNECTIONS, _IDLE_CONNECTIONS = 40, 5
_POOL_TIMEOUT_S = 5.0  # how long a thread waits for a connection while all are in use
# With tcp_user_timeout (ms), a PostgreSQL server that vanishes is noticed in 20 s instead of hours.
_POSTGRES_OPTIONS = {"connect_timeout": 10, "tcp_user_timeout": 20_000, "application_name": "videossr"}
# By default, each query of a PostgreSQL transaction would see what was committed by then. Both settings are sent with
# BEGIN, at no cost.
_POSTGRES_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_URL_FIX = "Write it as postgresql+psycopg://USER:PASSWORD@HOST/NAME, or leave it empty for SQLite in the runs folder."


class StoreError(ValueError):
    """An error of the store, or of a call to it. Its message gives value, rule and fix, and shows no password."""


class StoreUnavailable(StoreError):
    """The database is unavailable for now: no server, a full disk, or a lock held for long."""


@dataclass(frozen=True)
class Database:
    """An open store. Threads may share it; a forked process must open its own."""

    engine: Engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Begin a read transaction: all queries see the store as it is at the first one.

        Raises:
            StoreError: the database does not answer, or refuses.
        """
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Begin a write transaction, which happens completely or not at all. Raises StoreError."""
        with self._transaction(writes=True) as connection:
            yield connection

    def ping(self) -> None:
        """Raise StoreError if the database does not answer."""
        with self.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        options: dict[str, Any] = {"store_writes": writes}
        if not writes and self.engine.dialect.name == "postgresql":
            options |= _POSTGRES_SNAPSHOT
        try:
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except (DataError, IntegrityError, ProgrammingError) as error:
            raise StoreError(f"{display_url(self.engine.url)}: {_first_line(error)}") from error
        except PoolTimeout:
            raise StoreUnavailable(
                f"{display_url(self.engine.url)}: all {_MAX_CONNECTIONS} connections of this process were in use for "
                f"{_POOL_TIMEOUT_S:g} s. The database may be slow, or the dashboard busy. Try again."
            ) from None
        except DBAPIError as error:
            raise StoreUnavailable(_unavailable_text(self.engine.url, error)) from error


def database_url(runs_dir: str | Path) -> str:
    """Return VIDEOSSR_DB, or if that is empty, the URL of a SQLite file in `runs_dir`."""
    given = os.environ.get("VIDEOSSR_DB", "").strip()
    return given or f"sqlite:///{Path(runs_dir).expanduser().absolute() / 'videossr.db'}"


def open_database(url: str) -> Database:
    """Open the store at `url`; create it if it does not exist, and upgrade it to this version's tables.

    Several processes may do so at once. Raises StoreError.
    """
    parsed = _parse(url)
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    database = Database(engine)
    try:
        upgrade(database.read, database.write)
    except NewerDatabase as error:
        database.close()
        raise StoreError(
            f"{display_url(parsed)}: was written by a newer version of videossr (its tables are {error}). "
            "Update videossr here, or set VIDEOSSR_DB to another database."
        ) from None
    except BaseException:
        database.close()
        raise
    return database


def display_url(url: URL) -> str:
    """Return the URL without secrets: no password, and no parameters, which may contain one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"VIDEOSSR_DB: is not a database URL. {_URL_FIX}") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise StoreError(
                f"VIDEOSSR_DB={display_url(parsed)}: names no file. Write it as sqlite:////folder/videossr.db."
            )
    elif parsed.drivername != "postgresql+psycopg":
        raise StoreError(
            f"VIDEOSSR_DB={display_url(parsed)}: the store must be SQLite or PostgreSQL. {_URL_FIX}"
        )
    return parsed


def _sqlite(url: URL) -> Engine:
    folder = Path(url.database or "").absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(_unwritable(folder, error.strerror or str(error))) from None
    engine = create_engine(url, json_serializer=_json, **_pool())
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    try:
        _use_wal(engine)
    except sqlite3.Error as error:
        engine.dispose()
        raise StoreError(_unwritable(folder, str(error))) from None
    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url, pool_pre_ping=True, connect_args=_POSTGRES_OPTIONS, json_serializer=_json, **_pool()
        )
    except ImportError:
        raise StoreError(
            f"VIDEOSSR_DB={display_url(url)}: PostgreSQL's driver is not installed. Run pip install 'psycopg[binary]'."
        ) from None


def _pool() -> dict[str, Any]:
    return {
        "pool_size": _IDLE_CONNECTIONS,
        "max_overflow": _MAX_CONNECTIONS - _IDLE_CONNECTIONS,
        "pool_timeout": _POOL_TIMEOUT_S,
    }


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # _begin_sqlite begins transactions, not the driver
    for setting in (f"busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    """Begin a transaction. A writer takes the lock at once, because after a read SQLite may refuse it the lock."""
    writes = connection.get_execution_options().get("store_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(engine: Engine) -> None:
    """Switch to a write-ahead log, so that readers and the writer do not block each other. The file stays so."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        deadline = time.monotonic() + SQLITE_BUSY_TIMEOUT_MS / 1000
        while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError:
                # Another process is switching now, and for this SQLite ignores its busy timeout.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            if mode != "wal":
                raise StoreError(
                    f"{display_url(engine.url)}: SQLite cannot use a write-ahead log there (its "
                    f"journal mode is {mode}). Put the runs folder on a local disk, or set VIDEOSSR_DB to a PostgreSQL "
                    "database."
                )


def _unwritable(folder: Path, reason: str) -> str:
    return (
        f"{folder}: the run store cannot be written there ({reason}). Choose a writable folder with --runs."
    )


def _unavailable_text(url: URL, error: Exception) -> str:
    reason = _first_line(error)
    if url.get_backend_name() == "sqlite":
        return f"{display_url(url)}: does not answer ({reason}). Is the disk full, or does another process hold a lock?"
    return f"{display_url(url)}: does not answer ({reason}). Is the server up, and is VIDEOSSR_DB right?"


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
