"""Tests of `videossr submit`: it refuses invalid runs before it sends anything, and sends what a run needs."""

import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cluster.cli.main import main
from cluster.config.errors import ConfigError
from cluster.jobs import checkout
from cluster.jobs.checkout import config_files, files_to_send, pack_checkout
from cluster.jobs.ray_jobs import connect, forwarded_environment
from cluster.jobs.submit import build_config_for_cluster
from dataset.scan import scan
from dataset.store import videos_table, write_dataset
from pretext.scenes import draw_videos
from pretext.stream import make_recipe
from pretext.tasks.jigsaw import JigsawParams
from pretext.video.frames import FrameSpec

ROOT = Path(__file__).parents[4]
DEMO = str(ROOT / "configs" / "demo.yaml")
NOTHING_THERE = "http://127.0.0.1:9"

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    for name in (
        "code.py",
        "new.py",
        "ignored/big.bin",
        "runs/demo/metrics.jsonl",
        "cluster/runs/folder.py",
        "a video.MP4",
        "configs/mine.yaml",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".gitignore").write_text("ignored/\n")
    (root / "deleted.py").write_text("")
    (root / "link.py").symlink_to("/etc/hostname")
    for words in (["init", "-q"], ["add", "code.py", "deleted.py", "link.py"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    (root / "deleted.py").unlink()
    return root


@pytest.fixture(params=[(200, b"<html>"), (200, b"{}"), (404, b""), (502, b"")])
def no_ray(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of a web server that is not a Ray dashboard."""
    status, body = request.param

    class Response(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Response) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    "address",
    ["ray://127.0.0.1:10001", "127.0.0.1:8265", "auto", "os://x", "http://", "http://h:x", "http://h:99999"],
)
def test_only_web_addresses_are_accepted(address: str) -> None:
    with pytest.raises(
        ConfigError, match=r"is not the address of a Ray dashboard. Write it as http://HOST:8265"
    ):
        connect(address)


def test_an_address_where_nothing_answers_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"no Ray dashboard answers there \(Connection refused\). Start one with"
    ):
        connect(NOTHING_THERE)


def test_a_server_that_is_not_ray_is_refused(no_ray: str) -> None:
    with pytest.raises(ConfigError, match=r"no Ray dashboard answers there \(what answers is not Ray: "):
        connect(no_ray)


def test_the_configuration_is_checked_before_the_cluster_is_contacted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["submit", DEMO, "--address", NOTHING_THERE, "grpo.group_size=1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("grpo.group_size=1: ")
    assert main(["submit", DEMO, "--address", NOTHING_THERE, "--name", "no/name"]) == 2
    assert capsys.readouterr().err.startswith("name='no/name': ")
    assert main(["submit", "nowhere.yaml", "--address", NOTHING_THERE]) == 2
    assert capsys.readouterr().err.startswith("nowhere.yaml: cannot be read")


def test_the_address_is_required_unless_the_environment_has_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        main(["submit", DEMO])
    assert "--address" in capsys.readouterr().err
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", NOTHING_THERE)
    assert main(["submit", DEMO]) == 2
    assert f"--address={NOTHING_THERE}: no Ray dashboard answers" in capsys.readouterr().err


def test_a_dataset_that_is_not_here_is_left_for_the_cluster_to_check() -> None:
    said: list[str] = []
    config = build_config_for_cluster({"name": "mine", "data": {"dataset": "/data/there"}}, said.append)
    assert config.name == "mine"
    assert said[0].startswith("Not checked here, because the cluster may have it: data.dataset='/data/there'")
    with pytest.raises(ConfigError, match=r"^data\.dataset=5: "):
        build_config_for_cluster({"data": {"dataset": 5}}, said.append)
    with pytest.raises(ConfigError, match=r"^train\.steps=0: "):
        build_config_for_cluster({"data": {"dataset": "/data/there"}, "train": {"steps": 0}}, said.append)


def test_a_dataset_that_is_here_is_checked(tmp_path: Path) -> None:
    draw_videos(tmp_path / "videos", count=4, seed=0)
    found = scan(tmp_path / "videos", FrameSpec(num_frames=24, min_pixels=4096, max_pixels=4096))
    params = {"jigsaw": JigsawParams()}
    recipes = [make_recipe(0, videos=found.usable, mix={"jigsaw": 1.0}, params_by_task=params, seed=0)]
    write_dataset(tmp_path / "dataset", recipes, videos=videos_table(found.usable))
    data = {"dataset": str(tmp_path / "dataset")}
    with pytest.raises(ConfigError, match=r"counting is not in data\.mix"):
        build_config_for_cluster({"data": data, "grpo": {"task_weights": {"counting": 2}}}, print)


@needs_git
def test_files_that_git_would_take_are_packed_except_videos_and_runs(repository: Path) -> None:
    assert [str(path) for path in files_to_send(repository)] == [
        "cluster/runs/folder.py",
        "code.py",
        "configs/mine.yaml",
        "new.py",
    ]


@needs_git
def test_a_checkout_that_is_too_large_names_the_largest_folders(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "frames").mkdir()
    for number in range(3):
        (repository / "frames" / f"{number}.png").write_bytes(bytes(2**20))
    monkeypatch.setattr(checkout, "MAX_SENT_BYTES", 2 * 2**20)
    with pytest.raises(
        ConfigError, match=r"has 3\.0 MiB to send, and 2\.0 MiB is the most \(frames/ 3\.0 MiB, "
    ):
        files_to_send(repository)


@needs_git
def test_the_configuration_is_packed_from_wherever_it_is(repository: Path, tmp_path: Path) -> None:
    inside, outside, ignored = (
        repository / "configs/mine.yaml",
        tmp_path / "other.yaml",
        repository / "ignored/c.yaml",
    )
    for file, expected in (
        (inside, "configs/mine.yaml"),
        (outside, "submitted/demo.yaml"),
        (ignored, "submitted/demo.yaml"),
        (None, "submitted/demo.yaml"),
    ):
        with pack_checkout("name: demo", "demo", file=file, root=repository) as (folder, config):
            assert config == expected
            assert (folder / config).read_text() == "name: demo"
            assert (folder / "code.py").read_text() == "code.py"
        assert not folder.exists()


def test_without_a_checkout_only_the_configuration_is_packed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("")
    with pack_checkout("name: demo", "demo", root=tmp_path) as (folder, config):
        assert [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()] == [Path(config)]


def test_only_environment_variables_that_a_run_needs_are_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VIDEOSSR_DB", "VIDEOSSR_RUNS", "WANDB_API_KEY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    monkeypatch.setenv("VIDEOSSR_TOKEN", "of the dashboard")
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert forwarded_environment() == {"HF_TOKEN": "hf_1"}


def test_configurations_are_those_of_the_checkout_or_else_of_the_working_folder(tmp_path: Path) -> None:
    assert "demo" in config_files()
    assert config_files((tmp_path, ROOT))["demo"] == ROOT / "configs" / "demo.yaml"
    assert config_files((tmp_path,)) == {}
