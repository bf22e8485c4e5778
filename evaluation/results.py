"""What a model's answers to a bench amount to: results.json, answers.jsonl and a plot."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.bench import Questions
from evaluation.viubench import COLUMNS, Summary, answer_score, percent_text, random_guess, summary
from reward import is_valid


@dataclass(frozen=True)
class Answer:
    """One question answered, as it stands in answers.jsonl."""

    id: str  # of the recipe
    column: str
    question: str  # "[video]" where a clip stands
    answer: str  # the true one
    completion: str
    cut_off: bool  # the completion reached the most tokens allowed: not the whole reply, so it earns 0
    valid: bool  # it has the task's form
    score: float  # the paper's metric, in [0, 1]


def scored(
    *, id: str, column: Questions, question: str, answer: str, completion: str, cut_off: bool
) -> Answer:
    """An answer with its score."""
    reply = "" if cut_off else completion
    return Answer(
        id=id,
        column=column.name,
        question=question,
        answer=answer,
        completion=completion,
        cut_off=cut_off,
        valid=is_valid(column.task, reply, answer),
        score=answer_score(column.task, reply, answer),
    )


@dataclass(frozen=True)
class ColumnResult:
    """One heading of the table. Percentages, but for `valid`."""

    name: str
    task: str
    label: str
    n: int  # answers
    unreadable: int  # questions left out because their video could not be read
    score: float
    valid: float  # share of answers of the task's form
    random: float | None  # what guessing earns; None where that is not known
    published: float | None  # VideoSSR-8B's; None for what is no column of VIUBench


@dataclass(frozen=True)
class Results:
    """The table."""

    columns: tuple[ColumnResult, ...]
    # Of the model, of guessing and of VideoSSR-8B; none unless all nine columns of VIUBench were asked.
    summaries: tuple[Summary, Summary, Summary] | None


def results(asked: Sequence[Questions], answers: Sequence[Answer]) -> Results:
    """The table of `answers`. Raises ValueError where a column has none."""
    by_column: dict[str, list[Answer]] = {}
    for answer in answers:
        by_column.setdefault(answer.column, []).append(answer)
    columns = []
    for entry in asked:
        found = by_column.get(entry.name)
        if not found:
            raise ValueError(f"{entry.name}: none of its {len(entry.recipes)} questions could be asked.")
        columns.append(
            ColumnResult(
                name=entry.name,
                task=entry.task,
                label=entry.label,
                n=len(found),
                unreadable=len(entry.recipes) - len(found),
                score=100 * fmean(answer.score for answer in found),
                valid=fmean(answer.valid for answer in found),
                random=random_guess(entry.task, entry.recipes, entry.params),
                published=entry.published,
            )
        )
    return Results(tuple(columns), _summaries(columns))


def _summaries(columns: Sequence[ColumnResult]) -> tuple[Summary, Summary, Summary] | None:
    if [column.name for column in columns] != [column.name for column in COLUMNS]:
        return None
    guesses = {column.name: column.random for column in columns if column.random is not None}
    published = {column.name: column.published for column in columns if column.published is not None}
    scores = {column.name: column.score for column in columns}
    return summary(scores), summary(guesses), summary(published)


def write_results(out: Path, found: Results, answers: Sequence[Answer], about: Mapping[str, Any]) -> None:
    """Writes answers.jsonl, results.png and results.json, this one last: where it stands, all is there.

    Args:
        about: what was evaluated, and how; its entries come first in results.json.
    """
    with (out / "answers.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(answer)) + "\n" for answer in answers)
    plot(out / "results.png", found, model=str(about["model"]))
    table = {
        "columns": {column.name: _entry(column) for column in found.columns},
        "averages": dict(found.summaries[0].by_task) if found.summaries else None,
        "overall": found.summaries[0].overall if found.summaries else None,
    }
    (out / "results.json").write_text(json.dumps({**about, **table}, indent=2) + "\n", encoding="utf-8")


def _entry(column: ColumnResult) -> dict[str, Any]:
    entry = asdict(column)
    del entry["name"]
    return entry


def plot(path: Path, found: Results, *, model: str) -> None:
    """Bars for each column, and for the averages where there are any: guessing, the model, VideoSSR-8B."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups: list[tuple[str, tuple[float | None, ...]]] = [
        (f"{column.task}\n{column.label}".strip(), (column.random, column.score, column.published))
        for column in found.columns
    ]
    if found.summaries:
        scores, random, published = found.summaries
        groups.append(("overall\n(mean of nine)", (random.overall, scores.overall, published.overall)))
    series = (("guessing", "0.75"), (Path(model).name, "C0"), ("VideoSSR-8B, as published", "C1"))
    figure, axes = plt.subplots(figsize=(max(6.0, 1.3 * len(groups)), 4.5), layout="constrained")
    width = 0.28
    for number, (label, colour) in enumerate(series):
        bars = [
            (place + (number - 1) * width, values[number])
            for place, (_, values) in enumerate(groups)
            if values[number] is not None
        ]
        if not bars:
            continue
        places, heights = zip(*bars, strict=True)
        drawn = axes.bar(places, heights, width, color=colour, label=label)
        axes.bar_label(drawn, [percent_text(height) for height in heights], fontsize=7, padding=1)
    axes.set(ylabel="percent", ylim=(0, 116), title="VIUBench's metrics: exact counts, IoU, exact orders")
    axes.set_xticks(range(len(groups)), [name for name, _ in groups], fontsize=8)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_yticks(range(0, 101, 20))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", alpha=0.3)
    if found.summaries:
        axes.axvline(len(groups) - 1.5, color="0.6", lw=0.8, ls=":")
    axes.legend(loc="upper right", fontsize=8, ncols=3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
