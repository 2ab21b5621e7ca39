"""The series tower: a 3D ResNet over one volume (arXiv 2503.19801; He et al. 2016 for the residual blocks).

Letters: N series, C channels, X Y Z voxels (RAS+), T positions of the last feature map, H its width.
"""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_selip import SelipVisionConfig


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
        is_patch = sizes == strides and max(sizes) > 1
        padding = (0, 0, 0) if is_patch else _three([(size - 1) // 2 for size in sizes])
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
    """Stem and four stages; gives the feature map of every stage, finest first."""

    def __init__(self, config: SelipVisionConfig):
        super().__init__()
        is_patch_stem = tuple(config.stem_kernel_size) == tuple(config.stem_stride)
        self.patch = tuple(config.stem_stride) if is_patch_stem else (1, 1, 1)
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
            volumes: (N, 1, X, Y, Z), intensities in [0, 1], air 0. Z may be 1 (a 2D image).

        Returns:
            Four feature maps (N, C, X', Y', Z'), finest first.
        """
        hidden = volumes.to(memory_format=torch.channels_last_3d)
        hidden = F.relu(self.stem(_pad_to_multiple(hidden, self.patch)), inplace=True)
        if self.stem_pool is not None:
            hidden = self.stem_pool(hidden)
        features = []
        for stage in self.stages:
            hidden = stage(hidden)
            features.append(hidden)
        return tuple(features)


class SelipMomentPooling(nn.Module):
    """How strong the strongest responses of each channel are, and where: moments up to the second order.

    Each channel is weighted by a softmax over positions, sharper or flatter as its own parameter says, for a lesion
    is a small part of a head. The zeroth moment is then a soft maximum. The study box puts a place of the head always
    at the same coordinates, so the first moments say where it is (the sign along x is the side), the second how far it
    is spread. One detector thus serves every place, and "left" is one direction for all of them.
    """

    def __init__(self, config: SelipVisionConfig) -> None:
        super().__init__()
        width = config.hidden_size * NUM_MOMENTS
        self.sharpness = nn.Parameter(torch.full((config.hidden_size, 1), INITIAL_SHARPNESS))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, config.hidden_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, H, X', Y', Z') to (N, H); the map may have any size."""
        basis = moment_basis(features.shape[2:], features.device).to(features.dtype)
        response = features.flatten(2)  # (N, H, X', Y', Z') -> (N, H, T)
        weights = (self.sharpness * response).softmax(dim=-1)
        moments = (weights * response) @ basis  # (N, H, T) @ (T, 10) -> (N, H, 10)
        return self.projection(self.norm(moments.flatten(1)))


# at 2 a response of five standard deviations outweighs a map of some hundred positions
INITIAL_SHARPNESS = 2.0
NUM_MOMENTS = 10


def moment_basis(shape: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """1, x, y, z, their squares and their products at the positions of a map, coordinates in [-1, 1].

    Each column is scaled to unit root mean square, so that no moment outweighs another.

    Args:
        shape: positions along x, y, z.

    Returns:
        float32 (X'*Y'*Z', 10), in the order of `Tensor.flatten`.
    """
    axes = [
        torch.linspace(-1, 1, size, device=device) if size > 1 else torch.zeros(1, device=device) for size in shape
    ]
    x, y, z = (axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij"))
    # squares less their mean: spread apart from amount
    squares = [axis**2 - (axis**2).mean() for axis in (x, y, z)]
    basis = torch.stack([torch.ones_like(x), x, y, z, *squares, x * y, x * z, y * z], dim=-1)
    return basis / basis.square().mean(0).sqrt().clamp(min=1e-6)


def _pad_to_multiple(volumes: torch.Tensor, multiple: tuple[int, ...]) -> torch.Tensor:
    padding: list[int] = []
    for size, step in zip(reversed(volumes.shape[2:]), reversed(multiple), strict=True):
        padding += [0, -size % step]
    return F.pad(volumes, padding) if any(padding) else volumes


def _three(sizes: int | Sequence[int]) -> tuple[int, int, int]:
    """Sizes along x, y, z; one number stands for all three."""
    x, y, z = (sizes,) * 3 if isinstance(sizes, int) else sizes
    return x, y, z
