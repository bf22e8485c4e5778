"""A vLLM logits processor that gives vision tokens and padded vocabulary rows a probability of exactly 0."""

from typing import TYPE_CHECKING, Any

import torch
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import LogitsProcessor

from rollout.prompt import forbidden_token_ids

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate


class ForbidVisionTokens(LogitsProcessor):
    """A logits processor that sets the logits of `forbidden_token_ids` to -inf, before temperature and softmax.

    The learner does the same before its softmax, so engine and learner normalise over the same tokens.
    """

    def __init__(self, vllm_config: "VllmConfig", device: torch.device, is_pin_memory: bool) -> None:
        tokenizer: Any = cached_tokenizer_from_config(vllm_config.model_config)
        vocab_size = vllm_config.model_config.get_vocab_size()
        self._forbidden = torch.tensor(forbidden_token_ids(tokenizer, vocab_size), device=device)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask `logits` [num_requests, vocab_size] in place."""
        return logits.index_fill_(-1, self._forbidden, float("-inf"))

    def is_argmax_invariant(self) -> bool:
        """Return False: greedy decoding needs the mask too."""
        return False

    def update_state(self, batch_update: "BatchUpdate | None") -> None:
        """Do nothing: the same tokens are forbidden for every request."""
