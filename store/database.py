"""Opening the store: which database, how it is set up, and errors in plain words."""

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

_BUSY_MS = 10_000  # that a SQLite writer waits for others
# The dashboard reads from as many threads as its server has (anyio's 40). At rest a few connections stay: PostgreSQL
# has 100 for everybody.
_CONNECTIONS, _KEPT_CONNECTIONS = 40, 5
_POOL_WAIT_S = 5.0  # for one of them, while others have them all
# PostgreSQL's: a server that vanishes without a word is noticed in 20 s instead of hours.
_CONNECT = {"connect_timeout": 10, "tcp_user_timeout": 20_000, "application_name": "videossr"}
# PostgreSQL's own would show each query what was committed by then. Both are said with BEGIN, so they cost nothing.
_ONE_VIEW = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_FORM = "Write it as postgresql+psycopg://USER:PASSWORD@HOST/NAME, or leave it empty for SQLite in the runs folder."


class StoreError(ValueError):
    """What is wrong with the store, or with what was asked of it: value, rule and fix. Shows no password."""


class StoreAway(StoreError):
    """The database does not answer now, and may later: no server, a full disk, a lock held for long."""


@dataclass(frozen=True)
class Database:
    """An open store. Threads may share it; after a fork it is opened anew."""

    engine: Engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One view of the store, as it is at the first query: what others write after it is not seen.

        Raises:
            StoreError: the database does not answer, or refuses.
        """
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, all of it or nothing. Raises StoreError."""
        with self._transaction(writes=True) as connection:
            yield connection

    def ping(self) -> None:
        """Raises StoreError if the database does not answer."""
        with self.read() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        options: dict[str, Any] = {"store_writes": writes}
        if not writes and self.engine.dialect.name == "postgresql":
            options |= _ONE_VIEW
        try:
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        except (DataError, IntegrityError, ProgrammingError) as error:
            raise StoreError(f"{shown(self.engine.url)}: {_first_line(error)}") from error
        except PoolTimeout:
            raise StoreAway(
                f"{shown(self.engine.url)}: all {_CONNECTIONS} connections of this process were taken for "
                f"{_POOL_WAIT_S:g} s. Is the database slow, or are too many asking? Try again."
            ) from None
        except DBAPIError as error:
            raise StoreAway(_away(self.engine.url, error)) from error


def database_url(runs_dir: str | Path) -> str:
    """VIDEOSSR_DB, or where that is empty SQLite in `runs_dir`."""
    given = os.environ.get("VIDEOSSR_DB", "").strip()
    return given or f"sqlite:///{Path(runs_dir).expanduser().absolute() / 'videossr.db'}"


def open_database(url: str) -> Database:
    """Open the store at `url`, make it if there is none, and bring it up to this version's tables.

    Any number of processes may do so at once. Raises StoreError.
    """
    parsed = _parse(url)
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    database = Database(engine)
    try:
        upgrade(database.read, database.write)
    except NewerDatabase as error:
        database.close()
        raise StoreError(
            f"{shown(parsed)}: was written by a newer version of videossr (its tables are {error}). Update videossr "
            "here, or name another database by VIDEOSSR_DB."
        ) from None
    except BaseException:
        database.close()
        raise
    return database


def shown(url: URL) -> str:
    """The address without what is secret: no password, and no parameters, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"VIDEOSSR_DB: is not a database address. {_FORM}") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise StoreError(
                f"VIDEOSSR_DB={shown(parsed)}: names no file. Write it as sqlite:////folder/videossr.db."
            )
    elif parsed.drivername != "postgresql+psycopg":
        raise StoreError(f"VIDEOSSR_DB={shown(parsed)}: the store is in SQLite or PostgreSQL. {_FORM}")
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
        return create_engine(url, pool_pre_ping=True, connect_args=_CONNECT, json_serializer=_json, **_pool())
    except ImportError:
        raise StoreError(
            f"VIDEOSSR_DB={shown(url)}: PostgreSQL's driver is not installed. Run pip install 'psycopg[binary]'."
        ) from None


def _pool() -> dict[str, Any]:
    return {
        "pool_size": _KEPT_CONNECTIONS,
        "max_overflow": _CONNECTIONS - _KEPT_CONNECTIONS,
        "pool_timeout": _POOL_WAIT_S,
    }


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says, not at the first write
    for setting in (f"busy_timeout = {_BUSY_MS}", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: Connection) -> None:
    """Writers take the lock first: one that reads first and then finds that another wrote could only fail."""
    writes = connection.get_execution_options().get("store_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(engine: Engine) -> None:
    """A write-ahead log: readers and the writer do not wait for each other. The file remembers it."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        deadline = time.monotonic() + _BUSY_MS / 1000
        while cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except (
                sqlite3.OperationalError
            ):  # another process does so now; SQLite does not wait for that by itself
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            if mode != "wal":
                raise StoreError(
                    f"{shown(engine.url)}: SQLite cannot keep a write-ahead log there (its journal is {mode}). Put "
                    "the runs folder on a local disk, or name a PostgreSQL database by VIDEOSSR_DB."
                )


def _unwritable(folder: Path, reason: str) -> str:
    return f"{folder}: the run store cannot be written there ({reason}). Name a folder that can be written by --runs."


def _away(url: URL, error: Exception) -> str:
    reason = _first_line(error)
    if url.get_backend_name() == "sqlite":
        return f"{shown(url)}: does not answer ({reason}). Is the disk full, or another process writing for long?"
    return f"{shown(url)}: does not answer ({reason}). Is the server up, and VIDEOSSR_DB right?"


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
