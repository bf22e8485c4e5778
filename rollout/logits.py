"""Keeps vLLM from sampling vision tokens and padded vocabulary rows, with probability exactly 0."""

from typing import TYPE_CHECKING, Any

import torch
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import LogitsProcessor

from rollout.prompt import forbidden_token_ids

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate


class ForbidVisionTokens(LogitsProcessor):
    """Sets the logits of `forbidden_token_ids` to -inf for every request, before temperature and softmax.

    The learner does the same before its softmax, so both sides normalise over the same tokens.
    """

    def __init__(self, vllm_config: "VllmConfig", device: torch.device, is_pin_memory: bool) -> None:
        tokenizer: Any = cached_tokenizer_from_config(vllm_config.model_config)
        vocab_size = vllm_config.model_config.get_vocab_size()
        self._forbidden = torch.tensor(forbidden_token_ids(tokenizer, vocab_size), device=device)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask `logits` [num_requests, vocab_size] in place."""
        return logits.index_fill_(-1, self._forbidden, float("-inf"))

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: "BatchUpdate | None") -> None:
        """Nothing to keep: the same tokens are forbidden for every request."""
