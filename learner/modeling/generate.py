"""Generating completions with the transformers model itself, for the warm-up. Rollouts come from vLLM (`rollout/`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learner.commands import PromptTensors
from learner.modeling.policy_model import ModelSpec, normalise_patches


@torch.no_grad()
def generate_completions(
    model: Any,
    spec: ModelSpec,
    prompts: Sequence[PromptTensors],
    *,
    end_token_id: int,
    max_tokens: int,
    generator: torch.Generator | None,
) -> list[list[int]]:
    """Return the token ids of one completion per prompt, without the end-of-turn token.

    A prompt object that occurs several times is computed once. `model.generate` is not used, because it computes M-RoPE
    positions itself and does not accept ours.

    Args:
        generator: source of randomness for sampling at the spec's temperature; None: greedy.
    """
    model.eval()
    distinct = list({id(prompt): prompt for prompt in prompts}.values())
    row_of = {id(prompt): index for index, prompt in enumerate(distinct)}
    rows = torch.tensor([row_of[id(prompt)] for prompt in prompts])
    output = model(
        # All prompts end in the same column, so that completions start in the same one.
        input_ids=_ends_aligned(
            [torch.from_numpy(prompt.token_ids) for prompt in distinct], spec.pad_token_id
        ),
        attention_mask=(
            prompt_mask := _ends_aligned([torch.ones(len(p.token_ids)) for p in distinct], 0).long()
        ),
        position_ids=_ends_aligned([torch.from_numpy(p.positions.T) for p in distinct], 0).permute(2, 0, 1),
        pixel_values_videos=normalise_patches(
            torch.from_numpy(np.concatenate([prompt.patches for prompt in distinct])),
            mean=spec.pixel_mean,
            std=spec.pixel_std,
            dtype=getattr(torch, spec.dtype),
        ),
        video_grid_thw=torch.from_numpy(np.concatenate([prompt.grid_thw for prompt in distinct])),
        logits_to_keep=1,
        use_cache=True,
    )
    cache = output.past_key_values
    cache.batch_select_indices(rows)
    logits, mask = output.logits[rows], prompt_mask[rows]
    position = torch.tensor([prompt.next_position for prompt in prompts])
    forbidden = torch.tensor(spec.forbidden, dtype=torch.int64)
    columns: list[Tensor] = []
    ended = torch.zeros(len(rows), dtype=torch.bool)
    for _ in range(max_tokens):
        scaled = (logits[:, -1].float() / spec.temperature).index_fill(-1, forbidden, float("-inf"))
        tokens = scaled.argmax(-1, keepdim=True)
        if generator is not None:
            tokens = torch.multinomial(scaled.softmax(-1), 1, generator=generator)
        columns.append(tokens)
        ended |= tokens.squeeze(1) == end_token_id
        if bool(ended.all()):
            break
        mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=position.view(1, -1, 1).expand(3, -1, -1),
            past_key_values=cache,
            use_cache=True,
        ).logits
        position = position + 1
    completions = torch.cat(columns, dim=1).tolist()
    return [ids[: ids.index(end_token_id)] if end_token_id in ids else ids for ids in completions]


def _ends_aligned(rows: list[Tensor], padding: int) -> Tensor:
    """Return rows [length, ...] of different lengths as one tensor [num_rows, longest, ...], padded on the left."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding, padding_side="left")
