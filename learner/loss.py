"""The clipped policy loss, its KL term and what is measured beside them. Pure torch.

All tensors are [num_completions, completion_length] unless said otherwise; `mask` is 1.0 on real tokens.
Losses are sums divided by `normaliser`, the number of completion tokens of the whole batch over all ranks
and micro-batches, so that any split of a batch adds up to the same gradient.
"""

import torch
from torch import Tensor


def token_logprobs(
    logits: Tensor, token_ids: Tensor, *, temperature: float, forbidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the tokens that were sampled, and the entropy at their positions.

    The distribution is the sampler's: logits over temperature, forbidden ids at probability 0.

    Args:
        logits: [num_completions, completion_length, vocab_size], any float type.
        token_ids: [num_completions, completion_length] int64.
        temperature: above 0.
        forbidden: [num_forbidden] int64 ids.

    Returns:
        (logprobs with gradient, entropy without), nats, float32.
    """
    scaled = (logits.float() / temperature).index_fill(-1, forbidden, float("-inf"))
    log_distribution = scaled.log_softmax(dim=-1)
    logprobs = log_distribution.gather(-1, token_ids.unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        probabilities = log_distribution.exp()
        # 0 * -inf is NaN; a forbidden token adds nothing to the entropy.
        entropy = -(probabilities * log_distribution.masked_fill(probabilities == 0, 0.0)).sum(-1)
    return logprobs, entropy


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(policy || reference) per token: r - 1 - log r, r = ref / policy. At least 0."""
    log_ratio = ref_logprobs - logprobs
    return log_ratio.exp() - 1 - log_ratio


def clipped_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ref_logprobs: Tensor | None,
    clip_low: float,
    clip_high: float,
    kl_coef: float,
    normaliser: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped objective (arXiv 1707.06347, eq. 7) plus `kl_coef` times k3, as GRPO adds them.

    Args:
        logprobs: of the current policy, with gradient.
        old_logprobs: of the policy before this batch's first update.
        advantages: [num_completions], one per completion.
        mask: 1.0 on completion tokens (the end-of-turn token included), 0.0 on padding.
        ref_logprobs: of the start policy; needed when `kl_coef` is above 0.
        normaliser: completion tokens of the whole batch.

    Returns:
        The scalar loss, and sums over this micro-batch's tokens: `kl`, `clipped`.
    """
    ratio = (logprobs - old_logprobs).exp()
    clipped_ratio = ratio.clamp(1 - clip_low, 1 + clip_high)
    token_advantages = advantages.unsqueeze(-1)
    per_token = -torch.minimum(ratio * token_advantages, clipped_ratio * token_advantages)
    with torch.no_grad():
        # Clipping acts only where it lowers the objective: a good token already likelier, or a bad one rarer.
        acts = (clipped_ratio * token_advantages < ratio * token_advantages).float()
        sums = {"clipped": (acts * mask).sum(), "kl": torch.zeros((), device=logprobs.device)}
    if ref_logprobs is not None:
        divergence = k3(logprobs, ref_logprobs)
        per_token = per_token + kl_coef * divergence
        sums["kl"] = (divergence.detach() * mask).sum()
    return (per_token * mask).sum() / normaliser, sums
