"""The API's responses, over a real store."""

import csv
import io
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import update

from store.database import Database
from store.reading.reader import RunReader
from store.records import EvaluationRecord, WorkerStatus
from store.schema.tables import RunRow
from store.writing.writer import RunWriter
from tests.unit.dashboard.example import STEPS
from vocabulary.metrics import METRICS


def test_the_list_of_runs(client: TestClient) -> None:
    page = client.get("/api/runs", params={"sort": "name"}).json()
    states = {run["name"]: run["state"] for run in page["items"]}
    expected = {
        "alpha": "running",
        "beta": "done",
        "gamma": "stopped",
        "delta": "stalled",
        "epsilon": "queued",
    }
    assert states == expected
    assert page["total"] == 5
    assert page["items"][0]["last_rewards"] == {"grounding": 0.5}
    found = client.get(
        "/api/runs", params={"text": "A", "state": ["done", "stalled"], "limit": 1, "offset": 1}
    )
    assert (found.json()["total"], len(found.json()["items"])) == (2, 1)


def test_a_run_and_its_lists(client: TestClient) -> None:
    run = client.get("/api/runs/1").json()
    assert (run["name"], run["step"]) == ("alpha", STEPS)
    assert run["metric_names"] == ["policy/loss", "reward/grounding", "reward/mean"]
    assert [event["kind"] for event in client.get("/api/runs/1/events").json()] == ["started", "worker_died"]
    last = client.get("/api/runs/1/events", params={"kind": "worker_died", "limit": 1}).json()
    assert client.get("/api/runs/1/events", params={"after_id": last[0]["id"]}).json() == []
    assert client.get("/api/runs/1/workers").json()[0]["role"] == "rollout"
    assert client.get("/api/runs/1/evaluations").json()[0]["scores"] == {"greedy_mean": 0.4}
    assert client.get("/api/runs/1/requests").json()["total"] == 0


@pytest.mark.parametrize(
    "rest",
    ["", "/events", "/workers", "/evaluations", "/requests", "/config", "/steps", "/groups", "/groups/1",
     "/groups/1/frames/0/0", "/prompts/x", "/metrics.csv"],
)  # fmt: skip
def test_an_unknown_run_is_404(client: TestClient, rest: str) -> None:
    response = client.get(f"/api/runs/99{rest}")
    assert response.status_code == 404
    assert "run 99" in response.json()["detail"]


def test_configs_are_compared_by_dotted_keys(client: TestClient) -> None:
    assert client.get("/api/runs/1/config").json()["differences"] is None
    view = client.get("/api/runs/1/config", params={"against": 2}).json()
    assert view["differences"] == [{"key": "seed", "mine": 5, "theirs": 4}]
    queued = client.get("/api/runs/1/config", params={"against": 5}).json()["differences"]
    assert {"key": "data.mix", "mine": {}, "theirs": None} in queued
    assert client.get("/api/runs/1/config", params={"against": 99}).status_code == 404


def test_curves(client: TestClient) -> None:
    params = {"run": [1, 2, 99], "name": ["reward/mean", "policy/loss", "none"], "max_points": 10}
    curves = client.get("/api/series", params=params).json()
    names = [(curve["run_id"], curve["name"]) for curve in curves]
    assert names == [(1, "reward/mean"), (1, "policy/loss"), (2, "reward/mean"), (2, "policy/loss")]
    assert len(curves[0]["steps"]) <= 10
    assert curves[0]["high"][-1] == (STEPS - 1) / STEPS
    assert curves[1]["mean"][0] is None
    news = client.get("/api/series", params=params | {"since_step": STEPS - 3}).json()
    assert news[0]["steps"] == [STEPS - 2, STEPS - 1]
    small = client.get("/api/curves", params={"run": [1, 2], "name": "reward/mean", "points": 5}).json()
    assert [len(curve["steps"]) for curve in small] == [5, 5]


def test_the_catalogue_of_metrics(client: TestClient) -> None:
    found = {metric["name"]: metric for metric in client.get("/api/metrics").json()}
    assert found.keys() == {each.name for each in METRICS}
    assert (found["policy/kl"]["title"], found["policy/kl"]["unit"]) == ("KL", "nats/token")
    assert all(metric["title"] and metric["meaning"] for metric in found.values())


def test_curves_named_twice_are_returned_once(client: TestClient) -> None:
    params = {"run": [1, 2, 1], "name": ["reward/mean", "reward/mean"]}
    found = client.get("/api/series", params=params).json()
    assert [curve["run_id"] for curve in found] == [1, 2]
    small = client.get("/api/curves", params={"run": [1, 1, 2], "name": "reward/mean"}).json()
    assert [curve["run_id"] for curve in small] == [1, 2]
    header = client.get("/api/runs/1/metrics.csv", params={"name": ["=1+1", "reward/mean", "=1+1"]}).text
    assert header.splitlines()[0] == "step,time,'=1+1,reward/mean"  # no formula


RUNS = "&".join(f"run={number}" for number in range(1, 50))
NAMES = "&".join(f"name={number}" for number in range(59))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (f"{RUNS}&{NAMES}&max_points=692", "more than 2000000 points. Set it to 691 or less"),
        (f"{RUNS}&name=a&max_points=5000&first_step=5&last_step=4", "first_step=5: is after last_step=4"),
        ("run=1&name=a&since_step=5&last_step=4", "since_step=5: is after last_step=4"),
    ],
)
def test_impossible_curves_are_refused_before_the_store_is_read(
    client: TestClient, database: Database, tmp_path: Path, query: str, words: str
) -> None:
    database.close()
    for path in tmp_path.glob("videossr.db*"):
        path.unlink()
    (tmp_path / "videossr.db").mkdir()
    response = client.get(f"/api/series?{query}")
    assert response.status_code == 422
    assert words in response.json()["detail"]
    fits = f"/api/series?{RUNS}&{NAMES}&run=1&name=1&max_points=691&first_step=4&last_step=4&since_step=4"
    assert client.get(fits).status_code == 503  # within limits, so the store is read


def test_long_lists_can_be_paged(client: TestClient, database: Database) -> None:
    writer = RunWriter(database, 1, flush_s=0.05)
    for index in range(1, 5):
        writer.worker(WorkerStatus(role="rollout", index=index, node="a", updated_at=1.0))
        writer.evaluation(EvaluationRecord(stage="during", step=index, task="grounding", scores={}))
    writer.close()
    key = client.get("/api/runs/1/groups").json()["items"][0]["prompt_key"]
    for path, total in (("workers", 5), ("evaluations", 5), ("steps", 2), (f"prompts/{key}", 2)):
        whole = client.get(f"/api/runs/1/{path}")
        assert whole.headers["total-count"] == str(total) == str(len(whole.json()))
        part = client.get(f"/api/runs/1/{path}", params={"offset": 1, "limit": 2})
        assert part.headers["total-count"] == str(total)
        assert part.json() == whole.json()[1:3]
        assert client.get(f"/api/runs/1/{path}", params={"offset": total}).json() == []
        most = 20_000 if path == "steps" else 1000
        assert client.get(f"/api/runs/1/{path}", params={"limit": most}).status_code == 200
        assert client.get(f"/api/runs/1/{path}", params={"limit": most + 1}).status_code == 422


@pytest.mark.parametrize(
    "query",
    [
        "/api/runs?limit=201", "/api/runs?limit=0", "/api/runs?offset=-1", "/api/runs?sort=folder",
        "/api/runs?state=odd", f"/api/runs?text={'a' * 201}", "/api/runs/0", "/api/runs/x",
        f"/api/runs/{2**31}", "/api/series?run=1", "/api/series?name=a", "/api/series?run=1&name=a&max_points=5001",
        "/api/series?name=a&" + "&".join(f"run={number}" for number in range(1, 52)),
        "/api/series?run=1&" + "&".join(f"name={number}" for number in range(61)),
        f"/api/curves?run=1&name={'a' * 201}", "/api/curves?run=1&name=a&points=1",
        f"/api/stream?run={2**31}", "/api/runs/1/groups?sort=task",
    ],
)  # fmt: skip
def test_invalid_parameters_are_refused_in_words(client: TestClient, query: str) -> None:
    response = client.get(query)
    assert response.status_code == 422
    assert "Change " in response.json()["detail"]


def test_csv_is_complete_and_exact(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.routes.metrics._CSV_ROWS_AT_ONCE", 7)  # several chunks
    response = client.get("/api/runs/1/metrics.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="alpha.csv"'
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [int(row["step"]) for row in rows] == list(range(STEPS))
    assert [float(row["reward/mean"]) for row in rows] == [step / STEPS for step in range(STEPS)]
    assert rows[0]["policy/loss"] == ""
    some = client.get(
        "/api/runs/1/metrics.csv", params={"name": ["reward/grounding", "none"]}
    ).text.splitlines()
    assert some[0] == "step,time,reward/grounding,none"
    assert some[1].endswith(",0.5,")
    assert client.get("/api/runs/5/metrics.csv").text.splitlines() == ["step,time"]


def test_rollouts(client: TestClient) -> None:
    assert client.get("/api/runs/1/steps").json()[0] == {
        "step": 1, "held_out": False, "task": "grounding", "count": 1,
    }  # fmt: skip
    groups = client.get("/api/runs/1/groups", params={"step": 2, "task": "grounding"}).json()
    assert groups["total"] == 1
    group = client.get(f"/api/runs/1/groups/{groups['items'][0]['id']}").json()
    assert len(group["completions"]) == 2
    assert client.get(f"/api/runs/2/groups/{group['id']}").status_code == 404
    history = client.get(f"/api/runs/1/prompts/{group['prompt_key']}").json()
    assert [entry["step"] for entry in history] == [1, 2]


def test_pictures(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "alpha/notes.txt").write_text("secret")
    (tmp_path / "alpha/frames/link.png").symlink_to(tmp_path / "secret.png")
    frames = client.get("/api/runs/1/groups/1").json()["frames"][0]["frames"]
    for frame, kind in zip(frames[:3], ("webp", "png", "jpeg"), strict=True):
        response = client.get(frame["url"])
        assert response.headers["content-type"] == f"image/{kind}"
        assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert Image.open(io.BytesIO(response.content)).size == (32, 24)
    for frame, words in zip(
        frames[3:], ("is outside", "leads outside", "not a picture", "cannot be read"), strict=True
    ):
        response = client.get(frame["url"])
        assert response.status_code == 404
        assert words in response.json()["detail"]
        assert "secret" not in response.text.replace("secret.png", "")
    assert client.get("/api/runs/1/groups/1/frames/0/99").status_code == 404
    assert client.get("/api/runs/1/groups/1/frames/1/0").status_code == 404


def test_a_picture_in_a_busy_bucket_is_503_with_retry_after(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as connection:
        connection.execute(update(RunRow).values(folder="s3://bucket/run"))
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr("dashboard.services.frames._bucket_readers", places)
    monkeypatch.setattr("dashboard.services.frames._BUSY_TIMEOUT_S", 0.05)
    with places:
        response = client.get("/api/runs/1/groups/1/frames/0/0")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "too slow for this many pictures" in response.json()["detail"]


def test_a_picture_needs_only_the_runs_folder_from_the_store(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole_run(reader: RunReader, run_id: int) -> None:
        raise AssertionError("the whole run was read for one picture")

    monkeypatch.setattr(RunReader, "run", whole_run)
    assert client.get("/api/runs/1/groups/1/frames/0/0").status_code == 200
    assert client.get("/api/runs/99/groups/1/frames/0/0").status_code == 404


def test_the_picture_of_a_repeated_step_has_another_address(client: TestClient) -> None:
    first, second = (
        client.get(f"/api/runs/1/groups/{number}").json()["frames"][0]["frames"][0]["url"]
        for number in (1, 2)
    )
    assert first.split("?")[1] != second.split("?")[1]


def test_the_page_and_its_files(client: TestClient) -> None:
    assert "<title>videossr" in client.get("/").text
    for path in ("/../settings.py", "/%2e%2e/secret", "/..%2f..%2fetc/passwd", "//etc/passwd"):
        assert client.get(path).status_code == 404


def test_docs_are_served_from_here(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http" not in page
    for path in (
        "/docs/files/swagger-ui.css",
        "/docs/files/swagger-ui-bundle.js",
        "/docs/start.js",
        "/openapi.json",
    ):
        assert path in page or path in client.get("/docs/start.js").text
        assert client.get(path).status_code == 200


def test_long_responses_are_compressed(client: TestClient) -> None:
    response = client.get("/api/runs", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"


def test_health(client: TestClient, database: Database, tmp_path: Path) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    database.close()
    for path in tmp_path.glob("videossr.db*"):
        path.unlink()
    (tmp_path / "videossr.db").mkdir()
    assert client.get("/healthz").status_code == 200
    for path in ("/readyz", "/api/runs", "/api/runs/1"):
        response = client.get(path)
        assert response.status_code == 503
        assert str(tmp_path) not in response.text
