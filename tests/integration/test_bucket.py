"""Test of a run whose checkpoints and frames are in a bucket: it trains and resumes, and can be exported and shown."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cluster.checkpoints.find import last_checkpoint, list_checkpoints
from cluster.runs.folder import run_bucket
from dashboard.services.frames import FrameRefused, read_frame
from store.database import database_url, open_database
from store.files import Files
from store.reading.reader import RunReader
from tests.integration.buckets import bucket, folders
from tests.integration.runs import started

SHORT = ("train.steps=4", "evaluation.samples_per_task=2", "train.recorded_groups=1")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_checkpoints_and_frames_of_a_run_are_in_its_bucket(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bucket(kind, tmp_path) as address:
        with started(tmp_path, "far", *SHORT, f"bucket={address}") as run:
            assert run.wait() == 0, run.log.read_text()[-3000:]
        own = run_bucket(run.folder)
        assert own is not None
        assert Files(own).read("config.yaml") == (run.folder / "config.yaml").read_bytes()
        assert not (run.folder / "checkpoints").exists()
        assert not (run.folder / "frames").exists()
        kept = [each.state["step"] for each in list_checkpoints(run.folder)]
        assert kept[-1] == 4
        # The run resumes from its bucket, although the environment now names another one.
        monkeypatch.setenv("VIDEOSSR_BUCKET", f"{address}-other")
        longer = ("train.steps=6", *SHORT[1:], f"bucket={address}")
        with started(tmp_path, "far", *longer, "--resume", "far") as run:
            assert run.wait() == 0, run.log.read_text()[-3000:]
        assert [record["step"] for record in run.records("metrics")] == list(range(6))
        last = last_checkpoint(run.folder)
        assert last is not None
        assert last.state["step"] == 6
        assert folders(address) == {Path(own).name}
        _frames_are_served(tmp_path, own)
        _can_be_exported(tmp_path, run.folder)


def _frames_are_served(tmp_path: Path, own: str) -> None:
    database = open_database(database_url(tmp_path / "runs"))
    reader = RunReader(database)
    run = reader.run_by_name("far")
    assert run is not None
    assert reader.folder(run.id) == own
    stored = [reader.group(run.id, each.id) for each in reader.groups(run.id, limit=200).items]
    files = [
        frame.file for group in stored if group is not None for clip in group.frames for frame in clip.frames
    ]
    assert len(stored) >= 6
    assert all(group is not None and group.frames for group in stored)  # no upload was lost
    in_bucket = {name for name in Files(own).names() if name.startswith("frames/")}
    assert set(files) <= in_bucket
    data, content_type = read_frame(own, files[0])
    assert content_type == "image/webp"
    assert Image.open(io.BytesIO(data)).size == (64, 64)
    for file in ("../secret.webp", f"{files[0]}/../../../../x.webp", "frames/none.webp"):
        with pytest.raises(FrameRefused):
            read_frame(own, file)
    database.close()


def _can_be_exported(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "deep" / "exported"
    command = [Path(sys.executable).with_name("videossr"), "export", str(folder), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").stat().st_size > 10_000
    assert [path.name for path in out.parent.iterdir()] == ["exported"]  # no temporary copy is left
