"""Scored groups to packed micro-batches: who trains what, and where every token stands.

A micro-batch is one sequence without padding: prompts once, completions on top (`learner.modeling.attention` has the
picture). A completion's tokens are flat: [num_tokens] over all completions, `sequence` naming each one's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learner.modeling.attention import Span


class PromptTensors(Protocol):
    """A prompt as the model takes it (see rollout.prompt.ModelInput, which the learner does not import)."""

    @property
    def token_ids(self) -> npt.NDArray[np.int64]: ...  # [prompt_length]

    @property
    def positions(self) -> npt.NDArray[np.int64]: ...  # [3, prompt_length]

    @property
    def next_position(self) -> int: ...

    @property
    def patches(self) -> npt.NDArray[np.uint8]: ...  # [num_patches, patch_dim]

    @property
    def grid_thw(self) -> npt.NDArray[np.int64]: ...  # [num_videos, 3]


@dataclass(frozen=True)
class TrainingGroup:
    """One prompt with its n completions and their rewards.

    Every rank gets every group, to plan and to count; only the rank that trains a group fetches its prompt.
    """

    group_id: str
    task: str
    fetch_prompt: Callable[[], PromptTensors]
    prompt_tokens: int
    completions: tuple[tuple[int, ...], ...]  # token ids, end-of-turn token included
    rollout_logprobs: tuple[tuple[float, ...], ...]  # same lengths, from vLLM
    rewards: tuple[float, ...]  # [n]
    truncated: tuple[bool, ...]  # [n] the completion ran into the length limit
    policy_version: int  # whose completions these are

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each completion."""
        return tuple(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class Part:
    """Completions of one group that are trained on one computation of their prompt."""

    group: int  # index in the batch
    completions: tuple[int, ...]  # indices in the group


@dataclass(frozen=True)
class Plan:
    """One micro-batch of one rank. A filler repeats work at weight 0, to keep the ranks in step."""

    parts: tuple[Part, ...]
    filler: bool = False

    def of_groups(self, indices: Sequence[int]) -> "Plan":
        """The same for groups that stand at `indices` of a larger batch."""
        return replace(self, parts=tuple(replace(part, group=indices[part.group]) for part in self.parts))


def plan_micro_batches(
    groups: Sequence[TrainingGroup], *, max_tokens: int, shared_prefix: bool, world_size: int
) -> list[list[Plan]]:
    """Micro-batches of every rank, the same number for each: ZeRO-3 gathers parameters in every forward.

    Groups go to the rank with the least work so far, largest first, and are packed up to `max_tokens` tokens.
    A group that is larger by itself is cut (its prompt is then computed more than once), never a completion.

    Args:
        shared_prefix: a prompt counts once for all completions of a part, else once for each.
    """
    parts = [_parts(index, group, max_tokens, shared_prefix) for index, group in enumerate(groups)]
    work = [sum(_tokens(groups, part, shared_prefix) for part in own) for own in parts]
    loads, shares = [0] * world_size, [list[int]() for _ in range(world_size)]
    for index in sorted(range(len(groups)), key=lambda i: -work[i]):
        rank = loads.index(min(loads))
        loads[rank] += work[index]
        shares[rank].append(index)
    ranks = []
    for share in shares:
        plans: list[Plan] = []
        tokens = max_tokens
        for part in [part for index in sorted(share) for part in parts[index]]:
            cost = _tokens(groups, part, shared_prefix)
            if tokens + cost > max_tokens:
                plans.append(Plan(()))
                tokens = 0
            plans[-1] = Plan((*plans[-1].parts, part))
            tokens += cost
        ranks.append(plans)
    most = max(len(plans) for plans in ranks)
    return [plans + [_filler(plans[-1])] * (most - len(plans)) for plans in ranks]


def _filler(plan: Plan) -> Plan:
    """One completion of a plan, again."""
    part = plan.parts[-1]
    return Plan((Part(part.group, part.completions[:1]),), filler=True)


def _parts(index: int, group: TrainingGroup, max_tokens: int, shared_prefix: bool) -> list[Part]:
    """The group whole, or cut so that no part is over `max_tokens` (but for single completions)."""
    parts = [Part(index, ())]
    for number in range(len(group.completions)):
        longer = Part(index, (*parts[-1].completions, number))
        if parts[-1].completions and _part_tokens(group, longer, shared_prefix) > max_tokens:
            parts.append(Part(index, (number,)))
        else:
            parts[-1] = longer
    return parts


def _tokens(groups: Sequence[TrainingGroup], part: Part, shared_prefix: bool) -> int:
    return _part_tokens(groups[part.group], part, shared_prefix)


def _part_tokens(group: TrainingGroup, part: Part, shared_prefix: bool) -> int:
    prompts = 1 if shared_prefix else len(part.completions)
    return prompts * group.prompt_tokens + sum(len(group.completions[n]) - 1 for n in part.completions)


@dataclass(frozen=True)
class MicroBatch:
    """Groups of one forward pass, packed."""

    token_ids: Tensor  # [num_packed] prompts and completions' inputs
    positions: Tensor  # [3, num_packed]; each completion's start again where its prompt ended
    spans: tuple[Span, ...]  # one per part, in order
    patches: Tensor  # [num_patches, patch_dim] uint8, of all prompts in order
    grid_thw: Tensor  # [num_videos, 3]
    videos_per_prompt: tuple[int, ...]
    predicted_at: Tensor  # [num_tokens] place in the packed sequence whose output predicts each token
    target_ids: Tensor  # [num_tokens]
    sequence: Tensor  # [num_tokens] which completion a token is of
    lengths: Tensor  # [num_sequences] tokens of each completion
    rollout_logprobs: Tensor  # [num_tokens]
    origin: tuple[tuple[int, int], ...] = ()  # of each completion: (group in the batch, number in the group)
    filler: bool = False

    def to(self, device: torch.device) -> "MicroBatch":
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class PackedPart:
    """What `collate` packs: a prompt, completions, and what the sampler said of them."""

    prompt: PromptTensors
    completions: Sequence[Sequence[int]]
    rollout_logprobs: Sequence[Sequence[float]]
    origin: tuple[tuple[int, int], ...] = ()


def micro_batch(groups: Sequence[TrainingGroup], plan: Plan) -> MicroBatch:
    """Fetch a plan's prompts and pack them."""
    packed = [
        PackedPart(
            group.fetch_prompt(),
            [group.completions[n] for n in part.completions],
            [group.rollout_logprobs[n] for n in part.completions],
            tuple((part.group, n) for n in part.completions),
        )
        for part in plan.parts
        for group in [groups[part.group]]
    ]
    return replace(collate(packed), filler=plan.filler)


def collate(parts: Sequence[PackedPart]) -> MicroBatch:
    """Pack parts into one sequence. Every completion has at least one token."""
    ids: list[npt.NDArray[np.int64]] = []
    positions: list[npt.NDArray[np.int64]] = []
    predicted_at: list[npt.NDArray[np.int64]] = []
    start = 0
    for part in parts:
        prompt = part.prompt
        ids.append(prompt.token_ids)
        positions.append(prompt.positions)
        last = start + len(prompt.token_ids) - 1
        start = last + 1
        for completion in part.completions:
            inputs = np.asarray(completion[:-1], np.int64)
            ids.append(inputs)
            positions.append(np.tile(prompt.next_position + np.arange(len(inputs)), (3, 1)))
            # The first token is predicted where the prompt ends, the others where the one before stands.
            predicted_at.append(np.concatenate([[last], start + np.arange(len(inputs))]))
            start += len(inputs)
    completions = [completion for part in parts for completion in part.completions]
    lengths = torch.tensor([len(completion) for completion in completions])
    return MicroBatch(
        token_ids=torch.from_numpy(np.concatenate(ids)),
        positions=torch.from_numpy(np.concatenate(positions, axis=1)),
        spans=tuple(
            Span(len(part.prompt.token_ids), tuple(len(c) - 1 for c in part.completions)) for part in parts
        ),
        patches=torch.from_numpy(np.concatenate([part.prompt.patches for part in parts])),
        grid_thw=torch.from_numpy(np.concatenate([part.prompt.grid_thw for part in parts])),
        videos_per_prompt=tuple(len(part.prompt.grid_thw) for part in parts),
        predicted_at=torch.from_numpy(np.concatenate(predicted_at)),
        target_ids=torch.tensor([token for completion in completions for token in completion]),
        sequence=torch.arange(len(lengths)).repeat_interleave(lengths),
        lengths=lengths,
        rollout_logprobs=torch.tensor(
            [value for part in parts for logprobs in part.rollout_logprobs for value in logprobs]
        ),
        origin=tuple(place for part in parts for place in part.origin),
    )
