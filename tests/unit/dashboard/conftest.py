"""Fixtures: a dashboard over a real store, called without a network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dashboard.app import create_app
from dashboard.settings import Settings, from_environment
from store.database import Database
from tests.unit.dashboard.example import READ_TOKEN, TOKEN, Recorder, make_example, open_copy

NewClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    make_example(folder)
    return folder


@pytest.fixture
def database(example: Path, tmp_path: Path) -> Iterator[Database]:
    database = open_copy(example, tmp_path)
    yield database
    database.close()


@pytest.fixture
def launcher() -> Recorder:
    return Recorder()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environment = {"VIDEOSSR_TOKEN": TOKEN, "VIDEOSSR_READ_TOKEN": READ_TOKEN}
    return from_environment(runs_dir=tmp_path, environment=environment)


@pytest.fixture
def new_client(
    database: Database, launcher: Recorder, settings: Settings, tmp_path: Path
) -> Iterator[NewClient]:
    """Return new_client(token=..., settings=...), which makes a client that sends this token, or none for None."""
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html><title>videossr</title>")
    clients = []

    def make(token: str | None = TOKEN, settings: Settings = settings) -> TestClient:
        app = create_app(settings, database, launcher, page=page)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = TestClient(
            app, base_url="http://127.0.0.1:8470", headers=headers, raise_server_exceptions=False
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(new_client: NewClient) -> TestClient:
    return new_client()
