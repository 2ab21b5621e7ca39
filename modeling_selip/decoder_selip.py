"""From the feature maps of all series of a study to a score for every voxel of its box.

A U-shaped decoder (Ronneberger et al. 2015; for the maps of a ViT, Hatamizadeh et al. 2022). It starts at the coarsest
maps of the series tower and doubles their size, step by step, until it is that of the study box. At each size it reads
what the tower has of that size; what the tower was shown comes in at the finest, for a lesion may be smaller than the
first stride. Maps of several series become one before anything is computed on them: in the study box a position is
the same place in every series.

Letters: B studies, S series slots, N series that are there, C channels of a map, W width of the decoder, X Y Z voxels.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_selip import SelipVisionConfig
from .population_selip import pooled_shape
from .resnet_selip import map_shapes
from .vit_selip import feature_layers

Size = tuple[int, int, int]

WIDEST = 8
"""Coarser maps are wider, each step twice as wide, up to this many times the finest."""
CHANNELS_PER_GROUP = 4
"""Channels that GroupNorm normalises together."""


class SelipSeriesMaps(nn.Module):
    """Feature maps of the series of a study to one: scaled and shifted as their sequences ask, and averaged."""

    def __init__(self, in_channels: int, width: int, num_sequences: int):
        super().__init__()
        self.project = nn.Conv3d(in_channels, width, 1)
        self.sequence_scale = nn.Embedding(num_sequences, width)
        self.sequence_shift = nn.Embedding(num_sequences, width)

    def forward(self, maps: torch.Tensor, series_mask: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
        """(N, C, x, y, z) of the series that `series_mask` (B, S) and `sequence_ids` (B, S) name, to (B, W, x, y, z).

        A study without series gives zeros.
        """
        scale = self.sequence_scale(sequence_ids[series_mask])[..., None, None, None]  # (N, W) -> (N, W, 1, 1, 1)
        shift = self.sequence_shift(sequence_ids[series_mask])[..., None, None, None]
        hidden = F.relu(self.project(maps) * scale + shift)
        slots = hidden.new_zeros(*series_mask.shape, *hidden.shape[1:])
        slots[series_mask] = hidden  # (N, W, x, y, z) -> (B, S, W, x, y, z)
        return slots.sum(1) / series_mask.sum(1).clamp(min=1).view(-1, 1, 1, 1, 1)


class SelipVolumeMap(nn.Module):
    """Volumes of the series of a study to one map, by kernels of each sequence's own.

    It is the mean of one convolution a series, computed as one convolution over all, so that at full size nothing is
    kept for each series. A kernel is one that all sequences share plus a difference that starts at zero, so a sequence
    that was never seen is read as the others are on average.
    """

    def __init__(self, width: int, num_sequences: int):
        super().__init__()
        self.width = width
        self.kernel = nn.Parameter(torch.empty(width, 1, 3, 3, 3))
        self.sequence_kernel = nn.Embedding(num_sequences, width * 27)

    def forward(self, volumes: torch.Tensor, series_mask: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
        """(B, S, x, y, z) with anything in the slots that `series_mask` (B, S) leaves out, to (B, W, x, y, z)."""
        batch, slots = series_mask.shape
        own = self.sequence_kernel(sequence_ids).view(batch, slots, self.width, 3, 3, 3)
        share = series_mask / series_mask.sum(1, keepdim=True).clamp(min=1)
        kernels = (self.kernel[:, 0] + own) * share[..., None, None, None, None].to(own.dtype)
        kernels = kernels.transpose(1, 2).flatten(0, 1)  # (B, S, W, 3, 3, 3) -> (B * W, S, 3, 3, 3)
        shown = torch.where(series_mask[..., None, None, None], volumes, 0)
        mapped = F.conv3d(shown.flatten(0, 1)[None], kernels, padding=1, groups=batch)  # (1, B * W, x, y, z)
        return mapped[0].unflatten(0, (batch, self.width))


class SelipDecoderBlock(GradientCheckpointingLayer):
    """Two 3 x 3 x 3 convolutions, each with GroupNorm, which does not depend on the batch, and ReLU."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(channels, width, 3, padding=1, bias=False) for channels in (in_channels, width)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(width // CHANNELS_PER_GROUP, width) for _ in range(2))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden_states = F.relu(norm(convolution(hidden_states)))
        return hidden_states


class SelipDecoder(nn.Module):
    """Feature maps of the series tower, and what it was shown, to scores on the study box."""

    def __init__(self, vision_config: SelipVisionConfig, width: int, num_labels: int):
        """
        Args:
            vision_config: `SelipVisionConfig` with its `spatial_size`.
            width: Channels at the size of the box, a multiple of 4.
            num_labels: K scores a voxel.
        """
        super().__init__()
        of_volumes = volume_sizes(vision_config)
        of_maps = tower_map_sizes(vision_config)
        self.sizes = decoder_sizes([*(size for size, _ in of_maps), *of_volumes])
        steps = len(self.sizes)
        widths = [width * min(2 ** (steps - 1 - step), WIDEST) for step in range(steps)]
        self.map_steps = [self.sizes.index(size) for size, _ in of_maps]
        self.volume_steps = [self.sizes.index(size) for size in of_volumes]
        num_sequences = vision_config.num_sequences
        self.maps = nn.ModuleList(
            SelipSeriesMaps(channels, widths[step], num_sequences)
            for step, (_, channels) in zip(self.map_steps, of_maps, strict=True)
        )
        self.volumes = nn.ModuleList(SelipVolumeMap(widths[step], num_sequences) for step in self.volume_steps)
        read = [self.map_steps.count(step) + self.volume_steps.count(step) for step in range(steps)]
        self.blocks = nn.ModuleList(
            SelipDecoderBlock(read[step] * widths[step] + (widths[step - 1] if step else 0), widths[step])
            for step in range(steps)
        )
        self.scores = nn.Conv3d(width, num_labels, 1)

    def forward(
        self,
        feature_maps: Sequence[torch.Tensor],
        volumes: Sequence[torch.Tensor],
        series_mask: torch.Tensor,
        sequence_ids: torch.Tensor,
    ) -> torch.Tensor:
        """
        Args:
            feature_maps: each (N, C, x, y, z), those of `tower_map_sizes`.
            volumes: each (B, S, x, y, z), those of `volume_sizes`.
            series_mask: bool (B, S) with N times True.
            sequence_ids: int64 (B, S).

        Returns:
            (B, K, X, Y, Z).

        Raises:
            ValueError: a map has another size than the study box of the configuration gives.
        """
        read: list[list[torch.Tensor]] = [[] for _ in self.sizes]
        for modules, steps, given in (
            (self.maps, self.map_steps, feature_maps),
            (self.volumes, self.volume_steps, volumes),
        ):
            for module, step, each in zip(modules, steps, given, strict=True):
                if tuple(each.shape[-3:]) != self.sizes[step]:
                    raise ValueError(
                        f"expected a map of {self.sizes[step]} positions, got {tuple(each.shape[-3:])}; prepare "
                        "volumes with the processor of this checkpoint"
                    )
                read[step].append(module(each, series_mask, sequence_ids))
        hidden = self.blocks[0](torch.cat(read[0], dim=1))
        for size, block, others in zip(self.sizes[1:], self.blocks[1:], read[1:], strict=True):
            hidden = F.interpolate(hidden, size=size, mode="trilinear", align_corners=False)
            hidden = block(torch.cat([hidden, *others], dim=1))
        return self.scores(hidden)


def tower_map_sizes(config: SelipVisionConfig) -> list[tuple[Size, int]]:
    """Positions along x, y, z, and channels, of each feature map of the tower on the study box, finest first."""
    if config.backbone == "vit":
        x, y, z = (size // step for size, step in zip(box_size(config), config.patch_size, strict=True))
        return [((x, y, z), config.width) for _ in feature_layers(config.num_hidden_layers)]
    widths = [width * config.expansion for width in config.hidden_sizes]
    return list(zip(map_shapes(config), widths, strict=True))


def volume_sizes(config: SelipVisionConfig) -> list[Size]:
    """Sizes of the volumes that the decoder reads: as given, and as the tower sees them where that is different."""
    changes = config.input_norm != "none" or any(step != 1 for step in config.input_pool)
    return [box_size(config), *([pooled_shape(config)] if changes else [])]


def box_size(config: SelipVisionConfig) -> Size:
    """Voxels of the study box along x, y, z.

    Raises:
        ValueError: The configuration does not say.
    """
    if config.spatial_size is None:
        raise ValueError("expected spatial_size in vision_config, the voxels of the study box along x, y, z, got None")
    x, y, z = config.spatial_size
    return x, y, z


def decoder_sizes(sizes: Sequence[Size]) -> list[Size]:
    """Sizes to go through, coarsest first, so that each axis at most doubles from one to the next.

    Example:
        >>> decoder_sizes([(9, 11, 6), (36, 44, 24)])
        [(9, 11, 6), (18, 22, 12), (36, 44, 24)]
    """
    wanted = sorted(set(sizes), key=math.prod)
    steps = wanted[:1]
    for size in wanted[1:]:
        while steps[-1] != size:
            x, y, z = (min(to, 2 * at) for at, to in zip(steps[-1], size, strict=True))
            steps.append((x, y, z))
    return steps
