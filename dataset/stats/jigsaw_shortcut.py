"""A shortcut for the jigsaw that needs no understanding: joining clips whose ends look alike.

Its reward measures how far the task can be solved by matching pictures. The jigsaw's parameter `gap` prevents this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial
from statistics import fmean

import numpy as np

from pretext.recipe import Recipe, Sample
from pretext.stream import render
from pretext.video import VideoError
from pretext.video.cache import FrameCache
from reward import score
from reward.parsing import write_order

_CACHE_BYTES = 64 * 2**20  # samples of one video follow each other, and share its frames


@dataclass(frozen=True)
class ShortcutScores:
    """The rewards of the shortcut."""

    samples: int  # number of samples that were solved; if 0, the scores are 0
    reward: float  # mean reward, in [0, 1]
    exact: float  # share of samples solved completely
    chance: float  # share that guessing solves completely
    unreadable: int  # number of samples whose video is missing or damaged


def solve_by_ends(sample: Sample) -> str:
    """Return the order in which the last frame of each clip is nearest to the first frame of the next.

    It minimises the sum over cuts of the mean absolute difference of pixels, over all orders.
    """
    lasts = np.stack([clip.frames[-1] for clip in sample.clips]).astype(np.int16)
    firsts = np.stack([clip.frames[0] for clip in sample.clips]).astype(np.int16)
    steps = [[float(np.abs(last - first).mean()) for first in firsts] for last in lasts]
    return write_order([clip + 1 for clip in _shortest_path(steps)])


def shortcut_scores(jigsaws: Sequence[Recipe]) -> ShortcutScores | None:
    """Return the rewards of the shortcut in these jigsaws, or None without jigsaws.

    Jigsaws of one video differ only in the order of their clips, so one per video is enough.
    """
    cache = FrameCache(_CACHE_BYTES)
    rewards: list[float] = []
    chances: list[float] = []
    for recipe in sorted(jigsaws, key=lambda recipe: recipe.video):
        try:
            sample = render(recipe, cache)
        except VideoError:
            continue
        rewards.append(score(recipe.task, solve_by_ends(sample), recipe.truth))
        chances.append(1 / factorial(len(sample.clips)))
    if not jigsaws:
        return None
    return ShortcutScores(
        samples=len(rewards),
        unreadable=len(jigsaws) - len(rewards),
        reward=fmean(rewards or [0.0]),
        exact=fmean([reward == 1.0 for reward in rewards] or [0.0]),
        chance=fmean(chances or [0.0]),
    )


def _shortest_path(steps: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Return the order of all clips with the least sum of `steps[clip][next clip]`, by the Held-Karp algorithm.

    The best order of a set of clips with a given last clip follows from the set without that clip: 2^k k^2 steps
    instead of k! orders.
    """
    num_clips = len(steps)
    best: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
    for chosen in range(1, 1 << num_clips):
        members = [clip for clip in range(num_clips) if chosen >> clip & 1]
        for last in members:
            before = chosen ^ (1 << last)
            ways = []
            for previous in members:
                if previous != last:
                    length, order = best[before, previous]
                    ways.append((length + steps[previous][last], (*order, last)))
            best[chosen, last] = min(ways) if ways else (0.0, (last,))
    return min(best[(1 << num_clips) - 1, last] for last in range(num_clips))[1]
