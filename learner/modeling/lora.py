"""Low-rank adapters (PEFT): adding them, disabling them for the reference, merging them for the engines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from learner.config import LoraConfig

ADAPTER = "default"
_LAYERS = {"attention": "self_attn.(q|k|v|o)_proj", "mlp": "mlp.(gate|up|down)_proj"}


def add_adapters(model: Any, config: LoraConfig) -> None:
    """Add adapters to the language model and freeze all other parameters. Adapters start as zero.

    The vision tower gets none, so its outputs stay those of the start model and are computed once per prompt.
    """
    import peft

    names = "|".join(_LAYERS[layer].replace(".", r"\.") for layer in config.layers)
    model.add_adapter(
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,  # type: ignore[arg-type]  # PEFT only multiplies by it, so it need not be an integer
            target_modules=rf".*language_model\.layers\.\d+\.({names})",
        ),
        adapter_name=ADAPTER,
    )


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """Disable the adapters in the body, where the model then is the start model: a reference without further memory."""
    model.disable_adapters()
    try:
        yield
    finally:
        model.enable_adapters()


def base_name(name: str) -> str | None:
    """Return the start model's name of a parameter; None for a parameter of an adapter.

    Example: `...q_proj.base_layer.weight` gives `...q_proj.weight`; `...q_proj.lora_A.default.weight` gives None.
    """
    return None if ".lora_" in name else name.replace(".base_layer.", ".")


def adapted_layers(model: torch.nn.Module) -> dict[str, Any]:
    """Return the layers that have an adapter, by the start model's name of their weight."""
    from peft.tuners.lora import LoraLayer

    return {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


def merged_weight(layer: Any) -> Tensor:
    """Return base weight plus the adapter's product, [out, in], in the precision of the weight."""
    with torch.no_grad():
        weight: Tensor = layer.base_layer.weight
        return weight + layer.get_delta_weight(ADAPTER).to(weight.dtype)


def adapter_parameters(layer: Any) -> list[Tensor]:
    """Return the parameters that `merged_weight` reads: the base weight and the adapter's two factors."""
    return [layer.base_layer.weight, layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight]
