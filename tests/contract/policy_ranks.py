"""The same two updates by learner ranks, each in its own process, and by plain torch in this process."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learner.algorithm.advantages import batch_advantages
from learner.batch import PromptWithCompletions, collate
from learner.commands import TrainingGroup
from learner.config import GrpoConfig, LearnerConfig
from learner.modeling.policy_model import ModelSpec, PolicyModel, load_model
from learner.policy import DeepSpeedPolicy
from tests.contract.processes import start_ranks

LEARNER = LearnerConfig(
    dtype="float32",
    gradient_checkpointing=False,
    learning_rate=1e-4,
    adam_betas=(0.9, 0.95),
    max_grad_norm=0.5,
)
GRPO = GrpoConfig(group_size=3, clip_low=0.02, clip_high=0.03, kl_coef=0.05)
MAX_TOKENS = 8

Weights = dict[str, Tensor]
Batches = Sequence[Sequence[TrainingGroup]]
Changes = tuple[tuple[str, Any], ...]  # (field, value) pairs of a config; hashable


@dataclass(frozen=True)
class Job:
    """One way to take the updates: `grpo` says what is computed, `learner` how."""

    learner: Changes = ()
    grpo: Changes = ()
    saved: bool = False  # whether the policy is saved at the end and loaded again

    @property
    def learner_config(self) -> LearnerConfig:
        return LearnerConfig(**(LEARNER.model_dump() | dict(self.learner)))

    @property
    def grpo_config(self) -> GrpoConfig:
        return GrpoConfig(**(GRPO.model_dump() | dict(self.grpo)))


@dataclass(frozen=True)
class Outcome:
    """Results of one rank: metrics of each batch, the last weights, and the weights loaded from the checkpoint."""

    metrics: list[dict[str, float]]
    weights: Weights
    restored: Weights | None = None  # None if the job is not saved


def run_ranks(
    jobs: Sequence[Job], batches: Batches, spec: ModelSpec, reference: str, *, world_size: int, folder: Path
) -> dict[Job, list[Outcome]]:
    """Run the jobs one after another in the same `world_size` processes; return each job's outcomes by rank."""
    context = start_ranks(_rank, (world_size, jobs, batches, spec, reference, folder), world_size=world_size)
    while not context.join():
        pass
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
    for number, job in enumerate(jobs):
        policy = _policy(job, spec, reference)
        metrics = [policy.update(groups, step=step) for step, groups in enumerate(batches)]
        restored = None
        if job.saved:
            policy.save(folder / str(number))
            again = _policy(job, spec, reference)
            again.load(folder / str(number))
            restored = _weights(again)
        outcomes[job] = Outcome(metrics, _weights(policy), restored)
    torch.save(outcomes, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def _policy(job: Job, spec: ModelSpec, reference: str) -> DeepSpeedPolicy:
    torch.manual_seed(0)  # adapters have random start values, which must be the same on all ranks
    return DeepSpeedPolicy(
        spec,
        job.learner_config,
        job.grpo_config,
        device="cpu",
        reference_path=reference,
        total_steps=2,
        max_tokens=MAX_TOKENS,
    )


def _weights(policy: DeepSpeedPolicy) -> Weights:
    shapes = [(name, shape) for name, _, shape in policy.weights.parameter_shapes()]
    weights = {name: value.clone() for name, value in policy.weights.named_parameters()}
    assert shapes == [(name, tuple(value.shape)) for name, value in weights.items()]
    return weights


def by_hand(batches: Batches, spec: ModelSpec, reference: str, *, updates_per_batch: int = 1) -> Outcome:
    """Take the same updates in plain torch: token by token, without DeepSpeed, packing or padding."""
    model = load_model(spec, packed=False).train()
    frozen = load_model(replace(spec, path=reference), packed=False).eval()
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
            num_tokens = sum(sum(group.lengths) for group in chunk)
            for row, before in zip(_rows(chunk), old_logprobs, strict=True):
                now = _logprobs(model, row, spec)
                with torch.no_grad():
                    start = _logprobs(frozen, row, spec)
                for token in range(len(now)):
                    ratio = (now[token] - before[token]).exp()
                    objective = ratio * row.advantage
                    held = ratio.clamp(1 - GRPO.clip_low, 1 + GRPO.clip_high) * row.advantage
                    kl = (start[token] - now[token]).exp() - 1 - (start[token] - now[token])
                    loss = loss - torch.minimum(objective, held) + GRPO.kl_coef * kl
                    sums["kl"] += kl.item()
                    sums["clipped"] += float(held < objective)
            sums["loss"] += loss.item() / num_tokens
            sums["tokens"] += num_tokens
            optimizer.zero_grad()
            (loss / num_tokens).backward()
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), LEARNER.max_grad_norm)
            optimizer.step()
        metrics.append(
            {
                "policy/loss": sums["loss"] / updates_per_batch,
                "policy/kl": sums["kl"] / sums["tokens"],
                "clipped": sums["clipped"] / sums["tokens"],
                "policy/tokens": sums["tokens"],
                "policy/grad_norm": float(grad_norm),
            }
        )
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    return Outcome(metrics, weights)


@dataclass(frozen=True)
class _Row:
    part: PromptWithCompletions
    advantage: float


def _rows(groups: Sequence[TrainingGroup]) -> list[_Row]:
    return [
        _Row(PromptWithCompletions(group.fetch_prompt(), [completion], [logprobs]), advantage)
        for group, advantages in zip(
            groups, batch_advantages(groups, GRPO, max_tokens=MAX_TOKENS), strict=True
        )
        for completion, logprobs, advantage in zip(
            group.completions, group.rollout_logprobs, advantages, strict=True
        )
    ]


def _logprobs(model: Any, row: _Row, spec: ModelSpec) -> Tensor:
    logprobs: Tensor = PolicyModel(model, spec, shared_prefix=False)(collate([row.part]))[0]
    return logprobs
