"""The policy under DeepSpeed: one update from a batch of scored groups, checkpoints, its weights."""

import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learner.algorithm.advantages import batch_advantages, trains
from learner.algorithm.loss import (
    KL_ESTIMATES,
    BatchTotals,
    logprob_gap,
    policy_loss,
    sum_per_sequence,
    token_weights,
)
from learner.algorithm.parity import Gap, largest_gap, raise_if_apart
from learner.algorithm.schedule import lr_factor
from learner.batch import MicroBatch, Plan, TrainingGroup, micro_batch, plan_micro_batches
from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.lora import (
    adapted_layers,
    adapter_parameters,
    add_adapters,
    base_name,
    merged_weight,
    without_adapters,
)
from learner.modeling.policy_model import ModelSpec, PolicyModel, VideoFeatures, load_model


def deepspeed_config(config: LearnerConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration for ours. Batch sizes are 1: we count micro-batches ourselves."""
    zero: dict[str, Any] = {"stage": config.zero_stage, "overlap_comm": False}
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }


def build_in_this_environment() -> None:
    """Where DeepSpeed builds a kernel at its first use: with this environment's ninja, into its folder.

    Another version of ninja, or another environment that shares the folder, would build it anew; and a build
    that was killed leaves a lock there on which every later one waits.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(Path(sys.prefix) / "torch_extensions"))


@dataclass(frozen=True)
class Prepared:
    """A micro-batch on the device, with what is known of it before the update."""

    batch: MicroBatch
    features: VideoFeatures | None  # of a frozen vision tower
    ref_logprobs: Tensor | None  # [num_tokens] of the start policy
    old_logprobs: Tensor | None  # [num_tokens] None: those of the update itself, detached


class DeepSpeedPolicy:
    """One rank's part of the policy. Every method is a collective: all ranks call it together.

    Args:
        spec: the model to start from.
        reference_path: the start policy's folder; loaded only where the KL has a weight and no adapters are
            trained (without its adapters the policy is its own reference).
        total_steps: of the run, for the learning rate's schedule.
        max_tokens: the longest completion the sampler allows.
        shares_gpu: an engine wakes up on this GPU after every update, and needs its memory.
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
        build_in_this_environment()
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
            # While this object lives, from_pretrained shards each weight as it is read.
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
        self.engine, *_ = deepspeed.initialize(model=policy, optimizer=optimizer, config=ds_config)
        self._reference: Any = None
        if grpo.kl_coef > 0 and config.lora is None:
            start = load_model(replace(spec, path=reference_path), packed=config.shared_prefix)
            reference = PolicyModel(start, spec, shared_prefix=config.shared_prefix).eval()
            reference.requires_grad_(False)
            kept = {name: v for name, v in ds_config["zero_optimization"].items() if name == "offload_param"}
            ref_config = ds_config | {
                "zero_optimization": kept | {"stage": 3 if config.zero_stage == 3 else 0}
            }
            self._reference, *_ = deepspeed.initialize(model=reference, config=ref_config)

    def update(self, groups: Sequence[TrainingGroup], *, step: int) -> dict[str, float]:
        """Train on a batch: `updates_per_batch` optimiser steps, one by default.

        Args:
            groups: the whole batch, the same on every rank; the rank takes its share.
            step: of the run, from 0: the version of the policy that is updated.

        Returns:
            The batch's metrics, the same on every rank.

        Raises:
            ParityError: on every rank, before the optimiser steps, where `max_logprob_gap` is exceeded.
            FloatingPointError: on every rank, where the gradient is not finite.
        """
        try:
            return self._update(groups, step)
        finally:
            if self._shares_gpu:
                torch.cuda.empty_cache()

    def _update(self, groups: Sequence[TrainingGroup], step: int) -> dict[str, float]:
        plans = self._plans(groups)
        # What advantages or clipping need of all micro-batches is read before the first update; else one by one.
        read = list if self.grpo.kl_in_reward or len(plans) > 1 else iter
        prepared = [
            # The policy of the first update is the one before it: its logprobs are the old ones, at no cost.
            read(self._prepare(groups, plan, needs_old=part > 0) for plan in own)
            for part, own in enumerate(plans)
        ]
        kl = self._completion_kl(groups, prepared) if self.grpo.kl_in_reward else None
        advantages = batch_advantages(groups, self.grpo, max_tokens=self._max_tokens, completion_kl=kl)
        gaps = [gap for own in prepared[1:] for item in own for gap in self._gaps(item, None, groups, step)]
        self._set_learning_rate(step)
        sums: dict[str, Tensor] = {}
        for part, own in enumerate(prepared):
            totals = self._totals(groups[part :: len(plans)])
            for index, item in enumerate(own):
                self.engine.set_gradient_accumulation_boundary(index == len(plans[part]) - 1)
                logprobs, step_sums = self._backward(item, groups, advantages, totals)
                _accumulate(sums, step_sums)
                if part == 0:
                    gaps += self._gaps(item, logprobs, groups, step)
            if part == 0:
                raise_if_apart(gaps, groups, limit=self.config.max_logprob_gap)
            self.engine.step()
        return self._metrics(sums)

    def _gaps(
        self, item: Prepared, logprobs: Tensor | None, groups: Sequence[TrainingGroup], step: int
    ) -> list[Gap]:
        if self.config.max_logprob_gap is None:
            return []
        before = item.old_logprobs if logprobs is None else logprobs
        assert before is not None
        return largest_gap(item.batch, before, groups, version=step)

    def _plans(self, groups: Sequence[TrainingGroup]) -> list[list[Plan]]:
        """This rank's micro-batches, for each update of the batch."""
        parts = self.grpo.updates_per_batch
        made = []
        for part in range(parts):
            chosen = self._trained(groups, range(part, len(groups), parts))
            ranks = plan_micro_batches(
                [groups[index] for index in chosen],
                max_tokens=self.config.max_micro_batch_tokens,
                shared_prefix=self.config.shared_prefix,
                world_size=self.world_size,
            )
            made.append([plan.of_groups(chosen) for plan in ranks[self.rank]])
        return made

    def _trained(self, groups: Sequence[TrainingGroup], indices: Sequence[int]) -> list[int]:
        """Groups that add to the gradient: where nothing but advantages does, one without spread does not.

        They count in the batch all the same, so the update is what it would be with them. At least one group a
        rank is left, since all ranks take part in every forward.
        """
        grpo = self.grpo
        if grpo.entropy_coef > 0 or (grpo.kl_coef > 0 and grpo.kl_in == "loss"):
            return list(indices)
        spread = [i for i in indices if trains(groups[i], grpo, max_tokens=self._max_tokens)]
        others = [i for i in indices if i not in set(spread)]
        return sorted(spread + others[: max(0, self.world_size - len(spread))])

    def _prepare(self, groups: Sequence[TrainingGroup], plan: Plan, *, needs_old: bool) -> Prepared:
        batch = micro_batch(groups, plan).to(self.device)
        with torch.no_grad():
            features = self.engine.module.video_features(batch) if self._vision_frozen else None
            reference = None
            if self._reference is not None:  # its vision tower is the policy's only where that is frozen
                reference = self._reference(batch, features)[0]
            elif self.grpo.kl_coef > 0:
                with without_adapters(self.engine.module.model):
                    reference = self.engine(batch, features)[0]
            old = self.engine(batch, features)[0] if needs_old else None
        return Prepared(batch, features, reference, old)

    def _backward(
        self,
        item: Prepared,
        groups: Sequence[TrainingGroup],
        advantages: Sequence[Sequence[float]],
        totals: BatchTotals,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add a micro-batch's gradient; the policy's logprobs before the update [num_tokens], and metric sums."""
        batch, grpo = item.batch, self.grpo
        logprobs, entropy = self.engine(batch, item.features, entropy_grad=grpo.entropy_coef > 0)
        before = logprobs.detach() if item.old_logprobs is None else item.old_logprobs
        trained = [not batch.filler and self._trains(groups[g].truncated[n]) for g, n in batch.origin]
        per_sequence = torch.tensor([advantages[g][n] for g, n in batch.origin], device=self.device)
        loss, sums = policy_loss(
            logprobs,
            old_logprobs=before,
            rollout_logprobs=batch.rollout_logprobs,
            ref_logprobs=item.ref_logprobs,
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
        # DeepSpeed averages gradients over ranks; ours are parts of one sum.
        self.engine.backward(loss * self.world_size)
        sums["loss"] = loss.detach()
        read = torch.full_like(before, not batch.filler, dtype=torch.bool)
        sums["read"] = read.sum()
        return before, sums | logprob_gap(before, batch.rollout_logprobs, read)

    def _trains(self, truncated: bool) -> bool:
        return not (truncated and self.grpo.mask_truncated)

    def _totals(self, groups: Sequence[TrainingGroup]) -> BatchTotals:
        lengths = [
            length
            for group in groups
            for length, cut in zip(group.lengths, group.truncated, strict=True)
            if self._trains(cut)
        ]
        return BatchTotals(sum(lengths), len(lengths), self._max_tokens)

    def _completion_kl(
        self, groups: Sequence[TrainingGroup], prepared: Sequence[Iterable[Prepared]]
    ) -> list[list[float]]:
        """Per group and completion, the KL of its tokens to the reference, summed: known to every rank."""
        starts = list(accumulate((len(group.completions) for group in groups), initial=0))
        found = torch.zeros(starts[-1], device=self.device)
        for item in (item for own in prepared for item in own if not item.batch.filler):
            assert item.ref_logprobs is not None
            batch = item.batch
            # The rollout's own logprobs: the KL is of what was sampled.
            kl = KL_ESTIMATES[self.grpo.kl_estimator](batch.rollout_logprobs, item.ref_logprobs)
            places = torch.tensor([starts[group] + n for group, n in batch.origin], device=self.device)
            found[places] = sum_per_sequence(kl, batch.sequence, len(batch.lengths))
        dist.all_reduce(found)
        values = found.tolist()
        return [values[start:end] for start, end in pairwise(starts)]

    def _set_learning_rate(self, step: int) -> None:
        factor = lr_factor(step, total_steps=self._total_steps, config=self.config.schedule)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor

    def _metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Sums over all ranks to means per token."""
        largest = sums.pop("max_logprob_gap")
        names = sorted(sums)
        totals = torch.stack([sums[name].double() for name in names])
        dist.all_reduce(totals)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        total = dict(zip(names, totals.tolist(), strict=True))
        grad_norm = float(self.engine.get_global_grad_norm())
        if not math.isfinite(grad_norm):
            raise FloatingPointError(
                f"the gradient's norm is {grad_norm}: the weights are spoilt, and the learner goes back to its last "
                "checkpoint. If it comes again, lower learner.learning_rate."
            )
        read, tokens = total["read"], max(1.0, total["tokens"])  # all may be masked out
        kl = {"policy/kl": total["kl"] / tokens} if "kl" in total else {}
        return kl | {
            "policy/loss": total["loss"] / self.grpo.updates_per_batch,
            "policy/entropy": total["entropy"] / tokens,
            "policy/clip_low_share": total["clipped_low"] / tokens,
            "policy/clip_high_share": total["clipped_high"] / tokens,
            "policy/importance": total["importance"] / tokens,
            "policy/grad_norm": grad_norm,
            "policy/learning_rate": float(self.engine.get_lr()[0]),
            "policy/logprob_gap_mean": total["logprob_gap"] / read,
            "policy/logprob_gap_max": float(largest),
            "policy/logprob_gap_k3": total["logprob_gap_k3"] / read,
            "policy/tokens": tokens,
        }

    def save(self, folder: Path) -> None:
        """Write this rank's shard of weights and optimiser state under `folder`; not what stays the start model's."""
        self.engine.save_checkpoint(
            str(folder), tag="policy", exclude_frozen_parameters=self.config.trains_in_part
        )

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote, with the same number of ranks and ZeRO stage."""
        path, _ = self.engine.load_checkpoint(
            str(folder), tag="policy", load_module_strict=not self.config.trains_in_part
        )
        if path is None:
            raise ValueError(f"{folder}: holds no checkpoint of the policy; was it written completely?")

    def named_parameters(self, *, trained_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Full parameters by the start model's names, one at a time, adapters merged.

        ZeRO-3 gathers each: a collective.
        """
        import deepspeed

        for name, parameter, layer in self._pushed(trained_only=trained_only):
            needed = [parameter] if layer is None else adapter_parameters(layer)
            sharded = self.config.zero_stage == 3
            with deepspeed.zero.GatheredParameters(needed) if sharded else nullcontext():
                yield name, parameter.data if layer is None else merged_weight(layer)

    def parameter_shapes(
        self, *, trained_only: bool = False
    ) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """(name, dtype, full shape) in the order of `named_parameters`, without gathering."""
        return [
            (name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape)))
            for name, parameter, _ in self._pushed(trained_only=trained_only)
        ]

    def _pushed(self, *, trained_only: bool) -> Iterator[tuple[str, Tensor, Any]]:
        """(start model's name, parameter, its layer where that has an adapter)."""
        model = self.engine.module.model
        layers = adapted_layers(model) if self.config.lora is not None else {}
        for name, parameter in model.named_parameters():
            plain = base_name(name)
            if plain is None:
                continue
            layer = layers.get(plain)
            if not trained_only or layer is not None or parameter.requires_grad:
                yield plain, parameter, layer


def _accumulate(total: dict[str, Tensor], part: dict[str, Tensor]) -> None:
    for name, value in part.items():
        if name not in total:
            total[name] = value
        else:
            total[name] = (
                torch.maximum(total[name], value) if name.startswith("max_") else total[name] + value
            )
