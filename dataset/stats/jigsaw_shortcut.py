"""A way round the jigsaw that understands nothing: clips are put together where their ends look alike.

What it earns says how much of the task is a matter of matching pictures; the jigsaw's `gap` takes it away.
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

_CACHE_BYTES = 64 * 2**20  # several samples of a video follow each other, and want the same frames


@dataclass(frozen=True)
class BoundaryEarnings:
    """What the solver earns."""

    samples: int  # that it was tried on; all that follows is 0 where there are none
    reward: float  # mean, in [0, 1]
    exact: float  # share of samples put wholly right
    chance: float  # the share that guessing puts wholly right
    unreadable: int  # samples that could not be rendered, as their video is gone or damaged


def solve_by_boundaries(sample: Sample) -> str:
    """The reply to a jigsaw in which the last frame of each clip is nearest to the first of the next.

    Over all orders, the sum over the cuts of the mean absolute difference of pixels is least.
    """
    lasts = np.stack([clip.frames[-1] for clip in sample.clips]).astype(np.int16)
    firsts = np.stack([clip.frames[0] for clip in sample.clips]).astype(np.int16)
    steps = [[float(np.abs(last - first).mean()) for first in firsts] for last in lasts]
    return write_order([clip + 1 for clip in _shortest_path(steps)])


def boundary_earnings(jigsaws: Sequence[Recipe]) -> BoundaryEarnings | None:
    """What the solver earns; None where there are no jigsaws.

    It does as well on all jigsaws of a video, whose clips are the same in another order, so one of each will do.
    """
    cache = FrameCache(_CACHE_BYTES)
    rewards: list[float] = []
    chances: list[float] = []
    for recipe in sorted(jigsaws, key=lambda recipe: recipe.video):
        try:
            sample = render(recipe, cache)
        except VideoError:
            continue
        rewards.append(score(recipe.task, solve_by_boundaries(sample), recipe.answer))
        chances.append(1 / factorial(len(sample.clips)))
    if not jigsaws:
        return None
    return BoundaryEarnings(
        samples=len(rewards),
        unreadable=len(jigsaws) - len(rewards),
        reward=fmean(rewards or [0.0]),
        exact=fmean([reward == 1.0 for reward in rewards] or [0.0]),
        chance=fmean(chances or [0.0]),
    )


def _shortest_path(steps: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """The order of all clips whose sum of `steps[clip][next clip]` is least, by Held and Karp.

    Over sets of clips and the last of each, from the set without it: 2^k k^2 steps instead of k! orders.
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
