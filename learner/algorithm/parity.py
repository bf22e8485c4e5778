"""The parity check: whether engine and learner, two programs, compute the same policy.

`learner.algorithm.loss.logprob_gap` gives the means that every step records. This module finds the worst token and
stops the run when its gap exceeds `learner.max_logprob_gap`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learner.batch import MicroBatch
from learner.commands import TrainingGroup


@dataclass(frozen=True)
class LogprobGap:
    """The token of a micro-batch on which engine and learner differ most."""

    size: float  # nats; infinite where a logprob is NaN
    group: int  # index in the batch
    completion: int  # index in the group
    token: int  # index in the completion
    logprobs: tuple[float, ...]  # the learner's, of the whole completion


class ParityError(RuntimeError):
    """An error for a token to which engine and learner give too different probabilities.

    Attributes:
        message: one line for the user.
        sample: the completion with that token, as JSON values.
    """

    def __init__(self, message: str, sample: dict[str, Any]) -> None:
        super().__init__(message, sample)
        self.message, self.sample = message, sample

    def __str__(self) -> str:
        return self.message


class ParityCheck:
    """The check of one batch: it keeps the largest gap of every micro-batch and compares the worst with the limit.

    Args:
        groups: the whole batch.
        version: policy version before the batch's first optimiser step. Rollouts of older versions are not compared,
            because the policy has changed since.
        limit: largest gap allowed, nats; None: nothing is checked.
    """

    def __init__(self, groups: Sequence[TrainingGroup], *, version: int, limit: float | None) -> None:
        self._groups, self._version, self._limit = groups, version, limit
        self._gaps: list[LogprobGap] = []

    def add(self, batch: MicroBatch, logprobs: Tensor) -> None:
        """Compare one micro-batch with the engine.

        Args:
            logprobs: [num_tokens], the learner's, of policy `version`.
        """
        if self._limit is not None:
            gap = largest_gap(batch, logprobs, self._groups, version=self._version)
            self._gaps += [gap] if gap is not None else []

    def raise_if_exceeded(self) -> None:
        """Raise on every rank if a gap that was added on any rank exceeds the limit. A collective if there is a limit.

        Raises:
            ParityError: with the worst sample of all ranks.
        """
        if self._limit is None:
            return
        of_all_ranks: list[list[LogprobGap]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(of_all_ranks, self._gaps)
        worst = max((gap for gaps in of_all_ranks for gap in gaps), key=lambda gap: gap.size, default=None)
        if worst is not None and worst.size > self._limit:
            raise _parity_error(worst, self._groups[worst.group], self._limit)


def largest_gap(
    batch: MicroBatch, logprobs: Tensor, groups: Sequence[TrainingGroup], *, version: int
) -> LogprobGap | None:
    """Return the largest gap among completions of policy `version`; None for a filler or without such completions."""
    current = torch.tensor(
        [groups[group].policy_version == version for group, _ in batch.origin], device=logprobs.device
    )
    if batch.filler or not current.any():
        return None
    gaps = (logprobs - batch.rollout_logprobs).abs().nan_to_num(nan=float("inf"))
    gaps = torch.where(current[batch.sequence], gaps, -1.0)
    worst = int(gaps.argmax())
    sequence = int(batch.sequence[worst])
    tokens = (batch.sequence == sequence).nonzero().squeeze(1)  # of the worst token's completion
    group, completion = batch.origin[sequence]
    return LogprobGap(
        size=float(gaps[worst]),
        group=group,
        completion=completion,
        token=worst - int(tokens[0]),
        logprobs=tuple(logprobs[tokens].tolist()),
    )


def _parity_error(worst: LogprobGap, group: TrainingGroup, limit: float) -> ParityError:
    tokens = group.completions[worst.completion]
    engine = group.rollout_logprobs[worst.completion]
    return ParityError(
        f"group {group.group_id}, completion {worst.completion}, token {worst.token} ({tokens[worst.token]}): the "
        f"engine says {engine[worst.token]:.6f}, the learner {worst.logprobs[worst.token]:.6f}. They differ by "
        f"{worst.size:.3g} nats, and learner.max_logprob_gap={limit:g}. The two do not compute the same policy, so "
        "training on would follow a wrong gradient. The sample is saved.",
        {
            "group_id": group.group_id,
            "task": group.task,
            "policy_version": group.policy_version,
            "completion": worst.completion,
            "token": worst.token,
            "token_ids": list(tokens),
            "engine_logprobs": list(engine),
            "learner_logprobs": list(worst.logprobs),
        },
    )
