"""The report of `videossr data stats` as a picture."""

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataset.stats.baselines import Baseline
from dataset.stats.report import DatasetReport, Histogram, SkipReason

_PLOTS_PER_ROW = 4
_MAX_REASONS = 8
_TICKS_S = {
    0.1: "0.1 s", 0.2: "0.2 s", 0.5: "0.5 s", 1: "1 s", 2: "2 s", 5: "5 s", 10: "10 s", 20: "20 s",
    60: "1 min", 120: "2 min", 300: "5 min", 600: "10 min", 1800: "30 min", 3600: "1 h", 7200: "2 h",
    18000: "5 h",
}  # fmt: skip


def draw_report(report: DatasetReport, path: Path) -> None:
    """Draw the report as a PNG with a small plot for each part that is not empty."""
    plots: list[Callable[[Axes], None]] = [lambda axes: _draw_bars(axes, "Samples", report.samples)]
    if report.baselines:
        plots.append(lambda axes: _draw_baselines(axes, report))
    truths = report.truths
    if report.anomalies:
        plots.append(lambda axes: _draw_bars(axes, "Samples by anomaly", report.anomalies))
    if truths.counts:
        plots.append(lambda axes: _draw_counts(axes, truths.counts))
    if truths.starts is not None and truths.lengths is not None:
        intervals = {"start": truths.starts, "length": truths.lengths}
        plots.append(lambda axes: _draw_intervals(axes, intervals))
    if truths.first_clips:
        plots.append(lambda axes: _draw_first_clips(axes, truths.first_clips))
    if report.durations is not None:
        spread = report.durations.spread
        plots.append(lambda axes: _draw_durations(axes, spread))
    if report.skipped:
        plots.append(lambda axes: _draw_reasons(axes, report.skipped[:_MAX_REASONS]))
    num_rows = ceil(len(plots) / _PLOTS_PER_ROW)
    figure = Figure(figsize=(18, 3.8 * num_rows + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.15)  # type: ignore[union-attr, call-arg]
    figure.suptitle(f"{report.name}: {sum(report.samples.values()):,} samples", fontsize=13)
    for number, plot in enumerate(plots):
        axes = figure.add_subplot(num_rows, _PLOTS_PER_ROW, number + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        plot(axes)
    figure.savefig(path, dpi=100)


def _draw_bars(axes: Axes, title: str, numbers: dict[str, int]) -> None:
    """Draw one bar below the other, each with its number."""
    names = [name.replace("_", " ") for name in numbers]
    bars = axes.barh(names, list(numbers.values()), color="C0", height=0.7)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_title(title, fontsize=11)
    # The first bar is on top, and few bars are no thicker than many.
    axes.set_ylim(max(len(names), 4) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)


def _draw_reasons(axes: Axes, reasons: Sequence[SkipReason]) -> None:
    """Draw bars like `_draw_bars`, with room for words above each bar."""
    bars = axes.barh(range(len(reasons)), [reason.videos for reason in reasons], color="C0", height=0.3)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    for number, reason in enumerate(reasons):
        axes.text(0, number - 0.22, f" {_cut(reason.words)}", fontsize=8.5, va="bottom")
    axes.set_title("Skipped videos, by reason", fontsize=11)
    axes.set_ylim(max(len(reasons), 5) - 0.6, -0.8)
    axes.axis("off")


def _draw_baselines(axes: Axes, report: DatasetReport) -> None:
    kinds: list[tuple[str, Callable[[Baseline], float | None]]] = [
        ("random answer", lambda baseline: baseline.random),
        ("best constant answer", lambda baseline: baseline.best_constant),
        ("whole video", lambda baseline: baseline.whole_clip),
        ("same part of every video", lambda baseline: baseline.same_part),
    ]
    columns = [[(label, get(baseline)) for label, get in kinds] for baseline in report.baselines.values()]
    if report.shortcut is not None and report.shortcut.samples:
        columns[list(report.baselines).index("jigsaw")].append(
            ("comparing ends of clips", report.shortcut.reward)
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
    axes.set_xticks(range(len(columns)), list(report.baselines))
    axes.set_ylim(0, 1.35)
    axes.set_yticks([0, 0.5, 1])
    axes.legend(fontsize=8, ncols=2, frameon=False, loc="upper center")
    axes.set_title("Baselines: rewards without watching", fontsize=11)


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


def _cut(words: str, max_length: int = 60) -> str:
    return words if len(words) <= max_length else words[: max_length - 1].rstrip() + "…"
