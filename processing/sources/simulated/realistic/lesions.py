"""Geometry of the lesions that the simple form does not have: on the dura, scattered, in a sinus, with oedema."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..anatomy import CENTRE_MM, GRID_SPACING_MM, Head, soft
from ..findings import PlannedFinding
from ..lesions import Lesion, blob_depth_mm, box_around, coordinates, extent, make_lesion, nearest_voxel_mm
from ..streams import Purpose, generator
from .head import MAXILLARY_SINUS
from .kinds import EDEMA
from .plan import VisitPlan, kind_of

BLOBS = {"mild": (5, 9), "moderate": (12, 20), "severe": (26, 40)}
"""Number of white matter lesions by grade (after Fazekas et al., AJR 1987;149:351-356)."""

GROWTH = {"mild": 1.0, "moderate": 1.25, "severe": 1.6}
WHOLE_HEAD = ("mucosa", "ventricles", "sulci")
"""Places of findings that change the head itself."""

INTRACRANIAL = ("white matter", "grey matter", "csf", "vein", "artery")
CAPS = 4
"""White matter lesions that sit at the horns of the ventricles, the first ones drawn."""

DOTS = (1, 5)
TAIL_MM = 3.0
LEAST_EDEMA = 40
"""Voxels of 2 mm below which oedema is neither seen nor listed."""

CRESCENT_MM = 42.0
"""Half the length of a subdural crescent."""


@dataclass(frozen=True)
class PlacedFinding:
    """A planned finding in a head.

    Args:
        item: its number in the plan.
        planned: what was asked for.
        lesion: its lesion, None where the head itself changes.
        edema: oedema around it, if any.
    """

    item: int
    planned: PlannedFinding
    lesion: Lesion | None = None
    edema: Lesion | None = None

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """Lesion and oedema."""
        return tuple(part for part in (self.lesion, self.edema) if part is not None)


def place_findings(plan: VisitPlan, head: Head, seed: int, patient: int, session: int) -> tuple[PlacedFinding, ...]:
    """Place the planned findings in a head.

    Args:
        plan: findings of the visit.
        head: the head.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.
    """
    placed = []
    for item, finding in plan.numbered:
        kind = kind_of(finding)
        if kind.place in WHOLE_HEAD:
            placed.append(PlacedFinding(item, finding))
            continue
        rng = generator(seed, Purpose.LESIONS, patient, session, 100 + item)
        if kind.place == "brain":
            lesion = make_lesion(finding, head, seed, patient, session, item)
        else:
            lesion = MAKERS[kind.place](finding, head, rng)
        edema = None
        if kind.halo_mm is not None:
            edema = _edema(lesion, head, float(rng.uniform(*kind.halo_mm)), rng)
            edema = edema if np.count_nonzero(edema.mask) >= LEAST_EDEMA else None
        placed.append(PlacedFinding(item, finding, lesion, edema))
    return tuple(placed)


def _lesion(plan: PlannedFinding, box: tuple[slice, slice, slice], depth: np.ndarray, allowed: np.ndarray) -> Lesion:
    """A lesion of one tissue from its depth field (mm, negative outside) and where it may be (0 to 1)."""
    weight = (np.clip(depth / plan.kind.edge_mm + 0.5, 0.0, 1.0) * allowed).astype(np.float32)
    mask = weight > 0.5
    if not mask.any():
        raise RuntimeError(f"no place for {plan.kind.term} in {plan.site.term}: kind or site is defined wrongly")
    size_mm, count = extent(mask)
    return Lesion(plan, box, ((plan.kind.core, weight),), mask, size_mm, count)


def _blobs(
    head: Head, centres: list[tuple[np.ndarray, float]], rng: np.random.Generator
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """Box and depth field of several blobs; each is drawn in its own part of the box."""
    points = np.array([centre for centre, _ in centres])
    box = box_around(points, max(diameter for _, diameter in centres), head)
    at_mm = coordinates(head, box)
    depth = np.full(tuple(part.stop - part.start for part in box), -99.0, dtype=np.float32)
    for centre, diameter in centres:
        near = tuple(
            slice(*np.searchsorted(axis.ravel(), (centre[i] - diameter - 2.0, centre[i] + diameter + 2.0)))
            for i, axis in enumerate(at_mm)
        )
        cut = [axis[tuple(near[j] if j == i else slice(None) for j in range(3))] for i, axis in enumerate(at_mm)]
        depth[near] = np.maximum(depth[near], blob_depth_mm(cut, centre, diameter, "irregular", rng))
    return box, depth


def _scattered(plan: PlannedFinding, head: Head, rng: np.random.Generator) -> Lesion:
    """White matter lesions of both hemispheres: caps at the horns of the ventricles, then any deep place."""
    low, high = BLOBS[plan.severity]
    white = head.tissue("white matter")
    x, y, z = head.template_mm
    is_deep = (
        (white > 0.9) & (np.abs(x) > 14.0) & (np.abs(x) < 40.0) & (z > 8.0) & (z < 46.0) & (np.abs(y + 15.0) < 58.0)
    )
    places = np.flatnonzero(is_deep)
    centres = []
    for number in range(int(rng.integers(low, high))):
        if number < CAPS:
            corner = np.array([(-1.0) ** number * 20.0, (30.0, -52.0)[number // 2], 14.0])
            at = nearest_voxel_mm(head, corner + rng.normal(0.0, 2.0, size=3))
        else:
            at = head.affine[:3, 3] + GRID_SPACING_MM * np.array(
                np.unravel_index(places[int(rng.integers(len(places)))], white.shape)
            )
        widening = GROWTH[plan.severity] * (1.5 if number < CAPS else 1.0)
        centres.append((at, float(plan.diameter_mm * widening * rng.uniform(0.7, 1.3))))
    box, depth = _blobs(head, centres, rng)
    return _lesion(plan, box, depth, np.clip(2.0 * white[box] - 0.4, 0.0, 1.0))


def _dots(plan: PlannedFinding, head: Head, rng: np.random.Generator) -> Lesion:
    """A few dots around the site, on its side."""
    sign = 1.0 if plan.side == "right" else -1.0
    brain = head.tissue("white matter") + head.tissue("grey matter")
    middle = np.array(plan.site.right_mm) * [sign, 1.0, 1.0]
    square = sum((part - np.float32(middle[i])) ** 2 for i, part in enumerate(head.template_mm))
    places = np.flatnonzero((square < 9.0**2) & (brain > 0.9) & (sign * head.template_mm[0] > 3.0))
    centres = []
    for _ in range(int(rng.integers(DOTS[0], DOTS[1] + 1))):
        index = np.array(np.unravel_index(places[int(rng.integers(len(places)))], brain.shape))
        centres.append(
            (head.affine[:3, 3] + GRID_SPACING_MM * index, plan.diameter_mm * float(rng.uniform(0.85, 1.0)))
        )
    box, depth = _blobs(head, centres, rng)
    return _lesion(plan, box, depth + 0.5, np.clip(2.0 * brain[box], 0.0, 1.0))


def _in_sinus(plan: PlannedFinding, head: Head, rng: np.random.Generator) -> Lesion:
    """A dome on the floor of a maxillary sinus."""
    sign = 1.0 if plan.side == "right" else -1.0
    (x, y, z), radii = MAXILLARY_SINUS
    floor = np.array([sign * x, y, z - radii[2] + 0.4 * plan.diameter_mm])
    centre = nearest_voxel_mm(head, floor)
    box = box_around(centre[None], 1.6 * plan.diameter_mm, head)
    depth = blob_depth_mm(coordinates(head, box), centre, plan.diameter_mm, "round", rng)
    at = [part[box] for part in head.template_mm]
    radius = np.sqrt(
        ((at[0] - sign * x) / radii[0]) ** 2 + ((at[1] - y) / radii[1]) ** 2 + ((at[2] - z) / radii[2]) ** 2
    )
    return _lesion(plan, box, depth, soft((1.0 - radius) * np.float32(min(radii))))


def _surface_point(plan: PlannedFinding, head: Head, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where the ray from the middle of the brain through the site meets the skull, and its direction (scanner mm)."""
    sign = 1.0 if plan.side == "right" else -1.0
    aim = (np.array(plan.site.right_mm) + np.clip(rng.normal(0.0, 1.0, 3), -2.0, 2.0) * plan.site.jitter_mm) * [
        sign,
        1,
        1,
    ]
    middle = nearest_voxel_mm(head, np.array(CENTRE_MM))
    direction = nearest_voxel_mm(head, aim) - middle
    direction /= np.linalg.norm(direction)
    inside = head.tissue("white matter") + head.tissue("grey matter") + head.tissue("csf")
    steps = np.arange(20.0, 110.0, 1.0)
    points = middle + steps[:, None] * direction
    index = ((points - head.affine[:3, 3]) / GRID_SPACING_MM).T
    is_inside = ndimage.map_coordinates(inside, index, order=1) > 0.5
    last = int(np.flatnonzero(is_inside)[-1]) if is_inside.any() else 0
    return points[last], direction


def _skull_depth(head: Head, box: tuple[slice, slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """How much of each voxel is inside the skull (0 to 1), and the distance to its inner surface in mm."""
    inside = np.sum([head.tissue(name)[box] for name in INTRACRANIAL], axis=0)
    return np.clip(inside, 0.0, 1.0), ndimage.distance_transform_edt(inside > 0.5, sampling=GRID_SPACING_MM)


def _on_dura(plan: PlannedFinding, head: Head, rng: np.random.Generator) -> Lesion:
    """A ball that the skull cuts off, with a flat tail along the dura around it (enhancing kinds only)."""
    surface, direction = _surface_point(plan, head, rng)
    centre = surface - direction * 0.3 * plan.diameter_mm
    box = box_around(centre[None], 1.5 * plan.diameter_mm, head)
    at_mm = coordinates(head, box)
    depth = blob_depth_mm(at_mm, centre, plan.diameter_mm, plan.shape, rng)
    inside, to_skull = _skull_depth(head, box)
    sign = 1.0 if plan.side == "right" else -1.0
    inside = inside * np.clip(0.5 * sign * head.template_mm[0][box], 0.0, 1.0)
    body = depth
    if plan.kind.core.uptake:
        away = np.sqrt(sum((at_mm[i] - np.float32(surface[i])) ** 2 for i in range(3)))
        tail = np.minimum(0.75 * plan.diameter_mm - away, TAIL_MM - to_skull)
        depth = np.maximum(depth, tail.astype(np.float32))
    lesion = _lesion(plan, box, depth, inside)
    if body is depth:
        return lesion
    # Reports measure the mass, not its tail.
    return replace(lesion, size_mm=extent((body > 0.0) & (inside > 0.5))[0])


def _crescent(plan: PlannedFinding, head: Head, rng: np.random.Generator) -> Lesion:
    """A layer under the dura, thickest in its middle."""
    surface, _ = _surface_point(plan, head, rng)
    box = box_around(surface[None], 2.0 * CRESCENT_MM / 1.6, head)
    at_mm = coordinates(head, box)
    inside, to_skull = _skull_depth(head, box)
    away = np.sqrt(sum((at_mm[i] - np.float32(surface[i])) ** 2 for i in range(3)))
    thickness = plan.diameter_mm * np.sqrt(np.maximum(1.0 - (away / CRESCENT_MM) ** 2, 0.0))
    sign = 1.0 if plan.side == "right" else -1.0
    inside = inside * np.clip(0.5 * sign * head.template_mm[0][box], 0.0, 1.0)
    return _lesion(plan, box, (thickness - to_skull).astype(np.float32), inside * (thickness > 1.0))


def _edema(lesion: Lesion, head: Head, width_mm: float, rng: np.random.Generator) -> Lesion:
    """Oedema in the white matter around a lesion, of uneven width."""
    plan = lesion.plan
    pad = int(np.ceil(1.6 * width_mm / GRID_SPACING_MM)) + 1
    shape = head.template_mm.shape[1:]
    box = tuple(slice(max(s.start - pad, 0), min(s.stop + pad, n)) for s, n in zip(lesion.box, shape, strict=True))
    core = np.zeros(tuple(part.stop - part.start for part in box), dtype=np.float32)
    inner = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(lesion.box, box, strict=True))
    core[inner] = sum(weight for _, weight in lesion.parts)
    away = ndimage.distance_transform_edt(core <= 0.5, sampling=GRID_SPACING_MM)
    waves = ndimage.gaussian_filter(rng.standard_normal(core.shape, dtype=np.float32), 3.0)
    reach = width_mm * np.clip(1.0 + 0.5 * waves / max(float(waves.std()), 1e-6), 0.2, 1.6)
    white = np.clip(2.0 * head.tissue("white matter")[box] - 0.2, 0.0, 1.0)
    weight = np.clip((reach - away) / 3.0 + 0.5, 0.0, 1.0) * white * (1.0 - core)
    mask = (weight > 0.5) & (core <= 0.5)
    size_mm, count = extent(mask | (core > 0.5))
    edema = PlannedFinding(EDEMA, plan.site, plan.side, "irregular", width_mm)
    return Lesion(edema, box, ((EDEMA.core, weight.astype(np.float32)),), mask, size_mm, count)  # type: ignore[arg-type]


MAKERS: dict[str, Callable[[PlannedFinding, Head, np.random.Generator], Lesion]] = {
    "scatter": _scattered,
    "dots": _dots,
    "sinus": _in_sinus,
    "dura": _on_dura,
    "subdural": _crescent,
}
