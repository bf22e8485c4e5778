"""Tests of a real server process: it streams what another process writes, and refuses forbidden requests."""

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
import pytest

from dashboard.services.change_feed import ChangeFeed
from tests.unit.dashboard.example import READ_TOKEN, STEPS, TOKEN, make_example, open_copy

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 600.0  # bounds a hang; a start takes far less, also on a busy machine
REQUEST_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    folder: Path
    address: str
    token: str

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0


def start(what: str, folder: Path, **changes: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contract.dashboard_process", what, str(folder)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VIDEOSSR_")}
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment | changes
    )


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    line = stream.readline()
    assert line, "the process has ended"
    return line.strip()


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    make_example(folder)
    return folder


@pytest.fixture(scope="module")
def server(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    open_copy(example, folder / "copy").close()
    process = start("serve", folder / "copy")
    address, _, token = line_of(process.stdout).removeprefix("Dashboard: ").partition("#token=")
    wait_until_ready(address)
    yield Server(process, folder / "copy", address, token)
    process.kill()
    process.wait()


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{address}readyz").status_code == 200:
                return
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.1)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=REQUEST_TIMEOUT_S) as client:
        yield client


@pytest.fixture
def writer(server: Server) -> Iterator[subprocess.Popen[str]]:
    process = start("write", server.folder)
    yield process
    process.communicate()


def test_what_another_process_writes_reaches_the_stream(
    server: Server, client: httpx.Client, writer: subprocess.Popen[str]
) -> None:
    """The server polls the store at least twice a second, and each change that it finds reaches the stream."""
    assert inspect.signature(ChangeFeed).parameters["poll_every_s"].default <= 0.5
    with client.stream("GET", "/api/stream", params={"run": 1}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert [next(lines) for _ in range(3)] == [": connected", "id: 0", "retry: 2000"]
        for number in range(3):
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
            written_at = float(line_of(writer.stdout))
            while True:
                line = next(lines)
                assert time.time() - written_at < REQUEST_TIMEOUT_S, "only keep-alive lines, no changes"
                if line.startswith("data: ") and "metrics" in (change := json.loads(line[6:]))["what"]:
                    break
            assert (change["run_id"], change["step"]) == (1, STEPS + number + 1)


def test_the_list_of_runs_streams_changes_too_and_a_second_connection_is_told_to_reload(
    server: Server, client: httpx.Client
) -> None:
    with client.stream("GET", "/api/stream") as response:
        lines = response.iter_lines()
        next(lines)
        headers = {"Authorization": f"Bearer {server.token}"}
        posted = httpx.post(
            f"{server.address}api/runs/1/checkpoint", headers=headers, timeout=REQUEST_TIMEOUT_S
        )
        assert posted.status_code == 202
        change = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
        assert change["run_id"] is None
        assert set(change["what"]) <= {"requests", "events"}
    with client.stream("GET", "/api/stream?run=2&run=3", headers={"Last-Event-ID": "7"}) as response:
        data = (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: "))
        changes = [next(data), next(data)]
    assert [change["run_id"] for change in changes] == [2, 3]
    assert "metrics" in changes[0]["what"]


def test_the_number_of_streams_is_limited_and_closed_ones_do_not_count(
    server: Server, client: httpx.Client
) -> None:
    assert client.get("/api/stream?run=99").status_code == 404
    streams = []
    limits = httpx.Limits(max_connections=60)
    with httpx.Client(base_url=server.address, timeout=REQUEST_TIMEOUT_S, limits=limits) as many:
        for _ in range(40):
            context = many.stream("GET", "/api/stream")
            assert context.__enter__().status_code == 200
            streams.append(context)
        response = client.get("/api/stream")
        assert response.status_code == 503
        assert response.json()["detail"] == "you have 40 pages open already. Close some."
        # A caller with a token is counted separately, also at the same address.
        named = {"Authorization": f"Bearer {server.token}"}
        with many.stream("GET", "/api/stream", headers=named) as other:
            assert other.status_code == 200
        for context in streams:
            context.__exit__(None, None, None)
    until = time.monotonic() + REQUEST_TIMEOUT_S
    while True:
        with client.stream("GET", "/api/stream") as response:
            if response.status_code == 200:
                return
        assert time.monotonic() < until, "closed connections still count"
        time.sleep(0.2)


def test_requests_without_the_token_or_from_other_sites_are_refused(
    server: Server, client: httpx.Client
) -> None:
    stop = "/api/runs/1/checkpoint"
    right = {"Authorization": f"Bearer {server.token}"}
    assert client.get("/api/runs").status_code == 200
    assert client.post(stop).status_code == 401
    assert client.post(stop, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.post(stop, headers=right | {"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/runs", headers={"Host": "evil.example"}).status_code == 403
    assert client.post(stop, headers=right).status_code == 202
    assert client.post(stop, headers=right, content=b"a" * 70_000).status_code == 413
    codes = (client.post("/api/session", json={"token": "guess"}).status_code for _ in range(100))
    assert next(code for code in codes if code != 401) == 429


PROXIES = {  # value of FORWARDED_ALLOW_IPS: whether it includes 127.0.0.1
    "127.0.0.1": True,
    "10.0.0.0/8,127.0.0.0/8": True,
    "10.0.0.0/8,fc00::/7": False,
}


@pytest.mark.parametrize("proxies", PROXIES)
def test_callers_behind_a_proxy_are_told_apart_only_if_the_proxy_is_trusted(
    example: Path, tmp_path: Path, proxies: str
) -> None:
    open_copy(example, tmp_path / "copy").close()
    tokens = {"VIDEOSSR_TOKEN": TOKEN, "VIDEOSSR_READ_TOKEN": READ_TOKEN}
    process = start("serve", tmp_path / "copy", FORWARDED_ALLOW_IPS=proxies, **tokens)
    try:
        address = line_of(process.stdout).removeprefix("Dashboard: ")
        wait_until_ready(address)
        with httpx.Client(base_url=address, timeout=REQUEST_TIMEOUT_S) as client:
            _ask_through_proxy(client, trusted=PROXIES[proxies])
    finally:
        process.kill()
        process.wait()


def _ask_through_proxy(client: httpx.Client, *, trusted: bool) -> None:
    # The caller invented the first address; the proxy added the second.
    caller = {"X-Forwarded-For": "9.9.9.9, 192.0.2.7", "X-Forwarded-Proto": "https"}
    response = client.post("/api/session", json={"token": TOKEN, "name": "Ann"}, headers=caller)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-videossr_session_" if trusted else "videossr_session_")
    assert ("Secure" in cookie.split("; ")) == trusted
    pair = {"Cookie": cookie.split(";")[0], "Origin": str(client.base_url).rstrip("/")}
    if trusted:
        pair["Origin"] = pair["Origin"].replace("http", "https")
    client.cookies.clear()
    assert client.post("/api/runs/1/checkpoint", headers=caller | pair).status_code == 202
    log = client.get("/api/runs/1/requests", headers=caller | pair).json()
    place = "192.0.2.7" if trusted else "127.0.0.1"
    newest = log["items"][0]
    assert newest["asked_by"] == f"Ann (operator) at {place}"

    def guess(sender: str) -> int:
        headers = {"X-Forwarded-For": sender}
        return client.post("/api/session", json={"token": "guess"}, headers=headers).status_code

    codes = [guess("192.0.2.8") for _ in range(40)]
    assert codes[0] == 401
    assert 429 in codes
    others = [guess("192.0.2.9") for _ in range(3)]  # another caller
    assert (429 in others) == (not trusted)


CLIMBING = (
    "/../../../../etc/passwd",
    "/..%2f..%2fetc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
    "/docs/files/../../app.py",
)


@pytest.mark.parametrize("path", CLIMBING)
def test_paths_that_climb_out_of_the_page_are_not_found(server: Server, path: str) -> None:
    """The test writes to a socket, because an HTTP client would normalise the paths."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=REQUEST_TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        response = b""
        while piece := connection.recv(65536):
            response += piece
    assert response.startswith(b"HTTP/1.1 404")
    assert b"root:" not in response
    assert b"import" not in response


def test_the_server_stops_while_a_stream_is_open(server: Server) -> None:
    """Stop the server. It must therefore be the last test of this file."""
    stream = f"{server.address}api/stream"
    with httpx.Client(timeout=REQUEST_TIMEOUT_S) as client, client.stream("GET", stream) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        assert list(lines)[-1:] in ([], [""])  # the server completes the stream before it ends
    assert line_of(server.process.stdout) == "stopped"
    assert server.process.wait(REQUEST_TIMEOUT_S) == 0
