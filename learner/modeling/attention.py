"""Attention over packed groups: each prompt once, its completions on top of it. Exact, through transformers' own hooks.

    packed sequence:  [ prompt A | a1 | a2 | a3 | prompt B | b1 | b2 ]
    a prompt's token sees:      its prompt up to itself
    a completion's token sees:  its whole prompt, and its completion up to itself

transformers' models take any attention function by name, so their forward stays as it is: `install` names ours.
Without a plan (`attend` not given) a call falls through to transformers' own sdpa.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

PACKED = "videossr_packed"
# transformers cuts vision attention into one call per frame unless the name says "flash"; then it hands over
# all frames at once, with their lengths.
VISION = "videossr_batched_flash"
# Completions share a block of queries up to this many tokens. In a block each token is scored against all of
# the block and most of it is masked, so long completions get blocks of their own; short ones fill one.
_BLOCK_TOKENS = 256


@dataclass(frozen=True)
class Span:
    """One group in a packed sequence, in tokens: its prompt, then its completions' inputs in order.

    A completion's last token predicts nothing, so n tokens are n - 1 inputs.
    """

    prompt: int
    completions: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.prompt + sum(self.completions)


class Attend(Protocol):
    """Attention over one packed sequence: [1, heads, tokens, head_dim] each, to the same shape as `query`.

    `key` and `value` may have fewer heads (grouped queries).
    """

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor: ...


@dataclass(frozen=True)
class _Block:
    """Some completions of a group: queries at [start, end) of it, and which of prompt + block each may see."""

    start: int
    end: int
    mask: Tensor  # [end - start, prompt + end - start] bool


class SdpaAttend:
    """Prompts by plain causal attention, without a mask; completions by blocks, with one.

    torch dispatches the first to a flash kernel and the second to one that takes masks.
    """

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        self._spans = tuple(spans)
        self._blocks = [_blocks(span, device) for span in spans]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        # Masked kernels of CUDA take no grouped queries.
        grouped = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(grouped, dim=1), value.repeat_interleave(grouped, dim=1)
        # Split, not sliced: a slice's gradient is as large as what it was taken from, for every group anew.
        totals = [span.total for span in self._spans]
        groups = zip(*(tensor.split(totals, dim=2) for tensor in (query, key, value)), strict=True)
        parts = []
        for span, blocks, (q, k, v) in zip(self._spans, self._blocks, groups, strict=True):
            parts += _attend_in_group(q, k, v, span.prompt, blocks, scale)
        return torch.cat(parts, dim=2)


def _attend_in_group(
    query: Tensor, key: Tensor, value: Tensor, prompt: int, blocks: Sequence[_Block], scale: float | None
) -> list[Tensor]:
    attend = F.scaled_dot_product_attention
    prompt_key, prompt_value = key[:, :, :prompt], value[:, :, :prompt]
    parts = [attend(query[:, :, :prompt], prompt_key, prompt_value, is_causal=True, scale=scale)]
    for block in blocks:
        own = slice(block.start, block.end)
        if block.start == prompt:  # the first block lies beside its prompt: no copy
            keys, values = key[:, :, : block.end], value[:, :, : block.end]
        else:
            keys = torch.cat([prompt_key, key[:, :, own]], dim=2)
            values = torch.cat([prompt_value, value[:, :, own]], dim=2)
        parts.append(attend(query[:, :, own], keys, values, attn_mask=block.mask, scale=scale))
    return parts


def _blocks(span: Span, device: torch.device) -> list[_Block]:
    """Completions in order, several to a block while they fit."""
    blocks: list[_Block] = []
    start, lengths = span.prompt, list[int]()
    for length in (*[n for n in span.completions if n], None):  # a one-token completion has no inputs
        if lengths and (length is None or sum(lengths) + length > _BLOCK_TOKENS):
            end = start + sum(lengths)
            own = torch.block_diag(*[torch.ones(n, n).tril() for n in lengths]).bool()
            mask = torch.cat([torch.ones(len(own), span.prompt, dtype=torch.bool), own], dim=1)
            blocks.append(_Block(start, end, mask.to(device)))
            start, lengths = end, []
        if length is not None:
            lengths.append(length)
    return blocks


class FlexAttend:
    """The whole packed sequence in one call of torch's flex attention, which skips what no token sees."""

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
    """Of each token [num_tokens]: its group, and its part of it (0: the prompt; k: the k-th completion)."""
    group, part = [], []
    for index, span in enumerate(spans):
        group.append(torch.full((span.total,), index))
        lengths = torch.tensor([span.prompt, *span.completions])
        part.append(torch.arange(len(lengths)).repeat_interleave(lengths))
    return torch.cat(group).to(device), torch.cat(part).to(device)


@cache
def _flex_attention(device_type: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Fast only when compiled; torch cannot compile its backward for a CPU, where it serves as a check.
    return torch.compile(flex_attention) if device_type == "cuda" else flex_attention


ATTENDS: dict[str, type[SdpaAttend] | type[FlexAttend]] = {"sdpa": SdpaAttend, "flex": FlexAttend}


def install(model: Any) -> None:
    """Let a transformers model attend over packed groups, and over all frames of equal size at once."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(PACKED, _text_attention)
    AttentionInterface.register(VISION, _vision_attention)
    AttentionMaskInterface.register(PACKED, sdpa_mask)  # for calls without a plan
    model.set_attn_implementation({"text_config": PACKED, "vision_config": VISION})


def _text_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    attend: Attend | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if attend is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return attend(query, key, value, scaling).transpose(1, 2), None


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
    """Full attention within each frame (or window); runs of frames of one size in one call.

    query, key, value: [1, heads, num_patches, head_dim]; the result is [1, num_patches, heads, head_dim].
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
