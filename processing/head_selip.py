"""The head of a study and the study box around it.

The head is looked for on a coarse grid in scanner millimetres that all series of a study share, so that it needs no
registration: a robust threshold per series, the union over the series, the largest connected part, holes filled. The
study box hangs from the vertex and is centred on the head, so that neck or slab coverage does not shift it. Both
depend on which series a study has; a series on its own may therefore get another box than within its study. So that
it is nearly the same, the vertex is the one that most series agree on and not that of their union, which is always
the highest: fat under the scalp shows on T1w and not on FLAIR.
"""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from .geometry_selip import block_mean, resample, to_canonical
from .nifti_selip import VolumeError

COARSE_MM = 4.0
"""Voxel size at which the head is looked for: fine against a head of 200 mm, coarse enough to cost a few ms."""
VERTEX_MARGIN_MM = 4.0
"""Air kept above the vertex: one coarse voxel, so that the scalp is never cut."""
FOREGROUND_FRACTION = 0.1
"""Foreground lies above this fraction of the robust intensity range (the 10 % rule of FSL BET, Smith 2002)."""
ROBUST_PERCENTILES = (2.0, 98.0)
"""Percentiles that span the robust intensity range (Smith 2002)."""
MAX_FOREGROUND = 0.8
"""Largest foreground share of a field of view that shows where the head ends; an ellipse in a frame has 0.79."""
CORE_DEPTH_MM = 16.0
"""Depth below the head's outline, in the axial plane, at which scalp and skull (10 to 15 mm) are left behind."""
MIN_VERTEX_AREA_MM2 = 600.0
"""Smallest axial area that counts as the top of the head; a scalp exceeds it within 2 mm, noise does not."""
EXTENT_TRIM = 0.01
"""Share of head voxels ignored at either end when the centre is measured, so that a nose does not move it."""
MAX_STUDY_EXTENT_MM = 1500.0
"""Largest distance over which the series of one study may spread; more is a broken origin."""


@dataclass(frozen=True)
class Head:
    """The head of a study.

    Attributes:
        mask: bool (x', y', z') on a RAS+ grid of `COARSE_MM`, one connected part, filled.
        affine: float64 (4, 4) of that grid.
        vertex_mm: Height of its top in scanner millimetres, to about half a coarse voxel: the median over the series
            that show air above the head; where none does, the highest top that is shown.
    """

    mask: np.ndarray
    affine: np.ndarray
    vertex_mm: float


def coarse_volume(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shrink a volume to voxels of about `COARSE_MM` by block means (axes already coarser stay).

    Args:
        volume: float32 (x, y, z) in any axis order.
        affine: float64 (4, 4).

    Returns:
        float32 (x', y', z') in closest RAS+ order, and its affine.
    """
    source, source_affine = to_canonical(volume, affine)
    spacing = np.linalg.norm(source_affine[:3, :3], axis=0)
    blocks = np.array([min(max(1, round(COARSE_MM / s)), n) for s, n in zip(spacing, source.shape, strict=True)])
    strides = np.maximum(1, blocks // 2)  # two voxels a block and axis tell as much as all of them, in less time
    counts = blocks // strides
    out = source_affine.copy()
    out[:3, 3] += source_affine[:3, :3] @ (strides * (counts - 1) / 2.0)
    out[:3, :3] *= strides * counts
    return block_mean(source[tuple(slice(None, None, s) for s in strides)], counts.tolist()).numpy(), out


def foreground(coarse: np.ndarray) -> np.ndarray:
    """Threshold a coarse volume at a fraction of its robust range; float32 of 0 and 1, same shape."""
    low, high = np.percentile(coarse, ROBUST_PERCENTILES)
    if not high > low:  # next to nothing but air: whatever stands out
        low, high = float(coarse.min()), float(coarse.max())
    return (coarse > low + FOREGROUND_FRACTION * (high - low)).astype(np.float32)


def find_head(volumes: list[tuple[np.ndarray, np.ndarray]], *, where: str = "") -> Head:
    """Find the head in the series of one study.

    Args:
        volumes: Per series float32 (x, y, z) and affine float64 (4, 4).
        where: Study id for error messages.

    Raises:
        VolumeError: `affine`, if the series lie too far apart; `constant`, if nothing stands out from the air.
    """
    coarse = [coarse_volume(volume, affine) for volume, affine in volumes]
    affine, size = _shared_grid(coarse, where)
    masks = [(foreground(values), own) for values, own in coarse]
    # phase maps and zoomed views have no air: they say nothing about where the head ends if another series does
    bounded = [(mask, own) for mask, own in masks if mask.mean() <= MAX_FOREGROUND]
    shown = []
    for mask, own in bounded or masks:
        values, covered = resample(mask, own, affine, size)
        shown.append((values >= 0.5, covered))
    union = np.logical_or.reduce([mask for mask, _ in shown])
    if not union.any():
        raise VolumeError("constant", "expected a head, nothing stands out from the air", where)
    head = fill_holes(largest_part(union))
    return Head(head, affine, _vertex([(mask & head, covered) for mask, covered in shown], affine))


def _vertex(shown: list[tuple[np.ndarray, np.ndarray]], affine: np.ndarray) -> float:
    """Height of the top of the head in mm: the median over the series that show air above it.

    Args:
        shown: Per series what it shows of the head and what it covers, both bool (x', y', z').
        affine: float64 (4, 4) of their grid, axis-aligned RAS+.
    """
    tops: list[float] = []
    cropped: list[float] = []
    for mask, covered in shown:
        if mask.any():
            layer, fraction = _top_layer(fill_holes(mask))
            beneath = mask[:, :, layer]
            has_air_above = layer + 1 < mask.shape[2] and covered[:, :, layer + 1][beneath].mean() >= 0.5
            (tops if has_air_above else cropped).append(affine[2, 3] + (layer + fraction) * affine[2, 2])
    return float(np.median(tops)) if tops else max(cropped)


def _top_layer(mask: np.ndarray) -> tuple[int, float]:
    """Uppermost layer of a mask that is wide enough to be a head, and where above its centre the head ends.

    Areas are taken to change evenly from layer to layer, as those of a round head do.

    Returns:
        The layer, and what is left above its centre, in layers, 0 to 1.
    """
    areas_mm2 = mask.sum(axis=(0, 1)) * COARSE_MM**2
    smallest = min(MIN_VERTEX_AREA_MM2, areas_mm2.max())
    layer = int(np.flatnonzero(areas_mm2 >= smallest)[-1])
    above = areas_mm2[layer + 1] if layer + 1 < len(areas_mm2) else 0.0
    drop = areas_mm2[layer] - above  # not 0: the layer above is narrower than what the layer has at least
    return layer, float((areas_mm2[layer] - smallest) / drop)


def _shared_grid(coarse: list[tuple[np.ndarray, np.ndarray]], where: str) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Lay an axis-aligned grid over all series.

    Its nodes are multiples of the voxel size, so that a rounding error in an affine changes margins and moves nothing.
    """
    corners = [
        affine[:3] @ np.array([*(c * n - 0.5 for c, n in zip(corner, values.shape, strict=True)), 1.0])
        for values, affine in coarse
        for corner in product((0, 1), repeat=3)
    ]
    low = np.floor(np.min(corners, axis=0) / COARSE_MM).astype(int)
    high = np.ceil(np.max(corners, axis=0) / COARSE_MM).astype(int)
    extent = (high - low).max() * COARSE_MM
    if extent > MAX_STUDY_EXTENT_MM:
        raise VolumeError(
            "affine",
            f"expected the series of a study in one scanner space, they span {extent:g} mm; check their origins",
            where,
        )
    affine = np.diag([COARSE_MM, COARSE_MM, COARSE_MM, 1.0])
    affine[:3, 3] = low * COARSE_MM
    x, y, z = (int(n) for n in high - low + 1)
    return affine, (x, y, z)


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Keep the largest face-connected part of a mask.

    Args:
        mask: bool (x, y, z), not empty.

    Returns:
        bool (x, y, z).
    """
    left, best, best_size = mask.copy(), mask, 0
    while left.sum() > best_size:
        part = _flood(_central_voxel(left), left)
        size = int(part.sum())
        if size > best_size:
            best, best_size = part, size
        left &= ~part
    return best


def _central_voxel(mask: np.ndarray) -> np.ndarray:
    """Mask of the one voxel with most foreground on the three lines through it: mostly inside the largest part."""
    on_lines = sum(mask.sum(axis=axis, keepdims=True, dtype=np.int32) for axis in range(3))
    seed = np.zeros(mask.shape, bool)
    seed.flat[int(np.argmax(np.where(mask, on_lines, -1)))] = True
    return seed


def _flood(seed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grow a seed within a mask by sweeps along the axes, both ways, until nothing is added."""
    grown, size = seed & mask, 0
    while (now := int(np.count_nonzero(grown))) > size:
        size = now
        for axis in range(3):
            # copies with the swept axis outermost: a layer is then contiguous, which halves the time
            front = np.ascontiguousarray(np.moveaxis(grown, axis, 0))
            allowed = np.ascontiguousarray(np.moveaxis(mask, axis, 0))
            n = front.shape[0]
            for i in range(1, n):
                front[i] |= front[i - 1] & allowed[i]
            for i in range(n - 2, -1, -1):
                front[i] |= front[i + 1] & allowed[i]
            grown = np.moveaxis(front, 0, axis)
    return grown


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill what is enclosed along at least two of the three axes: ventricles on FLAIR, sinuses, bone, airways.

    Args:
        mask: bool (x, y, z).

    Returns:
        bool (x, y, z), a superset of the mask.
    """
    votes = np.zeros(mask.shape, np.uint8)
    for axis in range(3):
        before = np.logical_or.accumulate(mask, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
        votes += before & after
    return mask | (votes >= 2)


def core_of(head: np.ndarray) -> np.ndarray:
    """Erode a head in the axial plane by `CORE_DEPTH_MM`: what is left is mostly brain, scalp fat is not in it.

    Only in the plane, so that a slab of a few slices keeps its core.

    Args:
        head: bool (x', y', z'), the mask of a `Head`.

    Returns:
        bool (x', y', z'), a subset of the head; may be empty.
    """
    core = np.pad(head, ((1, 1), (1, 1), (0, 0)))
    for _ in range(round(CORE_DEPTH_MM / COARSE_MM)):
        inner = core.copy()
        for axis in (0, 1):
            inner &= np.roll(core, 1, axis) & np.roll(core, -1, axis)
        core = inner
    return core[1:-1, 1:-1]


def study_box(head: Head, size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Place the study box: its top just above the vertex, its middle on the head's left-right and front-back.

    The top is `VERTEX_MARGIN_MM` above the vertex. The centre is the middle of the head's extent within one box height
    below the vertex, `EXTENT_TRIM` of its voxels left out at either end; a neck below or a slab does not move it.

    Args:
        head: Of `find_head`.
        size: Voxels (X, Y, Z) of the box.
        spacing_mm: Voxel size (x, y, z) of the box.

    Returns:
        float64 (4, 4), box voxel -> scanner mm.
    """
    step, first = np.diag(head.affine)[:3], head.affine[:3, 3]
    top = min(math.ceil((head.vertex_mm - first[2]) / step[2]), head.mask.shape[2] - 1)
    height_mm = size[2] * spacing_mm[2]
    below = head.mask[:, :, max(0, top + 1 - math.ceil(height_mm / step[2])) : top + 1]
    affine = np.diag([*spacing_mm, 1.0]).astype(np.float64)
    for k, others in ((0, (1, 2)), (1, (0, 2))):
        centre_mm = first[k] + step[k] * _middle(below.sum(axis=others))
        affine[k, 3] = centre_mm - (size[k] - 1) / 2.0 * spacing_mm[k]
    affine[2, 3] = head.vertex_mm + VERTEX_MARGIN_MM - (size[2] - 0.5) * spacing_mm[2]
    return affine


def _middle(profile: np.ndarray) -> float:
    """Index halfway between the trimmed ends of a profile of voxel counts, to a fraction of a voxel."""
    cumulative = np.concatenate(([0.0], np.cumsum(profile, dtype=np.float64) / profile.sum()))
    edges = np.arange(len(profile) + 1) - 0.5
    ends = np.interp((EXTENT_TRIM, 1.0 - EXTENT_TRIM), cumulative, edges)
    return float(ends.mean())


def head_on_box(head: Head, box_affine: np.ndarray, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Bring the head and its core to the study box.

    Args:
        head: Of `find_head`.
        box_affine: float64 (4, 4) of the box.
        size: Voxels (X, Y, Z) of the box.

    Returns:
        head_mask: bool (X, Y, Z).
        core_mask: bool (X, Y, Z), its part deeper than `CORE_DEPTH_MM`.
    """
    # one pass for both: the core lies deep inside, so the levels 0, 1 and 2 meet in steps of one only
    levels = head.mask.astype(np.float32) + core_of(head.mask)
    on_box, _ = resample(levels, head.affine, box_affine, size)
    return on_box >= 0.5, on_box >= 1.5


def count_in_patches(head_mask: np.ndarray, patch_size: tuple[int, int, int]) -> np.ndarray:
    """Count head voxels per patch.

    Args:
        head_mask: bool (X, Y, Z), each axis a multiple of the patch.
        patch_size: Voxels (px, py, pz) of a patch.

    Returns:
        uint16 (X/px, Y/py, Z/pz).
    """
    blocks = [(n // p, p) for n, p in zip(head_mask.shape, patch_size, strict=True)]
    split = head_mask.reshape([n for pair in blocks for n in pair])  # (X, Y, Z) -> (X/px, px, Y/py, py, Z/pz, pz)
    return split.sum(axis=(1, 3, 5)).astype(np.uint16)
