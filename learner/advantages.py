"""Group-relative advantages (GRPO, arXiv 2402.03300, section 4.1.2)."""

import math
from collections.abc import Sequence

STD_EPSILON = 1e-6


def group_advantages(rewards: Sequence[float], *, tolerance: float) -> list[float]:
    """(reward - mean) / (std + 1e-6) within one group, std with n - 1 in the denominator.

    A group whose largest and smallest reward differ by no more than `tolerance` says nothing about which
    answer is better, and gets exactly 0: dividing float residue by a tiny std would invent advantages.

    Example: rewards (1, 0, 0, 1) have mean 0.5 and std 0.5774, so advantages are ±0.8660.
    """
    if len(rewards) < 2:
        raise ValueError(f"a group of {len(rewards)} completion(s) has no spread: GRPO needs at least 2.")
    if max(rewards) - min(rewards) <= tolerance:
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    std = math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / (len(rewards) - 1))
    return [(reward - mean) / (std + STD_EPSILON) for reward in rewards]
