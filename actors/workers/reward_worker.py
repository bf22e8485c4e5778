"""Scores completions, by rule or by the user's own function."""

import logging
from collections.abc import Sequence

from actors.config import RewardConfig
from actors.messages import Score
from actors.process_info import ProcessInfo, current_process
from reward import is_valid, score
from reward.custom import custom_score, load_reward

logger = logging.getLogger(__name__)

CUSTOM_REWARD_TIMEOUT_S = 30.0  # for one completion; the user's function may call another service


class RewardWorker:
    """A scorer of completions. It is stateless: any worker can score anything, and a lost call is repeated.

    Args:
        config: if `function` is None, the tasks' rules score. The rules always decide whether a completion is valid.
    """

    def __init__(self, config: RewardConfig) -> None:
        self._function = None if config.function is None else load_reward(config.function)
        logger.info("reward worker is ready, reward function: %s", config.function or "the tasks' rules")

    def score(self, items: Sequence[tuple[str, str, str]]) -> list[Score]:
        """Return the score of each (task, completion text, truth)."""
        return [self._score(*item) for item in items]

    def process_info(self) -> ProcessInfo:
        """Describe the process."""
        return current_process()

    def _score(self, task: str, text: str, truth: str) -> Score:
        valid = is_valid(task, text, truth)
        if self._function is None:
            return Score(score(task, text, truth), valid)
        reward, error = custom_score(self._function, task, text, truth, timeout_s=CUSTOM_REWARD_TIMEOUT_S)
        return Score(reward, valid, error)
