"""Flat batches of completions in float64 with everything that `learner.algorithm.loss` takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learner.algorithm.loss import BatchTotals, policy_loss, token_weights
from learner.config import GrpoConfig

MAX_TOKENS = 7


@dataclass(frozen=True)
class FlatBatch:
    """Completions one after the other; `trained` and `advantages` have one value per completion, the rest per token."""

    lengths: Tensor
    trained: Tensor
    advantages: Tensor
    logprobs: Tensor
    old_logprobs: Tensor
    rollout_logprobs: Tensor
    ref_logprobs: Tensor
    entropy: Tensor

    @property
    def sequence(self) -> Tensor:
        return torch.arange(len(self.lengths)).repeat_interleave(self.lengths)

    @property
    def totals(self) -> BatchTotals:
        trained = self.lengths[self.trained]
        return BatchTotals(int(trained.sum()), len(trained), MAX_TOKENS)

    def part(self, completions: Sequence[int]) -> "FlatBatch":
        """Return these completions alone, in this order; gradients flow back into the whole batch."""
        tokens = torch.cat([torch.nonzero(self.sequence == index).squeeze(1) for index in completions])
        rows = list(completions)
        return FlatBatch(
            self.lengths[rows],
            self.trained[rows],
            self.advantages[rows],
            self.logprobs[tokens],
            self.old_logprobs[tokens],
            self.rollout_logprobs[tokens],
            self.ref_logprobs[tokens],
            self.entropy[tokens],
        )

    def loss(
        self, config: GrpoConfig, totals: BatchTotals, *, with_reference: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of these completions as a part of a batch with `totals`."""
        weights = token_weights(
            self.lengths, self.sequence, self.trained, totals, aggregation=config.aggregation
        )
        return policy_loss(
            self.logprobs,
            old_logprobs=self.old_logprobs,
            rollout_logprobs=self.rollout_logprobs,
            ref_logprobs=self.ref_logprobs if with_reference else None,
            entropy=self.entropy,
            advantages=self.advantages[self.sequence],
            weights=weights,
            sequence=self.sequence,
            num_sequences=len(self.lengths),
            config=config,
        )

    def padded(self, values: Tensor) -> Tensor:
        """Return per-token values as [num_sequences, MAX_TOKENS], padded with 0, as other trainers have them."""
        rows = []
        for row in values.split(self.lengths.tolist()):
            rows.append(torch.cat([row, row.new_zeros(MAX_TOKENS - len(row))]))
        return torch.stack(rows)


def random_batch(seed: int, *, num_sequences: int = 6, drift: float = 0.4, stale: float = 0.4) -> FlatBatch:
    """Return completions of 1 to 7 tokens, so far off policy that both clips and the importance caps act.

    Args:
        drift: standard deviation of new - old logprobs.
        stale: standard deviation of rollout - old logprobs.
    """
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, MAX_TOKENS + 1, (num_sequences,), generator=generator)
    total = int(lengths.sum())

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(total, generator=generator, dtype=torch.float64)

    old = -0.05 - 3 * torch.rand(total, generator=generator, dtype=torch.float64)
    return FlatBatch(
        lengths=lengths,
        trained=torch.ones(num_sequences, dtype=torch.bool),
        advantages=torch.randn(num_sequences, generator=generator, dtype=torch.float64),
        logprobs=(old + noise(drift)).requires_grad_(True),
        old_logprobs=old,
        rollout_logprobs=old + noise(stale),
        ref_logprobs=old + noise(0.3),
        entropy=noise(1.0).abs().requires_grad_(True),
    )


def without(batch: FlatBatch, masked: Sequence[int]) -> FlatBatch:
    """Return the batch with these completions masked, and NaN for all values of their tokens."""
    trained = batch.trained.clone()
    trained[list(masked)] = False
    out = ~trained[batch.sequence]

    def unreadable(values: Tensor) -> Tensor:
        return values.masked_fill(out, float("nan"))

    return replace(
        batch,
        trained=trained,
        logprobs=unreadable(batch.logprobs),
        old_logprobs=unreadable(batch.old_logprobs),
        rollout_logprobs=unreadable(batch.rollout_logprobs),
        ref_logprobs=unreadable(batch.ref_logprobs),
        entropy=unreadable(batch.entropy),
    )
