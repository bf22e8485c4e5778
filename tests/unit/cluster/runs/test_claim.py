"""Tests of claiming run folders.

One process holds a run folder, earlier runs are kept, and a resumed run keeps the settings that affect training.
"""

import fcntl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config.errors import ConfigError
from cluster.config.load import build_config
from cluster.config.schema import Config
from cluster.runs.claim import claim_run_folder, is_running
from cluster.runs.folder import run_bucket
from store.files import Files


def config(runs_dir: Path, **sections: Any) -> Config:
    return build_config({"name": "mine", "runs_dir": str(runs_dir), **sections})


def test_a_new_run_gets_an_empty_folder_with_its_config(tmp_path: Path) -> None:
    given = config(tmp_path / "deep" / "runs", train={"steps": 3})
    with claim_run_folder(given, resume=False) as folder:
        assert folder == tmp_path / "deep" / "runs" / "mine"
        assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert build_config(yaml.safe_load((folder / "config.yaml").read_text())) == given


def test_a_second_claim_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    given = config(tmp_path)
    with claim_run_folder(given, resume=False) as folder:
        (folder / "metrics.jsonl").write_text("{}")
        for resume in (False, True):
            refused = pytest.raises(ConfigError, match="name='mine': a run of that name is running")
            with refused, claim_run_folder(given, resume=resume):
                pass
        assert (folder / "metrics.jsonl").exists()
    with claim_run_folder(given, resume=True):
        pass


def test_checking_whether_a_run_is_running_does_not_block_its_start(tmp_path: Path) -> None:
    given, locked = config(tmp_path), threading.Event()

    def check_slowly() -> None:
        with (tmp_path / ".mine.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # is_running does the same
            locked.set()
            time.sleep(0.2)

    checking = threading.Thread(target=check_slowly)
    checking.start()
    assert locked.wait(10)
    with claim_run_folder(given, resume=False) as folder:
        assert is_running(folder)
    checking.join(10)
    assert not is_running(folder)


def test_a_claim_is_released_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="it broke"), claim_run_folder(config(tmp_path), resume=False):
        raise RuntimeError("it broke")
    with claim_run_folder(config(tmp_path), resume=True):
        pass


def test_runs_with_different_names_run_at_the_same_time(tmp_path: Path) -> None:
    other = config(tmp_path).model_copy(update={"name": "other"})
    with claim_run_folder(config(tmp_path), resume=False), claim_run_folder(other, resume=False):
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["mine", "other"]


def test_earlier_runs_of_the_name_are_kept(tmp_path: Path) -> None:
    renamed: list[tuple[Path, Path]] = []
    for number in range(3):  # within one second
        claim = claim_run_folder(
            config(tmp_path), resume=False, on_renamed=lambda *paths: renamed.append(paths)
        )
        with claim as folder:
            assert not (folder / "mark").exists()
            (folder / "mark").write_text(str(number))
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("mine-")]
    assert sorted((path / "mark").read_text() for path in kept) == ["0", "1"]
    assert (tmp_path / "mine" / "mark").read_text() == "2"
    assert [before for before, _ in renamed] == [folder, folder]
    assert sorted(after for _, after in renamed) == sorted(kept)


def test_a_resumed_run_finds_its_files_and_may_take_more_steps(tmp_path: Path) -> None:
    with claim_run_folder(config(tmp_path, train={"steps": 3}), resume=False) as folder:
        (folder / "mark").write_text("mine")
    longer = config(
        tmp_path,
        train={"steps": 30},
        cluster={"num_prompt_workers": 2},
        rollout={"max_restarts": 1},
        learner={"max_restarts": 9},
    )
    with claim_run_folder(longer, resume=True) as folder:
        assert (folder / "mark").read_text() == "mine"
    assert yaml.safe_load((folder / "config.yaml").read_text())["train"]["steps"] == 30


def test_settings_that_change_the_training_may_not_change_on_resume(tmp_path: Path) -> None:
    with claim_run_folder(config(tmp_path), resume=False):
        pass
    changed = config(tmp_path, learner={"learning_rate": 1e-5}, data={"frames": {"num_frames": 60}}, seed=3)
    with pytest.raises(ConfigError) as caught, claim_run_folder(changed, resume=True):
        pass
    assert str(caught.value).splitlines() == [
        f"{key}: the run was started with {before}. Keep that value, or start a new run under another name."
        for key, before in [
            ("data.frames.num_frames=60", "48"),
            ("learner.learning_rate=1e-05", "1e-06"),
            ("seed=3", "0"),
        ]
    ]
    saved = yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text())
    assert saved["seed"] == 0  # a refused resume changes nothing


def test_an_added_or_removed_section_is_a_change_too(tmp_path: Path) -> None:
    with claim_run_folder(config(tmp_path), resume=False):
        pass
    with (
        pytest.raises(ConfigError, match=r"warmup\."),
        claim_run_folder(config(tmp_path, warmup={}), resume=True),
    ):
        pass


def test_a_run_older_than_a_setting_resumes_with_its_default(tmp_path: Path) -> None:
    with claim_run_folder(config(tmp_path), resume=False) as folder:
        pass
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    del stored["grpo"]["reward_tolerance"]
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))
    with claim_run_folder(config(tmp_path), resume=True):
        pass
    refused = pytest.raises(ConfigError, match=r"^grpo\.reward_tolerance=0\.5: the run was started with")
    with refused, claim_run_folder(config(tmp_path, grpo={"reward_tolerance": 0.5}), resume=True):
        pass


def test_a_run_with_a_setting_that_this_version_does_not_know_is_refused(tmp_path: Path) -> None:
    with claim_run_folder(config(tmp_path), resume=False) as folder:
        pass
    stored = yaml.safe_load((folder / "config.yaml").read_text()) | {"tomorrow": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))
    refused = pytest.raises(
        ConfigError, match=r"--resume.*this version cannot use .*tomorrow=1: there is no such"
    )
    with refused, claim_run_folder(config(tmp_path), resume=True):
        pass


def test_resuming_a_run_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match=r"--resume=mine: .* holds no run. Start it without --resume.")
    with refused, claim_run_folder(config(tmp_path), resume=True):
        pass
    assert not (tmp_path / "mine").exists()


def test_each_run_keeps_its_own_part_of_the_bucket_for_its_whole_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    given = config(tmp_path / "runs", bucket=f"{bucket.as_uri()}/")
    parts = []
    for _ in range(2):
        with claim_run_folder(given, resume=False) as folder:
            parts.append(run_bucket(folder))
    monkeypatch.setenv("VIDEOSSR_BUCKET", "s3://another")  # only new runs use it
    with claim_run_folder(given, resume=True) as folder:
        assert run_bucket(folder) == parts[1]
    (kept,) = tmp_path.glob("runs/mine-*")  # an earlier run whose folder was renamed keeps its part
    assert run_bucket(kept) == parts[0] != parts[1]
    assert sorted(path.as_uri() for path in bucket.iterdir()) == sorted(map(str, parts))
    for part in parts:
        assert Files(str(part)).read("config.yaml") == (folder / "config.yaml").read_bytes()


def test_new_runs_without_a_bucket_use_the_one_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim_run_folder(config(tmp_path), resume=False) as folder:
        assert run_bucket(folder) is None
    monkeypatch.setenv("VIDEOSSR_BUCKET", (tmp_path / "bucket").as_uri())
    with claim_run_folder(config(tmp_path), resume=True) as folder:  # the run was started without a bucket
        assert run_bucket(folder) is None
    with claim_run_folder(config(tmp_path), resume=False) as folder:
        assert str(run_bucket(folder)).startswith((tmp_path / "bucket").as_uri() + "/mine-")
    monkeypatch.setenv("VIDEOSSR_BUCKET", "bucket")
    refused = pytest.raises(
        ConfigError, match=r"VIDEOSSR_BUCKET='bucket': is not the address of a bucket. Write it as"
    )
    with refused, claim_run_folder(config(tmp_path), resume=False):
        pass


def test_an_unwritable_bucket_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    with claim_run_folder(config(tmp_path), resume=False) as folder:
        (folder / "mark").touch()
    (tmp_path / "file").touch()
    closed = config(tmp_path, bucket=f"{(tmp_path / 'file').as_uri()}/runs")
    refused = pytest.raises(
        ConfigError, match=r"^bucket='file:.*': cannot be written to \(.*Check the address"
    )
    with refused, claim_run_folder(closed, resume=False):
        pass
    assert (folder / "mark").exists()
    with pytest.raises(
        ConfigError, match=r"^bucket='mine': is not the address of a bucket.* Change bucket.$"
    ):
        config(tmp_path, bucket="mine")
