"""What answers earn that need no watching: a constant one, a random one, or the same part of every video.

All are computed from the true answers, exactly and fast enough for 30 000 of them. For a task without a quick
way of its own, and for more samples than that, evenly spread ones stand for all; `samples` says how many.
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

_MOST_SAMPLES = 30_000  # their pairs are gone through in seconds
_MOST_OF_OTHERS = 600  # of a task whose pairs go through `score` one by one
_CLOSE = 5e-4  # how near the best interval's score is to the most that any earns


@dataclass(frozen=True)
class Floor:
    """Mean rewards of guesses, each in [0, 1]."""

    samples: int  # that they were computed from
    random: float  # each sample answered with another's true answer, averaged over all others
    best_constant: float  # the one answer that earns most, whether or not it is true of any sample
    constant: str  # that answer
    whole_clip: float | None = None  # an interval from each video's first frame to its end
    same_part: float | None = None  # the best of answers such as "from 38 % to 62 % of the video"


def task_floor(
    task: str, truths: Sequence[str], *, spans_s: Sequence[tuple[float, float]] | None = None
) -> Floor:
    """What guessing earns in a task, from the true answers of its samples.

    Args:
        truths: at least one.
        spans_s: for intervals, the start and end of each sample's video on the clock that the model is told;
            with them come `whole_clip` and `same_part`. See `span_s`.

    Raises ValueError for no truths, an unknown task, and for truths that are none of the task's.
    """
    if not truths:
        raise ValueError(f"task {task!r}: there are no answers to compute a floor from.")
    for truth in set(truths):
        score(task, truth, truth)  # says what is wrong with it
    if task == "grounding":
        return _intervals(_spread(truths), None if spans_s is None else _spread(spans_s))
    quick: dict[str, Callable[[Sequence[str]], Floor]] = {"counting": _counts, "jigsaw": _orders}
    return quick[task](truths) if task in quick else _others(task, _spread(truths, _MOST_OF_OTHERS))


def span_s(frame_times_s: Sequence[float]) -> tuple[float, float]:
    """Start and end of what a video shows: its last frame is taken to last as long as the mean one.

    >>> span_s([0.5, 1.0, 2.5])
    (0.5, 3.5)
    """
    first, last = frame_times_s[0], frame_times_s[-1]
    return first, last + (last - first) / max(1, len(frame_times_s) - 1)


def _spread(values: Sequence[Any], most: int = _MOST_SAMPLES) -> Sequence[Any]:
    """At most that many of the values, evenly spread."""
    if len(values) <= most:
        return values
    return [values[number * len(values) // most] for number in range(most)]


def _without_itself(total: float, num_samples: int) -> float:
    """The mean over pairs of different samples, from the sum over all pairs, in which each meets itself."""
    return float(total - num_samples) / (num_samples * (num_samples - 1)) if num_samples > 1 else 0.0


def _counts(truths: Sequence[str]) -> Floor:
    """The score is a mean over the kinds of shapes, so each kind has its best number by itself.

    As that number grows, what it earns bends downwards at true counts only, so the best is one of these: no
    vector of counts up to any size earns more.
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
    return Floor(len(truths), _without_itself(total, len(truths)), best_constant, constant)


def _orders(truths: Sequence[str]) -> Floor:
    """The score is a mean over clips, each with a place in the answer: an assignment problem.

    Orders of other lengths than the truth's earn nothing.
    """
    by_length: dict[int, list[tuple[int, ...]]] = {}
    for truth in truths:
        order = parse_order(truth)
        assert order is not None  # `task_floor` scored it
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
    return Floor(len(truths), _without_itself(total, len(truths)), best_constant, constant)


def _assignment(costs: Floats) -> tuple[float, tuple[int, ...]]:
    """The least total cost, and which clip stands in each place, from the cost of [clip, place].

    Over sets of clips in the first places, each from its subsets with one clip less: 2^k k steps for k clips.
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


def _intervals(truths: Sequence[str], spans_s: Sequence[tuple[float, float]] | None) -> Floor:
    ends = np.array([parse_interval(truth) for truth in truths], np.float64)
    best_constant, (start, end) = _best_interval(ends)
    floor = Floor(
        samples=len(truths),
        random=_without_itself(_all_pairs(ends), len(truths)),
        best_constant=best_constant,
        constant=f"{start:g}-{end:g}",
    )
    if spans_s is None:
        return floor
    spans = np.array(spans_s, np.float64)
    lengths = spans[:, 1] - spans[:, 0]
    parts = (ends - spans[:, :1]) / lengths[:, None]
    return replace(
        floor,
        whole_clip=float(_iou(spans[:, 0], spans[:, 1], ends).mean()),
        same_part=_best_interval(parts.round(3))[0],
    )


def _iou(start: Floats | float, end: Floats | float, truths: Floats) -> Floats:
    """Intersection over union of intervals with the truths, [num_truths, 2]."""
    shared = np.minimum(end, truths[:, 1]) - np.maximum(start, truths[:, 0])
    covered = np.maximum(end, truths[:, 1]) - np.minimum(start, truths[:, 0])
    return np.maximum(shared, 0.0) / covered


def _all_pairs(intervals: Floats) -> float:
    """The sum of the IoU over all ordered pairs; in order of the starts, to leave out those that never meet."""
    intervals = intervals[np.argsort(intervals[:, 0])]
    starts = intervals[:, 0]
    total = float(len(intervals))  # each with itself
    for number, (start, end) in enumerate(intervals.tolist()):
        later = intervals[number + 1 : np.searchsorted(starts, end)]
        if len(later):
            total += 2 * float(_iou(start, end, later).sum())
    return total


def _best_interval(truths: Floats) -> tuple[float, tuple[float, float]]:
    """The interval with the largest mean IoU with the truths, [num_truths, 2], and that mean, to `_CLOSE`.

    While one end of an answer moves, what it earns of each truth bends downwards only where it meets that
    truth's own end, so the best answer starts where some truth starts and ends where some truth ends. Of
    these there may be millions, so whole boxes of them, [start from .. to] x [end from .. to], are bounded
    by letting every truth choose the best answer in the box for itself, and the most promising is halved.
    """
    intervals, weights = np.unique(truths, axis=0, return_counts=True)
    starts, ends = np.unique(intervals[:, 0]), np.unique(intervals[:, 1])
    shares = weights / len(truths)

    def bound(first: int, last: int, from_: int, to: int) -> float:
        start = np.clip(intervals[:, 0], starts[first], starts[last])
        end = np.clip(intervals[:, 1], ends[from_], ends[to])
        return float(_iou(start, end, intervals) @ shares)

    best, best_at = 0.0, (0, 0)
    boxes: list[tuple[float, tuple[int, int, int, int]]] = []  # with minus the most that is in one

    def look_at(box: tuple[int, int, int, int]) -> None:
        nonlocal best, best_at
        first, last, from_, to = box
        middle = ((first + last) // 2, (from_ + to) // 2)
        earned = bound(middle[0], middle[0], middle[1], middle[1])
        if earned > best:
            best, best_at = earned, middle
        if first < last or from_ < to:
            heappush(boxes, (-bound(*box), box))

    look_at((0, len(starts) - 1, 0, len(ends) - 1))
    while boxes and -boxes[0][0] > best + _CLOSE:
        _, (first, last, from_, to) = heappop(boxes)
        if starts[last] - starts[first] > ends[to] - ends[from_]:
            middle = (first + last) // 2
            look_at((first, middle, from_, to))
            look_at((middle + 1, last, from_, to))
        else:
            middle = (from_ + to) // 2
            look_at((first, last, from_, middle))
            look_at((first, last, middle + 1, to))
    return best, (float(starts[best_at[0]]), float(ends[best_at[1]]))


def _others(task: str, truths: Sequence[str]) -> Floor:
    """By the reward's own rule, one pair after the other; the constant is one of the true answers."""
    earned = {guess: fmean(score(task, guess, truth) for truth in truths) for guess in sorted(set(truths))}
    constant = max(earned, key=lambda guess: earned[guess])
    total = sum(earned[guess] for guess in truths) * len(truths)
    return Floor(len(truths), _without_itself(total, len(truths)), earned[constant], constant)
