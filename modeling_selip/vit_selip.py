"""The series tower: a 3D ViT (Dosovitskiy et al. 2021) over the patches of one volume that touch the head.

Heads fill a quarter to two thirds of the study box. Patches without head are neither embedded nor attended to, so air
costs nothing and says nothing. Where a patch lies is told in millimetres of the box, which hangs from the vertex and
is centred on the head: another box of the same spacing gives a place of the head the same position.

Letters: N series, G patches of the study box (gx * gy * gz), T tokens of a series (padded), H width, B studies, S
series slots of a study. Masks are bool, True = real.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_selip import SelipAttention, cast_once
from .configuration_selip import SelipVisionConfig

SHORTEST_WAVE_MM = 40.0
"""Shortest wave of a position: twice the step of a patch, which is 16 to 28 mm, tells neighbours apart best."""
LONGEST_WAVE_MM = 1000.0
"""Longest wave of a position: four times the box, so that no two places of it share all phases."""
NUM_FEATURE_MAPS = 4
"""Feature maps for dense heads, at even distances over the layers: as many as a ResNet has stages."""


@dataclass(frozen=True)
class KeptPatches:
    """Which patches the tokens of each series are, padded to one length.

    Attributes:
        index: int64 (N, T), place in the study box, in C order of (gx, gy, gz).
        mask: bool (N, T); None where every token is real, which spares attention its mask.
    """

    index: torch.Tensor
    mask: torch.Tensor | None


def keep_patches(patch_mask: torch.Tensor, length: int | None = None) -> KeptPatches:
    """Packs the patches of a mask to the front.

    Args:
        patch_mask: bool (N, gx, gy, gz).
        length: tokens to pad to. Where a series has more, and with None, it is the most that a series has.
    """
    flat = patch_mask.flatten(1)  # (N, gx, gy, gz) -> (N, G)
    counts = flat.sum(1)
    longest = max(1, int(counts.max())) if len(counts) else 1
    length = min(max(longest, length or 0), flat.shape[1])
    # real patches first, each kind in the order of the box
    index = flat.byte().argsort(dim=1, descending=True, stable=True)[:, :length]
    mask = torch.arange(length, device=flat.device) < counts[:, None]
    return KeptPatches(index, None if bool(mask.all()) else mask)


def cut_patches(volumes: torch.Tensor, patch: Sequence[int], kept: KeptPatches | None = None) -> torch.Tensor:
    """Voxels of the patches kept, or of all: (N, X, Y, Z) to (N, T, px * py * pz)."""
    (px, py, pz), (gx, gy, gz) = patch, grid_of(volumes, patch)
    blocks = volumes.reshape(len(volumes), gx, px, gy, py, gz, pz)
    blocks = blocks.permute(0, 1, 3, 5, 2, 4, 6)  # -> (N, gx, gy, gz, px, py, pz)
    if kept is None:
        return blocks.flatten(4).flatten(1, 3)
    series = torch.arange(len(volumes), device=volumes.device)[:, None]
    x, y, z = kept.index // (gy * gz), kept.index // gz % gy, kept.index % gz
    return blocks[series, x, y, z].flatten(2)  # (N, T, px, py, pz) -> (N, T, px * py * pz)


def grid_of(volumes: torch.Tensor, patch: Sequence[int]) -> tuple[int, int, int]:
    """Patches along x, y, z of volumes (N, X, Y, Z)."""
    sizes = tuple(volumes.shape[1:])
    if any(size % step for size, step in zip(sizes, patch, strict=True)):
        raise ValueError(f"expected volumes of whole patches of {tuple(patch)} voxels, got {sizes} voxels")
    x, y, z = (size // step for size, step in zip(sizes, patch, strict=True))
    return x, y, z


def box_positions(grid: Sequence[int], patch_mm: Sequence[float], width: int) -> torch.Tensor:
    """Sines and cosines of where the middle of each patch lies in the study box.

    Left-right and front-back count from the middle of the box, which is that of the head, down-up from its top, which
    is the vertex.

    Args:
        grid: patches along x, y, z.
        patch_mm: size of a patch along x, y, z in mm.
        width: a multiple of 6.

    Returns:
        float32 (G, width) in C order of the grid.
    """
    waves = width // 6
    steps = torch.arange(waves) / max(1, waves - 1)
    wavelengths = SHORTEST_WAVE_MM * (LONGEST_WAVE_MM / SHORTEST_WAVE_MM) ** steps
    parts = []
    for axis, (count, step_mm) in enumerate(zip(grid, patch_mm, strict=True)):
        origin = count if axis == 2 else count / 2
        places_mm = (torch.arange(count) + 0.5 - origin) * step_mm
        phases = 2 * math.pi * places_mm[:, None] / wavelengths  # (places, waves)
        waved = torch.cat([phases.sin(), phases.cos()], dim=1)
        shape = [1, 1, 1, 2 * waves]
        shape[axis] = count
        parts.append(waved.view(shape).expand(*grid, -1))
    return torch.cat(parts, dim=-1).flatten(0, 2)  # (gx, gy, gz, width) -> (G, width)


class SelipViTLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer over the tokens of each series, or of all series of a study together."""

    def __init__(self, config: SelipVisionConfig):
        super().__init__()
        width, eps = config.width, config.layer_norm_eps
        self.norm_attention = nn.LayerNorm(width, eps=eps)
        self.attention = SelipAttention(config, width, config.num_attention_heads)
        self.norm_mlp = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.intermediate_size),
            ACT2FN[config.hidden_act],
            nn.Linear(config.intermediate_size, width),
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        token_mask: torch.Tensor | None = None,
        series_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            hidden_states: (N, T, H).
            token_mask: bool (N, T); None: all are real.
            series_mask: bool (B, S) with N times True: the slots in which the series of each study stand, for
                attention across them; None: each series alone.
        """
        normed = cast_once(self.norm_attention(hidden_states))
        if series_mask is None:
            mixed = self.attention(normed, normed, token_mask)[0]
        else:
            mixed = self._attend_across(normed, token_mask, series_mask)
        hidden_states = hidden_states + mixed
        return hidden_states + self.mlp(self.norm_mlp(hidden_states))

    def _attend_across(
        self, normed: torch.Tensor, token_mask: torch.Tensor | None, series_mask: torch.Tensor
    ) -> torch.Tensor:
        shape = (*series_mask.shape, *normed.shape[1:])
        if token_mask is None:
            token_mask = series_mask.new_ones(normed.shape[:2])
        slots = normed.new_zeros(shape)
        slots[series_mask] = normed  # (N, T, H) -> (B, S, T, H)
        is_real = series_mask.new_zeros(shape[:3])
        is_real[series_mask] = token_mask
        tokens = slots.flatten(1, 2)  # (B, S, T, H) -> (B, S * T, H)
        mixed = self.attention(tokens, tokens, is_real.flatten(1))[0]
        return mixed.view(shape)[series_mask]


class SelipViT(nn.Module):
    """Embedding of the patches and the transformer layers."""

    def __init__(self, config: SelipVisionConfig):
        super().__init__()
        spacing_mm = config.spacing_mm or ()  # the configuration has made sure of it
        self.config = config
        self.patch = [size // step for size, step in zip(config.patch_size, config.input_pool, strict=True)]
        self.patch_mm = [size * step for size, step in zip(config.patch_size, spacing_mm, strict=True)]
        self.embedding = nn.Linear(math.prod(self.patch), config.width)
        # positions weigh as much as a 2D model's did where training starts from one
        self.position_scale = nn.Parameter(torch.ones(1))
        self.class_token = nn.Parameter(torch.empty(1, 1, config.width)) if config.pooling == "class" else None
        self.embedding_norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps) if config.embedding_norm else None
        self.layers = nn.ModuleList([SelipViTLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(config.width, eps=config.layer_norm_eps)

    def keep(self, volumes: torch.Tensor, patch_mask: torch.Tensor) -> KeptPatches:
        """The patches of a mask (N, gx, gy, gz), padded to the token budget in training."""
        expected = (len(volumes), *grid_of(volumes, self.patch))
        if tuple(patch_mask.shape) != expected:
            raise ValueError(
                f"expected patch_mask with one value a patch, {expected}, got {tuple(patch_mask.shape)}; a patch has "
                f"{tuple(self.config.patch_size)} voxels"
            )
        return keep_patches(patch_mask.bool(), self.config.token_budget if self.training else None)

    def forward(
        self, volumes: torch.Tensor, kept: KeptPatches | None = None, series_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            volumes: (N, X, Y, Z), intensities or deviations.
            kept: patches to read; None: all of the box.
            series_mask: bool (B, S), as for [`SelipViTLayer`]; read by `config.study_layers` only.

        Returns:
            Normalised tokens (N, T, H) of the last layer; of the whole box, after those at even distances over the
            layers, for feature maps. With a class token (N, 1 + T, H), that token first.
        """
        positions = box_positions(grid_of(volumes, self.patch), self.patch_mm, self.config.width).to(volumes.device)
        if kept is not None:
            positions = positions[kept.index]  # (G, H) -> (N, T, H)
        hidden = self.embedding(cut_patches(volumes, self.patch, kept))
        hidden = hidden + (self.position_scale * positions).to(volumes.dtype)
        token_mask = None if kept is None else kept.mask
        if self.class_token is not None:
            hidden = torch.cat([self.class_token.expand(len(hidden), -1, -1).to(hidden.dtype), hidden], dim=1)
            if token_mask is not None:
                token_mask = torch.cat([torch.ones_like(token_mask[:, :1]), token_mask], dim=1)
        if self.embedding_norm is not None:
            hidden = self.embedding_norm(hidden)
        wanted = feature_layers(len(self.layers)) if kept is None else [len(self.layers) - 1]
        features = []
        for number, layer in enumerate(self.layers):
            spans_study = number in self.config.study_layers
            hidden = layer(hidden, token_mask, series_mask if spans_study else None)
            if number in wanted:
                features.append(self.norm(hidden))
        return tuple(features)


def feature_layers(num_layers: int) -> list[int]:
    """Numbers of the layers whose output is a feature map; the last one is always among them."""
    count = min(NUM_FEATURE_MAPS, num_layers)
    return [num_layers * (number + 1) // count - 1 for number in range(count)]


class SelipTokenPooling(nn.Module):
    """A series token from patch tokens, in which every place of the study box has its own weights.

    As position pooling of feature maps, but places without a token add nothing, and the sum is scaled by how many
    tokens there are: a random subset of the patches is expected to give what all of them give.
    """

    def __init__(self, config: SelipVisionConfig):
        super().__init__()
        sizes = zip(config.spatial_size or (), config.patch_size, strict=True)
        self.grid = tuple(size // step for size, step in sizes)
        self.reduce = nn.Linear(config.width, config.position_channels)
        self.activation = nn.GELU()
        self.projection = nn.Linear(config.position_channels * math.prod(self.grid), config.pooled_size)

    def forward(self, tokens: torch.Tensor, kept: KeptPatches | None, grid: tuple[int, ...]) -> torch.Tensor:
        """(N, T, H) of a box of `grid` patches to (N, pooled width)."""
        if grid != self.grid:
            raise ValueError(
                f"expected a box of {self.grid} patches, got {grid}; prepare volumes with the processor of this "
                "checkpoint"
            )
        num_patches = math.prod(grid)
        reduced = self.activation(self.reduce(tokens))
        if kept is not None:
            counts = tokens.new_full((len(tokens), 1, 1), tokens.shape[1])
            if kept.mask is not None:
                reduced = reduced * kept.mask[..., None].to(reduced.dtype)
                counts = kept.mask.sum(1)[:, None, None].clamp(min=1)
            reduced = reduced * (num_patches / counts).to(reduced.dtype)
            places = reduced.new_zeros(len(tokens), num_patches, reduced.shape[-1])
            # tokens of padding stand at places of their own, and are zero
            reduced = places.scatter(1, kept.index[..., None].expand_as(reduced), reduced)
        return self.projection(reduced.flatten(1))  # (N, G, c) -> (N, G * c)

    def along(self, features: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """What each patch of the whole box puts into the token along some directions.

        Args:
            features: (N, H of a patch, gx, gy, gz).
            directions: (N, P, pooled width).

        Returns:
            (N, P, G); over all patches, with the bias along the same directions, it sums to the token's own part.
        """
        tokens = features.flatten(2).transpose(1, 2)  # (N, H, gx, gy, gz) -> (N, G, H)
        reduced = self.activation(self.reduce(tokens))
        weights = self.projection.weight.unflatten(1, reduced.shape[1:])  # (pooled width, G * c) -> (.., G, c)
        return torch.einsum("nph,htc,ntc->npt", directions, weights, reduced)


def mean_of_tokens(tokens: torch.Tensor, kept: KeptPatches | None) -> torch.Tensor:
    """Mean over the real tokens, (N, T, H) to (N, H); zero where a series has none."""
    if kept is None or kept.mask is None:
        return tokens.mean(1)
    weights = kept.mask[..., None].to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
