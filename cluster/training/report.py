"""The report of a finished run: report.json, report.png, and a table for the terminal."""

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from cluster.checkpoints.find import best_checkpoint
from cluster.config.errors import ConfigError
from cluster.config.schema import Config
from cluster.terminal import Say
from dataset.stats.baselines import task_baseline
from evaluation.metrics import stage_scores
from vocabulary.metrics import GROUPS_WITHOUT_SPREAD, REWARD_PREFIX
from vocabulary.stages import STAGE_EVENT, STARTING


def write_report(folder: Path, config: Config, seconds: dict[str, float], say: Say) -> dict[str, Any]:
    """Write `report.json` and `report.png` from the run's record, and show the result. Return what is in report.json.

    Args:
        folder: the run's folder, with its record.
        seconds: seconds of the driver's own stages, by name.
    """
    tasks = _tasks(_read(folder / "evaluations.jsonl"))
    metrics = _read(folder / "metrics.jsonl")
    rounded = {name: round(value, 1) for name, value in (seconds | _stage_seconds(folder)).items()}
    best = _best(folder, say)
    report: dict[str, Any] = {
        "name": config.name,
        "steps": len({record["step"] for record in metrics}),
        "best": best,
        "tasks": tasks,
        "seconds": rounded,
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _plot(folder / "report.png", metrics, tasks)
    for line in _table(tasks):
        say(line)
    if best is not None:
        say(f"Best held-out score {best['score']:.3f}, after step {best['step']}: {best['checkpoint']}")
    if metrics and all(record[GROUPS_WITHOUT_SPREAD] == 1 for record in metrics):
        say(
            "Nothing was learnt: in every group, all completions had the same reward. A model that does not know the "
            "form of a completion needs a warm-up (see configs/demo.yaml)."
        )
    say(f"Seconds: {', '.join(f'{name} {value:.0f}' for name, value in rounded.items())}.")
    say(f"Record: {folder} (report.json, report.png, metrics.jsonl, rollouts.jsonl, tensorboard/)")
    return report


def _best(folder: Path, say: Say) -> dict[str, Any] | None:
    """Return `step`, `score` and `checkpoint` (its address) of the best kept checkpoint; None if none was evaluated."""
    try:
        best = best_checkpoint(folder)
    except ConfigError as error:  # an unreachable bucket does not fail a finished run
        say(f"The best checkpoint is not known: {error}")
        return None
    if best is None:
        return None
    return {"step": best.state["step"], "score": best.state["score"], "checkpoint": best.files.address}


def _tasks(evaluations: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return per task the scores `before` and `after`, those `during` with their steps, and the baselines."""
    tasks: dict[str, dict[str, Any]] = {}
    for record in evaluations:
        entry = tasks.setdefault(record["task"], {"during": []})
        scores = asdict(stage_scores(record["greedy"], record["sampled"], num_samples=len(record["truths"])))
        if record["stage"] == "during":
            entry["during"].append({"step": record["step"], **scores})
        else:
            entry[record["stage"]] = scores
        baseline = task_baseline(record["task"], record["truths"])
        entry |= {"random": baseline.random, "best_constant": baseline.best_constant}
    return tasks


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file. If a resumed run wrote a record again, return only the last one."""
    records: dict[Any, dict[str, Any]] = {}
    for record in _lines(path):
        records[record["step"], record.get("stage"), record.get("task")] = record
    return list(records.values())


def _lines(path: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def _stage_seconds(folder: Path) -> dict[str, float]:
    """Return how many seconds each stage took, from its event to the next one's."""
    events = [event for event in _lines(folder / "events.jsonl") if event["kind"] == STAGE_EVENT]
    seconds: dict[str, float] = {}
    for event, following in pairwise(events):
        if following["message"] == STARTING:
            continue  # this is the pause before the run resumed
        seconds[event["message"]] = seconds.get(event["message"], 0.0) + following["time"] - event["time"]
    return seconds


def _table(tasks: dict[str, dict[str, Any]]) -> list[str]:
    if not tasks:
        return []
    lines = ["", f"{'held-out score':<16}{'greedy':>16}{'sampled':>16}{'valid':>16}{'random':>8}{'const':>7}"]
    for task, entry in tasks.items():
        cells = ""
        for name in ("greedy", "sampled", "valid"):
            values = [f"{entry[stage][name]:.2f}" for stage in ("before", "after") if stage in entry]
            cells += f"{' -> '.join(values):>16}"
        lines.append(f"{task:<16}{cells}{entry['random']:>8.2f}{entry['best_constant']:>7.2f}")
    return [*lines, ""]


def _plot(path: Path, metrics: list[dict[str, Any]], tasks: dict[str, dict[str, Any]]) -> None:
    """Plot reward and validity per task over steps, with the baselines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    steps = [record["step"] + 1 for record in metrics]
    names = sorted(
        {key.split("/")[1] for record in metrics for key in record if key.startswith(REWARD_PREFIX)}
        - {"mean"}
    )
    for index, task in enumerate(names):
        colour = f"C{index}"
        left.plot(steps, [record.get(REWARD_PREFIX + task) for record in metrics], color=colour, label=task)
        if task in tasks:
            left.axhline(
                tasks[task]["best_constant"], color=colour, ls=":", lw=1, label=f"{task}, best constant"
            )
            entry = tasks[task]
            held_out = [(scores["step"], scores["sampled"]) for scores in entry["during"]]
            held_out += [
                (step, entry[stage]["sampled"])
                for stage, step in (("before", 0), ("after", len(steps)))
                if stage in entry
            ]
            left.plot(*zip(*held_out, strict=True), "o", color=colour, mec="black", label=f"{task}, held out")
        right.plot(steps, [record.get(f"valid/{task}") for record in metrics], color=colour, label=task)
    for axes, title in ((left, "Reward of sampled completions"), (right, "Share of valid completions")):
        axes.set(title=title, xlabel="step", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        if names:
            axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
