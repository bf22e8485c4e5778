"""Drawing answers with the transformers model itself, for the warm-up: rollouts proper are vLLM's."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learner.batch import PromptTensors, Row, collate
from learner.model import ModelSpec, normalise_patches


@torch.no_grad()
def sample_answers(
    model: Any,
    spec: ModelSpec,
    prompts: Sequence[PromptTensors],
    *,
    end_token_id: int,
    max_tokens: int,
    generator: torch.Generator | None,
) -> list[list[int]]:
    """The token ids of one answer to each prompt, without the end-of-turn token.

    Sampled at the spec's temperature, or greedy where `generator` is None. A prompt that comes several times
    is computed once. (`model.generate` would compute M-RoPE positions itself and take none of ours.)
    """
    model.eval()
    batch = collate([Row(prompt, (), (), 0.0) for prompt in prompts], pad_token_id=spec.pad_token_id)
    rows = batch.prompt_of_row
    patches = normalise_patches(
        batch.patches, mean=spec.pixel_mean, std=spec.pixel_std, dtype=getattr(torch, spec.dtype)
    )
    output = model(
        input_ids=batch.prompt_ids,
        attention_mask=batch.prompt_mask,
        position_ids=batch.prompt_positions,
        pixel_values_videos=patches,
        video_grid_thw=batch.grid_thw,
        logits_to_keep=1,
        use_cache=True,
    )
    cache = output.past_key_values
    cache.batch_select_indices(rows)
    logits, mask, position = output.logits[rows], batch.prompt_mask[rows], batch.next_positions[rows]
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
    answers = torch.cat(columns, dim=1).tolist()
    return [ids[: ids.index(end_token_id)] if end_token_id in ids else ids for ids in answers]
