"""Scores completions, by rule or by a function of the user's own."""

from collections.abc import Sequence

from actors.messages import Score
from actors.process_info import Place, here
from reward import is_valid, score
from reward.custom import custom_score, load_reward

ANSWER_TIMEOUT_S = 30.0  # for the user's function, which may ask another service


class RewardWorker:
    """Stateless: any worker scores anything, and a lost batch is simply scored again.

    Args:
        function: import path of the user's own reward; None: the tasks' rules. Whether an answer is of the
            task's form is a matter of the rules either way.
    """

    def __init__(self, function: str | None = None) -> None:
        self._function = None if function is None else load_reward(function)

    def score(self, items: Sequence[tuple[str, str, str]]) -> list[Score]:
        """The score of each (task, completion text, true answer)."""
        return [self._score(*item) for item in items]

    def place(self) -> Place:
        return here()

    def _score(self, task: str, text: str, answer: str) -> Score:
        valid = is_valid(task, text, answer)
        if self._function is None:
            return Score(score(task, text, answer), valid)
        reward, error = custom_score(self._function, task, text, answer, timeout_s=ANSWER_TIMEOUT_S)
        return Score(reward, valid, error)
