"""Baselines: the rewards of answers that need no watching, such as a constant or a random answer.

Baselines are computed exactly from the truths of up to 30 000 samples. Of larger datasets, and of tasks without a fast
method, only evenly spread samples are used; `Baseline.samples` is their number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward import score
from reward.parsing import parse_counts, parse_interval, parse_order, write_order
from reward.rules import count_accuracy

Floats = NDArray[np.float64]

_MAX_SAMPLES = 30_000  # all pairs of them take seconds
_MAX_SAMPLES_WITHOUT_METHOD = 600  # for tasks whose pairs go through `score` one by one
_SCORE_TOLERANCE = 5e-4  # of the best interval's score, below the true maximum


@dataclass(frozen=True)
class Baseline:
    """Mean rewards of answers that need no watching, each in [0, 1]."""

    samples: int  # number of samples that the rest was computed from
    random: float  # reward of answering with the truth of another sample, averaged over all pairs
    best_constant: float  # reward of the best constant answer, which need not be the truth of any sample
    constant: str  # the best constant answer
    whole_clip: float | None = None  # reward of the interval from each video's first frame to its end
    same_part: float | None = None  # reward of the best answer such as "from 38 % to 62 % of the video"


def task_baseline(
    task: str, truths: Sequence[str], *, spans_s: Sequence[tuple[float, float]] | None = None
) -> Baseline:
    """Return the baseline of a task, from the truths of its samples.

    Args:
        truths: at least one.
        spans_s: for grounding, start and end of each sample's video in the times given to the model (see `span_s`);
            without them, `whole_clip` and `same_part` are None.

    Raises ValueError without truths, for an unknown task, and for truths of another task.
    """
    if not truths:
        raise ValueError(f"task {task!r}: there are no truths to compute a baseline from.")
    for truth in set(truths):
        score(task, truth, truth)  # raises for a truth of another task
    if task == "grounding":
        return _intervals(_spread(truths), None if spans_s is None else _spread(spans_s))
    methods: dict[str, Callable[[Sequence[str]], Baseline]] = {"counting": _counts, "jigsaw": _orders}
    return (
        methods[task](truths)
        if task in methods
        else _by_pairs(task, _spread(truths, _MAX_SAMPLES_WITHOUT_METHOD))
    )


def span_s(frame_times_s: Sequence[float]) -> tuple[float, float]:
    """Return start and end of a video. Its last frame is assumed to last as long as the mean frame.

    >>> span_s([0.5, 1.0, 2.5])
    (0.5, 3.5)
    """
    first, last = frame_times_s[0], frame_times_s[-1]
    return first, last + (last - first) / max(1, len(frame_times_s) - 1)


def _spread(values: Sequence[Any], most: int = _MAX_SAMPLES) -> Sequence[Any]:
    """Return at most this many of the values, evenly spread."""
    if len(values) <= most:
        return values
    return [values[number * len(values) // most] for number in range(most)]


def _without_itself(total: float, num_samples: int) -> float:
    """Return the mean over pairs of different samples, given the sum over all pairs; a sample with itself scores 1."""
    return float(total - num_samples) / (num_samples * (num_samples - 1)) if num_samples > 1 else 0.0


def _counts(truths: Sequence[str]) -> Baseline:
    """Return the baseline for counting. The score is a mean over kinds of shapes, so each has its own best number.

    As a function of the number, the mean score is piecewise linear with concave corners only at true counts, so the
    best number is a true count.
    """
    counts = np.array([parse_counts(truth) for truth in truths])
    best: list[int] = []
    best_constant = total = 0.0
    for column in counts.T:
        values, weights = np.unique(column, return_counts=True)
        scores = np.array([[count_accuracy((p,), (g,)) for g in values.tolist()] for p in values.tolist()])
        earned = scores @ weights / len(truths)
        best.append(int(values[earned.argmax()]))
        best_constant += float(earned.max()) / counts.shape[1]
        total += float(weights @ scores @ weights) / counts.shape[1]
    constant = ",".join(map(str, best))
    return Baseline(len(truths), _without_itself(total, len(truths)), best_constant, constant)


def _orders(truths: Sequence[str]) -> Baseline:
    """Return the baseline for orders. The score is a mean over clips, so the best order solves an assignment problem.

    Orders whose length differs from the truth's earn nothing.
    """
    by_length: dict[int, list[tuple[int, ...]]] = {}
    for truth in truths:
        order = parse_order(truth)
        assert order is not None  # `task_baseline` has scored it.
        by_length.setdefault(len(order), []).append(order)
    found: list[tuple[float, str]] = []
    total = 0.0
    for length, orders in by_length.items():
        places = np.argsort(np.array(orders), axis=1)  # [num_orders, clip]: where each clip stands
        often = np.array([np.bincount(column, minlength=length) for column in places.T], np.float64)
        apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        most_apart = length**2 // 2
        off, chosen = _assignment(often @ apart)
        found.append(((len(orders) - off / most_apart) / len(truths), write_order([c + 1 for c in chosen])))
        total += len(orders) ** 2 - float(np.einsum("cp,pq,cq->", often, apart, often)) / most_apart
    best_constant, constant = max(found)
    return Baseline(len(truths), _without_itself(total, len(truths)), best_constant, constant)


def _assignment(costs: Floats) -> tuple[float, tuple[int, ...]]:
    """Return the least total cost, and the clip in each place, given the cost of [clip, place].

    The best order of each set of clips follows from those of its subsets with one clip less: 2^k k steps for k clips.
    """
    num_clips = len(costs)
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for chosen in range(1, 1 << num_clips):
        ways = []
        for clip in range(num_clips):
            if chosen >> clip & 1:
                cost, order = best[chosen ^ (1 << clip)]
                ways.append((cost + float(costs[clip, len(order)]), (*order, clip)))
        best[chosen] = min(ways)
    return best[(1 << num_clips) - 1]


def _intervals(truths: Sequence[str], spans_s: Sequence[tuple[float, float]] | None) -> Baseline:
    """Return the baseline for intervals."""
    ends = np.array([parse_interval(truth) for truth in truths], np.float64)
    best_constant, (start, end) = _best_interval(ends)
    baseline = Baseline(
        samples=len(truths),
        random=_without_itself(_all_pairs(ends), len(truths)),
        best_constant=best_constant,
        constant=f"{start:g}-{end:g}",
    )
    if spans_s is None:
        return baseline
    spans = np.array(spans_s, np.float64)
    lengths = spans[:, 1] - spans[:, 0]
    parts = (ends - spans[:, :1]) / lengths[:, None]
    return replace(
        baseline,
        whole_clip=float(_iou(spans[:, 0], spans[:, 1], ends).mean()),
        same_part=_best_interval(parts.round(3))[0],
    )


def _iou(start: Floats | float, end: Floats | float, truths: Floats) -> Floats:
    """Return the intersection over union of intervals with the truths, [num_truths, 2]."""
    shared = np.minimum(end, truths[:, 1]) - np.maximum(start, truths[:, 0])
    covered = np.maximum(end, truths[:, 1]) - np.minimum(start, truths[:, 0])
    return np.maximum(shared, 0.0) / covered


def _all_pairs(intervals: Floats) -> float:
    """Return the sum of the IoU over all ordered pairs. Sorting by start leaves out pairs that do not overlap."""
    intervals = intervals[np.argsort(intervals[:, 0])]
    starts = intervals[:, 0]
    total = float(len(intervals))  # from each interval with itself
    for number, (start, end) in enumerate(intervals.tolist()):
        later = intervals[number + 1 : np.searchsorted(starts, end)]
        if len(later):
            total += 2 * float(_iou(start, end, later).sum())
    return total


def _best_interval(truths: Floats) -> tuple[float, tuple[float, float]]:
    """Return the largest mean IoU with the truths, [num_truths, 2], and its interval, within _SCORE_TOLERANCE.

    While one end of an answer moves, its IoU with a truth is convex except at the truth's own end. So the best
    answer starts where some truth starts and ends where some truth ends. There may be millions of such answers, so
    this is a branch and bound search over boxes of them, [start from .. to] x [end from .. to]. Letting every truth
    choose its best answer in the box bounds the box's score, and the most promising box is halved.
    """
    intervals, weights = np.unique(truths, axis=0, return_counts=True)
    starts, ends = np.unique(intervals[:, 0]), np.unique(intervals[:, 1])
    shares = weights / len(truths)

    def bound(first: int, last: int, from_: int, to: int) -> float:
        start = np.clip(intervals[:, 0], starts[first], starts[last])
        end = np.clip(intervals[:, 1], ends[from_], ends[to])
        return float(_iou(start, end, intervals) @ shares)

    best, best_at = 0.0, (0, 0)
    boxes: list[tuple[float, tuple[int, int, int, int]]] = []  # (-bound, box), for heapq

    def visit(box: tuple[int, int, int, int]) -> None:
        nonlocal best, best_at
        first, last, from_, to = box
        middle = ((first + last) // 2, (from_ + to) // 2)
        earned = bound(middle[0], middle[0], middle[1], middle[1])
        if earned > best:
            best, best_at = earned, middle
        if first < last or from_ < to:
            heappush(boxes, (-bound(*box), box))

    visit((0, len(starts) - 1, 0, len(ends) - 1))
    while boxes and -boxes[0][0] > best + _SCORE_TOLERANCE:
        _, (first, last, from_, to) = heappop(boxes)
        if starts[last] - starts[first] > ends[to] - ends[from_]:
            middle = (first + last) // 2
            visit((first, middle, from_, to))
            visit((middle + 1, last, from_, to))
        else:
            middle = (from_ + to) // 2
            visit((first, last, from_, middle))
            visit((first, last, middle + 1, to))
    return best, (float(starts[best_at[0]]), float(ends[best_at[1]]))


def _by_pairs(task: str, truths: Sequence[str]) -> Baseline:
    """Return the baseline by scoring every pair with the task's rule. The constant answer is one of the truths."""
    earned = {guess: fmean(score(task, guess, truth) for truth in truths) for guess in sorted(set(truths))}
    constant = max(earned, key=lambda guess: earned[guess])
    total = sum(earned[guess] for guess in truths) * len(truths)
    return Baseline(len(truths), _without_itself(total, len(truths)), earned[constant], constant)
