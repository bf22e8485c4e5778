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

from tests.unit.dashboard.example import READ_TOKEN, STEPS, TOKEN, make_example, open_copy

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
    wait_until_it_answers(address)
    yield Server(process, folder / "copy", address, token)
    process.kill()
    process.wait()


def wait_until_it_answers(address: str) -> None:
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
        assert [next(lines) for _ in range(3)] == [": connected", "id: 0", "retry: 2000"]
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
    with httpx.Client(base_url=server.address, timeout=60, limits=httpx.Limits(max_connections=60)) as many:
        for _ in range(40):
            context = many.stream("GET", "/api/stream")
            assert context.__enter__().status_code == 200
            streams.append(context)
        answer = client.get("/api/stream")
        assert answer.status_code == 503
        assert answer.json()["detail"] == "you watch 40 times already. Close some pages."
        # Somebody at the same address who has a token is somebody else.
        named = {"Authorization": f"Bearer {server.token}"}
        with many.stream("GET", "/api/stream", headers=named) as other:
            assert other.status_code == 200
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


PROXIES = {  # FORWARDED_ALLOW_IPS, and whether this machine is one
    "127.0.0.1": True,
    "10.0.0.0/8,127.0.0.0/8": True,
    "10.0.0.0/8,fc00::/7": False,
}


@pytest.mark.parametrize("proxies", PROXIES)
def test_behind_a_proxy_visitors_are_told_apart_if_it_is_trusted(tmp_path: Path, proxies: str) -> None:
    make_example(tmp_path / "example")
    open_copy(tmp_path / "example", tmp_path / "copy").close()
    tokens = {"VIDEOSSR_TOKEN": TOKEN, "VIDEOSSR_READ_TOKEN": READ_TOKEN}
    process = start("serve", tmp_path / "copy", FORWARDED_ALLOW_IPS=proxies, **tokens)
    try:
        address = line_of(process.stdout).removeprefix("Dashboard: ")
        wait_until_it_answers(address)
        with httpx.Client(base_url=address, timeout=60) as client:
            _ask_through_proxy(client, trusted=PROXIES[proxies])
    finally:
        process.kill()
        process.wait()


def _ask_through_proxy(client: httpx.Client, *, trusted: bool) -> None:
    # What the visitor made up stands before what the proxy added.
    visitor = {"X-Forwarded-For": "9.9.9.9, 192.0.2.7", "X-Forwarded-Proto": "https"}
    answer = client.post("/api/session", json={"token": TOKEN, "name": "Ann"}, headers=visitor)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-videossr_session_" if trusted else "videossr_session_")
    assert ("Secure" in cookie.split("; ")) == trusted
    pair = {"Cookie": cookie.split(";")[0], "Origin": str(client.base_url).rstrip("/")}
    if trusted:
        pair["Origin"] = pair["Origin"].replace("http", "https")
    client.cookies.clear()
    assert client.post("/api/runs/1/checkpoint", headers=visitor | pair).status_code == 202
    log = client.get("/api/runs/1/requests", headers=visitor | pair).json()
    place = "192.0.2.7" if trusted else "127.0.0.1"
    newest = log["items"][0]
    assert newest["asked_by"] == f"Ann (operator) at {place}"

    def guess(sender: str) -> int:
        headers = {"X-Forwarded-For": sender}
        return client.post("/api/session", json={"token": "guess"}, headers=headers).status_code

    codes = [guess("192.0.2.8") for _ in range(40)]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert guess("192.0.2.9") == (401 if trusted else 429)  # another visitor


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
