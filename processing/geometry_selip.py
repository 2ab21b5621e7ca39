"""Geometry: axis orders and resampling between grids.

All affines are float64 (4, 4), voxel index -> scanner millimetres (RAS+); arrays have axes (x, y, z). In RAS+
order low x is the patient's left, low y posterior, low z inferior.
"""

import math
from itertools import permutations, product

import numpy as np
import torch
import torch.nn.functional as F

FWHM_TO_VARIANCE = 1.0 / (8.0 * math.log(2.0))
"""Variance of a Gaussian of full width at half maximum 1."""
EDGE_TOLERANCE = 1e-3
"""Voxels by which a target centre may lie beyond the source's edge: rounding must not drop a layer."""


def canonical_axes(affine: np.ndarray) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Find the axis order and flips that bring a grid closest to RAS+.

    Args:
        affine: float64 (4, 4).

    Returns:
        order: Stored axis that becomes x, y, z.
        flipped: Whether that axis runs the other way.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)  # [scanner axis, stored axis]
    order = max(permutations(range(3)), key=lambda p: sum(abs(directions[k, p[k]]) for k in range(3)))
    return order, tuple(bool(directions[k, order[k]] < 0) for k in range(3))


def to_canonical(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """View a volume with its axes permuted and flipped to closest RAS+; nothing is interpolated or copied.

    Args:
        volume: (x, y, z) in any axis order.
        affine: float64 (4, 4) of that order.

    Returns:
        View of the volume and its affine: the same voxels at the same places in the scanner.
    """
    order, flipped = canonical_axes(affine)
    view = volume.transpose(order)
    out = affine.copy()
    out[:3, :3] = affine[:3, list(order)]
    for k in range(3):
        if flipped[k]:
            view = np.flip(view, k)
            out[:3, 3] += out[:3, k] * (view.shape[k] - 1)
            out[:3, k] *= -1
    return view, out


def resample(
    volume: np.ndarray,
    affine: np.ndarray,
    target_affine: np.ndarray,
    target_size: tuple[int, int, int],
    *,
    nearest: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample a volume to another grid, oblique or not.

    Where a target voxel is wider than a source voxel along a source axis, the source is smoothed along that axis
    first, so that the point spread grows from the source's to the target's width (Gaussians matched by their full
    width at half maximum: Cardoso et al., "Scale Factor Point Spread Function Matching", MICCAI 2015). A thick-slice
    source is therefore not blurred through-plane. Work is confined to the part of the source that the target needs.

    Args:
        volume: float32 (x, y, z) in any axis order.
        affine: float64 (4, 4) of the volume.
        target_affine: float64 (4, 4) of the target grid.
        target_size: Voxels (X, Y, Z) of the target grid.
        nearest: Take the nearest voxel and do not smooth (labels).

    Returns:
        values: float32 (X, Y, Z); 0 where the source has no voxel.
        covered: bool (X, Y, Z), True within the source's voxels (half a voxel around its outer centres).
    """
    source, source_affine = to_canonical(volume, affine)
    to_index = np.linalg.inv(source_affine) @ target_affine
    widths = _target_widths(source_affine, target_affine)
    window = _needed_window(to_index, target_size, source.shape, margin=np.ceil(1.3 * widths).astype(int) + 2)
    if window is None:
        return np.zeros(target_size, np.float32), np.zeros(target_size, bool)
    variances = np.zeros(3) if nearest else np.maximum(0.0, widths**2 - 1.0) * FWHM_TO_VARIANCE
    tensor, crop_to_full = _reduce(source, window, variances)
    grid, covered = _sampling_grid(to_index, target_size, source.shape, tensor.shape, crop_to_full)
    mode = "nearest" if nearest else "bilinear"  # torch calls the trilinear case bilinear
    values = F.grid_sample(tensor[None, None], grid[None], mode=mode, padding_mode="border", align_corners=True)[0, 0]
    return values.mul_(covered).numpy(), covered.numpy()


def _target_widths(source_affine: np.ndarray, target_affine: np.ndarray) -> np.ndarray:
    """Width of a target voxel along each source axis, in source voxels (3,)."""
    spacing = np.linalg.norm(source_affine[:3, :3], axis=0)
    directions = source_affine[:3, :3] / spacing
    return np.linalg.norm(target_affine[:3, :3].T @ directions, axis=0) / spacing


def _needed_window(
    to_index: np.ndarray, target_size: tuple[int, ...], full_size: tuple[int, ...], margin: np.ndarray
) -> list[tuple[int, int]] | None:
    """Range of source indices that the target grid reads, per axis; None if they do not meet."""
    corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in target_size))], dtype=np.float64)
    index = corners @ to_index[:3].T  # (8, 3)
    window = []
    for k in range(3):
        low = max(0, math.floor(index[:, k].min()) - int(margin[k]))
        high = min(full_size[k], math.ceil(index[:, k].max()) + int(margin[k]) + 1)
        if low >= high:
            return None
        window.append((low, high))
    return window


def _reduce(
    source: np.ndarray, window: list[tuple[int, int]], variances: np.ndarray
) -> tuple[torch.Tensor, list[tuple[float, int]]]:
    """Crop and smooth; average blocks first, as long as they are narrower than half the wanted width.

    Returns:
        Tensor (x', y', z') and per axis (offset, factor): full index = offset + factor * index.
    """
    ratios = np.sqrt(variances / FWHM_TO_VARIANCE + 1.0)
    factors = [min(max(1, math.floor(r / 2.0)), hi - lo) for r, (lo, hi) in zip(ratios, window, strict=True)]
    # multiples of the factor, counted in canonical order: a flipped file must fall into the same blocks
    slices = tuple(slice(lo, lo + (hi - lo) // f * f) for f, (lo, hi) in zip(factors, window, strict=True))
    tensor = block_mean(source[slices], factors)
    for k in range(3):
        left = variances[k] / factors[k] ** 2 - (1.0 - factors[k] ** -2) / 12.0  # a block of f has variance (f^2-1)/12
        tensor = _smooth(tensor, k, left)
    offsets = [s.start + (f - 1) / 2.0 for s, f in zip(slices, factors, strict=True)]
    return tensor, list(zip(offsets, factors, strict=True))


def block_mean(volume: np.ndarray, factors: list[int]) -> torch.Tensor:
    """Average blocks of voxels; voxels beyond the last whole block are dropped.

    Args:
        volume: float32 (x, y, z), any memory layout.
        factors: Block size per axis.

    Returns:
        Tensor (x // fx, y // fy, z // fz).
    """
    # torch knows no negative strides; "K" copies in the order the voxels lie in memory, which is several times faster
    # than a transposing copy
    tensor = torch.from_numpy(np.array(volume, dtype=np.float32, order="K"))
    for k in sorted(
        range(3), key=lambda k: tensor.stride()[k], reverse=True
    ):  # outer axes first: long contiguous rows
        f, n = factors[k], tensor.shape[k] // factors[k]
        if f > 1:
            rows = [tensor[(slice(None),) * k + (slice(i, n * f, f),)] for i in range(f)]
            tensor = rows[0] + rows[1]
            for row in rows[2:]:
                tensor += row
            tensor *= 1.0 / f
    return tensor


def _smooth(tensor: torch.Tensor, axis: int, variance: float) -> torch.Tensor:
    """Convolve one axis with a Gaussian of the given variance in voxels; edges repeat.

    The product with a band matrix is several times faster on a CPU than a convolution of one channel.
    """
    if variance < 0.04:  # a sigma under 0.2 voxels has no weight on the neighbours
        return tensor
    radius = math.ceil(3.0 * math.sqrt(variance))
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-offsets.double().square() / (2.0 * variance))
    n = tensor.shape[axis]
    columns = (torch.arange(n)[:, None] + offsets).clamp(0, n - 1)
    band = torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, columns, (weights / weights.sum()).expand(n, -1))
    band = band.float()
    memory = sorted(range(3), key=lambda k: tensor.stride()[k], reverse=True)
    stored = tensor.permute(memory)  # (x, y, z) -> memory order, so that no product has to copy
    place = memory.index(axis)
    if place == 0:
        smoothed = (band @ stored.reshape(n, -1)).view(stored.shape)
    else:
        smoothed = band @ stored if place == 1 else stored @ band.T
    return smoothed.permute([memory.index(k) for k in range(3)])  # memory order -> (x, y, z)


def _sampling_grid(
    to_index: np.ndarray,
    target_size: tuple[int, int, int],
    full_size: tuple[int, ...],
    crop_size: torch.Size,
    crop_to_full: list[tuple[float, int]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where to sample the reduced source for every target voxel, and whether the full source has a voxel there.

    Returns:
        grid: float32 (X, Y, Z, 3) for `grid_sample` with aligned corners, its last axis in the order z, y, x.
        covered: bool (X, Y, Z).
    """
    grid = torch.empty((*target_size, 3))
    covered = torch.ones(target_size, dtype=torch.bool)
    steps = [torch.arange(n, dtype=torch.float64) for n in target_size]
    for k, n in enumerate(full_size):
        # relative to the middle of the source: small numbers lose nothing in float32
        row, middle = to_index[k], (n - 1) / 2.0
        x, y, z = (
            (row[0] * steps[0] + (row[3] - middle)).float(),
            (row[1] * steps[1]).float(),
            (row[2] * steps[2]).float(),
        )
        index = (x[:, None, None] + y[None, :, None]) + z[None, None, :]
        covered &= index.abs() <= n / 2.0 + EDGE_TOLERANCE
        offset, factor = crop_to_full[k]
        scale = 2.0 / (max(crop_size[k] - 1, 1) * factor)
        grid[..., 2 - k] = index * scale + ((middle - offset) * scale - 1.0) if crop_size[k] > 1 else 0.0
    return grid, covered
