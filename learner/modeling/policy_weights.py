"""The policy's parameters as a push sends them and a Hugging Face folder names them."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from learner.config import LearnerConfig
from learner.modeling.lora import adapted_layers, adapter_parameters, base_name, merged_weight


class PolicyWeights:
    """One rank's view of the policy's full parameters, under the start model's names and with adapters merged.

    Args:
        model: the transformers model that DeepSpeed trains.
    """

    def __init__(self, model: Any, config: LearnerConfig, *, rank: int, device: torch.device) -> None:
        self.rank, self.device = rank, device
        self._model, self._config = model, config

    def named_parameters(self, *, trained_only: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, full parameter), one at a time. A collective under ZeRO-3, which gathers each parameter.

        Args:
            trained_only: leave out frozen parameters.
        """
        import deepspeed

        for name, parameter, layer in self._parameters_and_layers(trained_only=trained_only):
            needed = [parameter] if layer is None else adapter_parameters(layer)
            sharded = self._config.zero_stage == 3
            with deepspeed.zero.GatheredParameters(needed) if sharded else nullcontext():
                yield name, parameter.data if layer is None else merged_weight(layer)

    def parameter_shapes(
        self, *, trained_only: bool = False
    ) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Return (name, dtype, full shape) in the order of `named_parameters`, without gathering."""
        return [
            (name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape)))
            for name, parameter, _ in self._parameters_and_layers(trained_only=trained_only)
        ]

    def _parameters_and_layers(self, *, trained_only: bool) -> Iterator[tuple[str, Tensor, Any]]:
        """Yield (start model's name, parameter, the layer that it belongs to if that has an adapter, else None)."""
        layers = adapted_layers(self._model) if self._config.lora is not None else {}
        for name, parameter in self._model.named_parameters():
            plain = base_name(name)
            if plain is None:
                continue
            layer = layers.get(plain)
            if not trained_only or layer is not None or parameter.requires_grad:
                yield plain, parameter, layer
