"""Operators' requests are checked, recorded and carried out."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from dashboard.settings import Settings
from store.database import Database
from store.requests import take_requests
from tests.unit.dashboard.conftest import NewClient
from tests.unit.dashboard.example import Recorder


def test_stop_and_checkpoint_reach_the_run(client: TestClient, database: Database) -> None:
    for action in ("checkpoint", "stop"):
        response = client.post(f"/api/runs/1/{action}")
        assert response.status_code == 202
        assert "alpha" in response.json()["message"]
    taken = take_requests(database, 1)
    assert [(request.action, request.asked_by) for request in taken] == [
        ("checkpoint", "operator at testclient"),
        ("stop", "operator at testclient"),
    ]
    log = client.get("/api/runs/1/requests").json()["items"]
    assert [entry["action"] for entry in log] == ["stop", "checkpoint"]
    event = client.get("/api/runs/1/events").json()[-1]
    assert event["kind"] == "request"
    assert "operator at testclient requests: stop" in event["message"]


@pytest.mark.parametrize(
    ("run", "action", "code"),
    [
        (2, "stop", 409), (3, "checkpoint", 409), (5, "checkpoint", 409), (5, "stop", 202), (4, "stop", 409),
        (4, "checkpoint", 409),
        (1, "resume", 409), (2, "resume", 409), (5, "resume", 409), (4, "resume", 202), (3, "resume", 202),
        (99, "stop", 404), (99, "resume", 404),
    ],
)  # fmt: skip
def test_the_runs_state_decides_which_actions_are_allowed(
    client: TestClient, launcher: Recorder, run: int, action: str, code: int
) -> None:
    response = client.post(f"/api/runs/{run}/{action}")
    assert response.status_code == code
    assert bool(launcher.asked) == (code == 202 and action == "resume")


def test_resume_returns_and_records_its_outcome(client: TestClient, launcher: Recorder) -> None:
    assert client.post("/api/runs/3/resume").json()["message"] == "gamma resumes"
    assert launcher.asked == [("resume", "gamma", "operator at testclient")]
    (request,) = client.get("/api/runs/3/requests").json()["items"]
    assert request["outcome"] == "gamma resumes"
    assert request["done_at"] is not None


def test_stop_now_is_carried_out_by_the_launcher(
    client: TestClient, launcher: Recorder, database: Database
) -> None:
    assert client.post("/api/runs/1/stop", json={"now": True}).json()["message"] == "alpha was told to end"
    assert launcher.asked == [("end", "alpha")]
    response = client.post("/api/runs/4/stop", json={"now": True})
    assert (response.status_code, response.json()["detail"]) == (
        409,
        "RUN='delta': no process of it is left. Resume it.",
    )
    # A refused request must not stop the run later.
    assert take_requests(database, 1) == take_requests(database, 4) == []
    assert client.post("/api/runs/1/stop", json={"now": False}).status_code == 202
    assert client.post("/api/runs/1/stop", json={"later": True}).status_code == 422
    assert launcher.asked == [("end", "alpha")]


def test_the_log_lists_the_requests_to_all_runs(client: TestClient) -> None:
    client.post("/api/runs", json={"config": "demo", "overrides": ["train.steps=0"]})
    client.post("/api/runs", json={"config": "demo"})
    client.post("/api/runs/1/checkpoint")
    log = client.get("/api/requests").json()
    assert log["total"] == 3
    assert [(entry["action"], entry["run_name"]) for entry in log["items"]] == [
        ("checkpoint", "alpha"),
        ("start", "epsilon"),
        ("start", None),
    ]
    assert log["items"][2]["outcome"].startswith("refused: train.steps=0: ")
    assert client.get("/api/requests", params={"offset": 1, "limit": 1}).json()["items"] == log["items"][1:2]


def test_start_by_name(client: TestClient, launcher: Recorder) -> None:
    response = client.post("/api/runs", json={"config": "demo", "overrides": ["train.steps=10"]})
    assert (response.status_code, response.json()["message"]) == (202, "started as mine")
    assert launcher.asked == [
        ("start", launcher.configs()["demo"], "train.steps=10", "operator at testclient")
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        {"config": "../demo"},
        {"config": {"yaml": "reward: {function: 'os:system'}"}},
        {"config": {"yaml": "model: {path: /etc}"}},
        {"config": "demo", "overrides": ["reward.function=os:system"]},
        {"config": "demo", "overrides": ["data.videos=/etc"]},
        {"config": "demo", "overrides": ["train.steps=0"]},  # the launcher's own rule
        {"config": "demo", "overrides": ["a=1"] * 51},
        {"config": "demo", "overrides": ["a" * 501]},
        {"config": "demo", "more": 1},
        {"config": {"yaml": "a", "path": "/etc/passwd"}},
        {"config": 3},
        {},
        [],
    ],
)
def test_a_bad_start_request_is_refused(client: TestClient, launcher: Recorder, wanted: object) -> None:
    response = client.post("/api/runs", json=wanted)
    assert response.status_code == 422
    assert isinstance(response.json()["detail"], str)
    assert launcher.asked == []


def test_the_server_may_allow_any_configuration(
    new_client: NewClient, settings: Settings, launcher: Recorder
) -> None:
    text = "reward: {function: 'ours:score'}"
    client = new_client(settings=replace(settings, allow_any_config=True))
    assert client.post("/api/runs", json={"config": {"yaml": text}}).status_code == 202
    assert launcher.asked[0][1] == text


def test_a_start_without_a_cluster_is_503_and_recorded(
    client: TestClient, launcher: Recorder, database: Database
) -> None:
    launcher.has_cluster = False
    response = client.post("/api/runs", json={"config": "demo"})
    assert (response.status_code, response.json()["detail"]) == (503, "no Ray cluster answers. Start one.")
    with database.read() as connection:
        (outcome,) = connection.exec_driver_sql("SELECT outcome FROM requests").one()
    assert outcome == "refused: no Ray cluster answers. Start one."


def test_a_launcher_that_crashes_is_recorded(
    client: TestClient, launcher: Recorder, database: Database
) -> None:
    def broken(config_yaml: str, overrides: object, by: str) -> str:
        raise KeyError("secret")

    launcher.start = broken  # type: ignore[method-assign]
    response = client.post("/api/runs", json={"config": "demo"})
    assert response.status_code == 500
    assert "secret" not in response.text
    with database.read() as connection:
        (outcome,) = connection.exec_driver_sql("SELECT outcome FROM requests").one()
    assert "log" in outcome


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"config": "demo"'])
def test_a_body_that_is_not_json_is_refused(client: TestClient, body: bytes) -> None:
    response = client.post("/api/runs", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
