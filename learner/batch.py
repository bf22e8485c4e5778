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
    """Rows of one forward pass. A prompt that several rows share stands here once.

    Prompts are padded on the left and completions on the right, so that prompts end, and completions start,
    in the same column.
    """

    prompt_ids: Tensor  # [num_prompts, prompt_length]
    prompt_mask: Tensor  # [num_prompts, prompt_length], 1 on real tokens
    prompt_positions: Tensor  # [3, num_prompts, prompt_length]
    next_positions: Tensor  # [num_prompts], of a completion's first token
    patches: Tensor  # [num_patches, patch_dim] uint8, of all prompts in order
    grid_thw: Tensor  # [num_videos, 3]
    videos_per_prompt: Tensor  # [num_prompts]
    prompt_of_row: Tensor  # [num_rows]
    completion_ids: Tensor  # [num_rows, completion_length]
    completion_mask: Tensor  # [num_rows, completion_length] float, a row's weight on real tokens
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
    """Pad rows to one length, each distinct prompt once."""
    prompts = list({id(row.prompt): row.prompt for row in rows}.values())
    place = {id(prompt): index for index, prompt in enumerate(prompts)}
    prompt_shape = (len(prompts), max(len(prompt.token_ids) for prompt in prompts))
    prompt_ids = torch.full(prompt_shape, pad_token_id)
    prompt_mask = torch.zeros(prompt_shape, dtype=torch.int64)
    prompt_positions = torch.zeros((3, *prompt_shape), dtype=torch.int64)
    for index, prompt in enumerate(prompts):
        start = prompt_shape[1] - len(prompt.token_ids)
        prompt_ids[index, start:] = torch.from_numpy(prompt.token_ids)
        prompt_mask[index, start:] = 1
        prompt_positions[:, index, start:] = torch.from_numpy(prompt.positions)
    # At least two columns: the second forward of a shared prefix must run on every rank (see learner.model).
    shape = (len(rows), max(2, *(len(row.completion) for row in rows)))
    completion_ids = torch.full(shape, pad_token_id)
    completion_mask = torch.zeros(shape)
    rollout_logprobs = torch.zeros(shape)
    for index, row in enumerate(rows):
        length = len(row.completion)
        completion_ids[index, :length] = torch.tensor(row.completion, dtype=torch.int64)
        completion_mask[index, :length] = row.weight
        rollout_logprobs[index, :length] = torch.tensor(row.rollout_logprobs)
    return MicroBatch(
        prompt_ids=prompt_ids,
        prompt_mask=prompt_mask,
        prompt_positions=prompt_positions,
        next_positions=torch.tensor([prompt.next_position for prompt in prompts]),
        patches=torch.from_numpy(np.concatenate([prompt.patches for prompt in prompts])),
        grid_thw=torch.from_numpy(np.concatenate([prompt.grid_thw for prompt in prompts])),
        videos_per_prompt=torch.tensor([len(prompt.grid_thw) for prompt in prompts]),
        prompt_of_row=torch.tensor([place[id(row.prompt)] for row in rows]),
        completion_ids=completion_ids,
        completion_mask=completion_mask,
        advantages=torch.tensor([row.advantage for row in rows]),
        rollout_logprobs=rollout_logprobs,
    )


def share_of_rank(num_groups: int, *, rank: int, world_size: int) -> Iterator[int]:
    """Indices of the groups that `rank` trains: every world_size-th, so that tasks mix on every rank."""
    return iter(range(rank, num_groups, world_size))
