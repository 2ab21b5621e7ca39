"""Which loss a name means, and what its targets look like."""

import importlib
from collections.abc import Callable

import torch

from selip.modeling_selip.loss_selip import clip_loss, fvlm_loss, selip_loss, selip_recommended_loss, selip_targets

# (image_embeds (P, E), text_embeds (P, E), logit_scale (1,), compared bool (P, P), similarity (P, P)) -> scalar
Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def clip_objective(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    compared: torch.Tensor,
    similarity: torch.Tensor,
) -> torch.Tensor:
    """CLIP in the common signature; it has no use for the similarity."""
    return clip_loss(image_embeds, text_embeds, logit_scale, compared)


PRESETS: dict[str, Objective] = {
    "clip": clip_objective,
    "selip": selip_loss,
    "selip_recommended": selip_recommended_loss,
    "fvlm": fvlm_loss,
}


def load_objective(name: str) -> Objective:
    """The preset of this name, or the function that `package.module:function` names.

    Raises:
        ValueError: neither a preset nor an importable function.
    """
    if name in PRESETS:
        return PRESETS[name]
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(f"expected an objective of {tuple(PRESETS)} or package.module:function, got {name!r}")
    try:
        objective = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"could not import the objective {name!r}: {error}") from error
    if not callable(objective):
        raise ValueError(f"expected a function at {name!r}, got a {type(objective).__name__}")
    return objective


def target_statistics(similarity: torch.Tensor, compared: torch.Tensor) -> dict[str, float]:
    """How far similarity spreads the target of a text, averaged over real items.

    Returns:
        `effective_targets`: exponential of the entropy of Y = (I + Q) / 2, 1 for CLIP; `own_mass`: Y on the true pair.
    """
    targets = selip_targets(similarity, compared)
    real = compared.diagonal()
    entropy = -(targets * targets.clamp(min=1e-12).log()).sum(-1)
    return {
        "effective_targets": entropy.exp()[real].mean().item(),
        "own_mass": targets.diagonal()[real].mean().item(),
    }
