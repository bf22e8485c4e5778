"""Tokens, sessions, other sites' pages, and what browsers are told."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from dashboard.security import Gate
from dashboard.settings import Settings, from_environment
from tests.unit.dashboard.conftest import NewClient
from tests.unit.dashboard.example import READ_TOKEN, TOKEN

HOME = "http://127.0.0.1:8470"
READS = ("/api/runs", "/api/runs/1", "/api/stream?run=99", "/api/runs/1/metrics.csv", "/api/benchmarks")


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return from_environment(runs_dir=settings.runs_dir, environment={})


@pytest.mark.parametrize("path", READS)
def test_without_a_token_nothing_is_read(new_client: NewClient, path: str) -> None:
    answer = new_client(token=None).get(path)
    assert answer.status_code == 401
    assert "VIDEOSSR_READ_TOKEN" in answer.json()["detail"]
    assert answer.headers["www-authenticate"] == "Bearer"
    for token in (TOKEN, READ_TOKEN):
        assert new_client(token=token).get(path).status_code in (200, 404)


def test_a_wrong_token_is_refused_even_where_reading_is_open(
    new_client: NewClient, open_settings: Settings
) -> None:
    client = new_client(token="not-the-token-at-all", settings=open_settings)
    assert client.get("/api/runs").status_code == 401
    assert client.get("/api/me").status_code == 401
    assert new_client(token=None, settings=open_settings).get("/api/runs").status_code == 200
    basic = new_client(token=None, settings=open_settings)
    assert basic.get("/api/runs", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401


@pytest.mark.parametrize(
    "path", ["/api/runs/1/stop", "/api/runs/1/checkpoint", "/api/runs/3/resume", "/api/runs"]
)
def test_only_operators_act(new_client: NewClient, open_settings: Settings, path: str) -> None:
    body = {"config": "demo"} if path == "/api/runs" else None
    assert new_client(token=None).post(path, json=body).status_code == 401
    assert new_client(token=None, settings=open_settings).post(path, json=body).status_code == 401
    assert new_client(token=READ_TOKEN).post(path, json=body).status_code == 403
    assert new_client().post(path, json=body).status_code == 202


def test_me_says_what_may_be_done(new_client: NewClient, open_settings: Settings) -> None:
    def me(**changes: object) -> dict[str, object]:
        answer: dict[str, object] = new_client(**changes).get("/api/me").json()
        return answer

    assert me() == {"role": "operator", "needs_token": True, "can_start": True, "configs": ["demo"]}
    assert me(token=READ_TOKEN) == {"role": "reader", "needs_token": True, "can_start": False, "configs": []}
    assert me(token=None) == {"role": None, "needs_token": True, "can_start": False, "configs": []}
    assert me(token=None, settings=open_settings)["needs_token"] is False


def log_in(client: TestClient, token: str) -> str:
    answer = client.post("/api/session", json={"token": token}, headers={"Origin": HOME})
    assert answer.status_code == 200, answer.text
    return str(answer.headers["set-cookie"])


def test_a_session_stands_for_its_token(new_client: NewClient) -> None:
    client = new_client(token=None)
    cookie = log_in(client, TOKEN)
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert client.get("/api/me").json()["role"] == "operator"
    assert client.post("/api/runs/1/stop", headers={"Origin": HOME}).status_code == 202
    assert client.delete("/api/session", headers={"Origin": HOME}).status_code == 204
    assert client.get("/api/runs").status_code == 401


def test_over_https_the_cookie_is_secure(new_client: NewClient) -> None:
    client = new_client(token=None)
    client.base_url = "https://127.0.0.1:8470"
    answer = client.post("/api/session", json={"token": TOKEN})
    assert "Secure" in answer.headers["set-cookie"]


def test_sessions_end_with_their_tokens_and_cannot_be_made_up(
    new_client: NewClient, settings: Settings
) -> None:
    client = new_client(token=None)
    log_in(client, READ_TOKEN)
    (name, value), *_ = client.cookies.items()
    other = new_client(token=None, settings=replace(settings, token="another-operator-token"))
    for forged in (value, value[:-1], "operator", f'"operator".{value.split(".", 1)[1]}'):
        assert other.get("/api/runs", headers={"Cookie": f"{name}={forged}"}).status_code == 401
    assert client.get("/api/runs").status_code == 200


def test_a_session_alone_acts_from_our_page_only(new_client: NewClient) -> None:
    client = new_client(token=None)
    log_in(client, TOKEN)
    for headers in (
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": HOME, "Sec-Fetch-Site": "cross-site"},
    ):
        assert client.post("/api/runs/1/stop", headers=headers).status_code == 403
        assert client.delete("/api/session", headers=headers or {"Origin": "null"}).status_code == 403
    assert client.post("/api/runs/1/stop", headers={"Origin": HOME}).status_code == 202


def test_other_pages_do_not_read_either(new_client: NewClient, open_settings: Settings) -> None:
    client = new_client(token=None, settings=open_settings)
    assert client.get("/api/runs", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    for site in ("cross-site", "same-site"):
        assert client.get("/api/runs", headers={"Sec-Fetch-Site": site}).status_code == 403
    answer = client.get("/api/runs", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert client.options("/api/runs", headers={"Origin": "http://evil.example"}).status_code == 405


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8470", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"]
)
def test_at_home_other_names_are_refused(new_client: NewClient, open_settings: Settings, host: str) -> None:
    for path in ("/", "/api/runs", "/docs", "/healthz"):
        answer = new_client(token=None, settings=open_settings).get(path, headers={"Host": host})
        assert answer.status_code == 403
        assert "is not this machine" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8470", "localhost:8470", "[::1]:8470", "LOCALHOST"])
def test_at_home_its_own_names_are_taken(new_client: NewClient, host: str) -> None:
    assert new_client().get("/api/runs", headers={"Host": host}).status_code == 200


def test_elsewhere_any_name_is_taken(new_client: NewClient, settings: Settings) -> None:
    client = new_client(settings=replace(settings, host="0.0.0.0"))
    assert client.get("/api/runs", headers={"Host": "runs.example"}).status_code == 200
    headers = {"Host": "runs.example", "Origin": "https://runs.example"}
    assert client.post("/api/runs/1/stop", headers=headers).status_code == 202


def stop_clock(client: TestClient, settings: Settings) -> TestClient:
    """So that nothing is given back on a slow machine."""
    client.app.state.gate = Gate(settings, clock=lambda: 0.0)  # type: ignore[attr-defined]
    return client


def test_wrong_tokens_wear_out(new_client: NewClient, settings: Settings) -> None:
    client = stop_clock(new_client(token=None), settings)
    codes = [
        client.post("/api/session", json={"token": f"guess {number}"}).status_code for number in range(12)
    ]
    assert codes == [401] * 10 + [429] * 2
    answer = client.get("/api/runs", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 429  # even the right one: else guessing would only be slower to read
    assert 1 <= int(answer.headers["retry-after"]) <= 7


def test_wrong_bearers_wear_out_too(new_client: NewClient, settings: Settings) -> None:
    client = stop_clock(new_client(token="wrong"), settings)
    assert [client.get("/api/runs").status_code for _ in range(11)] == [401] * 10 + [429]


def test_posts_wear_out(client: TestClient, settings: Settings) -> None:
    stop_clock(client, settings)
    codes = [client.post("/api/runs/99/stop").status_code for _ in range(31)]
    assert codes == [404] * 30 + [429]
    assert client.get("/api/runs").status_code == 200


def test_long_bodies_are_refused(client: TestClient) -> None:
    long = {"config": {"yaml": "a" * 70_000}}
    answer = client.post("/api/runs", json=long)
    assert answer.status_code == 413
    chunks = (b" " * 1000 for _ in range(100))  # not announced
    assert client.post("/api/runs", content=chunks).status_code == 413
    assert client.post("/api/session", content=b" " * 65_537).status_code == 413


@pytest.mark.parametrize(
    "path", ["/", "/api/runs", "/docs", "/openapi.json", "/nothing", "/api/runs/99", "/healthz"]
)
def test_browsers_are_told_to_keep_to_this_site(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("'unsafe-inline'" in policy) == (path == "/docs")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["cache-control"] == ("no-store" if path.startswith("/api") else "no-cache")


def test_refusals_are_headed_too(client: TestClient) -> None:
    answer = client.get("/", headers={"Host": "evil.example"})
    assert answer.headers["x-content-type-options"] == "nosniff"
