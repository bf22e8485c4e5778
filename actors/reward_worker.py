"""Scores completions by rule."""

from collections.abc import Sequence

from reward import is_valid, score


class RewardWorker:
    """Stateless: any worker scores anything, and a lost batch is simply scored again."""

    def score(self, items: Sequence[tuple[str, str, str]]) -> list[tuple[float, bool]]:
        """(reward, valid) for each (task, completion text, true answer)."""
        return [(score(task, text, answer), is_valid(task, text, answer)) for task, text, answer in items]
