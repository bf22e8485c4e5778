"""Learner ranks in processes of their own, each taking the same two updates; and plain torch taking them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from learner.batch import Row, TrainingGroup, collate
from learner.config import GrpoConfig, LearnerConfig
from learner.model import ModelSpec, completion_logprobs, load_model
from learner.policy import DeepSpeedPolicy

LEARNER = LearnerConfig(
    dtype="float32",
    gradient_checkpointing=False,
    learning_rate=1e-4,
    adam_betas=(0.9, 0.95),
    max_grad_norm=0.5,
)
GRPO = GrpoConfig(group_size=3, clip_low=0.02, clip_high=0.03, kl_coef=0.05)

Weights = dict[str, Tensor]
Batches = Sequence[Sequence[TrainingGroup]]


@dataclass(frozen=True)
class Job:
    """One way to take the updates."""

    zero_stage: int
    micro_batch_size: int
    shared_prefix: bool = False
    updates_per_batch: int = 1

    @property
    def learner(self) -> LearnerConfig:
        changes = {
            "zero_stage": self.zero_stage,
            "micro_batch_size": self.micro_batch_size,
            "shared_prefix": self.shared_prefix,
        }
        return LearnerConfig(**(LEARNER.model_dump() | changes))

    @property
    def grpo(self) -> GrpoConfig:
        return GrpoConfig(**(GRPO.model_dump() | {"updates_per_batch": self.updates_per_batch}))


@dataclass(frozen=True)
class Outcome:
    """What one rank saw: metrics of each batch, and the weights after the last."""

    metrics: list[dict[str, float]]
    weights: Weights


def run_ranks(
    jobs: Sequence[Job], batches: Batches, spec: ModelSpec, reference: str, *, world_size: int, folder: Path
) -> dict[Job, list[Outcome]]:
    """Every job on `world_size` ranks, one after the other in the same processes; outcomes by rank."""
    mp.spawn(_rank, (world_size, jobs, batches, spec, reference, folder), nprocs=world_size)
    by_rank = [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(world_size)]
    return {job: [outcomes[job] for outcomes in by_rank] for job in jobs}


def _rank(
    rank: int,
    world_size: int,
    jobs: Sequence[Job],
    batches: Batches,
    spec: ModelSpec,
    reference: str,
    folder: Path,
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    outcomes = {}
    for job in jobs:
        policy = DeepSpeedPolicy(spec, job.learner, job.grpo, device="cpu", reference_path=reference)
        metrics = [policy.update(groups) for groups in batches]
        outcomes[job] = Outcome(metrics, {name: value.clone() for name, value in policy.named_parameters()})
    torch.save(outcomes, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def by_hand(batches: Batches, spec: ModelSpec, reference: str, *, updates_per_batch: int = 1) -> Outcome:
    """The same updates in plain torch: no DeepSpeed, no batching, no padding, token by token."""
    model = load_model(spec).train()
    frozen = load_model(ModelSpec(**(vars(spec) | {"path": reference}))).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNER.learning_rate, betas=LEARNER.adam_betas, weight_decay=0.0
    )
    metrics = []
    for groups in batches:
        chunks = [groups[part::updates_per_batch] for part in range(updates_per_batch)]
        with torch.no_grad():
            old = [[_logprobs(model, row, spec) for row in _rows(chunk)] for chunk in chunks]
        sums = {"loss": 0.0, "kl": 0.0, "clipped": 0.0, "tokens": 0.0}
        for chunk, old_logprobs in zip(chunks, old, strict=True):
            loss = torch.zeros(())
            num_tokens = sum(len(row.completion) for row in _rows(chunk))
            for row, before in zip(_rows(chunk), old_logprobs, strict=True):
                now = _logprobs(model, row, spec)
                with torch.no_grad():
                    start = _logprobs(frozen, row, spec)
                for token in range(len(row.completion)):
                    ratio = (now[token] - before[token]).exp()
                    objective = ratio * row.advantage
                    held = ratio.clamp(1 - GRPO.clip_low, 1 + GRPO.clip_high) * row.advantage
                    kl = (start[token] - now[token]).exp() - 1 - (start[token] - now[token])
                    loss = loss - torch.minimum(objective, held) + GRPO.kl_coef * kl
                    sums["kl"] += kl.item()
                    sums["clipped"] += float(held < objective)
            sums["loss"] += loss.item()
            sums["tokens"] += num_tokens
            optimizer.zero_grad()
            (loss / num_tokens).backward()
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), LEARNER.max_grad_norm)
            optimizer.step()
        metrics.append(
            {
                "policy/loss": sums["loss"] / sums["tokens"],
                "policy/kl": sums["kl"] / sums["tokens"],
                "policy/clip_share": sums["clipped"] / sums["tokens"],
                "policy/tokens": sums["tokens"],
                "policy/grad_norm": float(grad_norm),
            }
        )
    return Outcome(metrics, {name: value.detach().clone() for name, value in model.named_parameters()})


def _rows(groups: Sequence[TrainingGroup]) -> list[Row]:
    return [
        Row(group.fetch_prompt(), completion, logprobs, advantage)
        for group in groups
        for completion, logprobs, advantage in zip(
            group.completions, group.rollout_logprobs, group.advantages, strict=True
        )
    ]


def _logprobs(model: Any, row: Row, spec: ModelSpec) -> Tensor:
    batch = collate([row], pad_token_id=spec.pad_token_id)
    return completion_logprobs(model, batch, spec)[0][0, : len(row.completion)]
