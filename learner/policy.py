"""The policy under DeepSpeed: one update from a batch of scored groups, its checkpoints, its weights.

`DeepSpeedPolicy._update` is one step, in order. The pieces it is made of are pure: `learner/algorithm/`
(advantages, loss, parity, learning rate, metrics) and `learner/batch.py` (micro-batches).
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

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
from learner.modeling.deepspeed_setup import (
    deepspeed_config,
    import_muon_uncompiled,
    reference_config,
    set_kernel_build_folder,
)
from learner.modeling.lora import (
    adapted_layers,
    adapter_parameters,
    add_adapters,
    base_name,
    merged_weight,
    without_adapters,
)
from learner.modeling.policy_model import ModelSpec, PolicyModel, VideoFeatures, load_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedMicroBatch:
    """A micro-batch on the device, with everything that can be computed before the update."""

    batch: MicroBatch
    features: VideoFeatures | None  # of a frozen vision tower; None: the tower is trained
    ref_logprobs: Tensor | None  # [num_tokens], of the start policy; None: there is no KL
    old_logprobs: Tensor | None  # [num_tokens]; None: the update's own logprobs, detached


@dataclass(frozen=True)
class OptimiserStep:
    """One of the `updates_per_batch` optimiser steps on a batch: this rank's share, and counts of all ranks."""

    micro_batches: Iterable[PreparedMicroBatch]
    num_micro_batches: int
    totals: BatchTotals


class DeepSpeedPolicy:
    """One rank's part of the policy. Every method is a collective: all ranks call it together.

    Args:
        spec: the model to start from.
        reference_path: folder of the start policy. It is loaded only if the KL has a weight and no adapters are
            trained: without its adapters, the policy is its own reference.
        total_steps: number of steps of the run, for the learning rate's schedule.
        max_tokens: longest completion that an engine may generate, tokens.
        shares_gpu: whether an engine wakes up on this GPU after every update and needs its memory.
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
        shares_gpu: bool = False,
    ) -> None:
        if device == "cpu":
            os.environ["DS_ACCELERATOR"] = "cpu"
        set_kernel_build_folder()
        import deepspeed
        from transformers.integrations import HfDeepSpeedConfig

        self.spec, self.config, self.grpo = spec, config, grpo
        self._total_steps, self._max_tokens, self._shares_gpu = total_steps, max_tokens, shares_gpu
        self.device = (
            torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")
        )
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        ds_config = deepspeed_config(config)
        if device == "cuda" and config.zero_stage == 3:
            # While this object exists, from_pretrained shards each weight as it is read.
            self._sharded_loading = HfDeepSpeedConfig(ds_config)
        deepspeed.init_distributed("nccl" if device == "cuda" else "gloo")
        model = load_model(spec, packed=config.shared_prefix)
        if config.freeze_vision:
            model.model.visual.requires_grad_(False)
        if config.lora is not None:
            add_adapters(model, config.lora)
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        policy = PolicyModel(model, spec, shared_prefix=config.shared_prefix).train()
        self._vision_frozen = not any(p.requires_grad for p in model.model.visual.parameters())
        optimizer = torch.optim.AdamW(
            [parameter for parameter in policy.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            betas=config.adam_betas,
            weight_decay=config.weight_decay,
        )
        import_muon_uncompiled()
        self.engine, *_ = deepspeed.initialize(model=policy, optimizer=optimizer, config=ds_config)
        self._reference: Any = None
        if grpo.kl_coef > 0 and config.lora is None:
            start = load_model(replace(spec, path=reference_path), packed=config.shared_prefix)
            reference = PolicyModel(start, spec, shared_prefix=config.shared_prefix).eval()
            reference.requires_grad_(False)
            self._reference, *_ = deepspeed.initialize(model=reference, config=reference_config(config))
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
            ParityError: on every rank, before the first optimiser step, if `max_logprob_gap` is exceeded.
            FloatingPointError: on every rank, if the gradient is not finite.
        """
        try:
            return self._update(groups, step)
        finally:
            if self._shares_gpu:
                torch.cuda.empty_cache()

    def _update(self, groups: Sequence[TrainingGroup], step: int) -> dict[str, float]:
        parity = ParityCheck(groups, version=step, limit=self.config.max_logprob_gap)
        updates = self._optimiser_steps(groups, parity)
        completion_kl = self._completion_kl(groups, updates) if self.grpo.kl_in_reward else None
        advantages = batch_advantages(
            groups, self.grpo, max_tokens=self._max_tokens, completion_kl=completion_kl
        )
        self._set_learning_rate(step)
        sums: dict[str, Tensor] = {}
        for number, update in enumerate(updates):
            for index, micro_batch in enumerate(update.micro_batches):
                self.engine.set_gradient_accumulation_boundary(index == update.num_micro_batches - 1)
                add_sums(sums, self._backward(micro_batch, groups, advantages, update.totals, parity))
            if number == 0:  # all logprobs of policy version `step` are known now
                parity.raise_if_exceeded()
            self.engine.step()
        return self._metrics(sums)

    def _optimiser_steps(self, groups: Sequence[TrainingGroup], parity: ParityCheck) -> list[OptimiserStep]:
        """Divide a batch over its optimiser steps and prepare this rank's micro-batches of each.

        A micro-batch is prepared when the caller reads it, so that the device holds one at a time. All are prepared
        at once where something is needed of them before the first optimiser step: the KL for advantages, or the old
        logprobs of later optimiser steps.
        """
        num_updates = self.grpo.updates_per_batch
        updates = []
        for number in range(num_updates):
            plans = self._plan(groups, range(number, len(groups), num_updates))
            # The first optimiser step starts from the old policy: its own logprobs are the old ones, at no cost.
            prepared = self._prepare_each(groups, plans, parity, needs_old=number > 0)
            updates.append(OptimiserStep(prepared, len(plans), self._totals(groups[number::num_updates])))
        if self.grpo.kl_in_reward or num_updates > 1:
            return [replace(update, micro_batches=list(update.micro_batches)) for update in updates]
        return updates

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

    def _prepare_each(
        self,
        groups: Sequence[TrainingGroup],
        plans: Sequence[MicroBatchPlan],
        parity: ParityCheck,
        *,
        needs_old: bool,
    ) -> Iterator[PreparedMicroBatch]:
        """Yield prepared micro-batches; where they have old logprobs, compare those with the engine's."""
        for plan in plans:
            prepared = self._prepare(groups, plan, needs_old=needs_old)
            if prepared.old_logprobs is not None:
                parity.add(prepared.batch, prepared.old_logprobs)
            yield prepared

    def _prepare(
        self, groups: Sequence[TrainingGroup], plan: MicroBatchPlan, *, needs_old: bool
    ) -> PreparedMicroBatch:
        batch = pack_micro_batch(groups, plan).to(self.device)
        with torch.no_grad():
            features = self.engine.module.video_features(batch) if self._vision_frozen else None
            reference = None
            # `features` are the reference's too: they are given only if the vision tower is frozen.
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
        parity: ParityCheck,
    ) -> dict[str, Tensor]:
        """Add a micro-batch's gradient and return its sums for the metrics."""
        batch, grpo = prepared.batch, self.grpo
        logprobs, entropy = self.engine(batch, prepared.features, entropy_grad=grpo.entropy_coef > 0)
        old_logprobs = prepared.old_logprobs
        if old_logprobs is None:
            old_logprobs = logprobs.detach()
            parity.add(batch, old_logprobs)
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
        return sums | logprob_gap(old_logprobs, batch.rollout_logprobs, compared)

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
        self, groups: Sequence[TrainingGroup], updates: Sequence[OptimiserStep]
    ) -> list[list[float]]:
        """Return the KL to the reference of every completion of every group, summed over its tokens, on every rank."""
        starts = list(accumulate((len(group.completions) for group in groups), initial=0))
        found = torch.zeros(starts[-1], device=self.device)
        for prepared in (item for update in updates for item in update.micro_batches):
            batch = prepared.batch
            if batch.filler:
                continue
            assert prepared.ref_logprobs is not None
            # The KL of the policy that generated the completions, hence with the rollout's logprobs.
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

    def _metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Reduce the sums over all ranks and return the batch's metrics.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        largest = sums.pop("max_logprob_gap")
        names = sorted(sums)
        totals = torch.stack([sums[name].double() for name in names])
        dist.all_reduce(totals)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        grad_norm = float(self.engine.get_global_grad_norm())
        if not math.isfinite(grad_norm):
            raise FloatingPointError(
                f"the gradient's norm is {grad_norm}: the update is corrupt; restarting from the last checkpoint. If "
                "it recurs, lower learner.learning_rate."
            )
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

    def named_parameters(self, *, trained_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yield full parameters under the start model's names, one at a time, with adapters merged.

        Under ZeRO-3 each one is gathered, which is a collective.

        Args:
            trained_only: leave out frozen parameters.
        """
        import deepspeed

        for name, parameter, layer in self._parameters_and_layers(trained_only=trained_only):
            needed = [parameter] if layer is None else adapter_parameters(layer)
            sharded = self.config.zero_stage == 3
            with deepspeed.zero.GatheredParameters(needed) if sharded else nullcontext():
                yield name, parameter.data if layer is None else merged_weight(layer)

    def parameter_shapes(
        self, *, trained_only: bool = False
    ) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Return (name, dtype, full shape) in the order of `named_parameters`, without gathering."""
        return [
            (name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape)))
            for name, parameter, _ in self._parameters_and_layers(trained_only=trained_only)
        ]

    def _parameters_and_layers(self, *, trained_only: bool) -> Iterator[tuple[str, Tensor, Any]]:
        """Yield (start model's name, parameter, its layer if that has an adapter, else None)."""
        model = self.engine.module.model
        layers = adapted_layers(model) if self.config.lora is not None else {}
        for name, parameter in model.named_parameters():
            plain = base_name(name)
            if plain is None:
                continue
            layer = layers.get(plain)
            if not trained_only or layer is not None or parameter.requires_grad:
                yield plain, parameter, layer
