"""How a volume differs from the population of its MRI sequence, voxel by voxel.

The study box puts every head at the same place, so each voxel has a mean and a spread over the studies of one
sequence. Against them a lesion stands out as a head's own anatomy does not (as in voxel-based morphometry: Ashburner
and Friston, NeuroImage 2000;11:805-821). A network that starts from raw intensities has to learn the mean head first.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_selip import SelipVisionConfig

# where all heads agree (air), noise alone must not count as a deviation; in units of the scaled intensity
SPREAD_FLOOR = 0.03
# a deviation beyond this says no more
LARGEST_DEVIATION = 5.0


class SelipPopulation(nn.Module):
    """Mean and spread of each sequence on the (pooled) study box, and deviations from them.

    Both are buffers that are measured once, on the training volumes, before the first step (`fit`). A sequence that is
    unknown, or that the population lacks, is compared with the sequence whose mean head it resembles most.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    is_known: torch.Tensor

    def __init__(self, config: SelipVisionConfig):
        super().__init__()
        shape = (config.num_sequences, *pooled_shape(config))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))
        self.register_buffer("is_known", torch.zeros(config.num_sequences, dtype=torch.bool))

    def forward(self, volumes: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
        """
        Args:
            volumes: (N, X', Y', Z'), pooled intensities.
            sequence_ids: int64 (N,), 0 = unknown.

        Returns:
            (N, X', Y', Z'), deviations in units of the spread, clipped to [-5, 5].
        """
        expected = tuple(self.mean.shape[1:])
        if tuple(volumes.shape[1:]) != expected:
            raise ValueError(
                f"expected volumes of {expected} voxels after pooling, as the population was measured on, got "
                f"{tuple(volumes.shape[1:])}; prepare them with the processor of this checkpoint"
            )
        distance = torch.cdist(volumes.flatten(1).float(), self.mean.flatten(1).float())  # (N, num_sequences)
        nearest = distance.masked_fill(~self.is_known, torch.inf).argmin(1)
        compared_with = torch.where(self.is_known[sequence_ids], sequence_ids, nearest)
        deviation = (volumes - self.mean[compared_with]) / (self.spread[compared_with] + SPREAD_FLOOR)
        return deviation.clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)

    @torch.no_grad()
    def fit(self, sequence_id: int, volumes: torch.Tensor) -> None:
        """Measures mean and spread of one sequence, made symmetric: a head has no side that is larger as a rule.

        Args:
            sequence_id: the sequence.
            volumes: (n, X', Y', Z'), pooled intensities of at least two volumes.
        """
        if len(volumes) < 2:
            raise ValueError(f"expected at least two volumes of sequence {sequence_id}, got {len(volumes)}")
        both_ways = torch.cat([volumes, volumes.flip(1)])
        self.mean[sequence_id] = both_ways.mean(0)
        self.spread[sequence_id] = both_ways.std(0, correction=0)
        self.is_known[sequence_id] = True


def pooled_shape(config: SelipVisionConfig) -> tuple[int, int, int]:
    """Voxels of the study box along x, y, z after pooling by `input_pool`; a remainder is cut off."""
    x, y, z = (size // step for size, step in zip(config.spatial_size or (), config.input_pool, strict=True))
    return x, y, z


def pool_input(volumes: torch.Tensor, config: SelipVisionConfig) -> torch.Tensor:
    """Mean over blocks of `input_pool` voxels: (N, X, Y, Z) to (N, X', Y', Z')."""
    if all(step == 1 for step in config.input_pool):
        return volumes
    return F.avg_pool3d(volumes[:, None], tuple(config.input_pool))[:, 0]  # (N, 1, X, Y, Z) and back
