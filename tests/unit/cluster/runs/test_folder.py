"""`cluster.runs.folder`: one run at a time, nothing lost, and no run that goes on as another."""

import fcntl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config.schema import Config
from cluster.config.load import ConfigError, build_config
from cluster.runs.folder import bucket_of, claimed, is_going_on
from store.files import Files


def config(runs_dir: Path, **sections: Any) -> Config:
    return build_config({"name": "mine", "runs_dir": str(runs_dir), **sections})


def test_a_new_run_gets_an_empty_folder_with_its_config(tmp_path: Path) -> None:
    given = config(tmp_path / "deep" / "runs", train={"steps": 3})
    with claimed(given, resume=False) as folder:
        assert folder == tmp_path / "deep" / "runs" / "mine"
        assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert build_config(yaml.safe_load((folder / "config.yaml").read_text())) == given


def test_a_second_claim_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    given = config(tmp_path)
    with claimed(given, resume=False) as folder:
        (folder / "metrics.jsonl").write_text("{}")
        for resume in (False, True):
            refused = pytest.raises(ConfigError, match="name='mine': a run of that name is going on")
            with refused, claimed(given, resume=resume):
                pass
        assert (folder / "metrics.jsonl").exists()
    with claimed(given, resume=True):
        pass


def test_who_looks_whether_a_run_goes_on_keeps_none_from_starting(tmp_path: Path) -> None:
    given, taken = config(tmp_path), threading.Event()

    def look_slowly() -> None:
        with (tmp_path / ".mine.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # as is_going_on does
            taken.set()
            time.sleep(0.2)

    looking = threading.Thread(target=look_slowly)
    looking.start()
    assert taken.wait(10)
    with claimed(given, resume=False) as folder:
        assert is_going_on(folder)
    looking.join(10)
    assert not is_going_on(folder)


def test_a_claim_ends_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="it broke"), claimed(config(tmp_path), resume=False):
        raise RuntimeError("it broke")
    with claimed(config(tmp_path), resume=True):
        pass


def test_runs_of_other_names_do_not_meet(tmp_path: Path) -> None:
    other = config(tmp_path).model_copy(update={"name": "other"})
    with claimed(config(tmp_path), resume=False), claimed(other, resume=False):
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["mine", "other"]


def test_earlier_runs_of_the_name_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):  # within one second
        with claimed(config(tmp_path), resume=False) as folder:
            assert not (folder / "mark").exists()
            (folder / "mark").write_text(str(number))
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("mine-")]
    assert sorted((path / "mark").read_text() for path in kept) == ["0", "1"]
    assert (tmp_path / "mine" / "mark").read_text() == "2"
    assert kept[0].name in capsys.readouterr().out


def test_a_resumed_run_finds_what_was_there_and_may_go_further(tmp_path: Path) -> None:
    with claimed(config(tmp_path, train={"steps": 3}), resume=False) as folder:
        (folder / "mark").write_text("mine")
    longer = config(
        tmp_path,
        train={"steps": 30},
        cluster={"num_prompt_workers": 2},
        rollout={"max_restarts": 1},
        learner={"max_restarts": 9},
    )
    with claimed(longer, resume=True) as folder:
        assert (folder / "mark").read_text() == "mine"
    assert yaml.safe_load((folder / "config.yaml").read_text())["train"]["steps"] == 30


def test_what_trains_may_not_change_on_resume(tmp_path: Path) -> None:
    with claimed(config(tmp_path), resume=False):
        pass
    changed = config(tmp_path, learner={"learning_rate": 1e-5}, data={"frames": {"num_frames": 60}}, seed=3)
    with pytest.raises(ConfigError) as caught, claimed(changed, resume=True):
        pass
    assert str(caught.value).splitlines() == [
        f"{key}: the run was started with {before}. Leave it so, or start a new run under another name."
        for key, before in [
            ("data.frames.num_frames=60", "48"),
            ("learner.learning_rate=1e-05", "1e-06"),
            ("seed=3", "0"),
        ]
    ]
    saved = yaml.safe_load((tmp_path / "mine" / "config.yaml").read_text())
    assert saved["seed"] == 0  # a refused resume changes nothing


def test_a_section_that_comes_or_goes_is_a_change_too(tmp_path: Path) -> None:
    with claimed(config(tmp_path), resume=False):
        pass
    with pytest.raises(ConfigError, match=r"warmup\."), claimed(config(tmp_path, warmup={}), resume=True):
        pass


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match=r"--resume mine: .* holds no run. Start it without --resume.")
    with refused, claimed(config(tmp_path), resume=True):
        pass
    assert not (tmp_path / "mine").exists()


def test_each_run_has_a_part_of_the_bucket_that_is_its_own_for_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    given = config(tmp_path / "runs", bucket=f"{bucket.as_uri()}/")
    parts = []
    for _ in range(2):
        with claimed(given, resume=False) as folder:
            parts.append(bucket_of(folder))
    monkeypatch.setenv("VIDEOSSR_BUCKET", "s3://another")  # is for new runs
    with claimed(given, resume=True) as folder:
        assert bucket_of(folder) == parts[1]
    (kept,) = tmp_path.glob("runs/mine-*")  # a run that makes room for another of its name keeps its part
    assert bucket_of(kept) == parts[0] != parts[1]
    assert sorted(path.as_uri() for path in bucket.iterdir()) == sorted(map(str, parts))
    for part in parts:
        assert Files(str(part)).read("config.yaml") == (folder / "config.yaml").read_bytes()


def test_the_environment_names_a_bucket_for_new_runs_that_name_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claimed(config(tmp_path), resume=False) as folder:
        assert bucket_of(folder) is None
    monkeypatch.setenv("VIDEOSSR_BUCKET", (tmp_path / "bucket").as_uri())
    with claimed(config(tmp_path), resume=True) as folder:  # it began without
        assert bucket_of(folder) is None
    with claimed(config(tmp_path), resume=False) as folder:
        assert str(bucket_of(folder)).startswith((tmp_path / "bucket").as_uri() + "/mine-")
    monkeypatch.setenv("VIDEOSSR_BUCKET", "bucket")
    refused = pytest.raises(
        ConfigError, match=r"VIDEOSSR_BUCKET='bucket': is no bucket's address. Write it as"
    )
    with refused, claimed(config(tmp_path), resume=False):
        pass


def test_a_bucket_that_cannot_be_written_to_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    with claimed(config(tmp_path), resume=False) as folder:
        (folder / "mark").touch()
    (tmp_path / "file").touch()
    closed = config(tmp_path, bucket=f"{(tmp_path / 'file').as_uri()}/runs")
    refused = pytest.raises(ConfigError, match=r"^bucket: file:.* cannot be written to \(.*Check the address")
    with refused, claimed(closed, resume=False):
        pass
    assert (folder / "mark").exists()
    with pytest.raises(ConfigError, match=r"^bucket='mine': is no bucket's address.* Change bucket.$"):
        config(tmp_path, bucket="mine")
