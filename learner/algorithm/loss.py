"""The policy loss, piece by piece: ratios, clipping, importance weights, KL, token weights. Pure torch.

    loss = Σ over tokens   weight · ( kl_coef · KL  -  entropy_coef · entropy
                                      -  importance · min(ratio · advantage, clip(ratio) · advantage) )

All tensors are flat, [num_tokens], over all completions of a micro-batch; `sequence` [num_tokens] int64 gives each
token's completion, 0..num_sequences-1. Weights come from counts of the whole batch, so any split of it into
micro-batches and ranks adds up to the same loss and gradient. A token of weight 0 (in a filler or a masked completion)
adds nothing, whatever its values are.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.config import GrpoConfig

# --- logprobs of sampled tokens -----------------------------------------------------------------------

# Number of logits that are converted to the computing type at a time: 64 MiB of float32.
_CHUNK_LOGITS = 2**24


def token_logprobs(
    logits: Tensor, token_ids: Tensor, *, temperature: float, forbidden: Tensor, entropy_grad: bool
) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of sampled tokens, and the entropy at their positions.

    The distribution is the engine's: logits divided by the temperature, with forbidden ids at probability 0. It is
    computed in float32 (in float64 for float64 logits), some rows at a time, and again in the backward pass. So the
    logits and their gradient are the only tensors of that size.

    Args:
        logits: [num_tokens, vocab_size], any float type.
        token_ids: [num_tokens] int64.
        temperature: above 0.
        forbidden: [num_forbidden] int64 ids.
        entropy_grad: whether the entropy has a gradient; an entropy bonus needs one.

    Returns:
        (logprobs with gradient, entropy), nats.
    """
    return _TokenLogprobs.apply(logits, token_ids, temperature, forbidden, entropy_grad)  # type: ignore[no-any-return]


class _TokenLogprobs(torch.autograd.Function):
    """`token_logprobs` with a backward pass that computes the distribution again instead of keeping it."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, token_ids: Tensor, temperature: float, forbidden: Tensor, entropy_grad: bool
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(logits), dtype=_computing_dtype(logits), device=logits.device)
        entropy = torch.empty_like(logprobs)
        for rows in _chunks(logits):
            log_p = _log_distribution(logits[rows], temperature, forbidden)
            logprobs[rows] = log_p.gather(-1, token_ids[rows].unsqueeze(-1)).squeeze(-1)
            p = log_p.exp()
            entropy[rows] = p.mul_(_finite(log_p)).sum(-1).neg_()
        ctx.temperature, ctx.entropy_grad = temperature, entropy_grad
        ctx.save_for_backward(logits, token_ids, forbidden, entropy)
        if not entropy_grad:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient by the logits.

        d logprob / d logit_j = (1 if sampled, else 0) - p_j;  d entropy / d logit_j = - p_j (log p_j + entropy).
        """
        of_logprobs, of_entropy = (gradient.unsqueeze(-1) for gradient in gradients)
        logits, token_ids, forbidden, entropy = ctx.saved_tensors
        of_logits = torch.empty_like(logits)
        for rows in _chunks(logits):
            log_p = _log_distribution(logits[rows], ctx.temperature, forbidden)
            p = log_p.exp()
            slope = p * -of_logprobs[rows]
            if ctx.entropy_grad:
                slope -= p.mul_(_finite(log_p).add_(entropy[rows].unsqueeze(-1))).mul_(of_entropy[rows])
            slope.scatter_add_(-1, token_ids[rows].unsqueeze(-1), of_logprobs[rows])
            of_logits[rows] = slope.div_(ctx.temperature).to(logits.dtype)
        return of_logits, None, None, None, None


def _computing_dtype(logits: Tensor) -> torch.dtype:
    """Return float32, or float64 for float64 logits."""
    return torch.promote_types(logits.dtype, torch.float32)


def _chunks(logits: Tensor) -> Iterator[slice]:
    """Return slices of rows with about `_CHUNK_LOGITS` logits each."""
    num_rows = max(1, _CHUNK_LOGITS // logits.shape[-1])
    return (slice(start, start + num_rows) for start in range(0, len(logits), num_rows))


def _log_distribution(logits: Tensor, temperature: float, forbidden: Tensor) -> Tensor:
    """Return the engine's log-probabilities of every id, a new tensor; -inf for forbidden ids."""
    scaled = logits.to(_computing_dtype(logits), copy=True).div_(temperature)
    scaled.index_fill_(-1, forbidden, float("-inf"))
    return scaled.sub_(scaled.logsumexp(-1, keepdim=True))


def _finite(log_p: Tensor) -> Tensor:
    """Replace -inf by 0, in place: a token of probability 0 adds nothing to the entropy, but 0 · inf is NaN."""
    return log_p.masked_fill_(log_p == float("-inf"), 0.0)


# --- flat tensors -------------------------------------------------------------------------------------


# Log ratios are clamped to ± this. In float32, exp is inf from 88 on, and inf times 0 is NaN in a gradient.
_MAX_LOG_RATIO_NATS = 20.0


def sum_per_sequence(values: Tensor, sequence: Tensor, num_sequences: int) -> Tensor:
    """Return the sum over each completion's tokens, [num_sequences], with gradient."""
    return values.new_zeros(num_sequences).index_add(0, sequence, values)


# --- KL to the reference, per token -------------------------------------------------------------------
# Estimates on tokens that the policy sampled. As values, k1 and k3 are unbiased and k2 is biased. As losses, their
# gradients count: on policy, the expected gradient of k2 is that of KL(policy || reference), that of k3 is that of
# KL(reference || policy), which agrees with it near the reference, and that of k1 is 0.


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return log(policy / reference), of either sign. For the KL in the reward."""
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return log(policy / reference)² / 2, at least 0."""
    return (logprobs - ref_logprobs).square() / 2


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return r - 1 - log r with r = reference / policy, at least 0. GRPO's estimate."""
    log_ratio = (ref_logprobs - logprobs).clamp(-_MAX_LOG_RATIO_NATS, _MAX_LOG_RATIO_NATS)
    return log_ratio.exp() - 1 - log_ratio


KL_ESTIMATES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


# --- probability ratios, from log(new / old) ----------------------------------------------------------


def token_ratio(log_ratio: Tensor, sequence: Tensor, num_sequences: int) -> Tensor:
    """Return PPO's ratio, one per token."""
    return log_ratio.clamp(-_MAX_LOG_RATIO_NATS, _MAX_LOG_RATIO_NATS).exp()


def sequence_ratio(log_ratio: Tensor, sequence: Tensor, num_sequences: int) -> Tensor:
    """Return GSPO's ratio (arXiv 2507.18071, eq. 7): exp of the mean over a completion's tokens, for each of them.

    The gradient by each token is the ratio divided by the length, the same for all of a completion (eq. 10).
    """
    lengths = torch.bincount(sequence, minlength=num_sequences).clamp(min=1)
    mean = sum_per_sequence(log_ratio, sequence, num_sequences) / lengths
    return mean.clamp(-_MAX_LOG_RATIO_NATS, _MAX_LOG_RATIO_NATS).exp()[sequence]


RATIOS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "token": token_ratio,
    "sequence": sequence_ratio,
}


def clipped_objective(
    ratio: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return PPO's clipped objective (arXiv 1707.06347, eq. 7). DAPO's clip-higher is a larger `clip_high`.

    Returns:
        The objective, and two masks of where clipping lowers it: below (a bad token that is already less likely), and
        above (a good token that is already more likely).
    """
    whole = ratio * advantages
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high) * advantages
    acts = clipped.detach() < whole.detach()
    return torch.minimum(whole, clipped), acts & (advantages < 0), acts & (advantages > 0)


# --- importance weights, from log(old / rollout), without gradient ------------------------------------


def no_importance(log_ratio: Tensor, sequence: Tensor, num_sequences: int, cap: float) -> Tensor:
    """Return 1: treat rollouts as samples of the old policy."""
    return torch.ones_like(log_ratio)


def token_importance(log_ratio: Tensor, sequence: Tensor, num_sequences: int, cap: float) -> Tensor:
    """Return min(old / rollout, cap) of each token. The cap bounds the variance; it is applied before exp overflows."""
    return log_ratio.clamp(max=math.log(cap)).exp()


def sequence_importance(log_ratio: Tensor, sequence: Tensor, num_sequences: int, cap: float) -> Tensor:
    """Return min(old / rollout, cap) of whole completions, for each of their tokens."""
    return sum_per_sequence(log_ratio, sequence, num_sequences).clamp(max=math.log(cap)).exp()[sequence]


IMPORTANCE: dict[str, Callable[[Tensor, Tensor, int, float], Tensor]] = {
    "none": no_importance,
    "token": token_importance,
    "sequence": sequence_importance,
}


# --- token weights ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchTotals:
    """Counts over all completions that one optimiser step trains, on all ranks, without masked completions."""

    num_tokens: int
    num_sequences: int
    max_tokens: int  # longest completion that an engine may generate


def token_mean(lengths: Tensor, sequence: Tensor, totals: BatchTotals) -> Tensor:
    """Return 1 / (tokens of the batch): every token weighs the same (DAPO, verl's token-mean, TRL's dapo)."""
    return torch.full(
        sequence.shape, 1 / max(1, totals.num_tokens), dtype=torch.float64, device=sequence.device
    )


def sequence_mean(lengths: Tensor, sequence: Tensor, totals: BatchTotals) -> Tensor:
    """Return 1 / (length · completions of the batch): every completion weighs the same (published GRPO, GSPO)."""
    return 1 / (lengths.double()[sequence] * max(1, totals.num_sequences))


def constant(lengths: Tensor, sequence: Tensor, totals: BatchTotals) -> Tensor:
    """Return 1 / (max_tokens · completions of the batch): no bias by length (Dr. GRPO, arXiv 2503.20783)."""
    scale = 1 / (max(1, totals.num_sequences) * totals.max_tokens)
    return torch.full(sequence.shape, scale, dtype=torch.float64, device=sequence.device)


AGGREGATIONS: dict[str, Callable[[Tensor, Tensor, BatchTotals], Tensor]] = {
    "token": token_mean,
    "sequence": sequence_mean,
    "constant": constant,
}


def token_weights(
    lengths: Tensor, sequence: Tensor, trained: Tensor, totals: BatchTotals, *, aggregation: str
) -> Tensor:
    """Return the weight of each token of a micro-batch in the batch's loss, [num_tokens] float64.

    Args:
        lengths: [num_sequences] int64, number of tokens of each of the micro-batch's completions.
        trained: [num_sequences] bool; False for fillers and masked completions, whose tokens weigh 0.
    """
    weights = AGGREGATIONS[aggregation](lengths, sequence, totals)
    return torch.where(trained[sequence], weights, 0.0)


# --- the loss -----------------------------------------------------------------------------------------


def policy_loss(
    logprobs: Tensor,
    *,
    old_logprobs: Tensor,
    rollout_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    entropy: Tensor | None,
    advantages: Tensor,
    weights: Tensor,
    sequence: Tensor,
    num_sequences: int,
    config: GrpoConfig,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one micro-batch, by the formula at the top of this file, and its sums for the metrics.

    Args:
        logprobs: of the current policy, with gradient.
        old_logprobs: of the policy before this batch's first optimiser step, without gradient. With one optimiser
            step per batch they are `logprobs`, detached.
        rollout_logprobs: the engine's, for importance weights.
        ref_logprobs: of the start policy; None if there is no KL.
        entropy: at each token; with gradient if `config.entropy_coef` is above 0.
        advantages: each token's, which is its completion's.
        weights: from `token_weights`.

    Returns:
        The micro-batch's part of the loss (a sum), and sums over its tokens of positive weight: `tokens`,
        `clipped_low`, `clipped_high`, `importance`, and if given `kl` (with the loss's estimator, else k3) and
        `entropy`.
    """
    real = weights > 0

    def known(values: Tensor) -> Tensor:  # a filler may hold -inf, and 0 · inf is NaN, also in a gradient
        return torch.where(real, values, 0.0)

    def total(values: Tensor) -> Tensor:
        return torch.where(real, values.detach(), 0.0).sum()

    logprobs, old_logprobs = known(logprobs), known(old_logprobs)
    ratio = RATIOS[config.ratio](logprobs - old_logprobs, sequence, num_sequences)
    objective, low, high = clipped_objective(
        ratio, advantages, clip_low=config.clip_low, clip_high=config.clip_high
    )
    staleness = old_logprobs - known(rollout_logprobs)
    importance = IMPORTANCE[config.importance](staleness, sequence, num_sequences, config.importance_cap)
    per_token = -importance * objective
    sums = {"tokens": total(torch.ones_like(logprobs)), "importance": total(importance)}
    sums |= {"clipped_low": total(low.to(logprobs)), "clipped_high": total(high.to(logprobs))}
    if ref_logprobs is not None:
        in_loss = config.kl_in == "loss"
        divergence = KL_ESTIMATES[config.kl_estimator if in_loss else "k3"](logprobs, known(ref_logprobs))
        sums["kl"] = total(divergence)
        if in_loss:
            per_token = per_token + config.kl_coef * divergence
    if entropy is not None:
        sums["entropy"] = total(entropy)
    if config.entropy_coef > 0:
        assert entropy is not None
        per_token = per_token - config.entropy_coef * known(entropy)
    return (per_token * weights.to(per_token)).sum(), sums


def logprob_gap(logprobs: Tensor, rollout_logprobs: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return how much the learner's logprobs differ from the engine's on the same tokens.

    Args:
        mask: [num_tokens] bool, the tokens to compare.

    Returns:
        Sums over these tokens of |difference| (`logprob_gap`) and of the k3 estimate of KL(rollout || learner)
        (`logprob_gap_k3`), and the largest |difference| (`max_logprob_gap`). NaN if any of their logprobs is NaN.
    """
    ours = torch.where(mask, logprobs.detach(), 0.0)
    theirs = torch.where(mask, rollout_logprobs, 0.0)
    gap = (ours - theirs).abs()
    return {
        "logprob_gap": gap.sum(),
        "logprob_gap_k3": k3(theirs, ours).sum(),
        "max_logprob_gap": gap.max() if len(gap) else gap.new_zeros(()),
    }
