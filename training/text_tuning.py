"""Which weights of the text tower are trained: all, none, or adapters of low rank.

The adapters are LoRA (Hu et al. 2021, arXiv 2106.09685): W + BA with W fixed, B and A trained.
"""

from typing import Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear

from selip.modeling_selip.modeling_selip import SelipModel

ADAPTER = "default"


def tune_text_tower(model: SelipModel, tuning: Literal["full", "frozen", "lora"], rank: int) -> None:
    """Freezes the text tower, or puts adapters beside each of its linear layers and freezes the rest. In place.

    The adapters start as zero, so that the first step sees the tower as it is.
    """
    if tuning == "frozen":
        model.text_model.requires_grad_(False)
    elif tuning == "lora":
        adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        inject_adapter_in_model(adapters, model.text_model, adapter_name=ADAPTER)


def merged_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of the same model without adapters: W + BA in the place of W, under the name that W had before."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}
    merged = {}
    for name, value in model.state_dict().items():
        layer, _, kind = name.rpartition(".base_layer.")
        if layer in layers:
            name = f"{layer}.{kind}"
            if kind == "weight":
                value = value + layers[layer].get_delta_weight(ADAPTER)
        elif ".lora_" in name:
            continue
        merged[name] = value
    return merged
