"""Pure functions that score parsed completions: a float in [0, 1], which is 1 only for the truth itself.

The three rules are VideoSSR's (arXiv 2511.06281), so that scores are comparable. Each takes two tuples of equal length.
"""

from collections.abc import Sequence


def interval_iou(predicted: Sequence[float], truth: Sequence[float]) -> float:
    """Return the intersection over union of two (start, end) intervals; 0 if either has no length.

    >>> interval_iou((2.0, 6.0), (4.0, 8.0))  # 2 s shared, 6 s covered
    0.3333333333333333
    """
    (start, end), (true_start, true_end) = predicted, truth
    shared = min(end, true_end) - max(start, true_start)
    if end <= start or true_end <= true_start or shared <= 0:
        return 0.0
    return shared / (max(end, true_end) - min(start, true_start))


def count_accuracy(predicted: Sequence[float], truth: Sequence[float]) -> float:
    """Return the mean over kinds of shapes of max(0, 1 - |p - g| / g); if g is 0, 1 for p = 0 and else 0.

    >>> count_accuracy((1, 0, 9), (2, 0, 3))  # (0.5 + 1 + 0) / 3
    0.5
    """
    return sum(map(_closeness, predicted, truth)) / len(truth)


def order_agreement(predicted: Sequence[float], truth: Sequence[float]) -> float:
    """Return 1 - (sum over clips of |predicted place - true place|) / (k * k // 2), which is the largest possible sum.

    >>> order_agreement((2, 1, 3, 4), (1, 2, 3, 4))  # two clips, one place off each: 1 - 2 / 8
    0.75
    """
    places_off = sum(abs(predicted.index(clip) - place) for place, clip in enumerate(truth))
    return 1.0 - places_off / (len(truth) ** 2 // 2)


def _closeness(predicted: float, truth: float) -> float:
    if truth == 0:
        return float(predicted == 0)
    return max(0.0, 1.0 - abs(predicted - truth) / truth)
