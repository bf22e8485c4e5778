"""The policy under DeepSpeed: one update from a batch of scored groups, checkpoints, its weights."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learner.batch import MicroBatch, TrainingGroup, collate, share_of_rank, split_rows
from learner.config import GrpoConfig, LearnerConfig
from learner.loss import clipped_loss, k3
from learner.model import ModelSpec, completion_logprobs, load_model


def deepspeed_config(config: LearnerConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration for ours. Batch sizes are 1: we count micro-batches ourselves."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "bf16": {"enabled": config.dtype == "bfloat16"},
        "gradient_clipping": config.max_grad_norm,
        "zero_optimization": {"stage": config.zero_stage, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }


class DeepSpeedPolicy:
    """One rank's part of the policy. Every method is a collective: all ranks call it together.

    Args:
        spec: the model to start from.
        reference_path: the start policy's folder; loaded only where the KL has a weight.
    """

    def __init__(
        self, spec: ModelSpec, config: LearnerConfig, grpo: GrpoConfig, *, device: str, reference_path: str
    ) -> None:
        if device == "cpu":
            os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed
        from transformers.integrations import HfDeepSpeedConfig

        self.spec, self.config, self.grpo = spec, config, grpo
        self.device = (
            torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else torch.device("cpu")
        )
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        ds_config = deepspeed_config(config)
        if device == "cuda" and config.zero_stage == 3:
            # While this object lives, from_pretrained shards each weight as it is read.
            self._sharded_loading = HfDeepSpeedConfig(ds_config)
        deepspeed.init_distributed("nccl" if device == "cuda" else "gloo")
        model = load_model(spec, gradient_checkpointing=config.gradient_checkpointing)
        model.train()
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            betas=config.adam_betas,
            weight_decay=config.weight_decay,
        )
        self.engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=ds_config)
        self._reference: Any = None
        if grpo.kl_coef > 0:
            reference = load_model(ModelSpec(**(vars(spec) | {"path": reference_path}))).eval()
            reference.requires_grad_(False)
            stage = 3 if config.zero_stage == 3 else 0
            ref_config = ds_config | {"zero_optimization": {"stage": stage}}
            self._reference, *_ = deepspeed.initialize(model=reference, config=ref_config)

    def update(self, groups: Sequence[TrainingGroup]) -> dict[str, float]:
        """Train on a batch: `updates_per_batch` optimiser steps, one by default.

        Args:
            groups: the whole batch, the same on every rank; the rank takes its share.

        Returns:
            The batch's metrics, the same on every rank.
        """
        parts = self.grpo.updates_per_batch
        sums: dict[str, Tensor] = {}
        chunks = [groups[part::parts] for part in range(parts)]
        prepared = [self._micro_batches(chunk) for chunk in chunks]
        # With one update per batch the policy that is updated is the one before the update: no second pass.
        old = [
            [self._frozen_logprobs(batch) if parts > 1 else None for batch in batches] for batches in prepared
        ]
        for chunk, batches, old_logprobs in zip(chunks, prepared, old, strict=True):
            normaliser = float(sum(group.num_tokens for group in chunk))
            for index, batch in enumerate(batches):
                self.engine.set_gradient_accumulation_boundary(index == len(batches) - 1)
                step_sums = self._backward(batch, normaliser, old_logprobs[index])
                _accumulate(sums, step_sums)
            self.engine.step()
        return self._metrics(sums)

    def _micro_batches(self, groups: Sequence[TrainingGroup]) -> list[MicroBatch]:
        size = self.config.micro_batch_size
        rows = [
            sum(
                len(groups[i].completions)
                for i in share_of_rank(len(groups), rank=rank, world_size=self.world_size)
            )
            for rank in range(self.world_size)
        ]
        count = max(-(-number // size) for number in rows)
        mine = [groups[i] for i in share_of_rank(len(groups), rank=self.rank, world_size=self.world_size)]
        return [
            collate(part, pad_token_id=self.spec.pad_token_id).to(self.device)
            for part in split_rows(mine, size, count)
        ]

    def _backward(
        self, batch: MicroBatch, normaliser: float, old_logprobs: Tensor | None
    ) -> dict[str, Tensor]:
        logprobs, entropy = self._logprobs(self.engine, batch)
        mask = batch.completion_mask
        ref_logprobs = None
        if self._reference is not None:
            with torch.no_grad():
                ref_logprobs, _ = self._logprobs(self._reference, batch)
        loss, sums = clipped_loss(
            logprobs,
            logprobs.detach() if old_logprobs is None else old_logprobs,
            batch.advantages,
            mask,
            ref_logprobs=ref_logprobs,
            clip_low=self.grpo.clip_low,
            clip_high=self.grpo.clip_high,
            kl_coef=self.grpo.kl_coef,
            normaliser=normaliser,
        )
        # DeepSpeed averages gradients over ranks; ours are parts of one sum.
        self.engine.backward(loss * self.world_size)
        with torch.no_grad():
            gap = (logprobs - batch.rollout_logprobs).abs() * mask
            sums["loss"] = loss.detach() * normaliser
            sums["tokens"] = mask.sum()
            sums["entropy"] = (entropy * mask).sum()
            sums["logprob_gap"] = gap.sum()
            sums["logprob_gap_k3"] = (k3(batch.rollout_logprobs, logprobs) * mask).sum()
            sums["max_logprob_gap"] = gap.max()
        return sums

    def _logprobs(self, model: Any, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        return completion_logprobs(model, batch, self.spec, shared_prefix=self.config.shared_prefix)

    @torch.no_grad()
    def _frozen_logprobs(self, batch: MicroBatch) -> Tensor:
        return self._logprobs(self.engine, batch)[0]

    def _metrics(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Sums over all ranks to means per token."""
        largest = sums.pop("max_logprob_gap")
        names = sorted(sums)
        totals = torch.stack([sums[name].double() for name in names])
        dist.all_reduce(totals)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        total = dict(zip(names, totals.tolist(), strict=True))
        tokens = total["tokens"]
        kl = {"policy/kl": total["kl"] / tokens} if self._reference is not None else {}
        return kl | {
            "policy/loss": total["loss"] / tokens,
            "policy/entropy": total["entropy"] / tokens,
            "policy/clip_share": total["clipped"] / tokens,
            "policy/grad_norm": float(self.engine.get_global_grad_norm()),
            "policy/learning_rate": float(self.engine.get_lr()[0]),
            "policy/logprob_gap_mean": total["logprob_gap"] / tokens,
            "policy/logprob_gap_max": float(largest),
            "policy/logprob_gap_k3": total["logprob_gap_k3"] / tokens,
            "policy/tokens": tokens,
        }

    def save(self, folder: Path) -> None:
        """Write this rank's shard of weights and optimiser state under `folder`."""
        self.engine.save_checkpoint(str(folder), tag="policy")

    def load(self, folder: Path) -> None:
        """Read back what `save` wrote, with the same number of ranks and ZeRO stage."""
        path, _ = self.engine.load_checkpoint(str(folder), tag="policy")
        if path is None:
            raise ValueError(f"{folder}: holds no checkpoint of the policy; was it written completely?")

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Full parameters by their Hugging Face names, one at a time (ZeRO-3 gathers each: a collective)."""
        import deepspeed

        for name, parameter in self.engine.module.named_parameters():
            if self.config.zero_stage == 3:
                with deepspeed.zero.GatheredParameters([parameter]):
                    yield name, parameter.data
            else:
                yield name, parameter.data

    def parameter_shapes(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """(name, dtype, full shape) in the order of `named_parameters`, without gathering."""
        return [
            (name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape)))
            for name, parameter in self.engine.module.named_parameters()
        ]


def _accumulate(total: dict[str, Tensor], part: dict[str, Tensor]) -> None:
    for name, value in part.items():
        if name not in total:
            total[name] = value
        else:
            total[name] = (
                torch.maximum(total[name], value) if name.startswith("max_") else total[name] + value
            )
