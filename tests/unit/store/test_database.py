"""Tests of opening a store: its errors, and its tables, which are the same in a new and in an upgraded database."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import anyio.to_thread
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text

from store.database import Database, StoreError, StoreUnavailable, database_url, open_database
from store.reading.reader import RunReader
from store.schema.tables import Base, RunRow
from store.schema.upgrade import LATEST_REVISION, VERSION_TABLE, Transaction, _config
from tests.unit.store.examples import new_run
from tests.unit.store.postgres import PASSWORD, PostgresServer

ROOT = Path(__file__).parents[3]


def test_the_url_is_videossr_db_or_a_file_in_the_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSSR_DB", "")
    assert database_url(tmp_path) == f"sqlite:///{tmp_path}/videossr.db"
    monkeypatch.setenv("VIDEOSSR_DB", "postgresql://u:p@h/d")
    assert database_url(tmp_path) == "postgresql://u:p@h/d"


def test_migrations_create_exactly_the_tables(url: str) -> None:
    database = open_database(url)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_the_newest_file_of_the_migrations_has_the_latest_revision() -> None:
    assert ScriptDirectory.from_config(_config()).get_heads() == [LATEST_REVISION]


def open_old_database(url: str, revision: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Open a new database whose tables are those of the migration `revision`."""

    def upgrade_to_revision(_: Transaction, write: Transaction) -> None:
        config = _config()
        with write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    with monkeypatch.context() as patch:
        patch.setattr("store.database.upgrade", upgrade_to_revision)
        return open_database(url)


def test_the_second_migration_marks_the_groups_of_evaluations(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = open_old_database(url, "0001", monkeypatch)
    run_id = new_run(old)
    with old.write() as connection:
        for group_id in ("3-0", "held-out-during-jigsaw-0", "held_outer"):
            connection.execute(
                text("INSERT INTO groups (run_id, step, group_id, task, prompt_key, policy_version, question, answer, "
                     "details, completions, frames) VALUES (:run, 3, :id, 'jigsaw', 'k', 3, '', '', '', '[]', '[]')"),
                {"run": run_id, "id": group_id},
            )  # fmt: skip
    old.close()
    database = open_database(url)
    reader = RunReader(database)
    assert [each.group_id for each in reader.groups(run_id, held_out=True).items] == [
        "held-out-during-jigsaw-0"
    ]
    assert reader.groups(run_id, held_out=False).total == 2
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_the_third_migration_keeps_the_answers_of_groups_as_truths(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = open_old_database(url, "0002", monkeypatch)
    run_id = new_run(old)
    with old.write() as connection:
        connection.execute(
            text("INSERT INTO groups (run_id, step, group_id, task, prompt_key, policy_version, question, answer, "
                 "details, completions, frames) VALUES (:run, 3, '3-0', 'jigsaw', 'k', 3, 'Order?', '2,1', '', '[]', "
                 "'[]')"),
            {"run": run_id},
        )  # fmt: skip
    old.close()
    database = open_database(url)
    reader = RunReader(database)
    (summary,) = reader.groups(run_id).items
    stored = reader.group(run_id, summary.id)
    assert stored is not None
    assert (summary.truth, stored.truth, stored.question) == ("2,1", "2,1", "Order?")
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_sqlite_points_lie_in_the_order_of_their_key(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/x.db")
    with database.read() as connection:
        rows = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE name IN ('points', 'steps')")
        )
        assert all("WITHOUT ROWID" in sql for _, sql in rows)
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in
                 ("journal_mode", "synchronous", "foreign_keys")]  # fmt: skip
    assert modes == ["wal", 2, 1]  # a power cut loses no more than a killed process does
    database.close()


def test_records_survive_a_second_opening(url: str) -> None:
    first = open_database(url)
    run_id = new_run(first)
    first.close()
    second = open_database(url)
    assert new_run(second) == run_id
    second.close()


def test_processes_that_start_at_once_do_not_collide(url: str) -> None:
    code = "import sys; from store.database import open_database; open_database(sys.argv[1]).ping()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4


def test_a_read_transaction_is_a_snapshot_and_the_next_is_new(database: Database) -> None:
    new_run(database, "first")
    count = select(func.count(RunRow.id))
    with database.read() as connection:
        assert connection.execute(count).scalar_one() == 1
        new_run(database, "second")
        assert connection.execute(count).scalar_one() == 1
    with database.read() as connection:
        assert connection.execute(count).scalar_one() == 2


def test_a_connection_used_for_reading_can_be_used_for_writing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All transactions use the same connection.
    monkeypatch.setattr("store.database._MAX_CONNECTIONS", 1)
    monkeypatch.setattr("store.database._IDLE_CONNECTIONS", 1)
    database = open_database(url)
    database.ping()
    assert new_run(database) == new_run(database)
    database.close()


def test_every_server_thread_gets_a_connection_and_one_more_is_refused_soon(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.database._POOL_TIMEOUT_S", 0.1)
    database = open_database(url)
    with ExitStack() as readers:
        for _ in range(anyio.run(_num_threads)):
            readers.enter_context(database.read()).execute(select(1))
        with pytest.raises(
            StoreUnavailable, match=r"all 40 connections of this process were in use for 0\.1 s\. The"
        ):
            database.ping()
    database.ping()
    database.close()


async def _num_threads() -> int:
    """Return the number of threads in which anyio, and so the dashboard's server, handles requests."""
    return int(anyio.to_thread.current_default_thread_limiter().total_tokens)


def test_a_newer_database_is_refused(url: str) -> None:
    database = open_database(url)
    with database.write() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    database.close()
    with pytest.raises(
        StoreError, match=r"newer version of videossr \(its tables are 9999\).*Update videossr"
    ):
        open_database(url)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("no address", "is not a database URL"),
        ("mysql://u:hidden-word@h/d", "must be SQLite or PostgreSQL"),
        ("postgresql+psycopg2://u@h/d?password=hidden-word", "must be SQLite or PostgreSQL"),
        ("sqlite://", "names no file"),
        ("postgresql://u:hidden-word@127.0.0.1:1/d", "does not answer"),
        ("postgres://u@127.0.0.1:1/d?password=hidden-word", "does not answer"),
    ],
)
def test_a_wrong_url_is_refused_without_showing_secrets(address: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        open_database(address)
    assert "hidden-word" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_refused_and_not_shown(server: PostgresServer) -> None:
    url = server.new_database().replace(PASSWORD, "wrong-word")
    with pytest.raises(StoreUnavailable, match="password authentication failed") as caught:
        open_database(url)
    assert "wrong-word" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written there"):
        open_database(f"sqlite:///{tmp_path}/file/videossr.db")
    (tmp_path / "taken.db").mkdir()
    with pytest.raises(StoreError, match="cannot be written there"):
        open_database(f"sqlite:///{tmp_path}/taken.db")


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "videossr.db").write_text("something else " * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        open_database(f"sqlite:///{tmp_path}/videossr.db")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'psycopg\[binary\]'"):
        open_database("postgresql://u@127.0.0.1:1/d")
