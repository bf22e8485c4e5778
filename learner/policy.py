"""The policy under DeepSpeed: one step on a batch of scored groups, and its checkpoints.

`DeepSpeedPolicy._update` reads as the recipe of a step. It calls pure functions of `learner/algorithm/` (advantages,
loss, parity, learning rate, metrics) and `learner/batch.py` (micro-batches). `learner/modeling/` loads the model
(`loading.py`) and gives its full parameters to pushes (`policy_weights.py`).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from learner.algorithm.advantages import batch_advantages, has_training_signal
from learner.algorithm.loss import (
    KL_ESTIMATES,
    BatchTotals,
    logprob_gap,
    policy_loss,
    sum_per_sequence,
    token_weights,
)
from learner.algorithm.metrics import add_sums, update_metrics
from learner.algorithm.parity import ParityCheck
from learner.algorithm.schedule import lr_factor
from learner.batch import MicroBatch, MicroBatchPlan, pack_micro_batch, plan_micro_batches
from learner.commands import TrainingGroup
from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.loading import load_policy
from learner.modeling.lora import without_adapters
from learner.modeling.policy_model import ModelSpec, VideoFeatures
from learner.modeling.policy_weights import PolicyWeights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedMicroBatch:
    """A micro-batch on the device, with everything that is computed before its forward pass with gradient."""

    batch: MicroBatch
    features: VideoFeatures | None  # outputs of a frozen vision tower; None: the tower is trained
    ref_logprobs: Tensor | None  # [num_tokens], of the start policy; None: there is no KL
    old_logprobs: Tensor | None  # [num_tokens]; None: those of the forward pass with gradient, detached


@dataclass(frozen=True)
class OptimiserStep:
    """One of the `updates_per_batch` optimiser steps on a batch."""

    plans: Sequence[MicroBatchPlan]  # this rank's micro-batches
    totals: BatchTotals  # counts over all ranks


class DeepSpeedPolicy:
    """One rank's part of the policy. Every method is a collective: all ranks call it together.

    Args:
        spec: the model to start from.
        reference_path: folder of the start policy. It is loaded only if the KL has a weight and no adapters are
            trained: a policy with its adapters disabled is the start policy.
        total_steps: number of steps of the run, for the learning rate's schedule.
        max_tokens: longest completion that an engine may generate, tokens.
        shares_gpus: whether an engine wakes up on this GPU after every update and needs its memory.

    Attributes:
        weights: the full parameters, for pushes.
    """

    def __init__(
        self,
        spec: ModelSpec,
        config: LearnerConfig,
        grpo: GrpoConfig,
        *,
        device: str,
        reference_path: str,
        total_steps: int,
        max_tokens: int,
        shares_gpus: bool = False,
    ) -> None:
        self.spec, self.config, self.grpo = spec, config, grpo
        self._total_steps, self._max_tokens, self._shares_gpus = total_steps, max_tokens, shares_gpus
        self.device = (
            torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")
        )
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        needs_reference = grpo.kl_coef > 0 and config.lora is None
        self._loaded = load_policy(
            spec, config, device=device, reference_path=reference_path if needs_reference else None
        )
        self.engine, self._reference = self._loaded.engine, self._loaded.reference
        model = self.engine.module.model
        self._vision_frozen = not any(p.requires_grad for p in model.model.visual.parameters())
        self.weights = PolicyWeights(model, config, rank=self.rank, device=self.device)
        logger.info(
            "loaded the policy from %s: rank %d of %d on %s, ZeRO stage %d, %s reference model",
            spec.path,
            self.rank,
            self.world_size,
            self.device,
            config.zero_stage,
            "with a" if self._reference is not None else "without a",
        )

    def update(self, groups: Sequence[TrainingGroup], *, step: int) -> dict[str, float]:
        """Train on a batch: `updates_per_batch` optimiser steps, one by default.

        Args:
            groups: the whole batch, the same on every rank; each rank trains its share.
            step: number of the step, from 0, which is the version of the policy before the update.

        Returns:
            The batch's metrics, the same on every rank.

        Raises:
            ParityError: on every rank, before the first optimiser step, if a group exceeds `max_logprob_gap`.
            FloatingPointError: on every rank, if a gradient is not finite.
        """
        try:
            return self._update(groups, step)
        finally:
            if self._shares_gpus:
                torch.cuda.empty_cache()

    def _update(self, groups: Sequence[TrainingGroup], step: int) -> dict[str, float]:
        parity = ParityCheck(groups, version=step, limit=self.config.max_logprob_gap)
        updates = self._optimiser_steps(groups)
        # Later optimiser steps need old logprobs from before the first one, and a KL in the reward must be known before
        # the advantages. Otherwise each micro-batch is prepared in its turn, to save memory.
        ahead = None
        if self.grpo.kl_in_reward or len(updates) > 1:
            ahead = self._prepare_ahead(groups, updates)
            for prepared in chain.from_iterable(ahead[1:]):
                assert prepared.old_logprobs is not None
                parity.add(prepared.batch, prepared.old_logprobs)
        completion_kl = self._completion_kl(groups, ahead) if ahead and self.grpo.kl_in_reward else None
        advantages = batch_advantages(
            groups, self.grpo, max_tokens=self._max_tokens, completion_kl=completion_kl
        )
        self._set_learning_rate(step)
        sums: dict[str, Tensor] = {}
        grad_norm = 0.0
        for number, update in enumerate(updates):
            for index, plan in enumerate(update.plans):
                micro_batch = ahead[number][index] if ahead else self._prepare(groups, plan)
                self.engine.set_gradient_accumulation_boundary(index == len(update.plans) - 1)
                old_logprobs, part = self._backward(micro_batch, groups, advantages, update.totals)
                add_sums(sums, part)
                if number == 0:
                    parity.add(micro_batch.batch, old_logprobs)
            if number == 0:  # all old logprobs of the batch are known now
                parity.raise_if_exceeded()
            self.engine.step()
            grad_norm = float(self.engine.get_global_grad_norm())
            _check_finite(grad_norm)
        return self._metrics(sums, grad_norm)

    def _optimiser_steps(self, groups: Sequence[TrainingGroup]) -> list[OptimiserStep]:
        """Divide a batch over its optimiser steps, and their groups over ranks and micro-batches."""
        num_updates = self.grpo.updates_per_batch
        return [
            OptimiserStep(
                self._plan(groups, range(number, len(groups), num_updates)),
                self._totals(groups[number::num_updates]),
            )
            for number in range(num_updates)
        ]

    def _plan(self, groups: Sequence[TrainingGroup], indices: Sequence[int]) -> list[MicroBatchPlan]:
        """Return this rank's micro-batches of the groups at `indices`."""
        chosen = self._with_gradient(groups, indices)
        ranks = plan_micro_batches(
            [groups[index] for index in chosen],
            max_tokens=self.config.max_micro_batch_tokens,
            shared_prefix=self.config.shared_prefix,
            world_size=self.world_size,
        )
        return [plan.of_groups(chosen) for plan in ranks[self.rank]]

    def _with_gradient(self, groups: Sequence[TrainingGroup], indices: Sequence[int]) -> list[int]:
        """Return the indices of groups that add to the gradient, and at least one group per rank.

        A group without spread adds nothing unless the loss has a KL or an entropy term. It still counts in the
        batch's totals, so the update is the same as with it. Every rank needs a group, because all ranks take part
        in every forward pass.
        """
        grpo = self.grpo
        if grpo.entropy_coef > 0 or (grpo.kl_coef > 0 and grpo.kl_in == "loss"):
            return list(indices)
        spread = [i for i in indices if has_training_signal(groups[i], grpo, max_tokens=self._max_tokens)]
        others = [i for i in indices if i not in set(spread)]
        return sorted(spread + others[: max(0, self.world_size - len(spread))])

    def _prepare_ahead(
        self, groups: Sequence[TrainingGroup], updates: Sequence[OptimiserStep]
    ) -> list[list[PreparedMicroBatch]]:
        """Prepare the micro-batches of all optimiser steps; return one list for each.

        The first optimiser step starts from the old policy, so its forward pass with gradient gives the old logprobs.
        """
        return [
            [self._prepare(groups, plan, needs_old=number > 0) for plan in update.plans]
            for number, update in enumerate(updates)
        ]

    def _prepare(
        self, groups: Sequence[TrainingGroup], plan: MicroBatchPlan, *, needs_old: bool = False
    ) -> PreparedMicroBatch:
        batch = pack_micro_batch(groups, plan).to(self.device)
        with torch.no_grad():
            features = self.engine.module.video_features(batch) if self._vision_frozen else None
            reference = None
            # The reference may share `features`, because they exist only if the vision tower is frozen.
            if self._reference is not None:
                reference = self._reference(batch, features)[0]
            elif self.grpo.kl_coef > 0:
                with without_adapters(self.engine.module.model):
                    reference = self.engine(batch, features)[0]
            old = self.engine(batch, features)[0] if needs_old else None
        return PreparedMicroBatch(batch, features, reference, old)

    def _backward(
        self,
        prepared: PreparedMicroBatch,
        groups: Sequence[TrainingGroup],
        advantages: Sequence[Sequence[float]],
        totals: BatchTotals,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add a micro-batch's gradient; return old logprobs [num_tokens], and sums for the metrics."""
        batch, grpo = prepared.batch, self.grpo
        logprobs, entropy = self.engine(batch, prepared.features, entropy_grad=grpo.entropy_coef > 0)
        old_logprobs = logprobs.detach() if prepared.old_logprobs is None else prepared.old_logprobs
        trained = [not batch.filler and self._is_trained(groups[g].truncated[n]) for g, n in batch.origin]
        per_sequence = torch.tensor([advantages[g][n] for g, n in batch.origin], device=self.device)
        loss, sums = policy_loss(
            logprobs,
            old_logprobs=old_logprobs,
            rollout_logprobs=batch.rollout_logprobs,
            ref_logprobs=prepared.ref_logprobs,
            entropy=entropy,
            advantages=per_sequence[batch.sequence],
            weights=token_weights(
                batch.lengths,
                batch.sequence,
                torch.tensor(trained, device=self.device),
                totals,
                aggregation=grpo.aggregation,
            ),
            sequence=batch.sequence,
            num_sequences=len(batch.lengths),
            config=grpo,
        )
        # DeepSpeed averages gradients over ranks, but ours are parts of one sum.
        self.engine.backward(loss * self.world_size)
        compared = torch.full_like(old_logprobs, not batch.filler, dtype=torch.bool)
        sums |= {"loss": loss.detach(), "compared_tokens": compared.sum()}
        return old_logprobs, sums | logprob_gap(old_logprobs, batch.rollout_logprobs, compared)

    def _is_trained(self, truncated: bool) -> bool:
        return not (truncated and self.grpo.mask_truncated)

    def _totals(self, groups: Sequence[TrainingGroup]) -> BatchTotals:
        """Count the tokens and completions that are trained."""
        lengths = [
            length
            for group in groups
            for length, cut in zip(group.lengths, group.truncated, strict=True)
            if self._is_trained(cut)
        ]
        return BatchTotals(sum(lengths), len(lengths), self._max_tokens)

    def _completion_kl(
        self, groups: Sequence[TrainingGroup], micro_batches: Sequence[Sequence[PreparedMicroBatch]]
    ) -> list[list[float]]:
        """Return each completion's KL to the reference, summed over its tokens, by group. The same on every rank."""
        starts = list(accumulate((len(group.completions) for group in groups), initial=0))
        found = torch.zeros(starts[-1], device=self.device)
        for prepared in chain.from_iterable(micro_batches):
            batch = prepared.batch
            if batch.filler:
                continue
            assert prepared.ref_logprobs is not None
            # The KL is that of the policy that generated the completions, so it uses the rollout's logprobs.
            kl = KL_ESTIMATES[self.grpo.kl_estimator](batch.rollout_logprobs, prepared.ref_logprobs)
            indices = torch.tensor([starts[group] + n for group, n in batch.origin], device=self.device)
            found[indices] = sum_per_sequence(kl, batch.sequence, len(batch.lengths))
        dist.all_reduce(found)
        values = found.tolist()
        return [values[start:end] for start, end in pairwise(starts)]

    def _set_learning_rate(self, step: int) -> None:
        factor = lr_factor(step, total_steps=self._total_steps, config=self.config.schedule)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor

    def _metrics(self, sums: dict[str, Tensor], grad_norm: float) -> dict[str, float]:
        """Reduce the sums over all ranks and return the batch's metrics."""
        largest = sums.pop("max_logprob_gap")
        names = sorted(sums)
        totals = torch.stack([sums[name].double() for name in names])
        dist.all_reduce(totals)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return update_metrics(
            dict(zip(names, totals.tolist(), strict=True)) | {"max_logprob_gap": float(largest)},
            updates_per_batch=self.grpo.updates_per_batch,
            grad_norm=grad_norm,
            learning_rate=float(self.engine.get_lr()[0]),
        )

    def save(self, folder: Path) -> None:
        """Write this rank's shard of trained weights and optimiser state under `folder`, without frozen weights."""
        self.engine.save_checkpoint(
            str(folder), tag="policy", exclude_frozen_parameters=self.config.trains_in_part
        )

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, with the same number of ranks and the same ZeRO stage.

        Raises:
            ValueError: the folder holds no checkpoint.
        """
        path, _ = self.engine.load_checkpoint(
            str(folder), tag="policy", load_module_strict=not self.config.trains_in_part
        )
        if path is None:
            raise ValueError(
                f"{folder}: holds no complete checkpoint of the policy. Use an earlier checkpoint."
            )


def _check_finite(grad_norm: float) -> None:
    if not math.isfinite(grad_norm):
        raise FloatingPointError(
            f"the gradient's norm is {grad_norm}: the update is corrupt; restarting from the last checkpoint. If "
            "it recurs, lower learner.learning_rate."
        )
