"""Test material: a store with runs in several states, pictures on disk, and a launcher that records its calls."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from pydantic import BaseModel
from sqlalchemy import func, update

from cluster.config.schema import Config
from dashboard.launching.launcher import Launched, LaunchError
from store.database import Database, open_database
from store.records import ClipRecord, EvaluationRecord, FrameRecord, GroupRecord, RunDetail, WorkerStatus
from store.schema.tables import RunRow
from store.writing.writer import RunWriter
from tests.unit.store.examples import group, new_run

TOKEN, READ_TOKEN = "operator-token-of-tests", "reader-token-of-tests"
STEPS = 40


@dataclass
class Recorder:
    """A Launcher that records its calls. It refuses train.steps=0, and raises LaunchError without `has_cluster`."""

    asked: list[tuple[str, ...]] = field(default_factory=list)
    has_cluster: bool = True
    config_class: type[BaseModel] = Config

    def start(self, config_yaml: str, overrides: Sequence[str], by: str) -> Launched:
        if not self.has_cluster:
            raise LaunchError("no Ray cluster answers. Start one.")
        if "train.steps=0" in overrides:
            raise ValueError("train.steps=0: should be 1 or more. Change train.steps.")
        self.asked.append(("start", config_yaml, *overrides, by))
        return Launched(5, "started as mine")

    def resume(self, run: RunDetail, by: str) -> Launched:
        self.asked.append(("resume", run.name, by))
        return Launched(run.id, f"{run.name} resumes")

    def end(self, run: RunDetail) -> str:
        if run.name != "alpha":
            raise ValueError(f"RUN={run.name!r}: no process of it is left. Resume it.")
        self.asked.append(("end", run.name))
        return f"{run.name} was told to end"

    def configs(self) -> Mapping[str, str]:
        return {"demo": "name: demo\nreward: {function: 'ours:score'}\n"}


def make_example(folder: Path) -> None:
    """Write runs 1 alpha (running), 2 beta (done), 3 gamma (stopped), 4 delta (stalled) and 5 epsilon (queued)."""
    database = open_database(f"sqlite:///{folder / 'videossr.db'}")
    _run(database, folder, "alpha", "running")
    _run(database, folder, "beta", "done")
    _run(database, folder, "gamma", "stopped")
    _run(database, folder, "delta", "running")
    new_run(database, "epsilon", folder=str(folder / "epsilon"))
    database.close()


def open_copy(example: Path, folder: Path) -> Database:
    """Return a copy of the store in `folder`, in which alpha has sent a sign of life and stays alive for an hour."""
    shutil.copytree(example, folder, dirs_exist_ok=True)
    database = open_database(f"sqlite:///{folder / 'videossr.db'}")
    heard = time.time() + 3600
    with database.write() as connection:
        connection.execute(
            update(RunRow).values(folder=func.replace(RunRow.folder, str(example), str(folder)))
        )
        connection.execute(
            update(RunRow).where(RunRow.name == "alpha").values(heartbeat_at=heard, started_at=heard)
        )
        connection.execute(update(RunRow).where(RunRow.name == "delta").values(heartbeat_at=1, started_at=1))
    return database


def _run(database: Database, folder: Path, name: str, state: str) -> int:
    root = folder / name
    (root / "frames").mkdir(parents=True)
    for number, kind in enumerate(("webp", "png", "jpg")):
        Image.new("RGB", (32, 24), (80 * number, 40, 90)).save(root / "frames" / f"{number}.{kind}")
    config = {"seed": len(name), "train": {"steps": STEPS}, "data": {"mix": {}}}
    run_id = new_run(database, name, folder=str(root), steps=STEPS, config=config)
    writer = RunWriter(database, run_id, flush_s=0.05)
    writer.state("running")
    now = time.time()
    for step in range(STEPS):
        metrics = {"reward/mean": step / STEPS, "reward/grounding": 0.5, "policy/loss": float("nan")}
        writer.step(step, now - STEPS + step, metrics)
    for step in (1, 2):
        writer.group(_group(step))
    writer.event("started", "Began.")
    writer.event("worker_died", "Rollout worker 0 died.")
    writer.worker(WorkerStatus(role="rollout", index=0, node="a", updated_at=now))
    writer.evaluation(EvaluationRecord(stage="before", step=0, task="grounding", scores={"greedy_mean": 0.4}))
    if state != "running":
        writer.state("done" if state == "done" else "stopped")
    writer.close()
    return run_id


def _group(step: int) -> GroupRecord:
    files = (
        "frames/0.webp",
        "frames/1.png",
        "frames/2.jpg",
        "../secret.png",
        "frames/link.png",
        "notes.txt",
        "frames/9.png",
    )
    frames = tuple(
        FrameRecord(time_s=float(place), edited=place == 1, file=file) for place, file in enumerate(files)
    )
    return group(step, frames=(ClipRecord(label="Clip 1", frames=frames),))
