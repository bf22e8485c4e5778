"""What `videossr eval` found, put into the run store beside the runs."""

import time
from collections.abc import Iterator
from pathlib import Path

from cluster.checkpoints.find import last_checkpoint
from cluster.config.load import ConfigError
from cluster.runs.folder import default_runs, find_folder
from cluster.runs.lookup import opened_store
from cluster.training.prepare import Say
from evaluation.results import ColumnResult, Results
from store.database import Database
from store.reading.reader import RunReader
from store.records import BENCH, EvaluationRecord
from store.runs import register_run
from store.writing.writer import RunWriter

VIUBENCH = "viubench"


def record_results(model: str, bench: Path, out: Path, found: Results, say: Say) -> None:
    """Put the table under the run that `model` is, or else under one of its own, `eval-MODEL`.

    Their source is `viubench`, or the name of the folder where only some other dataset was asked. A model of another
    kind than a run has no steps, so its results are of step -1. A store that cannot be written is said, and no reason
    to fail: the results are in `out`.
    """
    try:
        with opened_store(Path(default_runs())) as database:
            run_id, step = _run_of(database, model) or (_own_run(database, model, out), -1)
            writer = RunWriter(database, run_id)
            for record in _records(found, VIUBENCH if found.summaries else bench.absolute().name, step):
                writer.evaluation(record)
            if step == -1:
                writer.state("done")
            writer.close()
    except ConfigError as error:
        say(f"Not in the run store: {error}")


def _run_of(database: Database, model: str) -> tuple[int, int] | None:
    """(number, steps of its last checkpoint) of the run in folder `model`, or of that name, if it is stored."""
    folder = find_folder(model)
    if folder is None or (Path(model) / "config.json").exists():
        return None
    run = RunReader(database).run_by_name(folder.absolute().name)
    if run is None or Path(run.folder).resolve() != folder.resolve():
        return None
    last = last_checkpoint(folder)
    return run.id, run.step if last is None else int(last.state["step"])


def _own_run(database: Database, model: str, out: Path) -> int:
    name = f"eval-{Path(model).absolute().name}"
    about = {"model": model, "evaluated_at": time.time()}
    return register_run(
        database, name=name, folder=str(out.absolute()), steps=0, config={}, environment=about, state="done"
    )


def _records(found: Results, source: str, step: int) -> Iterator[EvaluationRecord]:
    for column in found.columns:
        yield EvaluationRecord(
            stage=BENCH, step=step, task=column.name, source=source, scores=_scores(column)
        )


def _scores(column: ColumnResult) -> dict[str, object]:
    return {
        "score": column.score,
        "valid": column.valid,
        "n": column.n,
        "random": column.random,
        "published": column.published,
        "task": column.task,
        "label": column.label,
        "evaluated_at": time.time(),
    }
