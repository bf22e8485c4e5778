"""The same tests over SQLite and, where the machine has it, a real PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store.database import Database, open_database
from tests.unit.store.postgres import PostgresServer, programs


@pytest.fixture(scope="session")
def new_postgres_url() -> Iterator[Callable[[], str]]:
    if programs() is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    server = PostgresServer()
    try:
        server.start()
        yield server.new_database
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'videossr.db'}"
    new: Callable[[], str] = request.getfixturevalue("new_postgres_url")
    return new()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()
