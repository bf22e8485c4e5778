"""Scoring of completions against the truth. The public functions are `score` and `is_valid`.

- `parsing`: completions to numbers, in one strict form per task
- `rules`: numbers to scores
- `custom`: reward functions that users write

The reward workers that call these are in `actors/workers/`.

>>> score("grounding", "2.0-6.0", "4.0-8.0")
0.3333333333333333
>>> score("jigsaw", "The order is 2413.", "2413")
0.0
"""

from collections.abc import Callable, Sequence

from reward.parsing import parse_counts, parse_interval, parse_order
from reward.rules import count_accuracy, interval_iou, order_agreement

Numbers = Sequence[float]

# For each task, the parser of its completions and the rule that scores them.
RULES: dict[str, tuple[Callable[[str], Numbers | None], Callable[[Numbers, Numbers], float]]] = {
    "grounding": (parse_interval, interval_iou),
    "jigsaw": (parse_order, order_agreement),
    "counting": (parse_counts, count_accuracy),
}

__all__ = ["RULES", "is_valid", "score"]


def score(task: str, completion: str, truth: str) -> float:
    """Return a completion's score, a finite float in [0, 1]; 0.0 if the completion is not valid.

    Raises ValueError for a task without a rule, and for a truth that no completion could match.
    """
    expected = _parse_truth(task, truth)
    predicted = _parse_completion(task, completion, expected)
    return 0.0 if predicted is None else RULES[task][1](predicted, expected)


def is_valid(task: str, completion: str, truth: str) -> bool:
    """Return whether a completion has the form that its task asks for, with as many numbers as the truth.

    Raises ValueError like `score`.
    """
    return _parse_completion(task, completion, _parse_truth(task, truth)) is not None


def _parse_completion(task: str, completion: str, expected: Numbers) -> Numbers | None:
    predicted = RULES[task][0](completion)
    return predicted if predicted is not None and len(predicted) == len(expected) else None


def _parse_truth(task: str, truth: str) -> Numbers:
    if task not in RULES:
        raise ValueError(f"task {task!r}: has no rule. Use one of {', '.join(RULES)}.")
    parse, rule = RULES[task]
    numbers = parse(truth)
    if (
        numbers is None or rule(numbers, numbers) != 1.0
    ):  # An interval without length parses, but matches nothing.
        raise ValueError(f"truth {truth!r}: cannot be the truth of a sample of {task!r}.")
    return numbers
