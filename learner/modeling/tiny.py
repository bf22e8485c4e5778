"""Tiny random models of the real architectures, saved as ordinary Hugging Face folders.

The demo, the tests and CI use them through the same code that loads `Qwen/Qwen3-VL-8B-Instruct`: like a repository on
the hub, the folder holds config, weights, tokenizer, processor and chat template.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

Architecture = Literal["qwen3_vl", "qwen2_5_vl"]

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# The released models' layout: role headers, vision placeholders where the videos are, an open assistant turn.
_CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content -%}
{%- if part.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part.type == 'text' -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""

_HIDDEN, _HEADS, _KV_HEADS, _HEAD_DIM, _LAYERS = 96, 3, 1, 32, 3
_PATCH_PX, _TEMPORAL_PATCH, _MERGE = 16, 2, 2
# Image and video processor must normalise alike, because vLLM uses the image processor's values for videos too.
_PROCESSOR_SETTINGS: dict[str, Any] = {
    "patch_size": _PATCH_PX,
    "temporal_patch_size": _TEMPORAL_PATCH,
    "merge_size": _MERGE,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def build_tokenizer(corpus: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the words of `corpus`; every digit and each of `-,.` is one token.

    Any text can be encoded, because bytes are the alphabet; the words of the corpus make prompts short. Digits are
    single tokens because completions consist of digits: a model would have to learn every merged number separately.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9\-,.\n]"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(SPECIAL_TOKENS),
        chat_template=_CHAT_TEMPLATE,
    )


def create_tiny_model(
    folder: Path, *, corpus: Sequence[str], seed: int = 0, architecture: Architecture = "qwen3_vl"
) -> Path:
    """Write a random model of about 0.6 M parameters to `folder` and return the folder.

    A folder that already holds a model is kept. The model is written to a temporary folder and renamed when complete,
    so a folder with a config is never incomplete.

    Args:
        corpus: texts that the tokenizer is trained on.
    """
    if (folder / "config.json").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        partial = Path(scratch) / folder.name
        tokenizer = build_tokenizer(corpus)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model, processor = _build(architecture, tokenizer)
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        os.replace(partial, folder)
    return folder


def _build(architecture: Architecture, tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    """Return a random model and its processor."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    special = {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": True,
    }
    text: dict[str, Any] = {
        # Rows past the tokenizer's vocabulary, as in the released models; they must never be generated.
        "vocab_size": (len(tokenizer) // 64 + 1) * 64,
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _KV_HEADS,
        "head_dim": _HEAD_DIM,
        "max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "initializer_range": 0.04,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 64,
        "num_heads": 2,
        "patch_size": _PATCH_PX,
        "temporal_patch_size": _TEMPORAL_PATCH,
        "spatial_merge_size": _MERGE,
        "out_hidden_size": _HIDDEN,
        "intermediate_size": 128,
        "initializer_range": 0.04,
    }
    rope: dict[str, Any] = {"rope_type": "default", "mrope_section": [6, 5, 5], "rope_theta": 10000.0}
    image_processor = Qwen2VLImageProcessor(**_PROCESSOR_SETTINGS)
    model: Any
    processor: Any
    if architecture == "qwen3_vl":
        text["rope_parameters"] = rope | {"mrope_interleaved": True}
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
        config = Qwen3VLConfig(text_config=text, vision_config=vision, initializer_range=0.04, **special)
        model = Qwen3VLForConditionalGeneration(config)
        processor = Qwen3VLProcessor(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=Qwen3VLVideoProcessor(**_PROCESSOR_SETTINGS),
            chat_template=_CHAT_TEMPLATE,
        )
    else:
        text["rope_parameters"] = rope
        del text["head_dim"]
        vision |= {"window_size": 64, "fullatt_block_indexes": [1], "tokens_per_second": 2}
        config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, initializer_range=0.04, **special)
        model = Qwen2_5_VLForConditionalGeneration(config)
        processor = Qwen2_5_VLProcessor(
            image_processor=image_processor,
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(**_PROCESSOR_SETTINGS),
            chat_template=_CHAT_TEMPLATE,
        )
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor
