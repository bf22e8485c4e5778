"""Attention over packed groups: each prompt is computed once, followed by its completions. Exact.

    packed sequence:            [ prompt A | a1 | a2 | a3 | prompt B | b1 | b2 ]
    a token of a prompt sees:   its prompt up to itself
    a token of a completion:    its whole prompt, and its completion up to itself

transformers' models accept any attention function by name, so their forward pass stays unchanged:
`install_packed_attention` registers ours. A call without the argument `packed_attention` uses transformers' sdpa.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.batch import Span, fill_in_order

TEXT_ATTENTION_NAME = "videossr_packed"
# transformers splits vision attention into one call per frame, unless the name contains "flash": then it passes all
# frames at once, with their lengths.
VISION_ATTENTION_NAME = "videossr_batched_flash"
# Short completions share a block of up to this many queries. A block computes the scores of all pairs of its tokens and
# masks most of them, so a longer completion is alone in its block.
BLOCK_TOKENS = 256


class PackedAttention(Protocol):
    """Attention over one packed sequence: tensors of [1, heads, tokens, head_dim], to the shape of `query`.

    `key` and `value` may have fewer heads (grouped queries).
    """

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor: ...


@dataclass(frozen=True)
class _Block:
    """Some completions of one group: queries [start, end) of the group, and which keys each of them may see."""

    start: int
    end: int
    mask: Tensor  # [end - start, prompt + end - start] bool; keys are the prompt and the block itself


class SdpaPackedAttention:
    """Causal attention without a mask for prompts, masked attention in blocks for completions.

    torch runs the unmasked one on a flash kernel and the masked one on a kernel that takes masks.
    """

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        self._spans = tuple(spans)
        self._blocks = [_blocks(span, device) for span in spans]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        # CUDA's masked kernels do not support grouped queries.
        grouped = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(grouped, dim=1), value.repeat_interleave(grouped, dim=1)
        # Split instead of slicing: the gradient of a slice has the size of the whole tensor, for every group again.
        totals = [span.total for span in self._spans]
        groups = zip(*(tensor.split(totals, dim=2) for tensor in (query, key, value)), strict=True)
        parts = []
        for span, blocks, (q, k, v) in zip(self._spans, self._blocks, groups, strict=True):
            parts += _attend_in_group(q, k, v, span.prompt, blocks, scale)
        return torch.cat(parts, dim=2)


def _attend_in_group(
    query: Tensor, key: Tensor, value: Tensor, prompt: int, blocks: Sequence[_Block], scale: float | None
) -> list[Tensor]:
    """Return the attention outputs of one group in order: its prompt's, then each block's."""
    attend = F.scaled_dot_product_attention
    prompt_key, prompt_value = key[:, :, :prompt], value[:, :, :prompt]
    parts = [attend(query[:, :, :prompt], prompt_key, prompt_value, is_causal=True, scale=scale)]
    for block in blocks:
        own = slice(block.start, block.end)
        if block.start == prompt:  # the first block directly follows its prompt: no copy needed
            keys, values = key[:, :, : block.end], value[:, :, : block.end]
        else:
            keys = torch.cat([prompt_key, key[:, :, own]], dim=2)
            values = torch.cat([prompt_value, value[:, :, own]], dim=2)
        parts.append(attend(query[:, :, own], keys, values, attn_mask=block.mask, scale=scale))
    return parts


def _blocks(span: Span, device: torch.device) -> list[_Block]:
    """Return a group's completions in blocks of up to `BLOCK_TOKENS` tokens, in order."""
    lengths = [length for length in span.completions if length > 0]  # a completion of one token has no inputs
    blocks: list[_Block] = []
    start = span.prompt
    for together in fill_in_order(lengths, lambda length: length, BLOCK_TOKENS):
        own = torch.block_diag(*[torch.ones(n, n).tril() for n in together]).bool()
        mask = torch.cat([torch.ones(len(own), span.prompt, dtype=torch.bool), own], dim=1)
        blocks.append(_Block(start, start + len(own), mask.to(device)))
        start += len(own)
    return blocks


class FlexPackedAttention:
    """One call of torch's flex attention for the whole packed sequence; it skips blocks that no token sees."""

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        from torch.nn.attention.flex_attention import create_block_mask

        group, part = _labels(spans, device)

        def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            same = (part[key] == part[query]) | (part[key] == 0)
            return (query >= key) & (group[query] == group[key]) & same

        length = len(group)
        self._mask = create_block_mask(sees, None, None, length, length, device=str(device))

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        attend = _flex_attention(query.device.type)
        result: Tensor = attend(query, key, value, block_mask=self._mask, scale=scale, enable_gqa=True)
        return result


def _labels(spans: Sequence[Span], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return each token's group and its part of the group, [num_tokens] each.

    Part 0 is the prompt, part k the k-th completion.
    """
    group, part = [], []
    for index, span in enumerate(spans):
        group.append(torch.full((span.total,), index))
        lengths = torch.tensor([span.prompt, *span.completions])
        part.append(torch.arange(len(lengths)).repeat_interleave(lengths))
    return torch.cat(group).to(device), torch.cat(part).to(device)


@cache
def _flex_attention(device_type: str) -> Any:
    """Return torch's flex attention, compiled on a GPU, where it would be slow otherwise.

    torch cannot compile its backward pass for a CPU, where tests use it to check results.
    """
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if device_type == "cuda" else flex_attention


PACKED_ATTENTIONS: dict[str, type[SdpaPackedAttention] | type[FlexPackedAttention]] = {
    "sdpa": SdpaPackedAttention,
    "flex": FlexPackedAttention,
}


def install_packed_attention(model: Any) -> None:
    """Make a transformers model attend over packed groups, and over all frames of one size in one call."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(TEXT_ATTENTION_NAME, _text_attention)
    AttentionInterface.register(VISION_ATTENTION_NAME, _vision_attention)
    AttentionMaskInterface.register(TEXT_ATTENTION_NAME, sdpa_mask)  # for calls without `packed_attention`
    model.set_attn_implementation(
        {"text_config": TEXT_ATTENTION_NAME, "vision_config": VISION_ATTENTION_NAME}
    )


def _text_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    packed_attention: PackedAttention | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend over the packed sequence, in the form in which transformers calls attention functions."""
    if packed_attention is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return packed_attention(query, key, value, scaling).transpose(1, 2), None


def _vision_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend fully within each frame (or window), with one call for consecutive frames of one size.

    query, key and value are [1, heads, num_patches, head_dim]; the result is [1, num_patches, heads, head_dim].
    """
    _, heads, _, width = query.shape
    lengths, runs = torch.unique_consecutive(cu_seq_lens_q.diff(), return_counts=True)
    start, parts = 0, []
    for length, count in zip(lengths.tolist(), runs.tolist(), strict=True):
        own = slice(start, start + length * count)
        q, k, v = (x[0, :, own].unflatten(1, (count, length)).transpose(0, 1) for x in (query, key, value))
        seen = F.scaled_dot_product_attention(q, k, v, scale=scaling)  # [count, heads, length, width]
        parts.append(seen.transpose(1, 2).reshape(1, count * length, heads, width))
        start = own.stop
    return torch.cat(parts, dim=1), None
