"""The report on a dataset: what is in it, what it was made of, and what can be earned without watching."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataset.floors import Floor, span_s, task_floor
from dataset.guard import Rejected
from dataset.shortcuts import BoundaryEarnings, boundary_earnings
from dataset.store import Dataset
from pretext.recipe import IMAGES, Recipe
from pretext.tasks.shapes import KINDS
from reward.parsing import parse_counts, parse_interval, parse_order

_WIDTH = 80  # columns of text
_NUMBERS = ("samples", "random", "constant", "whole video", "same part", "number")  # columns
_NUM_BINS = 20
_PLOTS_ACROSS = 4
_MOST_REASONS = 8  # drawn
_JIGSAW_SAMPLES = 100
_TICKS_S = {
    0.1: "0.1 s", 0.2: "0.2 s", 0.5: "0.5 s", 1: "1 s", 2: "2 s", 5: "5 s", 10: "10 s", 20: "20 s",
    60: "1 min", 120: "2 min", 300: "5 min", 600: "10 min", 1800: "30 min", 3600: "1 h", 7200: "2 h",
    18000: "5 h",
}  # fmt: skip


@dataclass(frozen=True)
class Histogram:
    """How many values lie between two edges each."""

    edges: tuple[float, ...]  # one more than counts
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Reason:
    """Why videos were set aside."""

    words: str  # with N for numbers
    videos: int
    example: str  # path of one of them


@dataclass(frozen=True)
class Durations:
    """Of the usable videos, in seconds."""

    shortest: float
    median: float
    longest: float
    total: float
    spread: Histogram


@dataclass(frozen=True)
class Answers:
    """How often the true answers are what."""

    counts: dict[str, dict[int, int]]  # by kind of shape: how often each number of it
    starts: Histogram | None  # of intervals, as a share of the video
    lengths: Histogram | None  # likewise
    first_clips: dict[int, int]  # of jigsaws: how often each clip comes first


@dataclass(frozen=True)
class Stats:
    """What `report` found."""

    name: str  # the dataset's folder
    samples: dict[str, int]  # by task
    anomalies: dict[str, int]  # samples by kind of anomaly
    answers: Answers
    videos: int  # usable ones
    videos_used: int  # from which at least one sample is made
    durations: Durations | None  # None where the videos are not known
    rejected: tuple[Reason, ...]  # the commonest first
    floors: dict[str, Floor]  # by task
    boundaries: BoundaryEarnings | None  # what jigsaws give to who only compares the ends of their clips
    bytes_per_sample: float  # on disk
    rendered_bytes_per_sample: float  # of its frames, uncompressed


@dataclass
class _Seen:
    """What one pass over the samples collects."""

    answers: dict[str, list[str]] = field(default_factory=dict)  # by task
    spans_s: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # by task
    anomalies: Counter[str] = field(default_factory=Counter)
    videos: set[str] = field(default_factory=set)
    jigsaws: dict[str, Recipe] = field(default_factory=dict)  # of others' all, else the first of each video
    rendered_bytes: int = 0


def report(dataset: Dataset, *, jigsaw_samples: int = _JIGSAW_SAMPLES) -> Stats:
    """Goes through all samples, and renders up to `jigsaw_samples` jigsaws, no two of the same video."""
    seen = _seen(dataset, jigsaw_samples)
    durations_s = [video.duration_s for video in dataset.videos()]
    num_samples = max(1, len(dataset))
    return Stats(
        name=str(dataset.folder),
        samples={task: len(answers) for task, answers in seen.answers.items()},
        anomalies=dict(seen.anomalies.most_common()),
        answers=_answers(seen),
        videos=len(durations_s),
        videos_used=len(seen.videos),
        durations=_durations(durations_s) if durations_s else None,
        rejected=_reasons(dataset.rejected()),
        floors={
            task: task_floor(task, answers, spans_s=seen.spans_s[task] if task == "grounding" else None)
            for task, answers in seen.answers.items()
        },
        boundaries=boundary_earnings(list(seen.jigsaws.values())),
        bytes_per_sample=(dataset.folder / "recipes.parquet").stat().st_size / num_samples,
        rendered_bytes_per_sample=seen.rendered_bytes / num_samples,
    )


def _seen(recipes: Iterable[Recipe], jigsaw_samples: int) -> _Seen:
    seen = _Seen()
    for recipe in recipes:
        seen.answers.setdefault(recipe.task, []).append(recipe.answer)
        if "perturbation" in recipe.params:
            seen.anomalies[recipe.params["perturbation"]] += 1
        if recipe.reader == IMAGES:
            clips = recipe.params["clips"]
            times_s: Sequence[float] = clips[0]["times_s"]
            num_pixels = sum(len(clip["files"]) * clip["height_px"] * clip["width_px"] for clip in clips)
            video = os.path.dirname(clips[0]["files"][0])
        else:
            times_s, video = recipe.frame_times_s, recipe.video
            num_pixels = len(times_s) * recipe.height_px * recipe.width_px
        seen.spans_s.setdefault(recipe.task, []).append(span_s(times_s))
        seen.rendered_bytes += 3 * num_pixels
        seen.videos.add(video)
        if recipe.task == "jigsaw" and len(seen.jigsaws) < jigsaw_samples:
            seen.jigsaws.setdefault(recipe.id if recipe.reader == IMAGES else video, recipe)
    return seen


def _answers(seen: _Seen) -> Answers:
    counts: dict[str, Counter[int]] = {}
    for answer in seen.answers.get("counting", []):
        for kind, number in zip(KINDS, parse_counts(answer) or (), strict=True):
            counts.setdefault(kind, Counter())[number] += 1
    starts, lengths = [], []
    for answer, (begin, end) in zip(
        seen.answers.get("grounding", []), seen.spans_s.get("grounding", []), strict=True
    ):
        first, last = parse_interval(answer) or (0.0, 0.0)
        starts.append((first - begin) / (end - begin))
        lengths.append((last - first) / (end - begin))
    first_clips = Counter((parse_order(answer) or (0,))[0] for answer in seen.answers.get("jigsaw", []))
    return Answers(
        counts={kind: dict(sorted(counter.items())) for kind, counter in counts.items()},
        starts=_shares(starts) if starts else None,
        lengths=_shares(lengths) if lengths else None,
        first_clips=dict(sorted(first_clips.items())),
    )


def _shares(values: Sequence[float]) -> Histogram:
    """Of shares from 0 to 1; rounded answers may stand a little outside."""
    counts, edges = np.histogram(np.clip(values, 0.0, 1.0), bins=_NUM_BINS, range=(0.0, 1.0))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _durations(durations_s: Sequence[float]) -> Durations:
    values = np.array(durations_s)
    # Videos last from seconds to hours: bins are wider the longer they are.
    low, high = values.min() * 0.999, values.max() * 1.001
    counts, edges = np.histogram(values, bins=np.geomspace(low, high, min(_NUM_BINS, 3 + len(values) // 3)))
    return Durations(
        shortest=float(values.min()),
        median=float(np.median(values)),
        longest=float(values.max()),
        total=float(values.sum()),
        spread=Histogram(tuple(edges.tolist()), tuple(counts.tolist())),
    )


def _reasons(rejected: Sequence[Rejected]) -> tuple[Reason, ...]:
    """Reasons that differ in numbers, or in what stands in parentheses, are one."""
    groups: dict[str, list[str]] = {}
    for entry in rejected:
        words = re.sub(r"[0-9]+(\.[0-9]+)?", "N", re.sub(r" *\(.*\)", "", entry.reason))
        groups.setdefault(words, []).append(entry.path)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return tuple(Reason(words, len(paths), paths[0]) for words, paths in ordered)


def print_report(stats: Stats, console: Console | None = None) -> None:
    """Prints the report, at most 80 columns wide."""
    console = console or Console()
    console.width = min(console.width, _WIDTH)
    num_samples = sum(stats.samples.values())
    console.print(f"[bold]{escape(stats.name)}[/]: {_many(num_samples, 'sample')}", soft_wrap=True)
    console.print(
        f"{stats.bytes_per_sample:.0f} bytes a sample on disk; its frames would take "
        f"{stats.rendered_bytes_per_sample / 2**20:.1f} MiB."
    )
    parts: list[Table | str] = [_floor_table(stats)]
    if any(floor.same_part is not None for floor in stats.floors.values()):
        parts.append("Same part: the best answer that is the same share of each video, say its middle third.")
    if stats.boundaries is not None:
        parts.append(_boundary_words(stats.boundaries))
    parts.append(_answer_table(stats.answers))
    if stats.anomalies:
        parts.append(_anomaly_table(stats.anomalies))
    if stats.durations is not None:
        parts.append(_video_words(stats, stats.durations))
    if stats.rejected:
        parts.append(_rejected_table(stats.rejected))
    for part in parts:
        console.print()
        console.print(part, highlight=False)


def _floor_table(stats: Stats) -> Table:
    columns = ["task", "samples", "random", "constant", "answer"]
    in_parts = any(floor.whole_clip is not None for floor in stats.floors.values())
    if in_parts:
        columns += ["whole video", "same part"]
    table = _table("Rewards without watching", *columns)
    for task, floor in stats.floors.items():
        cells = [task, f"{stats.samples[task]:,}", f"{floor.random:.2f}", f"{floor.best_constant:.2f}"]
        cells.append(floor.constant)
        if in_parts:
            cells += [
                "" if value is None else f"{value:.2f}" for value in (floor.whole_clip, floor.same_part)
            ]
        table.add_row(*cells)
    return table


def _boundary_words(earned: BoundaryEarnings) -> str:
    unreadable = f" {_many(earned.unreadable, 'jigsaw')} could not be rendered." if earned.unreadable else ""
    if not earned.samples:
        return f"Whether comparing the ends of clips solves the jigsaw was not tried.{unreadable}"
    return (
        f"Comparing only the ends of clips earns {earned.reward:.2f} in the jigsaw, and solves "
        f"{earned.exact:.0%} of it ({_many(earned.samples, 'sample')}, no two of the same video; guessing "
        f"solves {100 * earned.chance:.2g}%). The parameter gap lowers that.{unreadable}"
    )


def _answer_table(answers: Answers) -> Table:
    table = _table("True answers", "", "", "", "")
    for kind, counts in answers.counts.items():
        values = [counts.get(number, 0) for number in range(min(counts), max(counts) + 1)]
        table.add_row(f"{kind}s", str(min(counts)), _bars(values), str(max(counts)))
    for name, histogram in (("interval starts", answers.starts), ("interval length", answers.lengths)):
        if histogram is not None:
            table.add_row(name, "0 %", _bars(histogram.counts), "100 %")
    if clips := answers.first_clips:
        table.add_row("first clip", str(min(clips)), _bars(list(clips.values())), str(max(clips)))
    return table


def _anomaly_table(anomalies: dict[str, int], num_columns: int = 3) -> Table:
    """Name and number, several pairs to a row, downwards first."""
    table = _table("Samples by anomaly")
    for _ in range(num_columns):
        table.add_column()
        table.add_column(justify="right")
    cells = [(name.replace("_", " "), f"{number:,}   ") for name, number in anomalies.items()]
    num_rows = ceil(len(cells) / num_columns)
    for row in range(num_rows):
        table.add_row(*(text for cell in cells[row::num_rows] for text in cell))
    return table


def _video_words(stats: Stats, durations: Durations) -> str:
    return (
        f"[bold]Videos[/]: {stats.videos:,} usable, {stats.videos_used:,} of them used; "
        f"{_clock(durations.shortest)} to {_clock(durations.longest)} long, half of them under "
        f"{_clock(durations.median)}; {_clock(durations.total)} together."
    )


def _rejected_table(reasons: Sequence[Reason]) -> Table:
    table = _table("Videos set aside", "number", "reason", "for example")
    for reason in reasons:
        table.add_row(f"{reason.videos:,}", escape(reason.words), escape(Path(reason.example).name))
    return table


def _table(title: str, *columns: str) -> Table:
    """Numbers stand to the right; `columns` are named, or there is no line of names."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=any(columns),
    )
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in _NUMBERS else "left"
        table.add_column(column, justify=justify, header_style="dim")
    return table


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _clock(seconds: float) -> str:
    """
    >>> _clock(7.25), _clock(190), _clock(5400)
    ('7.2 s', '3.2 min', '1.5 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bars(values: Sequence[int]) -> str:
    """
    >>> _bars([0, 1, 4, 8])
    ' ▁▄█'
    """
    most = max(values)
    return "".join(" " if value == 0 else "▁▂▃▄▅▆▇█"[max(0, round(8 * value / most) - 1)] for value in values)


def draw_report(stats: Stats, path: Path) -> None:
    """Draws the report as a PNG: one small plot for each thing that there is something to say of."""
    plots: list[Callable[[Axes], None]] = [lambda axes: _draw_bars(axes, "Samples", stats.samples)]
    if stats.floors:
        plots.append(lambda axes: _draw_floors(axes, stats))
    answers = stats.answers
    if stats.anomalies:
        plots.append(lambda axes: _draw_bars(axes, "Samples by anomaly", stats.anomalies))
    if answers.counts:
        plots.append(lambda axes: _draw_counts(axes, answers.counts))
    if answers.starts is not None and answers.lengths is not None:
        intervals = {"start": answers.starts, "length": answers.lengths}
        plots.append(lambda axes: _draw_intervals(axes, intervals))
    if answers.first_clips:
        plots.append(lambda axes: _draw_first_clips(axes, answers.first_clips))
    if stats.durations is not None:
        spread = stats.durations.spread
        plots.append(lambda axes: _draw_durations(axes, spread))
    if stats.rejected:
        plots.append(lambda axes: _draw_reasons(axes, stats.rejected[:_MOST_REASONS]))
    num_rows = ceil(len(plots) / _PLOTS_ACROSS)
    figure = Figure(figsize=(18, 3.8 * num_rows + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)  # type: ignore[union-attr, call-arg]
    figure.suptitle(f"{stats.name}: {_many(sum(stats.samples.values()), 'sample')}", fontsize=13)
    for number, plot in enumerate(plots):
        axes = figure.add_subplot(num_rows, _PLOTS_ACROSS, number + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        plot(axes)
    figure.savefig(path, dpi=100)


def _draw_bars(axes: Axes, title: str, numbers: dict[str, int]) -> None:
    """One bar below the other, each with its number."""
    names = [name.replace("_", " ") for name in numbers]
    bars = axes.barh(names, list(numbers.values()), color="C0", height=0.7)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_title(title, fontsize=11)
    axes.set_ylim(max(len(names), 4) - 0.4, -0.6)  # the first on top, and a few bars no thicker than many
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)


def _draw_reasons(axes: Axes, reasons: Sequence[Reason]) -> None:
    """As `_draw_bars`, with room for words above each bar."""
    bars = axes.barh(range(len(reasons)), [reason.videos for reason in reasons], color="C0", height=0.3)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    for number, reason in enumerate(reasons):
        axes.text(0, number - 0.22, f" {_cut(reason.words)}", fontsize=8.5, va="bottom")
    axes.set_title("Videos set aside, by reason", fontsize=11)
    axes.set_ylim(max(len(reasons), 5) - 0.6, -0.8)
    axes.axis("off")


def _draw_floors(axes: Axes, stats: Stats) -> None:
    kinds: list[tuple[str, Callable[[Floor], float | None]]] = [
        ("random answer", lambda floor: floor.random),
        ("best constant answer", lambda floor: floor.best_constant),
        ("whole video", lambda floor: floor.whole_clip),
        ("best part of the video", lambda floor: floor.same_part),
    ]
    columns = [[(label, get(floor)) for label, get in kinds] for floor in stats.floors.values()]
    if stats.boundaries is not None and stats.boundaries.samples:
        columns[list(stats.floors).index("jigsaw")].append(
            ("ends of clips compared", stats.boundaries.reward)
        )
    labels = list(dict.fromkeys(label for column in columns for label, value in column if value is not None))
    for place, column in enumerate(columns):
        shown = [(label, value) for label, value in column if value is not None]
        for number, (label, value) in enumerate(shown):
            x = place + (number - (len(shown) - 1) / 2) * 0.2
            bar = axes.bar(x, value, 0.18, color=f"C{labels.index(label)}")
            axes.bar_label(bar, fmt="%.2f", padding=2, fontsize=8)
    for number, label in enumerate(labels):
        axes.bar(0, 0, color=f"C{number}", label=label)
    axes.set_xticks(range(len(columns)), list(stats.floors))
    axes.set_ylim(0, 1.35)
    axes.set_yticks([0, 0.5, 1])
    axes.legend(fontsize=8, ncols=2, frameon=False, loc="upper center")
    axes.set_title("Rewards without watching", fontsize=11)


def _draw_counts(axes: Axes, counts: dict[str, dict[int, int]]) -> None:
    for kind, by_number in counts.items():
        numbers = range(min(by_number), max(by_number) + 1)
        axes.plot(numbers, [by_number.get(n, 0) for n in numbers], "o-", ms=4, label=f"{kind}s")
    axes.legend(fontsize=8, frameon=False)
    _finish(axes, "Counting: true numbers", "shapes in a sample")


def _draw_intervals(axes: Axes, intervals: dict[str, Histogram]) -> None:
    for name, histogram in intervals.items():
        axes.stairs(histogram.counts, histogram.edges, fill=True, alpha=0.5, label=name)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.legend(fontsize=8, frameon=False)
    _finish(axes, "Grounding: true intervals", "share of the video")


def _draw_first_clips(axes: Axes, first_clips: dict[int, int]) -> None:
    axes.bar(list(first_clips), list(first_clips.values()), color="C0", width=0.7)
    axes.set_xticks(list(first_clips))
    _finish(axes, "Jigsaw: which clip is first", "number of the clip as shown")


def _draw_durations(axes: Axes, spread: Histogram) -> None:
    axes.stairs(spread.counts, spread.edges, fill=True)
    axes.set_xscale("log")
    ticks = [tick for tick in _TICKS_S if spread.edges[0] <= tick <= spread.edges[-1]]
    axes.set_xticks(ticks, [_TICKS_S[tick] for tick in ticks])
    axes.minorticks_off()
    _finish(axes, "Durations of usable videos", "", "videos")


def _finish(axes: Axes, title: str, x_label: str, y_label: str = "samples") -> None:
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))


def _cut(words: str, most: int = 60) -> str:
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"
