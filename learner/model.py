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


def completion_logprobs(model: Any, batch: MicroBatch, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """(logprobs, entropy) of a micro-batch's completions, each [num_rows, completion_length].

    `model` is the transformers model or DeepSpeed's engine around it.
    """
    completion_length = batch.completion_ids.shape[1]
    output = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        pixel_values_videos=normalise_patches(
            batch.patches, mean=spec.pixel_mean, std=spec.pixel_std, dtype=getattr(torch, spec.dtype)
        ),
        video_grid_thw=batch.grid_thw,
        # A token is predicted from the position before it, and completions start in one column.
        logits_to_keep=completion_length + 1,
        use_cache=False,
    )
    forbidden = torch.tensor(spec.forbidden, dtype=torch.int64, device=batch.input_ids.device)
    return token_logprobs(
        output.logits[:, :-1], batch.completion_ids, temperature=spec.temperature, forbidden=forbidden
    )
