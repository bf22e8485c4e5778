"""Schemathesis asks everything that the API's documentation allows, and what it does not, as whoever may ask.

No answer is an error of the server's, none is undocumented, and each has the documented form. The stream never ends,
so it has tests of its own (test_dashboard_server.py).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from dashboard.app import create_app
from dashboard.limits import Allowance
from dashboard.settings import from_environment
from tests.unit.dashboard.example import READ_TOKEN, TOKEN, Recorder, make_example, open_copy

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed (pip install schemathesis)"
)

from schemathesis.checks import load_all_checks  # noqa: E402
from schemathesis.openapi.checks import positive_data_acceptance  # noqa: E402

load_all_checks()
ROLES = {"operator": TOKEN, "reader": READ_TOKEN, "nobody": None}
# Without deadlines: nothing is slow here but the machine.
SETTINGS = hypothesis_settings(
    max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder = tmp_path_factory.mktemp("fuzzed")
    make_example(folder / "example")
    database = open_copy(folder / "example", folder / "copy")
    environment = {"VIDEOSSR_TOKEN": TOKEN, "VIDEOSSR_READ_TOKEN": READ_TOKEN}
    settings = from_environment(runs_dir=Path(folder), host="0.0.0.0", environment=environment)
    app = create_app(settings, database, Recorder())
    # A fuzzer is what these are there against.
    app.state.gate._posts = app.state.gate._mistakes = Allowance(burst=10**6, every_s=1e-6)
    yield app
    database.close()


@pytest.fixture(scope="module")
def api(app: FastAPI) -> object:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("api").exclude(path="/api/stream")


@pytest.mark.parametrize("role", list(ROLES))
@schema.parametrize()
@SETTINGS
def test_every_answer_is_documented(case: schemathesis.Case, role: str) -> None:
    token = ROLES[role]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # That a configuration of a name is there cannot be said in a schema.
    excluded: list[Callable[..., object]] = [positive_data_acceptance] if case.path == "/api/runs" else []
    case.call_and_validate(headers=headers, excluded_checks=excluded)
