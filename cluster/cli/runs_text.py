"""Runs as text for a terminal: a table of several, and everything about one."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from vocabulary.run_states import RunState

if TYPE_CHECKING:
    from store.reading.reader import RunReader
    from store.records import EventRecord, RunDetail, RunSummary, WorkerStatus

_STYLES: dict[RunState, str] = {
    "running": "green",
    "queued": "cyan",
    "stalled": "bold yellow",
    "failed": "bold red",
    "stopped": "yellow",
    "done": "",
}
_NUM_EVENTS = 10
_UNITS_S = (("d", 86400), ("h", 3600), ("min", 60))
_MAX_VALUE_LENGTH = 60  # characters of a setting's value


def runs_table(runs: "Sequence[RunSummary]", now: float) -> Table:
    """Render a table of runs that fits 80 columns: long names and rewards continue on the next line."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("name", overflow="fold", max_width=30)
    table.add_column("state")
    table.add_column("step", justify="right")
    table.add_column("reward", overflow="fold")
    table.add_column("started", justify="right", no_wrap=True)
    for run in runs:
        table.add_row(
            Text(printable(run.name)),
            Text(run.state, _STYLES[run.state]),
            f"{run.step}/{run.steps}",
            Text(_rewards(run)),
            f"{span(now - run.created_at)} ago",
        )
    return table


def _rewards(run: "RunSummary") -> str:
    return (
        "\n".join(f"{printable(task)} {value:.2f}" for task, value in sorted(run.last_rewards.items())) or "-"
    )


def span(seconds: float) -> str:
    """Render a time span in the largest unit that fits twice: `40 s`, `3 min`, `2 h`, `12 d`."""
    for unit, size in _UNITS_S:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def run_lines(reader: "RunReader", run: "RunDetail", now: float) -> Iterator[str]:
    """Yield everything that the store knows about one run, line by line."""
    yield f"{run.name}, run {run.id}: {_state(run, now)}"
    yield f"Folder: {run.folder}"
    if run.job_id:
        yield f"Ray job: {run.job_id}"
    yield from _times(run, now)
    if run.environment:
        yield f"Environment: {_environment(run.environment)}"
    yield from _section("Settings that are not the defaults", _settings(run.config))
    yield from _section(f"Metrics of step {run.step - 1}", _metrics(reader, run))
    yield from _section("Evaluations", _evaluations(reader, run))
    yield from _section("Workers", (_worker(worker, now) for worker in reader.workers(run.id)))
    yield from _section("Last events", (_event(event) for event in reader.events(run.id, limit=_NUM_EVENTS)))
    yield from _section("What next", _next(run))


def printable(text: str) -> str:
    """Replace characters that could move the cursor or colour the terminal, because users choose the names."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _state(run: "RunDetail", now: float) -> str:
    words = f"{run.state}, {run.step} of {run.steps} steps"
    if run.seconds_per_step is not None:
        words += f", {run.seconds_per_step:.1f} s a step"
    if run.eta_s is not None:
        words += f", {span(run.eta_s)} to go"
    if run.failure:
        words += f"\nFailed: {' '.join(printable(line) for line in run.failure.splitlines())}"
    return words


def _times(run: "RunDetail", now: float) -> Iterator[str]:
    for what, moment in (
        ("Created", run.created_at),
        ("Last started", run.started_at),
        ("Ended", run.ended_at),
        ("Last heartbeat", run.heartbeat_at if run.ended_at is None else None),
    ):
        if moment is not None:
            yield f"{what}: {_clock(moment)}, {span(now - moment)} ago"


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _environment(environment: Mapping[str, Any]) -> str:
    from cluster.runs.claim import settings_by_dotted_name

    flat = settings_by_dotted_name(dict(environment))
    return ", ".join(f"{printable(name)} {printable(str(value))}" for name, value in flat.items())


def _settings(config: Mapping[str, Any]) -> Iterator[str]:
    from cluster.config.schema import Config
    from cluster.runs.claim import settings_by_dotted_name

    defaults = settings_by_dotted_name(Config().model_dump(mode="json"))
    for name, value in settings_by_dotted_name(dict(config)).items():
        if name not in defaults or defaults[name] != value:
            usual = f"  (default {_short(defaults[name])})" if name in defaults else ""
            yield f"{printable(name)}: {_short(value)}{usual}"


def _short(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 3] + "..."


def _metrics(reader: "RunReader", run: "RunDetail") -> Iterator[str]:
    if not run.metric_names:
        return
    width = max(map(len, run.metric_names))
    for series in reader.series([run.id], run.metric_names, first_step=run.step - 1, last_step=run.step - 1):
        value = series.mean[-1] if series.mean else None
        yield f"{printable(series.name):<{width}}  {'not a number' if value is None else f'{value:.6g}'}"


def _evaluations(reader: "RunReader", run: "RunDetail") -> Iterator[str]:
    for found in reader.evaluations(run.id):
        scores = ", ".join(f"{name} {_number(value)}" for name, value in found.scores.items())
        source = f" ({found.source})" if found.source else ""
        yield printable(f"{found.stage}, step {found.step}, {found.task}{source}: {scores}")


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _worker(worker: "WorkerStatus", now: float) -> str:
    words = [f"{worker.role} {worker.index}: {worker.state} on {worker.node}"]
    words += [f"GPU {worker.gpu}"] if worker.gpu is not None else []
    words += [f"weights {worker.policy_version}"] if worker.policy_version is not None else []
    words += [f"{worker.queue} waiting"] if worker.queue is not None else []
    words += [f"{worker.restarts} restarts"] if worker.restarts else []
    return printable(", ".join([*words, f"updated {span(now - worker.updated_at)} ago"]))


def _event(event: "EventRecord") -> str:
    message = " ".join(printable(line) for line in event.message.splitlines())
    return f"{_clock(event.time)}  {printable(event.kind)}: {message}"


def _next(run: "RunDetail") -> Iterator[str]:
    name = shlex.quote(run.name)
    if run.state in ("queued", "running", "stalled"):
        yield f"Stop it after its step:    videossr runs stop {name}"
    if run.state in ("stopped", "failed", "stalled"):
        yield f"Resume it:                 videossr runs resume {name}"
    if run.state == "done":
        yield f"Export its model:          videossr export {shlex.quote(run.folder)} --out DIR"


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    """Yield `title` and the indented lines below it; nothing if there are no lines."""
    for number, line in enumerate(lines):
        if number == 0:
            yield ""
            yield f"{title}:"
        yield f"  {line}"
