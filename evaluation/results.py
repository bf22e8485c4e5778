"""The results of a benchmark: scored completions, the table, results.json, answers.jsonl and a plot."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.bench import LoadedColumn
from evaluation.viubench import (
    COLUMNS,
    TableAverages,
    percent_text,
    random_guess,
    table_averages,
    viubench_score,
)
from reward import is_valid


@dataclass(frozen=True)
class BenchCompletion:
    """A model's completion for one question, as a line of answers.jsonl. The field names are the keys there."""

    id: str  # id of the recipe
    column: str  # name of the column
    question: str  # text of the prompt, with "[video]" for each clip
    answer: str  # the truth
    completion: str
    cut_off: bool  # whether the completion reached the largest number of tokens; it then scores 0
    valid: bool  # whether the completion has the task's form
    score: float  # the paper's metric, in [0, 1]


def score_completion(
    *, recipe_id: str, column: LoadedColumn, question: str, truth: str, completion: str, cut_off: bool
) -> BenchCompletion:
    """Return the completion with its score. A completion that was cut off is scored as if it were empty."""
    scored_text = "" if cut_off else completion
    return BenchCompletion(
        id=recipe_id,
        column=column.name,
        question=question,
        answer=truth,
        completion=completion,
        cut_off=cut_off,
        valid=is_valid(column.task, scored_text, truth),
        score=viubench_score(column.task, scored_text, truth),
    )


@dataclass(frozen=True)
class ColumnResult:
    """The scores of one column, in percent except `valid`."""

    name: str
    task: str
    label: str
    n: int  # number of completions
    unreadable: int  # number of questions left out because their video could not be read
    score: float
    valid: float  # share of valid completions, 0 to 1
    random: float | None  # score of guessing; None: not known
    published: float | None  # score of VideoSSR-8B in the paper; None: not a column of VIUBench


@dataclass(frozen=True)
class BenchResults:
    """The table of an evaluation."""

    columns: tuple[ColumnResult, ...]
    # Averages of the model, of guessing and of VideoSSR-8B; None unless all nine columns of VIUBench were evaluated.
    summaries: tuple[TableAverages, TableAverages, TableAverages] | None


def bench_results(columns: Sequence[LoadedColumn], completions: Sequence[BenchCompletion]) -> BenchResults:
    """Return the table of an evaluation.

    Raises:
        ValueError: a column has no completion.
    """
    by_column: dict[str, list[BenchCompletion]] = {}
    for completion in completions:
        by_column.setdefault(completion.column, []).append(completion)
    found = []
    for column in columns:
        of_column = by_column.get(column.name)
        if not of_column:
            raise ValueError(
                f"{column.name}: none of its {len(column.recipes)} questions could be evaluated."
            )
        found.append(
            ColumnResult(
                name=column.name,
                task=column.task,
                label=column.label,
                n=len(of_column),
                unreadable=len(column.recipes) - len(of_column),
                score=100 * fmean(completion.score for completion in of_column),
                valid=fmean(completion.valid for completion in of_column),
                random=random_guess(column.task, column.recipes, column.params),
                published=column.published,
            )
        )
    return BenchResults(tuple(found), _summaries(found))


def _summaries(columns: Sequence[ColumnResult]) -> tuple[TableAverages, TableAverages, TableAverages] | None:
    if [column.name for column in columns] != [column.name for column in COLUMNS]:
        return None
    guesses = {column.name: column.random for column in columns if column.random is not None}
    published = {column.name: column.published for column in columns if column.published is not None}
    scores = {column.name: column.score for column in columns}
    return table_averages(scores), table_averages(guesses), table_averages(published)


def write_results(
    out: Path, found: BenchResults, completions: Sequence[BenchCompletion], about: Mapping[str, Any]
) -> None:
    """Write answers.jsonl, results.png and results.json. The last is written last, so a folder with it is complete.

    Args:
        about: what was evaluated and how; the first entries of results.json.
    """
    with (out / "answers.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(completion)) + "\n" for completion in completions)
    plot_results(out / "results.png", found, model=str(about["model"]))
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


def plot_results(path: Path, found: BenchResults, *, model: str) -> None:
    """Plot bars of guessing, the model and VideoSSR-8B for each column, and for the overall averages if known."""
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
