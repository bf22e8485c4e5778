"""The report on a dataset: what is in it, what it was made of, and what can be earned without watching."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from dataset.source import videos_of
from dataset.stats.baselines import Floor, span_s, task_floor
from dataset.stats.jigsaw_shortcut import BoundaryEarnings, boundary_earnings
from dataset.store import Dataset
from pretext.recipe import IMAGES, Recipe
from pretext.tasks.shapes import KINDS
from pretext.video.info import Rejected
from reward.parsing import parse_counts, parse_interval, parse_order

_NUM_BINS = 20
_JIGSAW_SAMPLES = 100


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
        else:
            times_s = recipe.frame_times_s
            num_pixels = len(times_s) * recipe.height_px * recipe.width_px
        seen.spans_s.setdefault(recipe.task, []).append(span_s(times_s))
        seen.rendered_bytes += 3 * num_pixels
        seen.videos.update(videos_of(recipe))
        if recipe.task == "jigsaw" and len(seen.jigsaws) < jigsaw_samples:
            seen.jigsaws.setdefault(recipe.id if recipe.reader == IMAGES else recipe.video, recipe)
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
