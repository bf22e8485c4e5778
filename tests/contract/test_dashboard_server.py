"""A real server process: news of what another process writes, and what is refused on the wire."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
import pytest

from tests.unit.dashboard.example import STEPS, make_example, open_copy

ROOT = Path(__file__).parents[2]
START_S = 120.0  # on a busy machine


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
    return stream.readline().strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    make_example(folder / "example")
    open_copy(folder / "example", folder / "copy").close()
    process = start("serve", folder / "copy")
    address, _, token = line_of(process.stdout).removeprefix("Dashboard: ").partition("#token=")
    _wait_until_it_answers(address)
    yield Server(process, folder / "copy", address, token)
    process.kill()
    process.wait()


def _wait_until_it_answers(address: str) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            if httpx.get(f"{address}readyz").status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.1)


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=60) as client:
        yield client


@pytest.fixture
def writer(server: Server) -> Iterator[subprocess.Popen[str]]:
    process = start("write", server.folder)
    yield process
    process.communicate()


def test_news_arrive_within_two_seconds(
    server: Server, client: httpx.Client, writer: subprocess.Popen[str]
) -> None:
    delays = []
    with client.stream("GET", "/api/stream", params={"run": 1}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert [next(lines), next(lines)] == [": connected", "retry: 2000"]
        for number in range(3):
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()
            written_at = float(line_of(writer.stdout))
            while True:
                line = next(lines)
                assert time.time() - written_at < 60, "no news, only signs of life"
                if line.startswith("data: ") and "metrics" in (news := json.loads(line[6:]))["what"]:
                    break
            delays.append(time.time() - written_at)
            assert (news["run_id"], news["step"]) == (1, STEPS + number + 1)
    assert min(delays) < 2, delays  # the least, for the machine may be busy


def test_the_list_has_news_too_and_a_second_connection_is_told_to_look(
    server: Server, client: httpx.Client
) -> None:
    with client.stream("GET", "/api/stream") as answer:
        lines = answer.iter_lines()
        next(lines)
        headers = {"Authorization": f"Bearer {server.token}"}
        assert (
            httpx.post(f"{server.address}api/runs/1/checkpoint", headers=headers, timeout=60).status_code
            == 202
        )
        news = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
        assert news["run_id"] is None
        assert set(news["what"]) <= {"requests", "events"}
    with client.stream("GET", "/api/stream?run=2&run=3", headers={"Last-Event-ID": "7"}) as answer:
        data = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
        told = [next(data), next(data)]
    assert [news["run_id"] for news in told] == [2, 3]
    assert "metrics" in told[0]["what"]


def test_streams_are_bounded_and_let_go(server: Server, client: httpx.Client) -> None:
    assert client.get("/api/stream?run=99").status_code == 404
    streams = []
    with httpx.Client(base_url=server.address, timeout=60, limits=httpx.Limits(max_connections=40)) as many:
        for _ in range(20):
            context = many.stream("GET", "/api/stream")
            assert context.__enter__().status_code == 200
            streams.append(context)
        answer = client.get("/api/stream")
        assert answer.status_code == 503
        assert "watches 20 times already" in answer.json()["detail"]
        for context in streams:
            context.__exit__(None, None, None)
    until = time.monotonic() + 30
    while True:
        with client.stream("GET", "/api/stream") as answer:
            if answer.status_code == 200:
                return
        assert time.monotonic() < until, "connections that were closed still count"
        time.sleep(0.2)


def test_tokens_and_sites(server: Server, client: httpx.Client) -> None:
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


CLIMBING = (
    "/../../../../etc/passwd",
    "/..%2f..%2fetc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
    "/docs/files/../../app.py",
)


@pytest.mark.parametrize("path", CLIMBING)
def test_paths_that_climb(server: Server, path: str) -> None:
    """As they are: a client would tidy them first."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"root:" not in answer
    assert b"import" not in answer


def test_it_stops_though_somebody_watches(tmp_path: Path, server: Server) -> None:
    """The last test: it ends the server."""
    with httpx.Client(timeout=60) as client, client.stream("GET", f"{server.address}api/stream") as answer:
        lines = answer.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGTERM)
        assert list(lines)[-1:] in ([], [""])  # the stream ends, and is not cut
    assert line_of(server.process.stdout) == "stopped"
    assert server.process.wait(timeout=60) == 0
