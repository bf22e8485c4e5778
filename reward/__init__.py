"""Scores of answers, by rule. The public doors are `score` and `is_valid`.

>>> score("grounding", "2.0-6.0", "4.0-8.0")
0.3333333333333333
>>> score("jigsaw", "The order is 2413.", "2413")
0.0
"""

from collections.abc import Callable, Sequence

from reward.parsing import parse_counts, parse_interval, parse_order
from reward.rules import count_accuracy, interval_iou, order_agreement

Numbers = Sequence[float]

RULES: dict[str, tuple[Callable[[str], Numbers | None], Callable[[Numbers, Numbers], float]]] = {
    "grounding": (parse_interval, interval_iou),
    "jigsaw": (parse_order, order_agreement),
    "counting": (parse_counts, count_accuracy),
}

__all__ = ["RULES", "is_valid", "score"]


def score(task: str, completion: str, answer: str) -> float:
    """How right a completion is: a finite float in [0, 1], and 0.0 for one that is not of the task's form.

    Raises ValueError for a task that has no rule and for an answer (ground truth) that no reply could match.
    """
    truth = _truth(task, answer)
    predicted = _predicted(task, completion, truth)
    return 0.0 if predicted is None else RULES[task][1](predicted, truth)


def is_valid(task: str, completion: str, answer: str) -> bool:
    """Whether a completion is of the task's form; for the jigsaw, an order of as many clips as the answer's.

    Raises ValueError as `score` does.
    """
    return _predicted(task, completion, _truth(task, answer)) is not None


def _predicted(task: str, completion: str, truth: Numbers) -> Numbers | None:
    predicted = RULES[task][0](completion)
    return predicted if predicted is not None and len(predicted) == len(truth) else None


def _truth(task: str, answer: str) -> Numbers:
    if task not in RULES:
        raise ValueError(f"task {task!r}: there is no rule for it. Use one of {', '.join(RULES)}.")
    parse, rule = RULES[task]
    truth = parse(answer)
    if truth is None or rule(truth, truth) != 1.0:  # an interval without length parses, and matches nothing
        raise ValueError(f"answer {answer!r}: not a ground truth of the task {task!r}.")
    return truth
