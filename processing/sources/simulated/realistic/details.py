"""What the realistic head adds to the template: cortical folds, ventricles that can widen, vessels.

All of it is laid out once, in template space, and deformed with the patient. Courses of vessels are ours, drawn by
hand after textbook anatomy (Osborn, Diagnostic Cerebral Angiography, 2nd ed. 1999) onto the ICBM152 maps.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ..anatomy import GRID_SPACING_MM, Template, load_template

FOLD_SIZE = 96
FOLD_WAVELENGTH_MM = 19.0
"""Distance between neighbouring sulci; gyri are 10 to 15 mm wide (ours, by eye against T2-weighted images)."""

PUSH_REACH_MM = 16.0
"""How far from a widening ventricle the tissue is displaced; it falls off exponentially."""

VENTRICLE_BOX_MM = ((-34.0, 34.0), (-62.0, 42.0), (-14.0, 34.0))
"""Template space that holds the lateral and third ventricles and no sulcus, once it is eroded from the hull."""

INK_MM = 0.5


@dataclass(frozen=True)
class HeadTemplate:
    """The template with its details; volumes are float32 on the template's grid unless said otherwise.

    Args:
        base: tissue maps and distances.
        folds: (96, 96, 96), periodic, 2 mm: distance in mm to the nearest sulcal sheet.
        ventricle_mm: signed distance to the wall of the ventricles, negative inside.
        push: (3, X, Y, Z), direction in which a wall moves when the ventricles widen, with falloff.
        vein: fraction of venous blood.
        artery: fraction of arterial blood.
    """

    base: Template
    folds: np.ndarray
    ventricle_mm: np.ndarray
    push: np.ndarray
    vein: np.ndarray
    artery: np.ndarray


@lru_cache(maxsize=1)
def load_head_template() -> HeadTemplate:
    """Build the template and its details; takes some seconds, once a process.

    Returns:
        The same on every call.

    Raises:
        ImportError: nilearn is not installed.
    """
    base = load_template()
    ventricle_mm, push = _ventricles(base)
    vein, artery = _vessels(base)
    return HeadTemplate(base, _folds(), ventricle_mm, push, vein, artery)


def _folds() -> np.ndarray:
    """Distance to the zero surfaces of a periodic band-limited noise: winding sheets at about one spacing.

    The ratio of a function to the length of its gradient is, near its zeros, the distance to them.
    """
    rng = np.random.default_rng(152)  # part of the template, the same in every run
    spectrum = np.fft.rfftn(rng.standard_normal((FOLD_SIZE,) * 3))
    full, half = np.fft.fftfreq(FOLD_SIZE, GRID_SPACING_MM), np.fft.rfftfreq(FOLD_SIZE, GRID_SPACING_MM)
    frequency = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2)
    centre = 0.5 / FOLD_WAVELENGTH_MM  # a wave has two zeros
    band = np.exp(-0.5 * ((frequency - centre) / (0.22 * centre)) ** 2)
    noise = np.fft.irfftn(spectrum * band, (FOLD_SIZE,) * 3, axes=(0, 1, 2))
    slope = np.sqrt(
        sum(((np.roll(noise, -1, i) - np.roll(noise, 1, i)) / (2 * GRID_SPACING_MM)) ** 2 for i in range(3))
    )
    return np.clip(np.abs(noise) / np.maximum(slope, 0.3 * slope.mean()), 0.0, 12.0).astype(np.float32)


def _grid_mm(base: Template) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Template coordinates of the grid, one broadcastable array per axis."""
    shape = base.channels.shape[1:]
    axes = [base.origin_mm[i] + GRID_SPACING_MM * np.arange(shape[i]) for i in range(3)]
    x, y, z = (axis.reshape([-1 if j == i else 1 for j in range(3)]) for i, axis in enumerate(axes))
    return x, y, z


def _ventricles(base: Template) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to the ventricles' wall and the displacement that widens them by 1 mm."""
    white, grey, to_skull = base.channels[:3]
    is_fluid = (white + grey < 0.5) & (to_skull < -14.0)
    for coordinate, (low, high) in zip(_grid_mm(base), VENTRICLE_BOX_MM, strict=True):
        is_fluid = is_fluid & (coordinate > low) & (coordinate < high)
    labels, _ = ndimage.label(is_fluid)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    ventricle = labels == int(np.argmax(sizes))
    outside = ndimage.distance_transform_edt(~ventricle, sampling=GRID_SPACING_MM)
    inside = ndimage.distance_transform_edt(ventricle, sampling=GRID_SPACING_MM)
    distance = ndimage.gaussian_filter(outside - inside, 0.8).astype(np.float32)
    slope = np.stack([ndimage.gaussian_filter(part, 1.0) for part in np.gradient(distance, GRID_SPACING_MM)])
    slope /= np.maximum(np.linalg.norm(slope, axis=0), 0.3)  # it has no direction in the middle of a ventricle
    falloff = np.exp(-np.maximum(distance, 0.0) / PUSH_REACH_MM) * np.clip(1.0 + distance / 6.0, 0.0, 1.0)
    return distance, (slope * falloff).astype(np.float32)


def _vessels(base: Template) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of venous and arterial blood on the template's grid."""
    veins = [*_venous_sinuses(base), *_cortical_veins(base), *_deep_veins()]
    return _ink(base, veins), _ink(base, _arteries())


Vessel = tuple[np.ndarray, float]
"""Course, (n, 3) template mm, and radius in mm."""


def _ink(base: Template, vessels: list[Vessel]) -> np.ndarray:
    """Fraction of each voxel that vessels fill, from the distance of its centre to their courses."""
    dense, radii = [], []
    for course, radius in vessels:
        steps = np.linalg.norm(np.diff(course, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        at = np.arange(0.0, along[-1], INK_MM)
        dense.append(np.stack([np.interp(at, along, course[:, i]) for i in range(3)], axis=1))
        radii.append(np.full(len(at), radius))
    points, widths = np.concatenate(dense), np.concatenate(radii)
    shape = base.channels.shape[1:]
    centres = np.stack(np.broadcast_arrays(*_grid_mm(base)), axis=-1).reshape(-1, 3)
    distance, nearest = cKDTree(points).query(centres, distance_upper_bound=8.0)
    radius = np.append(widths, 0.0)[nearest]
    filled = np.clip((radius - distance) / GRID_SPACING_MM + 0.5, 0.0, 1.0)
    # A vessel thinner than a voxel fills only the part that its cross-section has of it.
    filled *= np.minimum(1.0, np.pi * radius**2 / GRID_SPACING_MM**2)
    return filled.reshape(shape).astype(np.float32)


def _both(points: list[tuple[float, float, float]], radius: float) -> list[Vessel]:
    """A course on the right and its mirror image."""
    course = np.array(points)
    return [(course, radius), (course * [-1.0, 1.0, 1.0], radius)]


def _on_hull(base: Template, direction: np.ndarray, depth_mm: float) -> np.ndarray:
    """Point on a ray from the middle of the brain that lies `depth_mm` within the skull."""
    middle = np.array([0.0, -18.0, 8.0])
    steps = np.arange(20.0, 120.0, 0.5)
    points = middle + steps[:, None] * direction / np.linalg.norm(direction)
    index = [(points[:, i] - base.origin_mm[i]) / GRID_SPACING_MM for i in range(3)]
    depth = -ndimage.map_coordinates(base.channels[2], index, order=1, mode="nearest")
    return points[int(np.argmin(np.abs(depth - depth_mm)))]


def _venous_sinuses(base: Template) -> list[Vessel]:
    angles = np.deg2rad(np.arange(25.0, 206.0, 5.0))  # in the midsagittal plane, from the forehead over the vertex
    sagittal = np.array([_on_hull(base, np.array([0.0, np.cos(a), np.sin(a)]), 2.0) for a in angles])
    torcula = tuple(sagittal[-1])
    turns = [(20.0, -85.0, -26.0), (42.0, -68.0, -32.0), (55.0, -48.0, -34.0)]
    transverse = [tuple(_on_hull(base, np.array(p) - [0.0, -18.0, 8.0], 2.5)) for p in turns]
    straight = np.array([(0.0, -42.0, 6.0), (0.0, -62.0, 2.0), torcula])
    return [
        (sagittal, 3.2),
        (straight, 2.0),
        *_both([torcula, *transverse, (52.0, -38.0, -48.0)], 2.8),
    ]


def _cortical_veins(base: Template) -> list[Vessel]:
    """Veins that rise over the convexity to the sagittal sinus, nine a side, winding a little."""
    rng = np.random.default_rng(153)
    veins = []
    for side in (1.0, -1.0):
        for forward in np.linspace(-0.9, 0.9, 9):
            turns = np.linspace(0.05, rng.uniform(0.9, 1.3), 12)  # angle from the vertex
            slope = forward + np.cumsum(rng.normal(0.0, 0.05, size=12))
            course = [
                _on_hull(base, np.array([side * np.sin(a), f * np.cos(0.5 * a), np.cos(a)]), 3.0)
                for a, f in zip(turns, slope, strict=True)
            ]
            veins.append((np.array(course), float(rng.uniform(0.8, 1.3))))
    return veins


def _deep_veins() -> list[Vessel]:
    """Internal cerebral, thalamostriate and septal veins, and medullary veins of the white matter."""
    rng = np.random.default_rng(154)
    veins = [
        *_both([(3.0, 2.0, 10.0), (3.0, -20.0, 10.0), (2.0, -38.0, 9.0), (0.0, -44.0, 6.0)], 1.1),
        *_both([(24.0, -22.0, 22.0), (18.0, -6.0, 20.0), (9.0, 4.0, 14.0), (3.0, 2.0, 10.0)], 0.8),
        *_both([(12.0, 30.0, 12.0), (4.0, 18.0, 14.0), (3.0, 2.0, 10.0)], 0.7),
        *_both([(28.0, -10.0, -18.0), (18.0, -28.0, -12.0), (8.0, -40.0, 0.0), (0.0, -44.0, 6.0)], 1.0),
    ]
    for y in np.arange(-50.0, 40.0, 8.0):
        for side in (1.0, -1.0):
            start = np.array([side * rng.uniform(14.0, 20.0), y, 24.0])
            away = np.array([side * rng.uniform(14.0, 20.0), rng.normal(0.0, 5.0), rng.uniform(10.0, 18.0)])
            veins.append((np.array([start, start + 0.5 * away + rng.normal(0.0, 1.5, size=3), start + away]), 0.5))
    return veins


def _arteries() -> list[Vessel]:
    return [
        *_both([(16.0, 2.0, -72.0), (18.0, -6.0, -52.0), (12.0, 4.0, -36.0), (10.0, 2.0, -20.0)], 2.3),
        *_both([(10.0, 2.0, -20.0), (24.0, 6.0, -20.0), (36.0, 8.0, -14.0), (44.0, -2.0, -4.0)], 1.5),
        *_both([(44.0, -2.0, -4.0), (46.0, -16.0, 4.0), (48.0, -30.0, 14.0)], 1.0),
        *_both([(10.0, 2.0, -20.0), (3.0, 14.0, -16.0), (2.0, 34.0, -4.0), (2.0, 38.0, 14.0), (2.0, 14.0, 30.0)], 1.2),
        *_both([(14.0, -44.0, -74.0), (8.0, -34.0, -60.0), (0.0, -28.0, -50.0)], 1.8),
        (np.array([(0.0, -28.0, -50.0), (0.0, -17.0, -34.0), (0.0, -15.0, -22.0)]), 1.9),
        *_both([(0.0, -15.0, -22.0), (13.0, -22.0, -20.0), (18.0, -36.0, -12.0), (20.0, -52.0, -4.0)], 1.2),
    ]
