"""Tests of --dry-run: its output fits 80 columns, and its exit status shows a refusal."""

from pathlib import Path

import pytest

from cluster.config.load import load_config
from cluster.training.dry_run import dry_run

CONFIGS = Path(__file__).parents[4] / "configs"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_configs_are_shown_within_80_columns(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(load_config(path)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out  # no cell is truncated
    assert f"name: {path.stem}\n" in out
    for role in ("learner", "rollout", "prompts", "rewards"):
        assert any(line.split()[:1] == [role] for line in out.splitlines())


def test_placement_and_memory_of_the_8b_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(load_config(CONFIGS / "qwen3-vl-8b.yaml"))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Placement", "(8", "GPUs)"] in lines
    assert ["learner", "4", "1", "1", "GPUs,", "one", "rank", "each"] in lines
    assert any(line[:3] == ["learner", "rank", "45.0"] for line in lines)


def test_labels_are_shown_in_the_placement(capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(load_config(CONFIGS / "qwen3-vl-8b.yaml", ["cluster.node_labels=true"]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["learner", "4", "1", "1", "videossr.io/role=learner"] in lines
    assert ["prompts", "8", "1", "0", "videossr.io/role=cpu"] in lines


def test_a_run_that_does_not_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert dry_run(load_config(CONFIGS / "qwen3-vl-8b.yaml", ["cluster.gpu_memory_gib=24"])) == 2
    assert "cluster.gpu_memory_gib" in capsys.readouterr().err


def test_a_model_of_unknown_size_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert dry_run(load_config(CONFIGS / "qwen3-vl-8b.yaml", ["model.path=somebody/unheard-of-7b"])) == 0
    assert "its size is not known here" in " ".join(capsys.readouterr().out.split())


def test_the_bucket_is_shown_and_not_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = (tmp_path / "bucket").as_uri()
    monkeypatch.setenv("VIDEOSSR_BUCKET", bucket)
    monkeypatch.setenv("COLUMNS", "400")
    assert dry_run(load_config(CONFIGS / "demo.yaml")) == 0
    assert f"Checkpoints and frames: each run's own part of {bucket}\n" in capsys.readouterr().out
    assert not (tmp_path / "bucket").exists()
