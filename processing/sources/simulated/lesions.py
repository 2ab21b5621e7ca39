"""Where and how large a lesion is in one patient: its geometry on the grid of the head."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .anatomy import GRID_SPACING_MM, Head
from .contrast import Tissue
from .findings import PlannedFinding
from .streams import Purpose, generator

ATTEMPTS = 12
LEAST_VOXELS = 8
"""Voxels of 2 mm below which a lesion is lost; half of it where it is meant to be that small."""

LEAST_FILLED = 0.7
"""Least part of the intended volume that must fall into tissue before another place is tried."""


@dataclass(frozen=True)
class Lesion:
    """One lesion in a head.

    Args:
        plan: what was asked for.
        box: slices into the grid of the head that hold it.
        parts: (tissue, weight) pairs from inside to outside; weights are float32 on `box`, sum at most 1.
        mask: bool on `box`, the lesion as labelled.
        size_mm: longest extent of the largest connected part, in mm.
        count: number of connected parts.
    """

    plan: PlannedFinding
    box: tuple[slice, slice, slice]
    parts: tuple[tuple[Tissue, np.ndarray], ...]
    mask: np.ndarray
    size_mm: float
    count: int


def make_lesion(plan: PlannedFinding, head: Head, seed: int, patient: int, session: int, item: int) -> Lesion:
    """Place one planned finding in a head.

    Args:
        plan: what to make.
        head: where to make it.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.
        item: number of the finding in its study, from 0.

    Returns:
        The lesion; of several attempts within the site the first that lies well in tissue, else the best one.
    """
    rng = generator(seed, Purpose.LESIONS, patient, session, item)
    best: tuple[float, Lesion] | None = None
    for _ in range(ATTEMPTS):
        filled, lesion = _attempt(plan, head, rng)
        if lesion is not None and (best is None or filled > best[0]):
            best = (filled, lesion)
        if best is not None and best[0] >= LEAST_FILLED:
            break
    if best is None:
        raise RuntimeError(f"no place for {plan.kind.term} in {plan.site.term}: kind or site is defined wrongly")
    return best[1]


def _attempt(plan: PlannedFinding, head: Head, rng: np.random.Generator) -> tuple[float, Lesion | None]:
    """One attempt: part of the intended volume that lies in tissue, and the lesion (None if nothing is left of it)."""
    sides = {"left": (-1.0,), "right": (1.0,), "bilateral": (1.0, -1.0)}[plan.side]
    offset = np.clip(rng.normal(0.0, 1.0, size=3), -2.0, 2.0) * plan.site.jitter_mm
    centres = []
    for sign in sides:
        target = (np.asarray(plan.site.right_mm) + offset) * np.array([sign, 1.0, 1.0])
        centres += _blob_centres(plan, nearest_voxel_mm(head, target), rng)
    box = box_around(np.array([centre for centre, _ in centres]), float(max(d for _, d in centres)), head)
    allowed = _allowed(plan, head, box)
    at_mm = coordinates(head, box)
    depth = np.full(allowed.shape, -np.inf, dtype=np.float32)
    for centre, diameter_mm in centres:
        depth = np.maximum(depth, blob_depth_mm(at_mm, centre, diameter_mm, plan.shape, rng))
    parts = _parts(plan, depth, allowed)
    weight = sum(part for _, part in parts)
    mask = (weight > 0.5) & (allowed > 0.5)
    intended = int(np.count_nonzero(depth > 0.0))
    made = int(np.count_nonzero(mask))
    if made < min(LEAST_VOXELS, max(intended // 2, 2)):
        return 0.0, None
    size_mm, count = extent(mask)
    return made / max(intended, 1), Lesion(plan, box, parts, mask, size_mm, count)


def _blob_centres(
    plan: PlannedFinding, centre: np.ndarray, rng: np.random.Generator
) -> list[tuple[np.ndarray, float]]:
    """Centre and diameter of each blob: one, or for a patchy lesion three to five smaller ones close together."""
    if plan.shape != "patchy":
        return [(centre, plan.diameter_mm)]
    blobs = []
    for number in range(int(rng.integers(3, 6))):
        away = rng.normal(0.0, 1.0, size=3) * plan.diameter_mm * np.array([0.35, 0.5, 0.35]) * (number > 0)
        blobs.append((centre + away, plan.diameter_mm * rng.uniform(0.55, 0.8)))
    return blobs


def nearest_voxel_mm(head: Head, target: np.ndarray) -> np.ndarray:
    """Scanner position whose template coordinates are nearest to the target."""
    coarse = head.template_mm[:, ::2, ::2, ::2]
    distance = sum((coarse[i] - np.float32(target[i])) ** 2 for i in range(3))
    index = np.array(np.unravel_index(int(np.argmin(distance)), distance.shape)) * 2
    # The residual is carried over one to one: locally the map is close to a shift.
    return head.affine[:3, 3] + GRID_SPACING_MM * index + target - head.template_mm[:, *index]


def box_around(centres: np.ndarray, diameter_mm: float, head: Head) -> tuple[slice, slice, slice]:
    """Slices that hold balls of 1.6 times the diameter around the centres."""
    low = (centres.min(axis=0) - 0.8 * diameter_mm - 4.0 - head.affine[:3, 3]) / GRID_SPACING_MM
    high = (centres.max(axis=0) + 0.8 * diameter_mm + 4.0 - head.affine[:3, 3]) / GRID_SPACING_MM
    shape = head.template_mm.shape[1:]
    bounds = [(max(int(low[i]), 0), min(int(high[i]) + 2, shape[i])) for i in range(3)]
    return tuple(slice(start, stop) for start, stop in bounds)  # type: ignore[return-value]


def _allowed(plan: PlannedFinding, head: Head, box: tuple[slice, slice, slice]) -> np.ndarray:
    """Where the lesion may be, 0 to 1: brain tissue (white matter if the kind asks for it) on the stated side."""
    white, grey = head.tissue("white matter")[box], head.tissue("grey matter")[box]
    tissue = np.clip(1.6 * (white + grey) - 0.3, 0.0, 1.0)
    if plan.kind.fills_sulci:
        tissue = ndimage.grey_closing(tissue, size=5)
    if plan.kind.needs_white:
        tissue = np.clip(2.0 * white - 0.4, 0.0, 1.0)
    if plan.side == "bilateral":
        return tissue
    inward_mm = head.template_mm[0][box] * (1.0 if plan.side == "right" else -1.0)
    return tissue * np.clip(0.5 * inward_mm, 0.0, 1.0)


def coordinates(head: Head, box: tuple[slice, slice, slice]) -> list[np.ndarray]:
    """Scanner coordinates of the box, one broadcastable array per axis."""
    axes = []
    for i in range(3):
        values = head.affine[i, 3] + GRID_SPACING_MM * np.arange(box[i].start, box[i].stop)
        axes.append(values.astype(np.float32).reshape([-1 if j == i else 1 for j in range(3)]))
    return axes


def blob_depth_mm(
    at_mm: list[np.ndarray], centre: np.ndarray, diameter_mm: float, shape: str, rng: np.random.Generator
) -> np.ndarray:
    """Approximate depth in a blob in mm (negative outside): a ball, an ellipsoid, or one with a wavy surface."""
    radii = np.full(3, 0.5 * diameter_mm)
    turn = rng.uniform(0.0, np.pi)
    if shape == "oval":
        radii *= np.array([1.0, 0.62, 0.72])
    elif shape == "irregular":
        radii *= rng.uniform(0.7, 1.0, size=3)
    x, y, z = (at_mm[i] - np.float32(centre[i]) for i in range(3))
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = np.sqrt((along / radii[0]) ** 2 + (across / radii[1]) ** 2 + (z / radii[2]) ** 2)
    if shape == "irregular":
        for _ in range(4):
            waves = rng.normal(0.0, 1.0, size=3) * 2.2 / (0.5 * diameter_mm)
            phase = rng.uniform(0.0, 2.0 * np.pi)
            radius = radius + 0.13 * np.sin(waves[0] * x + waves[1] * y + waves[2] * z + phase)
    return ((1.0 - radius) * radii.min()).astype(np.float32)


def _parts(plan: PlannedFinding, depth: np.ndarray, allowed: np.ndarray) -> tuple[tuple[Tissue, np.ndarray], ...]:
    """Split the lesion into core and rim."""
    kind = plan.kind
    whole = np.clip(depth / kind.edge_mm + 0.5, 0.0, 1.0) * allowed
    if kind.rim is None:
        return ((kind.core, whole),)
    core = np.clip((depth - kind.rim_mm) / GRID_SPACING_MM + 0.5, 0.0, 1.0) * allowed
    return ((kind.core, core), (kind.rim, whole - np.minimum(core, whole)))


def extent(mask: np.ndarray) -> tuple[float, int]:
    """Longest extent in mm of the largest connected part, and the number of parts of at least 4 voxels."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    points = np.argwhere(labels == 1 + int(np.argmax(sizes))) * GRID_SPACING_MM
    angles = np.arange(0.0, np.pi, np.pi / 18)
    in_plane = [points[:, 0] * np.cos(angle) + points[:, 1] * np.sin(angle) for angle in angles]
    extents = [float(np.ptp(values)) for values in (*in_plane, points[:, 2])]
    return max(extents) + GRID_SPACING_MM, max(int(np.count_nonzero(sizes >= 4)), 1)
