"""Distributions of truths under which a constant answer earns little.

This is a zero-sum game: one player draws truths, the other gives one constant answer and earns its mean score. Its
solution is the distribution under which the best constant answer earns least. Regret matching finds it.
"""

import numpy as np
from numpy.typing import NDArray

_NUM_ROUNDS = 4000


def balanced_weights(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each truth, [num_truths], under which the best constant answer earns least.

    Args:
        scores: [num_answers, num_truths], the score of each constant answer for each truth.

    When counting 1, 2 or 3 things, with the score 1 - error / truth, "1" earns 0.61 if all truths are equally likely.
    With the weights (2/7, 2/7, 3/7) no answer earns more than 4/7 = 0.57:

    >>> balanced_weights(np.array([[1, 1 / 2, 1 / 3], [0, 1, 2 / 3], [0, 1 / 2, 1]])).round(2)
    array([0.29, 0.29, 0.43])
    """
    num_answers, num_truths = scores.shape
    answer_regrets, truth_regrets = np.zeros(num_answers), np.zeros(num_truths)
    total = np.zeros(num_truths)
    truths = _matched(truth_regrets)
    for round_number in range(1, _NUM_ROUNDS + 1):
        # "Regret matching plus" converges faster: the two sides move in turn, later rounds count more, and regrets
        # never fall below 0.
        gains = scores @ truths
        answer_regrets = np.maximum(answer_regrets + gains - _matched(answer_regrets) @ gains, 0)
        losses = _matched(answer_regrets) @ scores
        truth_regrets = np.maximum(truth_regrets + losses @ truths - losses, 0)
        truths = _matched(truth_regrets)
        total += round_number * truths
    return np.asarray(total / total.sum())


def _matched(regrets: NDArray[np.float64]) -> NDArray[np.float64]:
    total = regrets.sum()
    return regrets / total if total > 0 else np.full(len(regrets), 1 / len(regrets))
