"""Random changes of one prepared volume. What is drawn comes from a generator; nothing here keeps state."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .config import AugmentationConfig

HEAD_SHARE = 0.02
"""Estimated share of head from which a patch of a shifted volume counts as head. On 11 real studies under random
shifts this loses 0.004 % of the head's voxels (0.12 % at most) and keeps 12 % more patches than touch the head."""


@dataclass(frozen=True)
class VolumeChange:
    """What happens to one volume.

    Attributes:
        is_flipped: mirrored left to right. Text that goes with it must have its sides exchanged.
        shift: voxels along x, y, z; a fraction of one where voxels are wider than the largest shift, as slices are.
        gamma: exponent of the intensity.
        gain: factor of the intensity.
    """

    is_flipped: bool = False
    shift: tuple[float, float, float] = (0, 0, 0)
    gamma: float = 1.0
    gain: float = 1.0


def draw_change(
    config: AugmentationConfig,
    generator: np.random.Generator,
    *,
    spacing_mm: Sequence[float],
    sequence: str,
    is_flipped: bool,
) -> VolumeChange:
    """Draws a change. The flip belongs to the study, so it is given. ADC is a physical quantity: its scale stays."""
    x, y, z = (_draw_shift(config.max_shift_mm / step, generator) for step in spacing_mm)
    log_gamma, gain = generator.uniform(-1, 1), generator.uniform(-1, 1)
    is_physical = sequence == "ADC"
    return VolumeChange(
        is_flipped=is_flipped,
        shift=(x, y, z),
        gamma=1.0 if is_physical else float(np.exp(log_gamma * config.max_gamma)),
        gain=1.0 if is_physical else 1 + gain * config.max_gain,
    )


def _draw_shift(limit: float, generator: np.random.Generator) -> float:
    """A shift of up to `limit` voxels: whole ones, which cost nothing, unless not even one is allowed.

    A model that has never seen its volumes moved along thick slices reads a shift of 4 mm, which is what two ways to
    find a vertex differ by, as another study.
    """
    if limit < 1:
        return float(generator.uniform(-limit, limit))
    return int(generator.integers(-int(limit), int(limit) + 1))


def apply_change(volume: np.ndarray, change: VolumeChange) -> np.ndarray:
    """
    Args:
        volume: uint8 (X, Y, Z) in RAS+, 255 = intensity 1, air 0.

    Returns:
        float32 (X, Y, Z) in [0, 1]; what is shifted in is air. Between voxels values are interpolated linearly.
    """
    # 256 possible intensities: a table of them is far cheaper than a power per voxel
    table = np.clip(change.gain * (np.arange(256, dtype=np.float32) / 255) ** change.gamma, 0, 1).astype(np.float32)
    changed = np.zeros(volume.shape, dtype=np.float32)
    whole = whole_voxels(change.shift)
    source, target = _overlap(volume.shape, whole)
    seen = volume[::-1] if change.is_flipped else volume
    changed[target] = table[seen[source]]
    for axis, (step, done) in enumerate(zip(change.shift, whole, strict=True)):
        if rest := step - done:
            neighbour = _move(changed, axis, 1 if rest > 0 else -1)
            changed += np.float32(abs(rest)) * (neighbour - changed)
    return changed


def whole_voxels(shift: Sequence[float]) -> tuple[int, int, int]:
    """The nearest shift by whole voxels."""
    x, y, z = (round(step) for step in shift)
    return x, y, z


def move_labels(labels: np.ndarray, change: VolumeChange) -> np.ndarray:
    """The labels of voxels (X, Y, Z) where a change by whole voxels puts them; 0 where air is shifted in."""
    moved = np.zeros_like(labels)
    source, target = _overlap(labels.shape, whole_voxels(change.shift))
    moved[target] = (labels[::-1] if change.is_flipped else labels)[source]
    return moved


def head_patches(counts: np.ndarray, change: VolumeChange, patch_size: Sequence[int]) -> np.ndarray:
    """The patches that show head once a volume is changed.

    Args:
        counts: head voxels in each patch (gx, gy, gz) of the volume as stored.
        change: what happens to the volume.
        patch_size: voxels of a patch along x, y, z.

    Returns:
        bool (gx, gy, gz). Exact without a shift; with one, where the head lies within a patch is not known, so its
        voxels are taken to be spread evenly, and a patch counts from a share of `HEAD_SHARE`.
    """
    moved = (counts[::-1] if change.is_flipped else counts).astype(np.float64)
    if not any(change.shift):
        return moved > 0
    for axis, (step, size) in enumerate(zip(change.shift, patch_size, strict=True)):
        whole, rest = divmod(step, size)  # rest is positive for negative steps as well
        share = rest / size
        moved = (1 - share) * _move(moved, axis, int(whole)) + share * _move(moved, axis, int(whole) + 1)
    return moved >= HEAD_SHARE * np.prod(patch_size)


def draw_patches(is_head: np.ndarray, budget: int | None, generator: np.random.Generator) -> np.ndarray:
    """A random subset of at most `budget` of the patches, or all with None; bool (gx, gy, gz)."""
    places = np.flatnonzero(is_head)
    if budget is None or len(places) <= budget:
        return is_head
    kept = np.zeros(is_head.shape, dtype=bool)
    kept.flat[generator.permutation(places)[:budget]] = True
    return kept


def _move(values: np.ndarray, axis: int, steps: int) -> np.ndarray:
    """Values moved along an axis, zeros in their place."""
    shift = [0, 0, 0]
    shift[axis] = steps
    moved = np.zeros_like(values)
    source, target = _overlap(values.shape, shift)
    moved[target] = values[source]
    return moved


def _overlap(shape: Sequence[int], shift: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    source = tuple(slice(max(0, -step), size - max(0, step)) for size, step in zip(shape, shift, strict=True))
    target = tuple(slice(max(0, step), size - max(0, -step)) for size, step in zip(shape, shift, strict=True))
    return source, target
