"""Prompts with videos of noise for tiny models, and a plain forward pass of transformers to compare with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learner.batch import PromptWithCompletions
from learner.modeling.policy_model import ModelSpec
from pretext.recipe import Clip
from rollout.prompt import ModelInput, PromptBuilder, forbidden_token_ids

ARCHITECTURES = ("qwen3_vl", "qwen2_5_vl")


def spec_of(folder: Path, *, attention: str = "sdpa") -> ModelSpec:
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return ModelSpec(
        path=str(folder),
        dtype="float32",
        attention=attention,
        pad_token_id=tokenizer.pad_token_id,
        forbidden=forbidden_token_ids(tokenizer, AutoConfig.from_pretrained(folder).text_config.vocab_size),
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        temperature=0.8,
    )


def prompts(folder: Path, clips: Sequence[Sequence[tuple[int, int, int]]]) -> list[ModelInput]:
    """Return a prompt for each list of (frames, height, width), with one clip of noise per entry."""
    from transformers import AutoConfig, AutoProcessor

    builder = PromptBuilder(
        AutoProcessor.from_pretrained(folder), AutoConfig.from_pretrained(folder), max_prompt_tokens=600
    )
    rng = np.random.default_rng(0)
    built = []
    for sizes in clips:
        made = [Clip(rng.integers(0, 256, (*size, 3), np.uint8), np.arange(size[0]) / 2) for size in sizes]
        content = [part for k, size in enumerate(sizes) for part in (k, "When?" * size[0])]
        built.append(builder.build(system="Answer.", content=content, clips=made)[1])
    return built


def part(
    spec: ModelSpec, prompt: ModelInput, lengths: Sequence[int], *, seed: int = 1
) -> PromptWithCompletions:
    """Return a prompt with random completions of these lengths."""
    rng = np.random.default_rng(seed)
    allowed = [id for id in range(300) if id not in spec.forbidden]
    completions = [tuple(rng.choice(allowed, size=length).tolist()) for length in lengths]
    return PromptWithCompletions(prompt, completions, [(-1.0,) * length for length in lengths])


def plain_logprobs(model: Any, spec: ModelSpec, prompt: ModelInput, completion: Sequence[int]) -> Tensor:
    """Return the logprobs of one completion, [num_tokens], by a plain forward pass: not packed, padded or shared."""
    ids = np.concatenate([prompt.token_ids, completion])
    # Positions continue after the video's grid, so `next_position` is not the number of tokens.
    after = prompt.next_position + np.arange(len(completion))
    assert prompt.next_position != len(prompt.token_ids)
    positions = np.concatenate([prompt.positions, np.broadcast_to(after, (3, len(completion)))], axis=1)
    logits = model(
        input_ids=torch.from_numpy(ids)[None],
        position_ids=torch.from_numpy(positions)[:, None],
        pixel_values_videos=(torch.from_numpy(prompt.patches).float() / 255 - 0.5) / 0.5,
        video_grid_thw=torch.from_numpy(prompt.grid_thw),
        use_cache=False,
    ).logits[0, len(prompt.token_ids) - 1 : -1]
    forbidden = torch.tensor(spec.forbidden)
    distribution = (logits / spec.temperature).index_fill(-1, forbidden, -torch.inf).log_softmax(-1)
    return distribution[range(len(completion)), list(completion)]
