"""The report on a dataset: its content, its videos, and the rewards that can be earned without watching."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dataset.source import videos_of
from dataset.stats.baselines import Baseline, span_s, task_baseline
from dataset.stats.jigsaw_shortcut import ShortcutScores, shortcut_scores
from dataset.store import Dataset
from pretext.recipe import IMAGES, Recipe
from pretext.tasks.shapes import KINDS
from pretext.video.info import Skipped
from reward.parsing import parse_counts, parse_interval, parse_order

_MAX_BINS = 20
_JIGSAW_SAMPLES = 100


@dataclass(frozen=True)
class Histogram:
    """The number of values between each two neighbouring edges."""

    edges: tuple[float, ...]  # one more than counts
    counts: tuple[int, ...]


@dataclass(frozen=True)
class SkipReason:
    """A reason for which videos were skipped."""

    words: str  # with N in place of numbers
    videos: int  # number of videos
    example: str  # path of one of them


@dataclass(frozen=True)
class VideoDurations:
    """Durations of the usable videos, in seconds."""

    shortest: float
    median: float
    longest: float
    total: float
    spread: Histogram


@dataclass(frozen=True)
class TruthDistribution:
    """The distribution of a dataset's truths."""

    counts: dict[str, dict[int, int]]  # counting: for each kind of shape, the number of samples by count
    starts: Histogram | None  # grounding: starts of the intervals, as a share of the video
    lengths: Histogram | None  # grounding: lengths of the intervals, as a share of the video
    first_clips: dict[int, int]  # jigsaw: the number of samples by the clip that comes first


@dataclass(frozen=True)
class DatasetReport:
    """All numbers of the report."""

    name: str  # folder of the dataset
    samples: dict[str, int]  # number of samples by task
    anomalies: dict[str, int]  # number of samples by anomaly
    truths: TruthDistribution
    videos: int  # number of usable videos
    videos_used: int  # number of videos that at least one sample is made from
    durations: VideoDurations | None  # None if the dataset was imported
    skipped: tuple[SkipReason, ...]  # most frequent first
    baselines: dict[str, Baseline]  # by task
    shortcut: ShortcutScores | None  # rewards in the jigsaw of comparing the ends of clips
    bytes_per_sample: float  # on disk
    rendered_bytes_per_sample: float  # of a sample's frames, uncompressed


@dataclass
class _Tally:
    """The data that one pass over the samples collects."""

    truths: dict[str, list[str]] = field(default_factory=dict)  # by task
    spans_s: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # by task
    anomalies: Counter[str] = field(default_factory=Counter)
    videos: set[str] = field(default_factory=set)
    jigsaws: dict[str, Recipe] = field(default_factory=dict)  # the first of each video, or all if imported
    rendered_bytes: int = 0


def make_report(dataset: Dataset, *, jigsaw_samples: int = _JIGSAW_SAMPLES) -> DatasetReport:
    """Make the report on all samples. Up to `jigsaw_samples` jigsaws, of different videos, are rendered."""
    tally = _tally(dataset, jigsaw_samples)
    durations_s = [video.duration_s for video in dataset.videos()]
    num_samples = max(1, len(dataset))
    return DatasetReport(
        name=str(dataset.folder),
        samples={task: len(truths) for task, truths in tally.truths.items()},
        anomalies=dict(tally.anomalies.most_common()),
        truths=_distribution(tally),
        videos=len(durations_s),
        videos_used=len(tally.videos),
        durations=_durations(durations_s) if durations_s else None,
        skipped=_reasons(dataset.skipped()),
        baselines={
            task: task_baseline(task, truths, spans_s=tally.spans_s[task] if task == "grounding" else None)
            for task, truths in tally.truths.items()
        },
        shortcut=shortcut_scores(list(tally.jigsaws.values())),
        bytes_per_sample=(dataset.folder / "recipes.parquet").stat().st_size / num_samples,
        rendered_bytes_per_sample=tally.rendered_bytes / num_samples,
    )


def _tally(recipes: Iterable[Recipe], jigsaw_samples: int) -> _Tally:
    tally = _Tally()
    for recipe in recipes:
        tally.truths.setdefault(recipe.task, []).append(recipe.truth)
        if "perturbation" in recipe.params:
            tally.anomalies[recipe.params["perturbation"]] += 1
        if recipe.reader == IMAGES:
            clips = recipe.params["clips"]
            times_s: Sequence[float] = clips[0]["times_s"]
            num_pixels = sum(len(clip["files"]) * clip["height_px"] * clip["width_px"] for clip in clips)
        else:
            times_s = recipe.frame_times_s
            num_pixels = len(times_s) * recipe.height_px * recipe.width_px
        tally.spans_s.setdefault(recipe.task, []).append(span_s(times_s))
        tally.rendered_bytes += 3 * num_pixels
        tally.videos.update(videos_of(recipe))
        if recipe.task == "jigsaw" and len(tally.jigsaws) < jigsaw_samples:
            tally.jigsaws.setdefault(recipe.id if recipe.reader == IMAGES else recipe.video, recipe)
    return tally


def _distribution(tally: _Tally) -> TruthDistribution:
    counts: dict[str, Counter[int]] = {}
    for truth in tally.truths.get("counting", []):
        for kind, number in zip(KINDS, parse_counts(truth) or (), strict=True):
            counts.setdefault(kind, Counter())[number] += 1
    starts, lengths = [], []
    for truth, (begin, end) in zip(
        tally.truths.get("grounding", []), tally.spans_s.get("grounding", []), strict=True
    ):
        first, last = parse_interval(truth) or (0.0, 0.0)
        starts.append((first - begin) / (end - begin))
        lengths.append((last - first) / (end - begin))
    first_clips = Counter((parse_order(truth) or (0,))[0] for truth in tally.truths.get("jigsaw", []))
    return TruthDistribution(
        counts={kind: dict(sorted(counter.items())) for kind, counter in counts.items()},
        starts=_shares(starts) if starts else None,
        lengths=_shares(lengths) if lengths else None,
        first_clips=dict(sorted(first_clips.items())),
    )


def _shares(values: Sequence[float]) -> Histogram:
    """Return a histogram of shares from 0 to 1. Rounding may put a truth a little outside, so values are clipped."""
    counts, edges = np.histogram(np.clip(values, 0.0, 1.0), bins=_MAX_BINS, range=(0.0, 1.0))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _durations(durations_s: Sequence[float]) -> VideoDurations:
    values = np.array(durations_s)
    # Videos last from seconds to hours, so the edges are spaced geometrically.
    low, high = values.min() * 0.999, values.max() * 1.001
    counts, edges = np.histogram(values, bins=np.geomspace(low, high, min(_MAX_BINS, 3 + len(values) // 3)))
    return VideoDurations(
        shortest=float(values.min()),
        median=float(np.median(values)),
        longest=float(values.max()),
        total=float(values.sum()),
        spread=Histogram(tuple(edges.tolist()), tuple(counts.tolist())),
    )


def _reasons(skipped: Sequence[Skipped]) -> tuple[SkipReason, ...]:
    """Group the skipped videos by reason. Numbers and words in parentheses make no difference."""
    groups: dict[str, list[str]] = {}
    for entry in skipped:
        words = re.sub(r"[0-9]+(\.[0-9]+)?", "N", re.sub(r" *\(.*\)", "", entry.reason))
        groups.setdefault(words, []).append(entry.path)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return tuple(SkipReason(words, len(paths), paths[0]) for words, paths in ordered)
