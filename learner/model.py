"""The policy as a transformers model: loading it, and asking it for logprobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learner.batch import MicroBatch
from learner.loss import token_logprobs


@dataclass(frozen=True)
class ModelSpec:
    """What the learner must know of a model besides its folder.

    Args:
        path: Hugging Face folder or hub id.
        dtype: of the weights in forward and backward, "float32" or "bfloat16".
        attention: transformers' attention implementation.
        pad_token_id: any id, masked.
        forbidden: ids with probability 0 (vision tokens, rows past the vocabulary).
        pixel_mean, pixel_std: per channel, for pixels in [0, 1].
        temperature: the sampler's.
    """

    path: str
    dtype: str
    attention: str
    pad_token_id: int
    forbidden: tuple[int, ...]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    temperature: float


def load_model(spec: ModelSpec, *, gradient_checkpointing: bool = False) -> Any:
    """The real loading path: a folder or a hub id, in the given precision."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(
        spec.path, dtype=getattr(torch, spec.dtype), attn_implementation=spec.attention
    )
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def normalise_patches(
    patches: Tensor, *, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """uint8 patches [num_patches, channels * pixels_per_channel] to what the vision tower takes.

    The processors fold the division by 255 into mean and std; so does this, to give the same floats.
    """
    channels = len(mean)
    values = patches.view(len(patches), channels, -1).float()
    shift = torch.tensor(mean, device=patches.device).view(1, -1, 1) * 255
    scale = torch.tensor(std, device=patches.device).view(1, -1, 1) * 255
    return ((values - shift) / scale).flatten(1).to(dtype)


def completion_logprobs(
    model: Any, batch: MicroBatch, spec: ModelSpec, *, shared_prefix: bool = False
) -> tuple[Tensor, Tensor]:
    """(logprobs, entropy) of a micro-batch's completions, each [num_rows, completion_length].

    Args:
        model: the transformers model, or DeepSpeed's engine around it.
        shared_prefix: run each distinct prompt once and let its completions attend to it, instead of
            prompt and completion in every row. The same numbers, with less work; see `_on_shared_prefix`.
    """
    logits = (_on_shared_prefix if shared_prefix else _row_by_row)(model, batch, spec)
    forbidden = torch.tensor(spec.forbidden, dtype=torch.int64, device=logits.device)
    logprobs, entropy = token_logprobs(
        logits, batch.completion_ids, temperature=spec.temperature, forbidden=forbidden
    )
    # Some published folders pad with a vision token: -inf there, and NaN in every product with the mask.
    return logprobs.masked_fill(batch.completion_mask == 0, 0.0), entropy


def _row_by_row(model: Any, batch: MicroBatch, spec: ModelSpec) -> Tensor:
    """Logits [num_rows, completion_length, vocab_size], every row a whole sequence of its own."""
    rows = batch.prompt_of_row
    length = batch.completion_ids.shape[1]
    positions = _completion_positions(batch, length)
    output = model(
        input_ids=torch.cat([batch.prompt_ids[rows], batch.completion_ids], dim=1),
        attention_mask=torch.cat([batch.prompt_mask[rows], torch.ones_like(batch.completion_ids)], dim=1),
        position_ids=torch.cat([batch.prompt_positions[:, rows], positions], dim=2),
        **_vision_of_rows(batch, spec),
        # A token is predicted from the position before it, and completions start in one column.
        logits_to_keep=length + 1,
        use_cache=False,
    )
    return output.logits[:, :-1]


def _on_shared_prefix(model: Any, batch: MicroBatch, spec: ModelSpec) -> Tensor:
    """The same logits with each prompt computed once: its keys and values are handed to all its rows.

    Exact, gradients included: they flow back through the selected keys and values, summed over the rows.
    """
    rows = batch.prompt_of_row
    length = batch.completion_ids.shape[1]
    prefix = model(
        input_ids=batch.prompt_ids,
        attention_mask=batch.prompt_mask,
        position_ids=batch.prompt_positions,
        pixel_values_videos=_pixels(batch.patches, spec),
        video_grid_thw=batch.grid_thw,
        logits_to_keep=1,
        use_cache=True,
    )
    cache = prefix.past_key_values
    cache.batch_select_indices(rows)
    inputs = batch.completion_ids[:, :-1]
    rest = model(
        input_ids=inputs,
        attention_mask=torch.cat([batch.prompt_mask[rows], torch.ones_like(inputs)], dim=1),
        position_ids=_completion_positions(batch, length - 1),
        past_key_values=cache,
        use_cache=True,
    )
    return torch.cat([prefix.logits[rows], rest.logits], dim=1)


def _completion_positions(batch: MicroBatch, length: int) -> Tensor:
    """[3, num_rows, length]: text counts on from where the prompt ended, in all three components."""
    first = batch.next_positions[batch.prompt_of_row].unsqueeze(-1)
    return (first + torch.arange(length, device=first.device)).expand(3, -1, -1)


def _pixels(patches: Tensor, spec: ModelSpec) -> Tensor:
    return normalise_patches(
        patches, mean=spec.pixel_mean, std=spec.pixel_std, dtype=getattr(torch, spec.dtype)
    )


def _vision_of_rows(batch: MicroBatch, spec: ModelSpec) -> dict[str, Tensor]:
    """Pixels and grids of every row's prompt, in the rows' order."""
    grids = batch.grid_thw.split(batch.videos_per_prompt.tolist())
    patches = batch.patches.split([int(grid.prod(dim=1).sum()) for grid in grids])
    prompts = batch.prompt_of_row.tolist()
    return {
        "pixel_values_videos": _pixels(torch.cat([patches[prompt] for prompt in prompts]), spec),
        "video_grid_thw": torch.cat([grids[prompt] for prompt in prompts]),
    }
