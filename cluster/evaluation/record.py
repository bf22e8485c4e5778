"""Writing the results of `videossr eval` to the run store, which the dashboard reads."""

import time
from collections.abc import Iterator
from pathlib import Path

from cluster.checkpoints.find import last_checkpoint
from cluster.config.errors import ConfigError
from cluster.runs.folder import default_runs_folder, find_folder
from cluster.runs.lookup import open_store
from cluster.terminal import Say
from evaluation.results import BenchResults, ColumnResult
from store.database import Database
from store.reading.reader import RunReader
from store.records import EvaluationRecord
from store.runs import register_run
from store.writing.writer import RunWriter
from vocabulary.stages import BENCH

VIUBENCH = "viubench"  # source of results that have all of VIUBench's columns
_NO_STEP = -1  # step of the results of a model that no run of ours trained


def record_results(model: str, bench: Path, out: Path, found: BenchResults, say: Say) -> None:
    """Store the results under the run that `model` names, or under a run `eval-MODEL` that is made for them.

    The source of the results is "viubench", or the name of the folder `bench` if it is another dataset. Results of a
    model that is not a run have step -1. If the store cannot be written, a message says so; the
    results are in `out` too.
    """
    try:
        with open_store(Path(default_runs_folder())) as database:
            run_id, step = _run_of(database, model) or (_register_model(database, model, out), _NO_STEP)
            writer = RunWriter(database, run_id)
            for record in _records(found, VIUBENCH if found.summaries else bench.absolute().name, step):
                writer.evaluation(record)
            if step == _NO_STEP:
                writer.state("done")
            writer.close()
    except ConfigError as error:
        say(f"The results are not in the run store: {error}")


def _run_of(database: Database, model: str) -> tuple[int, int] | None:
    """Return the run's number and the step of its last checkpoint, if `model` is a run and in the store."""
    folder = find_folder(model)
    if folder is None or (Path(model) / "config.json").exists():
        return None
    run = RunReader(database).run_by_name(folder.absolute().name)
    if run is None or Path(run.folder).resolve() != folder.resolve():
        return None
    last = last_checkpoint(folder)
    return run.id, run.step if last is None else int(last.state["step"])


def _register_model(database: Database, model: str, out: Path) -> int:
    """Return the number of the run that stands for a model in the store."""
    name = f"eval-{Path(model).absolute().name}"
    about = {"model": model, "evaluated_at": time.time()}
    return register_run(
        database, name=name, folder=str(out.absolute()), steps=0, config={}, environment=about, state="done"
    )


def _records(found: BenchResults, source: str, step: int) -> Iterator[EvaluationRecord]:
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
