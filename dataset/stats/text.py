"""The report of `videossr data stats` as text, at most 80 columns wide."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataset.stats.jigsaw_shortcut import ShortcutScores
from dataset.stats.report import DatasetReport, SkipReason, TruthDistribution, VideoDurations

_MAX_WIDTH = 80  # columns of text
_NUMBER_COLUMNS = ("samples", "random", "constant", "whole video", "same part", "number")


def print_report(report: DatasetReport, console: Console | None = None) -> None:
    """Print the report, at most 80 columns wide."""
    console = console or Console()
    console.width = min(console.width, _MAX_WIDTH)
    num_samples = sum(report.samples.values())
    console.print(f"[bold]{escape(report.name)}[/]: {_many(num_samples, 'sample')}", soft_wrap=True)
    console.print(
        f"{report.bytes_per_sample:.0f} bytes per sample on disk; its rendered frames take "
        f"{report.rendered_bytes_per_sample / 2**20:.1f} MiB."
    )
    parts: list[Table | str] = [_baseline_table(report)]
    if any(baseline.same_part is not None for baseline in report.baselines.values()):
        parts.append(
            "Same part: the best answer that names the same part of every video, e.g. its middle third."
        )
    if report.shortcut is not None:
        parts.append(_shortcut_words(report.shortcut))
    parts.append(_truth_table(report.truths))
    if report.anomalies:
        parts.append(_anomaly_table(report.anomalies))
    if report.durations is not None:
        parts.append(_video_words(report, report.durations))
    if report.skipped:
        parts.append(_skipped_table(report.skipped))
    for part in parts:
        console.print()
        console.print(part, highlight=False)


def _baseline_table(report: DatasetReport) -> Table:
    columns = ["task", "samples", "random", "constant", "answer"]
    in_parts = any(baseline.whole_clip is not None for baseline in report.baselines.values())
    if in_parts:
        columns += ["whole video", "same part"]
    table = _table("Baselines: rewards without watching", *columns)
    for task, baseline in report.baselines.items():
        cells = [task, f"{report.samples[task]:,}", f"{baseline.random:.2f}", f"{baseline.best_constant:.2f}"]
        cells.append(baseline.constant)
        if in_parts:
            cells += [
                "" if value is None else f"{value:.2f}" for value in (baseline.whole_clip, baseline.same_part)
            ]
        table.add_row(*cells)
    return table


def _shortcut_words(earned: ShortcutScores) -> str:
    unreadable = f" {_many(earned.unreadable, 'jigsaw')} could not be rendered." if earned.unreadable else ""
    if not earned.samples:
        return f"Comparing the ends of clips was not tried on the jigsaw.{unreadable}"
    return (
        f"Comparing only the ends of clips earns {earned.reward:.2f} in the jigsaw and solves {earned.exact:.0%} "
        f"completely ({_many(earned.samples, 'sample')}, each of another video; guessing solves "
        f"{100 * earned.chance:.2g}%). The jigsaw parameter gap lowers that.{unreadable}"
    )


def _truth_table(truths: TruthDistribution) -> Table:
    table = _table("Truths", "", "", "", "")
    for kind, counts in truths.counts.items():
        values = [counts.get(number, 0) for number in range(min(counts), max(counts) + 1)]
        table.add_row(f"{kind}s", str(min(counts)), _bars(values), str(max(counts)))
    for name, histogram in (("interval starts", truths.starts), ("interval lengths", truths.lengths)):
        if histogram is not None:
            table.add_row(name, "0 %", _bars(histogram.counts), "100 %")
    if clips := truths.first_clips:
        table.add_row("first clip", str(min(clips)), _bars(list(clips.values())), str(max(clips)))
    return table


def _anomaly_table(anomalies: dict[str, int], num_columns: int = 3) -> Table:
    """Return a table of names and numbers, several pairs per row, filled column by column."""
    table = _table("Samples by anomaly")
    for _ in range(num_columns):
        table.add_column()
        table.add_column(justify="right")
    cells = [(name.replace("_", " "), f"{number:,}   ") for name, number in anomalies.items()]
    num_rows = ceil(len(cells) / num_columns)
    for row in range(num_rows):
        table.add_row(*(text for cell in cells[row::num_rows] for text in cell))
    return table


def _video_words(report: DatasetReport, durations: VideoDurations) -> str:
    return (
        f"[bold]Videos[/]: {report.videos:,} usable, {report.videos_used:,} of them used; "
        f"{_clock(durations.shortest)} to {_clock(durations.longest)} long, median {_clock(durations.median)}, "
        f"{_clock(durations.total)} in total."
    )


def _skipped_table(reasons: Sequence[SkipReason]) -> Table:
    table = _table("Skipped videos", "number", "reason", "example")
    for reason in reasons:
        table.add_row(f"{reason.videos:,}", escape(reason.words), escape(Path(reason.example).name))
    return table


def _table(title: str, *columns: str) -> Table:
    """Return an empty table. Number columns are right-aligned; without names there is no header line."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=any(columns),
    )
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in _NUMBER_COLUMNS else "left"
        table.add_column(column, justify=justify, header_style="dim")
    return table


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _clock(seconds: float) -> str:
    """Return a duration in a readable unit.

    >>> _clock(7.25), _clock(190), _clock(5400)
    ('7.2 s', '3.2 min', '1.5 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bars(values: Sequence[int]) -> str:
    """Return a bar chart of one line.

    >>> _bars([0, 1, 4, 8])
    ' ▁▄█'
    """
    most = max(values)
    return "".join(" " if value == 0 else "▁▂▃▄▅▆▇█"[max(0, round(8 * value / most) - 1)] for value in values)
