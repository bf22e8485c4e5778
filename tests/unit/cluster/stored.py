"""Runs in a run store, for tests of commands."""

import socket
import time
from pathlib import Path
from typing import Any

from sqlalchemy import update

from store.database import database_url, open_database
from store.records import EvaluationRecord, WorkerStatus
from store.runs import register_run
from store.schema.tables import RunRow
from store.writing.writer import RunWriter
from vocabulary.run_states import StoredState


def store_run(
    runs: Path,
    name: str,
    state: StoredState = "running",
    *,
    steps: int = 3,
    failure: str | None = None,
    age_s: float = 0.0,
    **changes: Any,
) -> int:
    """Store a run with `steps` of its 150 steps and one record of every kind, and return its number."""
    database = open_database(database_url(runs))
    settings: dict[str, Any] = {
        "folder": str(runs / name),
        "steps": 150,
        "config": {"name": name, "train": {"steps": 150}},
        "environment": {"commit": "abc", "host": socket.gethostname(), "pid": 1},
    }
    run_id = register_run(database, name=name, state="running", **(settings | changes))
    writer = RunWriter(database, run_id, clock=lambda: time.time() - age_s)
    for step in range(steps):
        rewards = {"reward/grounding": 0.2 * step, "reward/jigsaw": 0.5, "reward/counting": 0.25}
        writer.step(step, time.time() - age_s + step, rewards | {"policy/kl": float("nan")})
    writer.worker(WorkerStatus(role="rollout", index=0, node="here", queue=2, updated_at=time.time()))
    writer.event("stage", "training")
    writer.event("odd", "a message\nof two lines\x1b[31m")
    writer.evaluation(EvaluationRecord(stage="before", step=0, task="jigsaw", scores={"greedy_mean": 0.25}))
    if state != "running":
        writer.state(state, failure)
    writer.close()
    with database.write() as connection:
        connection.execute(update(RunRow).where(RunRow.id == run_id).values(started_at=time.time() - age_s))
    database.close()
    return run_id
