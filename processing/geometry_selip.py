"""Geometry: axis orders and resampling between grids.

All affines are float64 (4, 4), voxel index -> scanner millimetres (RAS+); arrays have axes (x, y, z). In RAS+
order low x is the patient's left, low y posterior, low z inferior.
"""

import math
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import torch

FWHM_TO_VARIANCE = 1.0 / (8.0 * math.log(2.0))
"""Variance of a Gaussian of full width at half maximum 1."""
EDGE_TOLERANCE = 1e-3
"""Voxels by which a target centre may lie beyond the source's edge: rounding must not drop a layer."""
SLAB_VOXELS = 32768
"""Target voxels sampled at a time: what is computed on the way then stays in the CPU's cache."""

Sampler = Callable[[list[torch.Tensor]], torch.Tensor]
"""From positions, per axis in voxels, to values of their shape."""


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
    lines = _index_lines(to_index, target_size, crop_to_full)
    sample = _nearest_sampler(tensor) if nearest else _linear_sampler(tensor)
    values, covered = torch.empty(target_size), torch.ones(target_size, dtype=torch.bool)
    limits = _limits_to_test(lines, source.shape, crop_to_full)
    rows = max(1, SLAB_VOXELS // (target_size[1] * target_size[2]))
    for start in range(0, target_size[0], rows):
        slab = slice(start, start + rows)
        index = [(x[slab] + y) + z for x, y, z in lines]
        for k, (first, last) in limits.items():
            covered[slab] &= (index[k] >= first) & (index[k] <= last)
        torch.mul(sample(index), covered[slab], out=values[slab])
    return values.numpy(), covered.numpy()


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

    The few weights are applied as shifted sums: faster on a CPU than a convolution of one channel or a matrix product.
    """
    if variance < 0.04:  # a sigma under 0.2 voxels has no weight on the neighbours
        return tensor
    radius = math.ceil(3.0 * math.sqrt(variance))
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-offsets.double().square() / (2.0 * variance))
    weight = (weights / weights.sum()).tolist()
    stored, order = _in_memory_order(tensor)
    k, n = order.index(axis), tensor.shape[axis]
    edges = [
        stored.narrow(k, i, 1).expand([radius if j == k else m for j, m in enumerate(stored.shape)])
        for i in (0, n - 1)
    ]
    padded = torch.cat([edges[0], stored, edges[1]], dim=k)
    smoothed = padded.narrow(k, radius, n) * weight[radius]
    for i in range(2 * radius + 1):
        if i != radius:
            smoothed.add_(padded.narrow(k, i, n), alpha=weight[i])
    return smoothed.permute([order.index(j) for j in range(3)])  # memory order -> (x, y, z)


def _in_memory_order(tensor: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """Permute the axes as they lie in memory, outer first, so that nothing has to copy; and that order of axes."""
    order = sorted(range(3), key=lambda k: tensor.stride()[k], reverse=True)
    return tensor.permute(order).contiguous(), order


def _index_lines(
    to_index: np.ndarray, target_size: tuple[int, int, int], crop_to_full: list[tuple[float, int]]
) -> list[tuple[torch.Tensor, ...]]:
    """Terms of the source index along the target's axes.

    Their sum is, per source axis, where each target voxel lies in the reduced source. They are made in float64, so
    that the sum of three float32 numbers is exact to 1e-4 voxels.

    Returns:
        Per source axis float32 (X, 1, 1), (1, Y, 1) and (1, 1, Z), in voxels of the reduced source.
    """
    x, y, z = (torch.arange(n, dtype=torch.float64) for n in target_size)
    lines: list[tuple[torch.Tensor, ...]] = []
    for row, (offset, factor) in zip(to_index, crop_to_full, strict=False):  # the last row of an affine says nothing
        along_x = (row[0] * x + (row[3] - offset)) / factor
        along_y, along_z = row[1] * y / factor, row[2] * z / factor
        lines.append((along_x[:, None, None].float(), along_y[None, :, None].float(), along_z[None, None, :].float()))
    return lines


def _limits_to_test(
    lines: list[tuple[torch.Tensor, ...]], full_size: tuple[int, ...], crop_to_full: list[tuple[float, int]]
) -> dict[int, tuple[float, float]]:
    """Smallest and largest index with a source voxel, for those source axes that the target reaches beyond."""
    limits = {}
    for k, (n, (offset, factor)) in enumerate(zip(full_size, crop_to_full, strict=True)):
        first = (-0.5 - EDGE_TOLERANCE - offset) / factor
        last = (n - 0.5 + EDGE_TOLERANCE - offset) / factor
        if sum(float(x.min()) for x in lines[k]) < first or sum(float(x.max()) for x in lines[k]) > last:
            limits[k] = (first, last)
    return limits


def _linear_sampler(tensor: torch.Tensor) -> Sampler:
    """Return the function that interpolates a volume (x', y', z') linearly at positions in voxels, edges repeated.

    Eight look-ups in flat memory for many positions at once: `grid_sample` goes voxel by voxel in 3D, without the
    CPU's vector instructions, and takes several times as long.
    """
    stored, order = _in_memory_order(tensor)
    flat, sizes = stored.reshape(-1), tensor.shape
    # axes in the order x, y, z whatever the memory order is: a transposed file must give the same bits
    strides = [stored.stride(order.index(k)) if n > 1 else 0 for k, n in enumerate(sizes)]
    corners = [flat[sum(s for s, up in zip(strides, ups, strict=True) if up) :] for ups in product((0, 1), repeat=3)]

    def sample(index: list[torch.Tensor]) -> torch.Tensor:
        low = torch.zeros(index[0].shape, dtype=torch.int32)
        weights = []
        for position, n, stride in zip(index, sizes, strides, strict=True):
            place = position.clamp(0, n - 1)
            floor = place.int().clamp_(max=max(n - 2, 0))  # the last voxel is the upper neighbour of the one before
            low.add_(floor, alpha=stride)
            weights.append((place - floor).view(-1))
        values = [corner.index_select(0, low.view(-1)) for corner in corners]
        for weight in reversed(weights):  # neighbours in the list differ along the last axis that is left
            values = [torch.lerp(a, b, weight) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0].view(low.shape)

    return sample


def _nearest_sampler(tensor: torch.Tensor) -> Sampler:
    """Return the function that takes the voxel of a volume (x', y', z') nearest to positions in voxels."""

    def sample(index: list[torch.Tensor]) -> torch.Tensor:
        x, y, z = (place.round().clamp_(0, n - 1).long() for place, n in zip(index, tensor.shape, strict=True))
        return tensor[x, y, z]

    return sample
