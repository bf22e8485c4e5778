"""Engine and learner are two programs that compute one policy: how far apart they are, and when that is too far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learner.batch import MicroBatch, TrainingGroup


@dataclass(frozen=True)
class Gap:
    """Where a micro-batch's two logprobs differ most."""

    size: float  # nats; NaN where a logprob is
    group: int  # index in the batch
    completion: int  # number in the group
    token: int  # number in the completion
    logprobs: tuple[float, ...]  # the learner's, of the whole completion


class ParityError(RuntimeError):
    """Engine and learner give the same tokens too different probabilities; `sample` holds all that is needed."""

    def __init__(self, message: str, sample: dict[str, Any]) -> None:
        super().__init__(message, sample)
        self.message, self.sample = message, sample

    def __str__(self) -> str:
        return self.message


def largest_gap(
    batch: MicroBatch, logprobs: Tensor, groups: Sequence[TrainingGroup], *, version: int
) -> list[Gap]:
    """The largest gap of a micro-batch, among groups that were sampled from policy `version` (or none).

    Older rollouts differ by what was learnt since: that is no fault.

    Args:
        logprobs: [num_tokens], of policy `version`.
    """
    current = torch.tensor(
        [groups[group].policy_version == version for group, _ in batch.origin], device=logprobs.device
    )
    if batch.filler or not current.any():
        return []
    gaps = (logprobs - batch.rollout_logprobs).abs().nan_to_num(nan=float("inf"))
    gaps = torch.where(current[batch.sequence], gaps, -1.0)
    place = int(gaps.argmax())
    sequence = int(batch.sequence[place])
    own = (batch.sequence == sequence).nonzero().squeeze(1)
    group, completion = batch.origin[sequence]
    return [Gap(float(gaps[place]), group, completion, place - int(own[0]), tuple(logprobs[own].tolist()))]


def raise_if_apart(gaps: Sequence[Gap], groups: Sequence[TrainingGroup], *, limit: float | None) -> None:
    """Raise on every rank where any rank's gap is above `limit`. A collective, unless there is no limit.

    Raises:
        ParityError: with the worst sample of all ranks.
    """
    if limit is None:
        return
    everyone: list[list[Gap]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, list(gaps))
    worst = max((gap for own in everyone for gap in own), key=lambda gap: gap.size, default=None)
    if worst is None or worst.size <= limit:
        return
    group = groups[worst.group]
    tokens = group.completions[worst.completion]
    engine = group.rollout_logprobs[worst.completion]
    raise ParityError(
        f"group {group.group_id}, completion {worst.completion}, token {worst.token} ({tokens[worst.token]}): the "
        f"engine says {engine[worst.token]:.6f}, the learner {worst.logprobs[worst.token]:.6f}. They differ by "
        f"{worst.size:.3g} nats, and learner.max_logprob_gap={limit:g}. The two do not compute the same policy: the "
        "sample is saved; training on would follow a wrong gradient.",
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
