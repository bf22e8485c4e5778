"""`videossr data stats` in the terminal: a report as text of 80 columns."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataset.stats.jigsaw_shortcut import BoundaryEarnings
from dataset.stats.stats import Answers, Durations, Reason, Stats

_WIDTH = 80  # columns of text
_NUMBERS = ("samples", "random", "constant", "whole video", "same part", "number")  # columns


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
