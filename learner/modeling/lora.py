"""Low-rank adapters by PEFT: put on, taken off for the reference, merged for the engines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from learner.config import LoraConfig

ADAPTER = "default"
_LAYERS = {"attention": "self_attn.(q|k|v|o)_proj", "mlp": "mlp.(gate|up|down)_proj"}


def add_adapters(model: Any, config: LoraConfig) -> None:
    """Put adapters on the language model; they start as zero, and all other parameters are frozen.

    The vision tower has none: its outputs stay those of the start model, computed once per prompt.
    """
    import peft

    names = "|".join(_LAYERS[layer].replace(".", r"\.") for layer in config.layers)
    model.add_adapter(
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # PEFT multiplies; it need not be whole
            target_modules=rf".*language_model\.layers\.\d+\.({names})",
        ),
        adapter_name=ADAPTER,
    )


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """Within it the model is the one that it started from: the reference of the KL, at no memory of its own."""
    model.disable_adapters()
    try:
        yield
    finally:
        model.enable_adapters()


def base_name(name: str) -> str | None:
    """The start model's name of a parameter; None for an adapter's own.

    Example: `...q_proj.base_layer.weight` is `...q_proj.weight`; `...q_proj.lora_A.default.weight` has none.
    """
    return None if ".lora_" in name else name.replace(".base_layer.", ".")


def adapted_layers(model: torch.nn.Module) -> dict[str, Any]:
    """Layers with an adapter, by the start model's name of their weight."""
    from peft.tuners.lora import LoraLayer

    return {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def merged_weight(layer: Any) -> Tensor:
    """Base weight plus its adapter's product, [out, in] in the weight's precision."""
    with torch.no_grad():
        weight: Tensor = layer.base_layer.weight
        return weight + layer.get_delta_weight(ADAPTER).to(weight.dtype)


def adapter_parameters(layer: Any) -> list[Tensor]:
    """What `merged_weight` reads: base weight and the adapter's two factors."""
    return [layer.base_layer.weight, layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight]
