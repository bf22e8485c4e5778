"""The metrics of one update, from sums over its tokens. `vocabulary/metrics.py` says what each metric means."""

from collections.abc import Mapping

import torch
from torch import Tensor


def add_sums(total: dict[str, Tensor], part: Mapping[str, Tensor]) -> None:
    """Add a micro-batch's sums to `total`, in place. Of names that begin with `max_`, the larger value is kept."""
    for name, value in part.items():
        if name not in total:
            total[name] = value
        elif name.startswith("max_"):
            total[name] = torch.maximum(total[name], value)
        else:
            total[name] = total[name] + value


def update_metrics(
    sums: Mapping[str, float], *, updates_per_batch: int, grad_norm: float, learning_rate: float
) -> dict[str, float]:
    """Return the metrics of a batch, as a run records them.

    Args:
        sums: over all micro-batches of all ranks: those of `policy_loss` and `logprob_gap`, `loss`, and
            `compared_tokens`, the tokens that the logprob gap was measured on.
    """
    compared, tokens = sums["compared_tokens"], max(1.0, sums["tokens"])  # mask_truncated may leave no token
    kl = {"policy/kl": sums["kl"] / tokens} if "kl" in sums else {}
    return kl | {
        "policy/loss": sums["loss"] / updates_per_batch,
        "policy/entropy": sums["entropy"] / tokens,
        "policy/clip_low_share": sums["clipped_low"] / tokens,
        "policy/clip_high_share": sums["clipped_high"] / tokens,
        "policy/importance": sums["importance"] / tokens,
        "policy/grad_norm": grad_norm,
        "policy/learning_rate": learning_rate,
        "policy/logprob_gap_mean": sums["logprob_gap"] / compared,
        "policy/logprob_gap_max": sums["max_logprob_gap"],
        "policy/logprob_gap_k3": sums["logprob_gap_k3"] / compared,
        "policy/tokens": tokens,
    }
