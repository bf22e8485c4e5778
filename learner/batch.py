"""Scored groups to padded tensors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


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
    """One prompt with its n completions and their advantages.

    Every rank gets every group, to count tokens; only the rank that trains a group fetches its prompt.
    """

    fetch_prompt: Callable[[], PromptTensors]
    completions: tuple[tuple[int, ...], ...]  # token ids, end-of-turn token included
    rollout_logprobs: tuple[tuple[float, ...], ...]  # same lengths, from vLLM
    advantages: tuple[float, ...]  # [n]

    @property
    def num_tokens(self) -> int:
        """Completion tokens of the group."""
        return sum(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class Row:
    """One completion of a group: what a micro-batch is made of."""

    prompt: PromptTensors
    completion: tuple[int, ...]
    rollout_logprobs: tuple[float, ...]
    advantage: float
    weight: float = 1.0  # 0.0: a filler that keeps ranks in step and adds nothing


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one forward pass. Prompts end, and completions start, in the same column."""

    input_ids: Tensor  # [num_rows, length]
    attention_mask: Tensor  # [num_rows, length]
    position_ids: Tensor  # [3, num_rows, length]
    patches: Tensor  # [num_patches, patch_dim] uint8, of all rows in order
    grid_thw: Tensor  # [num_videos, 3]
    completion_ids: Tensor  # [num_rows, completion_length]
    completion_mask: Tensor  # [num_rows, completion_length] float
    advantages: Tensor  # [num_rows]
    rollout_logprobs: Tensor  # [num_rows, completion_length]

    def to(self, device: torch.device) -> "MicroBatch":
        return MicroBatch(**{name: value.to(device) for name, value in vars(self).items()})


def split_rows(
    groups: Sequence[TrainingGroup], micro_batch_size: int, num_micro_batches: int
) -> list[list[Row]]:
    """Cut a rank's groups into exactly `num_micro_batches` lists of at most `micro_batch_size` rows.

    Every rank must run the same number of forward passes (ZeRO-3 gathers parameters in each), so a rank
    with fewer rows repeats its last one with weight 0.
    """
    rows = [
        Row(prompt, completion, logprobs, advantage)
        for group in groups
        for prompt in [group.fetch_prompt()]
        for completion, logprobs, advantage in zip(
            group.completions, group.rollout_logprobs, group.advantages, strict=True
        )
    ]
    batches = [rows[i : i + micro_batch_size] for i in range(0, len(rows), micro_batch_size)]
    last = rows[-1]
    filler = Row(last.prompt, last.completion, last.rollout_logprobs, 0.0, weight=0.0)
    return batches + [[filler]] * (num_micro_batches - len(batches))


def collate(rows: Sequence[Row], *, pad_token_id: int) -> MicroBatch:
    """Pad rows to one length: prompts on the left, completions on the right."""
    prompt_length = max(len(row.prompt.token_ids) for row in rows)
    completion_length = max(len(row.completion) for row in rows)
    shape = (len(rows), prompt_length + completion_length)
    input_ids = torch.full(shape, pad_token_id)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    position_ids = torch.zeros((3, *shape), dtype=torch.int64)
    completion_ids = torch.full((len(rows), completion_length), pad_token_id)
    completion_mask = torch.zeros((len(rows), completion_length))
    rollout_logprobs = torch.zeros((len(rows), completion_length))
    for index, row in enumerate(rows):
        prompt = torch.from_numpy(row.prompt.token_ids)
        completion = torch.tensor(row.completion)
        start, end = prompt_length - len(prompt), prompt_length + len(completion)
        input_ids[index, start:end] = torch.cat([prompt, completion])
        attention_mask[index, start:end] = 1
        position_ids[:, index, start:prompt_length] = torch.from_numpy(row.prompt.positions)
        position_ids[:, index, prompt_length:end] = row.prompt.next_position + torch.arange(len(completion))
        completion_ids[index, : len(completion)] = completion
        completion_mask[index, : len(completion)] = row.weight
        rollout_logprobs[index, : len(completion)] = torch.tensor(row.rollout_logprobs)
    return MicroBatch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        patches=torch.from_numpy(np.concatenate([row.prompt.patches for row in rows])),
        grid_thw=torch.from_numpy(np.concatenate([row.prompt.grid_thw for row in rows])),
        completion_ids=completion_ids,
        completion_mask=completion_mask,
        advantages=torch.tensor([row.advantage for row in rows]),
        rollout_logprobs=rollout_logprobs,
    )


def share_of_rank(num_groups: int, *, rank: int, world_size: int) -> Iterator[int]:
    """Indices of the groups that `rank` trains: every world_size-th, so that tasks mix on every rank."""
    return iter(range(rank, num_groups, world_size))
