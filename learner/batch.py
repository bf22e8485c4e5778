"""From the groups of a batch to packed micro-batches: which rank trains what, and at which index each token is.

    TrainingGroup ──► plan_micro_batches ──► MicroBatchPlan ──► pack_micro_batch ──► MicroBatch
    whole batch,      on every rank          of one rank        fetches prompts      tensors
    on every rank

A micro-batch is one sequence without padding: every prompt once, followed by its completions
(`learner.modeling.attention` has a picture). Values of completion tokens are flat: [num_tokens] over all completions.
`sequence` gives the completion that each token belongs to.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learner.commands import PromptTensors, TrainingGroup

T = TypeVar("T")


# --- planning: which completions share a micro-batch --------------------------------------------------


@dataclass(frozen=True)
class GroupPart:
    """Completions of one group that share one computation of their prompt: usually the whole group."""

    group: int  # index in the batch
    completions: tuple[int, ...]  # indices in the group


@dataclass(frozen=True)
class MicroBatchPlan:
    """The contents of one micro-batch of one rank.

    A filler repeats one completion at weight 0, so that all ranks run the same number of forward passes.
    """

    parts: tuple[GroupPart, ...]
    filler: bool = False

    def of_groups(self, indices: Sequence[int]) -> "MicroBatchPlan":
        """Return this plan for a larger batch, in which group k stands at `indices[k]`."""
        return replace(self, parts=tuple(replace(part, group=indices[part.group]) for part in self.parts))


def plan_micro_batches(
    groups: Sequence[TrainingGroup], *, max_tokens: int, shared_prefix: bool, world_size: int
) -> list[list[MicroBatchPlan]]:
    """Return the micro-batches of every rank, equally many for all.

    Equal numbers are needed because ZeRO-3 gathers parameters in every forward pass, in which all ranks must take part.
    Groups are assigned largest first, each to the rank with the fewest tokens so far. A rank's groups are packed up to
    `max_tokens` tokens. A group above that limit is divided between completions, and its prompt is computed once per
    part. A completion is never divided.

    Args:
        groups: at least `world_size` groups.
        shared_prefix: whether a part's prompt is computed once, or once for each of its completions.
    """

    def tokens_of(part: GroupPart) -> int:
        return _num_tokens(groups[part.group], part, shared_prefix)

    parts = [_cut(index, group, max_tokens, shared_prefix) for index, group in enumerate(groups)]
    ranks = []
    for share in _balance([sum(map(tokens_of, of_group)) for of_group in parts], world_size):
        packed = fill_in_order((part for index in share for part in parts[index]), tokens_of, max_tokens)
        ranks.append([MicroBatchPlan(tuple(together)) for together in packed])
    most = max(len(plans) for plans in ranks)
    return [plans + [_filler(plans[-1])] * (most - len(plans)) for plans in ranks]


def fill_in_order(items: Iterable[T], size: Callable[[T], int], limit: int) -> list[list[T]]:
    """Put items into bins in order, and start a new bin when the next item does not fit into the last one.

    An item larger than the limit is alone in its bin. Sizes 3, 2, 4 with a limit of 5 give [[3, 2], [4]].
    """
    bins: list[list[T]] = []
    filled = 0
    for item in items:
        if not bins or filled + size(item) > limit:
            bins.append([])
            filled = 0
        bins[-1].append(item)
        filled += size(item)
    return bins


def _balance(work: Sequence[int], num_ranks: int) -> list[list[int]]:
    """Assign each item, largest first, to the rank with the least work so far; return sorted indices per rank."""
    loads, shares = [0] * num_ranks, [list[int]() for _ in range(num_ranks)]
    for index in sorted(range(len(work)), key=lambda i: -work[i]):
        rank = loads.index(min(loads))
        loads[rank] += work[index]
        shares[rank].append(index)
    return [sorted(share) for share in shares]


def _cut(index: int, group: TrainingGroup, max_tokens: int, shared_prefix: bool) -> list[GroupPart]:
    """Return the group in as few parts of at most `max_tokens` tokens as possible.

    A part of one completion may be larger.
    """
    parts = [GroupPart(index, (0,))]
    for number in range(1, len(group.completions)):
        longer = GroupPart(index, (*parts[-1].completions, number))
        if _num_tokens(group, longer, shared_prefix) > max_tokens:
            parts.append(GroupPart(index, (number,)))
        else:
            parts[-1] = longer
    return parts


def _num_tokens(group: TrainingGroup, part: GroupPart, shared_prefix: bool) -> int:
    """Return the number of tokens that the model's forward pass computes for a part."""
    prompts = 1 if shared_prefix else len(part.completions)
    return prompts * group.prompt_tokens + sum(len(group.completions[n]) - 1 for n in part.completions)


def _filler(plan: MicroBatchPlan) -> MicroBatchPlan:
    """Return a plan that repeats one completion of `plan` at weight 0."""
    part = plan.parts[-1]
    return MicroBatchPlan((GroupPart(part.group, part.completions[:1]),), filler=True)


# --- packing: tensors ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """Lengths of one part in a packed sequence, in tokens: its prompt, then its completions' inputs in order.

    A completion's last token predicts nothing, so a completion of n tokens has n - 1 inputs.
    """

    prompt: int
    completions: tuple[int, ...]

    @property
    def total(self) -> int:
        """Number of tokens of the part."""
        return self.prompt + sum(self.completions)


@dataclass(frozen=True)
class MicroBatch:
    """Prompts and completions of one forward pass, packed into one sequence."""

    token_ids: Tensor  # [num_packed], prompts and completions' inputs
    positions: Tensor  # [3, num_packed]; those of a completion continue from the end of its prompt
    spans: tuple[Span, ...]  # one per part, in order
    patches: Tensor  # [num_patches, patch_dim] uint8, of all prompts in order
    grid_thw: Tensor  # [num_videos, 3]
    videos_per_prompt: tuple[int, ...]
    predicted_at: Tensor  # [num_tokens], for each token the packed index whose output predicts it
    target_ids: Tensor  # [num_tokens]
    sequence: Tensor  # [num_tokens], index of the completion that each token belongs to
    lengths: Tensor  # [num_sequences], number of tokens of each completion
    rollout_logprobs: Tensor  # [num_tokens]
    origin: tuple[tuple[int, int], ...] = ()  # per completion: (index of its group, its index in the group)
    filler: bool = False

    def to(self, device: torch.device) -> "MicroBatch":
        """Return a copy with all tensors on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class PromptWithCompletions:
    """One prompt, some of its completions, and the engine's logprobs of their tokens."""

    prompt: PromptTensors
    completions: Sequence[Sequence[int]]  # token ids
    rollout_logprobs: Sequence[Sequence[float]]  # same lengths
    origin: tuple[tuple[int, int], ...] = ()  # see MicroBatch.origin


def pack_micro_batch(groups: Sequence[TrainingGroup], plan: MicroBatchPlan) -> MicroBatch:
    """Fetch the prompts of a plan and pack them with their completions."""
    return replace(collate([_fetch(groups[part.group], part) for part in plan.parts]), filler=plan.filler)


def _fetch(group: TrainingGroup, part: GroupPart) -> PromptWithCompletions:
    return PromptWithCompletions(
        group.fetch_prompt(),
        [group.completions[n] for n in part.completions],
        [group.rollout_logprobs[n] for n in part.completions],
        tuple((part.group, n) for n in part.completions),
    )


def collate(parts: Sequence[PromptWithCompletions]) -> MicroBatch:
    """Pack prompts and completions into one sequence. Every completion must have at least one token."""
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
            # The prompt's last token predicts the first token, and each token predicts the one after it.
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
        origin=tuple(index for part in parts for index in part.origin),
    )
