"""Requests that Schemathesis generates from the API's schema, valid and invalid, with the token of each role.

No response is a server error, and each one is documented and has the documented form. The stream never ends, so
test_dashboard_server.py tests it instead.
"""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.test_dashboard_server import (
    REQUEST_TIMEOUT_S,
    line_of,
    start,
    wait_until_ready,
)
from tests.unit.dashboard.example import READ_TOKEN, TOKEN, make_example, open_copy

if importlib.util.find_spec("schemathesis") is None:
    pytest.skip("schemathesis is not installed (pip install schemathesis)", allow_module_level=True)

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fuzzed")
    make_example(folder / "example")
    open_copy(folder / "example", folder / "copy").close()
    process = start("fuzz", folder / "copy", VIDEOSSR_TOKEN=TOKEN, VIDEOSSR_READ_TOKEN=READ_TOKEN)
    address = line_of(process.stdout)
    wait_until_ready(f"{address}/")
    yield address
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(TOKEN, id="operator"),
        pytest.param(READ_TOKEN, id="reader", marks=pytest.mark.long),
        pytest.param(None, id="no token"),
    ],
)
def test_every_response_is_documented(address: str, token: str | None, tmp_path: Path) -> None:
    described = tmp_path / "openapi.json"  # saved here because the server requires a token for it
    reads = {"Authorization": f"Bearer {READ_TOKEN}"}
    described.write_text(httpx.get(f"{address}/openapi.json", headers=reads, timeout=REQUEST_TIMEOUT_S).text)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(described)]
    command += ["--url", address, "--exclude-path", "/api/stream"]
    command += ["--max-examples", "5", "--generation-deterministic", "--no-color"]
    # A busy machine may be slow.
    command += ["--request-timeout", str(REQUEST_TIMEOUT_S), "--suppress-health-check", "too_slow"]
    command += ["--header", f"Authorization: Bearer {token}"] if token else []
    environment = os.environ | {"COLUMNS": "160", "SCHEMATHESIS_HOOKS": str(HOOKS)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None
    assert int(found[1]) > 300
