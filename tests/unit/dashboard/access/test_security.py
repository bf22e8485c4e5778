"""Tokens, sessions, requests from other sites' pages, and security headers."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.access import middleware
from dashboard.access.middleware import RequestGuard
from dashboard.access.security import Authenticator
from dashboard.settings import Settings, from_environment
from tests.unit.dashboard.conftest import NewClient
from tests.unit.dashboard.example import READ_TOKEN, TOKEN

HOME = "http://127.0.0.1:8470"
READS = (
    "/api/runs", "/api/runs/1", "/api/stream?run=99", "/api/runs/1/metrics.csv", "/api/benchmarks",
    "/docs", "/docs/start.js", "/openapi.json",
)  # fmt: skip


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return from_environment(runs_dir=settings.runs_dir, environment={})


@pytest.mark.parametrize("path", READS)
def test_without_a_token_nothing_is_read(new_client: NewClient, path: str) -> None:
    response = new_client(token=None).get(path)
    assert response.status_code == 401
    assert "VIDEOSSR_READ_TOKEN" in response.json()["detail"]
    assert response.headers["www-authenticate"] == "Bearer"
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


def test_me_tells_what_the_caller_may_do(new_client: NewClient, open_settings: Settings) -> None:
    def me(**changes: object) -> dict[str, object]:
        response: dict[str, object] = new_client(**changes).get("/api/me").json()
        return response

    assert me() == {"role": "operator", "needs_token": True, "can_start": True, "configs": ["demo"]}
    assert me(token=READ_TOKEN) == {"role": "reader", "needs_token": True, "can_start": False, "configs": []}
    assert me(token=None) == {"role": None, "needs_token": True, "can_start": False, "configs": []}
    assert me(token=None, settings=open_settings)["needs_token"] is False


def log_in(client: TestClient, token: str, **more: str) -> str:
    response = client.post("/api/session", json={"token": token, **more}, headers={"Origin": HOME})
    assert response.status_code == 200, response.text
    return str(response.headers["set-cookie"])


def test_a_session_has_the_role_of_its_token(new_client: NewClient) -> None:
    client = new_client(token=None)
    cookie = log_in(client, TOKEN)
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert client.get("/api/me").json()["role"] == "operator"
    assert client.post("/api/runs/1/stop", headers={"Origin": HOME}).status_code == 202
    assert client.delete("/api/session", headers={"Origin": HOME}).status_code == 204
    assert client.get("/api/runs").status_code == 401


def test_over_https_the_cookie_is_secure_and_bound_to_this_host(new_client: NewClient) -> None:
    client = new_client(token=None)
    log_in(client, TOKEN)
    (name, of_http), *_ = client.cookies.items()
    client.cookies.clear()
    client.base_url = "https://127.0.0.1:8470"
    cookie = client.post("/api/session", json={"token": TOKEN}).headers["set-cookie"]
    assert cookie.startswith(f"__Host-{name}=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert client.get("/api/me").json()["role"] == "operator"
    # A cookie that an http page has set is ignored.
    plain = {"Cookie": f"{name}={of_http}"}
    assert new_client(token=None).get("https://127.0.0.1:8470/api/me", headers=plain).json()["role"] is None
    gone = client.delete("/api/session").headers["set-cookie"]
    assert gone.startswith(f"__Host-{name}=")
    assert "Secure" in gone
    assert client.get("/api/me").json()["role"] is None


def test_an_http_page_cannot_act_over_https(new_client: NewClient) -> None:
    client = new_client()
    client.base_url = "https://127.0.0.1:8470"
    for origin, code in ((HOME, 403), (HOME.replace("http", "https"), 202)):
        assert client.post("/api/runs/1/stop", headers={"Origin": origin}).status_code == code


SIGNS = "\0\x1b[31m\r\nx\u202e\u2028"


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("Ann B.", "Ann B. (operator) at testclient"),
        ("李雷", "李雷 (operator) at testclient"),
        ("eve (operator) at 10.0.0.1", "eve operator at 10.0.0.1 (operator) at testclient"),
        (f"eve{SIGNS}", "eve [31m x (operator) at testclient"),
        (" \t\u200b", "operator at testclient"),
        ("", "operator at testclient"),
        (None, "operator at testclient"),
    ],
)
def test_the_name_a_caller_gives_is_cleaned_and_logged(
    new_client: NewClient, said: str | None, written: str
) -> None:
    client = new_client(token=None)
    log_in(client, TOKEN, **({} if said is None else {"name": said}))
    assert client.post("/api/runs/1/stop", headers={"Origin": HOME}).status_code == 202
    by_token = [] if said is None or SIGNS in said else [("X-Videossr-User", said)]
    raw = [(name.encode(), value.encode()) for name, value in by_token]
    assert new_client().post("/api/runs/1/checkpoint", headers=raw).status_code == 202
    log = client.get("/api/runs/1/requests").json()["items"]
    assert log[1]["asked_by"] == written
    assert log[0]["asked_by"] == (written if by_token else "operator at testclient")


def test_long_names_are_refused_or_cut(new_client: NewClient) -> None:
    response = new_client(token=None).post("/api/session", json={"token": TOKEN, "name": "a" * 61})
    assert response.status_code == 422
    assert "Change name" in response.json()["detail"]
    client = new_client()
    assert client.post("/api/runs/1/stop", headers={"X-Videossr-User": "a" * 5000}).status_code == 202
    event = client.get("/api/runs/1/events").json()[-1]["message"]
    assert event.startswith(f"{'a' * 60} (operator) at testclient requests")


def test_sessions_end_when_tokens_change_and_cannot_be_forged(
    new_client: NewClient, settings: Settings
) -> None:
    client = new_client(token=None)
    log_in(client, READ_TOKEN)
    (name, value), *_ = client.cookies.items()
    other = new_client(token=None, settings=replace(settings, token="another-operator-token"))
    for forged in (value, value[:-1], "operator", f'"operator".{value.split(".", 1)[1]}'):
        assert other.get("/api/runs", headers={"Cookie": f"{name}={forged}"}).status_code == 401
    assert client.get("/api/runs").status_code == 200


def test_a_session_acts_only_from_our_own_page(new_client: NewClient) -> None:
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


def test_other_sites_pages_cannot_read(new_client: NewClient, open_settings: Settings) -> None:
    client = new_client(token=None, settings=open_settings)
    assert client.get("/api/runs", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    for site in ("cross-site", "same-site"):
        assert client.get("/api/runs", headers={"Sec-Fetch-Site": site}).status_code == 403
    response = client.get("/api/runs", headers={"Origin": "http://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert client.options("/api/runs", headers={"Origin": "http://evil.example"}).status_code == 405


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8470", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"]
)
def test_on_loopback_other_host_names_are_refused(
    new_client: NewClient, open_settings: Settings, host: str
) -> None:
    for path in ("/", "/api/runs", "/docs", "/healthz"):
        response = new_client(token=None, settings=open_settings).get(path, headers={"Host": host})
        assert response.status_code == 403
        assert "is not this machine" in response.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8470", "localhost:8470", "[::1]:8470", "LOCALHOST"])
def test_on_loopback_its_own_names_are_accepted(new_client: NewClient, host: str) -> None:
    assert new_client().get("/api/runs", headers={"Host": host}).status_code == 200


def test_on_other_addresses_any_host_name_is_accepted(new_client: NewClient, settings: Settings) -> None:
    client = new_client(settings=replace(settings, host="0.0.0.0"))
    assert client.get("/api/runs", headers={"Host": "runs.example"}).status_code == 200
    headers = {"Host": "runs.example", "Origin": "https://runs.example"}
    assert client.post("/api/runs/1/stop", headers=headers).status_code == 202


def stop_clock(client: TestClient, settings: Settings) -> TestClient:
    """Freeze the rate limiters' clock, so that no use is given back on a slow machine."""
    client.app.state.authenticator = Authenticator(settings, clock=lambda: 0.0)  # type: ignore[attr-defined]
    return client


def test_wrong_tokens_are_limited_and_right_ones_pass(new_client: NewClient, settings: Settings) -> None:
    client = stop_clock(new_client(token=None), settings)
    responses = [client.post("/api/session", json={"token": f"guess {number}"}) for number in range(40)]
    assert [response.status_code for response in responses] == [401] * 10 + [429] * 30
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 7
    # A colleague at the same address is not locked out, neither with the token nor with a new session.
    for token in (TOKEN, READ_TOKEN):
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/runs", headers=headers).status_code == 200
        assert client.post("/api/session", json={"token": token}).status_code == 200
    client.cookies.clear()
    assert client.get("/api/runs", headers={"Authorization": "Bearer guess"}).status_code == 429


def test_a_wrong_token_counts_once_and_is_logged_without_it(
    new_client: NewClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    client = stop_clock(new_client(token="not-the-token"), settings)
    codes = [client.post("/api/runs/1/stop").status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]
    assert len(caplog.messages) == 10
    assert set(caplog.messages) == {"Wrong token from testclient."}


def test_wrong_bearer_tokens_are_limited_too(new_client: NewClient, settings: Settings) -> None:
    client = stop_clock(new_client(token="wrong"), settings)
    assert [client.get("/api/runs").status_code for _ in range(11)] == [401] * 10 + [429]


def test_posts_are_limited(client: TestClient, settings: Settings) -> None:
    stop_clock(client, settings)
    codes = [client.post("/api/runs/99/stop").status_code for _ in range(31)]
    assert codes == [404] * 30 + [429]
    assert client.get("/api/runs").status_code == 200
    client.headers.pop("Authorization")
    log_in(client, TOKEN)  # another user at the same address
    assert client.post("/api/runs/99/stop", headers={"Origin": HOME}).status_code == 404


def test_curves_are_limited_and_nothing_else_is(client: TestClient, settings: Settings) -> None:
    stop_clock(client, settings)
    paths = ("/api/series?run=1&name=a", "/api/curves?run=1&name=a", "/api/runs/99/metrics.csv")
    codes = [client.get(paths[number % 3]).status_code for number in range(120)]
    assert codes == [200, 200, 404] * 40
    for path in paths:
        response = client.get(path)
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        assert response.json()["detail"] == "too many requests for curves. Wait 1 s."
    assert client.get("/api/runs").status_code == 200
    reader = {"Authorization": f"Bearer {READ_TOKEN}"}  # another user
    assert client.get(paths[0], headers=reader).status_code == 200
    documented = client.get("/openapi.json").json()["paths"]
    for path in ("/api/series", "/api/curves", "/api/runs/{run_id}/metrics.csv"):
        assert "Retry-After" in documented[path]["get"]["responses"]["429"]["headers"]


def test_the_documentation_works_with_a_session(new_client: NewClient, open_settings: Settings) -> None:
    client = new_client(token=None)
    log_in(client, READ_TOKEN)
    for path in ("/docs", "/docs/start.js", "/openapi.json"):
        assert client.get(path).status_code == 200
        assert new_client(token=None, settings=open_settings).get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/runs", "/nothing"])
def test_https_responses_have_hsts(client: TestClient, path: str) -> None:
    assert "strict-transport-security" not in client.get(path).headers
    client.base_url = "https://127.0.0.1:8470"
    assert client.get(path).headers["strict-transport-security"] == "max-age=31536000"


def test_slow_bodies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_TIMEOUT_S", 0.2)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    async def reached(*_: Any) -> None:
        raise AssertionError("the application was called")

    scope = {"type": "http", "method": "POST", "path": "/api/session", "scheme": "http", "headers": []}
    asyncio.run(asyncio.wait_for(RequestGuard(reached, loopback=False)(scope, receive, send), 600))
    assert sent[0]["status"] == 408
    assert dict(sent[0]["headers"])[b"connection"] == b"close"
    assert b"did not arrive within 0.2 s" in sent[1]["body"]


def test_long_bodies_are_refused(client: TestClient) -> None:
    long = {"config": {"yaml": "a" * 70_000}}
    response = client.post("/api/runs", json=long)
    assert response.status_code == 413
    chunks = (b" " * 1000 for _ in range(100))  # without Content-Length
    assert client.post("/api/runs", content=chunks).status_code == 413
    assert client.post("/api/session", content=b" " * 65_537).status_code == 413


@pytest.mark.parametrize(
    "path", ["/", "/api/runs", "/docs", "/openapi.json", "/nothing", "/api/runs/99", "/healthz"]
)
def test_responses_have_security_headers(client: TestClient, path: str) -> None:
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


def test_refusals_have_security_headers_too(client: TestClient) -> None:
    response = client.get("/", headers={"Host": "evil.example"})
    assert response.headers["x-content-type-options"] == "nosniff"
