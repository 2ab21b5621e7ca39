"""Where a series speaks for a text: what every position of the last feature map adds to the cosine; attention rollout.

Letters: N series, P texts, E embedding, H width of a series token, T positions of the last feature map or patches.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Embed = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Series tokens (M, H) and their sequence ids (M,) to embeddings (M, E) of unit length."""

NUM_NODES = 32
"""Points of the Gauss-Legendre rule along the path: maps of trained checkpoints sum to the cosine within 1e-6."""


def similarity_maps(
    vision_model: Any, embed: Embed, pixel_values: torch.Tensor, sequence_ids: torch.Tensor, text_embeds: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What every position adds to the cosine of a series, taken alone, with a text.

    A series token is a sum over positions, h = b + sum_t c_t: with `average` pooling c_t = f_t / T and b = 0, with
    `position` pooling c_t = W_t r_t, where r_t are the reduced channels at t and W_t the weights of that place. What
    follows (fusion, projection, unit length) is not linear in h, so a part is weighed by the gradient g of the cosine
    along the straight way from b, where no position says anything, to h:

        map_t = c_t . integral_0^1 g(b + a (h - b)) da        sum_t map_t = cos(h) - cos(b)

    These are the integrated gradients (Sundararajan et al., ICML 2017, equation 1 and proposition 1) of the parts;
    were the rest linear, they would be the parts of the cosine themselves. A patch of a ViT has seen the others by
    attention, and a position of a ResNet lies in the middle of what it has seen: a map says where the token was told,
    which need not be where it was seen.

    Args:
        vision_model: `SelipVisionModel`. A ViT reads all patches of the box, those of air too.
        embed: What makes an embedding of a token of a study of one series.
        pixel_values: (N, X, Y, Z).
        sequence_ids: int64 (N,).
        text_embeds: (P, E), unit length.

    Returns:
        maps (N, P, gx, gy, gz); cosines (N, P) of the whole token; cosines (N, P) of the empty one, b.

    Raises:
        ValueError: The token is no sum over positions.
    """
    if vision_model.config.pooling not in ("average", "position"):
        raise ValueError(
            f"expected average or position pooling, where a series token is a sum over positions, got "
            f"{vision_model.config.pooling}; a ViT can be asked for attention rollout"
        )
    with torch.no_grad():
        output = vision_model(pixel_values, sequence_ids)
        end, features = output.pooler_output, output.feature_maps[-1]
        pooling = vision_model.pooling
        start = torch.zeros_like(end) if pooling is None else pooling.projection.bias.expand_as(end)
        gradients, cosines = _along_path(embed, start, end, sequence_ids, text_embeds)
        if pooling is None:
            parts = features.flatten(2)  # (N, H, gx, gy, gz) -> (N, H, T)
            maps = gradients @ parts / parts.shape[2]
        else:
            maps = pooling.along(features, gradients)
    return maps.unflatten(2, features.shape[2:]), cosines[1], cosines[0]


def _along_path(
    embed: Embed, start: torch.Tensor, end: torch.Tensor, sequence_ids: torch.Tensor, text_embeds: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the cosines along the way (N, P, H), and the cosines at its two ends (2, N, P)."""
    nodes, lengths = np.polynomial.legendre.leggauss(NUM_NODES)  # for an integral from -1 to 1
    shares = torch.as_tensor((nodes + 1) / 2, dtype=start.dtype, device=start.device)
    weights = torch.as_tensor(lengths / 2, dtype=start.dtype, device=start.device)
    way = start + shares[:, None, None] * (end - start)  # (K, N, H)
    # copies made here can be differentiated, whatever mode the caller is in
    with torch.inference_mode(False), torch.enable_grad():
        texts, ids, weights = text_embeds.clone().to(start.dtype), sequence_ids.clone(), weights.clone()
        way = way.clone().detach().requires_grad_(True)
        cosines = embed(way.flatten(0, 1), ids.repeat(NUM_NODES)) @ texts.T  # (K * N, P)
        gradients = []
        for place in range(len(texts)):
            (gradient,) = torch.autograd.grad(cosines[:, place].sum(), way, retain_graph=True)
            gradients.append(torch.einsum("k,knh->nh", weights, gradient))
    ends = torch.stack([embed(each, sequence_ids) for each in (start, end)]) @ text_embeds.to(start.dtype).T
    return torch.stack(gradients, dim=1), ends


def attention_rollout(vision_model: Any, pixel_values: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
    """How much of the token of each series, taken alone, comes from each patch by attention; no text has a say.

    Attention rollout (Abnar and Zuidema, ACL 2020, equation 1): with A_l the attention of layer l, its mean over the
    heads, the product over the layers of (A_l + I) / 2. Read at the class token, or as the mean over all tokens where
    these are pooled.

    Args:
        vision_model: `SelipVisionModel` with a ViT and eager attention, which gives its weights; all patches are read.
        pixel_values: (N, X, Y, Z).
        sequence_ids: int64 (N,).

    Returns:
        (N, gx, gy, gz), at least 0; all patches, with the class token where there is one, sum to 1.

    Raises:
        ValueError: It is a ResNet, or the attention gives no weights.
    """
    if vision_model.config.backbone != "vit":
        raise ValueError("expected a ViT for attention rollout, got a ResNet, which has no attention; use similarity")
    weights: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: tuple[torch.Tensor, torch.Tensor | None]) -> None:
        if output[1] is not None:
            weights.append(output[1].mean(1))  # (N, heads, T, T) -> (N, T, T)

    layers = vision_model.backbone.layers
    handles = [layer.attention.register_forward_hook(keep) for layer in layers]
    try:
        with torch.no_grad():
            grid = vision_model(pixel_values, sequence_ids).feature_maps[-1].shape[2:]
    finally:
        for handle in handles:
            handle.remove()
    if len(weights) != len(layers):
        raise ValueError(
            "expected the weights of attention, which only its eager form gives; call "
            "model.set_attn_implementation('eager') first"
        )
    rolled = torch.eye(weights[0].shape[1], dtype=weights[0].dtype, device=weights[0].device)
    for each in weights:
        rolled = (each @ rolled + rolled) / 2
    read = rolled[:, 0, 1:] if vision_model.backbone.class_token is not None else rolled.mean(1)
    return read.unflatten(1, grid)


def on_box(maps: torch.Tensor, spatial_size: tuple[int, int, int]) -> torch.Tensor:
    """Maps of positions (..., gx, gy, gz) on the voxels of the study box (..., X, Y, Z), by linear interpolation.

    A voxel in the middle of a position has its value.
    """
    shape = maps.shape
    flat = maps.reshape(1, -1, *shape[-3:]).float()
    return F.interpolate(flat, size=tuple(spatial_size), mode="trilinear", align_corners=False).view(
        *shape[:-3], *spatial_size
    )
