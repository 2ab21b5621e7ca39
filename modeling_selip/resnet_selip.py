"""The series tower: a 3D ResNet over one volume (arXiv 2503.19801; He et al. 2016 for the residual blocks).

Letters: N series, C channels, X Y Z voxels (RAS+), T positions of the last feature map, H its width.
"""

import math
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_selip import SelipVisionConfig
from .population_selip import pooled_shape


class FrozenBatchNorm3d(nn.BatchNorm3d):
    """BatchNorm that never updates its statistics nor its scale: for tuning where batches are small or replayed."""

    def __init__(self, num_features: int):
        super().__init__(num_features)
        self.weight.requires_grad_(False)
        self.bias.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


def build_norm(config: SelipVisionConfig, channels: int) -> nn.Module:
    """The normalisation that `config.norm` names, over `channels` channels."""
    if config.norm == "group":
        return nn.GroupNorm(config.norm_groups, channels)
    return nn.BatchNorm3d(channels) if config.norm == "batch" else FrozenBatchNorm3d(channels)


class ConvNorm(nn.Sequential):
    """Convolution without bias and its normalisation; the padding keeps the size at stride 1."""

    def __init__(
        self,
        config: SelipVisionConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
    ):
        sizes, strides = _three(kernel_size), _three(stride)
        # a patch stem (kernel = stride) has nothing to overlap; its input is padded to whole patches instead
        padding = (0, 0, 0) if _is_patch(sizes, strides) else _three([(size - 1) // 2 for size in sizes])
        super().__init__(
            nn.Conv3d(in_channels, out_channels, sizes, stride=strides, padding=padding, bias=False),
            build_norm(config, out_channels),
        )


class SelipResNetBlock(GradientCheckpointingLayer):
    """Residual block: two 3x3x3 convolutions, or the 1-3-1 bottleneck at depth 50.

    Its shortcut is of type "B": 1x1x1 where shapes differ.
    """

    def __init__(self, config: SelipVisionConfig, in_channels: int, width: int, stride: Sequence[int]):
        super().__init__()
        out_channels = width * config.expansion
        if config.expansion == 1:
            convolutions = [ConvNorm(config, in_channels, width, 3, stride), ConvNorm(config, width, width, 3)]
        else:
            convolutions = [
                ConvNorm(config, in_channels, width, 1),
                ConvNorm(config, width, width, 3, stride),
                ConvNorm(config, width, out_channels, 1),
            ]
        self.convolutions = nn.ModuleList(convolutions)
        is_same_shape = in_channels == out_channels and all(step == 1 for step in stride)
        self.shortcut = nn.Identity() if is_same_shape else ConvNorm(config, in_channels, out_channels, 1, stride)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = self.shortcut(hidden_states)
        for convolution in self.convolutions[:-1]:
            hidden_states = F.relu(convolution(hidden_states), inplace=True)
        return F.relu(self.convolutions[-1](hidden_states) + residual, inplace=True)


class SelipResNet(nn.Module):
    """Stem and stages; gives the feature map of every stage, finest first."""

    def __init__(self, config: SelipVisionConfig):
        super().__init__()
        is_patch = _is_patch(config.stem_kernel_size, config.stem_stride)
        self.patch = _three(config.stem_stride) if is_patch else (1, 1, 1)
        self.stem = ConvNorm(config, 1, config.hidden_sizes[0], config.stem_kernel_size, config.stem_stride)
        self.stem_pool = nn.MaxPool3d((3, 3, 1), stride=(2, 2, 1), padding=(1, 1, 0)) if config.stem_pool else None
        stages, in_channels = [], config.hidden_sizes[0]
        for depth, width, stride in zip(config.stage_depths, config.hidden_sizes, config.stage_strides, strict=True):
            blocks = []
            for index in range(depth):
                blocks.append(SelipResNetBlock(config, in_channels, width, tuple(stride) if index == 0 else (1, 1, 1)))
                in_channels = width * config.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, volumes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Args:
            volumes: (N, 1, X, Y, Z), intensities or deviations. Z may be 1 (a 2D image).

        Returns:
            One feature map a stage (N, C, X', Y', Z'), finest first.
        """
        hidden = volumes
        hidden = F.relu(self.stem(_pad_to_multiple(hidden, self.patch)), inplace=True)
        if self.stem_pool is not None:
            hidden = self.stem_pool(hidden)
        features = []
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        return tuple(features)


class SelipPositionPooling(nn.Module):
    """A series token from a map in which every position has its own weights.

    The study box puts a place of the head always at the same position, so "left frontal" is a set of weights. What
    is looked for (the channels) is shared by all positions.
    """

    def __init__(self, config: SelipVisionConfig) -> None:
        super().__init__()
        self.shape = map_shape(config)
        self.reduce = ConvNorm(config, config.last_width, config.position_channels, 1)
        self.projection = nn.Linear(config.position_channels * math.prod(self.shape), config.pooled_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C, X', Y', Z') to (N, H)."""
        if tuple(features.shape[2:]) != self.shape:
            raise ValueError(
                f"expected a last map of {self.shape} positions, got {tuple(features.shape[2:])}; prepare volumes "
                "with the processor of this checkpoint"
            )
        return self.projection(self._reduced(features).flatten(1))  # (N, c, X', Y', Z') -> (N, c * T)

    def along(self, features: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """What each position puts into the token along some directions.

        Args:
            features: (N, C, X', Y', Z').
            directions: (N, P, H).

        Returns:
            (N, P, T); over all positions, with the bias along the same directions, it sums to the token's own part.
        """
        reduced = self._reduced(features).flatten(2)  # (N, c, X', Y', Z') -> (N, c, T)
        weights = self.projection.weight.unflatten(1, reduced.shape[1:])  # (H, c * T) -> (H, c, T)
        return torch.einsum("nph,hct,nct->npt", directions, weights, reduced)

    def _reduced(self, features: torch.Tensor) -> torch.Tensor:
        return F.relu(self.reduce(features))


def map_shape(config: SelipVisionConfig) -> tuple[int, int, int]:
    """Positions of the last stage's map along x, y, z, for a study box of `config.spatial_size`."""
    return map_shapes(config)[-1]


def map_shapes(config: SelipVisionConfig) -> list[tuple[int, int, int]]:
    """Positions of the map of each stage along x, y, z, for a study box of `config.spatial_size`, finest first."""
    sizes = pooled_shape(config)
    if not _is_patch(config.stem_kernel_size, config.stem_stride):
        # an even kernel is padded by less than half, and loses a position
        sizes = _three([n - (k + 1) % 2 for n, k in zip(sizes, config.stem_kernel_size, strict=True)])
    before_stages = [config.stem_stride, *([(2, 2, 1)] if config.stem_pool else [])]
    shapes = []
    for stride in [*before_stages, *config.stage_strides]:
        sizes = _three([-(-size // step) for size, step in zip(sizes, stride, strict=True)])
        shapes.append(sizes)
    return shapes[len(before_stages) :]


def _is_patch(kernel_size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether a stem cuts patches: its steps are as wide as its kernel."""
    return tuple(kernel_size) == tuple(stride) and max(kernel_size) > 1


def _pad_to_multiple(volumes: torch.Tensor, multiple: tuple[int, ...]) -> torch.Tensor:
    padding: list[int] = []
    for size, step in zip(reversed(volumes.shape[2:]), reversed(multiple), strict=True):
        padding += [0, -size % step]
    return F.pad(volumes, padding) if any(padding) else volumes


def _three(sizes: int | Sequence[int]) -> tuple[int, int, int]:
    """Sizes along x, y, z; one number stands for all three."""
    x, y, z = (sizes,) * 3 if isinstance(sizes, int) else sizes
    return x, y, z
