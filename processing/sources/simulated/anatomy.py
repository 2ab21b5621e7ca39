"""The head: ICBM152 tissue maps, a skull and scalp around them, and one patient's deformation of it all.

Spaces: *template* is MNI ICBM152 millimetres (RAS); *scanner* is millimetres of the simulated scanner (RAS). A patient is a map
from scanner to template, evaluated on a coarse lattice and interpolated linearly, and a head on a 2 mm grid of scanner space.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .streams import Purpose, generator

GRID_SPACING_MM = 2.0
LATTICE_STEP = 4
GRID_SHAPE = (101, 117, 105)
TISSUES = ("white matter", "grey matter", "csf", "bone", "marrow", "fat", "muscle")
"""Tissues of a head, in the order of the rows of `Head.fractions`. What is missing to 1 is air."""

TEMPLATE_LOWEST_MM = -100.0
SHELL_MM = 15.0
EYES_MM = ((33.0, 64.0, -36.0), (-33.0, 64.0, -36.0))
EYE_RADIUS_MM = 12.0
AIRWAY_CENTRE_MM = (0.0, 60.0, -62.0)
AIRWAY_RADII_MM = (13.0, 28.0, 22.0)
CONTROL_STEP_MM = 36.0
CONTROL_SD_MM = 3.2


@dataclass(frozen=True)
class Template:
    """What every patient is deformed from.

    Args:
        channels: float32 (4, X, Y, Z): white and grey matter fraction, then signed distances in mm (negative inside) to the
            surface of the intracranial space and to the surface of the head.
        origin_mm: template coordinates of voxel (0, 0, 0); the spacing is 2 mm, the axes are RAS.
    """

    channels: np.ndarray
    origin_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Head:
    """One patient in one session, on an axis-aligned RAS grid of 2 mm in scanner space.

    Args:
        fractions: float32 (7, X, Y, Z), tissue fractions in the order of `TISSUES`, sum at most 1.
        template_mm: float32 (3, X, Y, Z), template coordinates of every voxel.
        affine: float64 (4, 4), voxel to scanner mm.
        vertex_mm: highest scanner z of the head.
    """

    fractions: np.ndarray
    template_mm: np.ndarray
    affine: np.ndarray
    vertex_mm: float


def load_template() -> Template:
    """Build the template head from the ICBM152 2009a symmetric maps that nilearn carries (no download).

    Returns:
        Brain maps extended downwards, with distances to the inside of the skull and to the skin.

    Raises:
        ImportError: nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
    except ImportError as error:
        raise ImportError(
            "simulated studies need the ICBM152 maps of nilearn, which is not installed; "
            "install the extra `simulate`: pip install 'selip[simulate]'"
        ) from error
    image = load_mni152_template(resolution=2)
    t1w = np.asarray(image.dataobj, dtype=np.float32)
    grey = np.asarray(load_mni152_gm_template(resolution=2).dataobj, dtype=np.float32)
    white = np.asarray(load_mni152_wm_template(resolution=2).dataobj, dtype=np.float32)
    origin = image.affine[:3, 3]
    below = int(np.ceil((origin[2] - TEMPLATE_LOWEST_MM) / GRID_SPACING_MM))
    t1w, grey, white = (np.pad(volume, ((0, 0), (0, 0), (below, 0))) for volume in (t1w, grey, white))
    origin_mm = (float(origin[0]), float(origin[1]), float(origin[2] - below * GRID_SPACING_MM))
    brain = t1w > 0.1
    to_skull = _signed_distance_mm(_intracranial(brain))
    to_skin = _distance_to_skin_mm(to_skull, origin_mm[2])
    inside = to_skull < 0.0
    channels = np.stack([np.where(inside, white, 0.0), np.where(inside, grey, 0.0), to_skull, to_skin])
    return Template(channels.astype(np.float32), origin_mm)


def _intracranial(brain: np.ndarray) -> np.ndarray:
    """Space inside the skull: the brain mask with its gaps (cisterns, fissures) closed."""
    closed = ndimage.binary_closing(np.pad(brain, 8), structure=_ball(5))[8:-8, 8:-8, 8:-8]
    return ndimage.binary_fill_holes(closed | brain)


def _ball(radius: int) -> np.ndarray:
    axis = np.arange(-radius, radius + 1)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return x * x + y * y + z * z <= radius * radius


def _signed_distance_mm(mask: np.ndarray) -> np.ndarray:
    """Distance to the border of a mask in mm, negative inside; smoothed, as the border of a voxel mask is a staircase."""
    outside = ndimage.distance_transform_edt(~mask, sampling=GRID_SPACING_MM)
    inside = ndimage.distance_transform_edt(mask, sampling=GRID_SPACING_MM)
    return ndimage.gaussian_filter((outside - inside).astype(np.float32), sigma=0.7)


def _distance_to_skin_mm(to_skull: np.ndarray, lowest_mm: float) -> np.ndarray:
    """Signed distance to the skin: a shell around the skull above, its widest outline carried down as face and neck."""
    outline = np.maximum.accumulate((to_skull < SHELL_MM)[:, :, ::-1], axis=2)[:, :, ::-1]
    distance = _signed_distance_mm(outline)
    z_mm = lowest_mm + GRID_SPACING_MM * np.arange(outline.shape[2])
    # The head narrows below the level of the orbits.
    return distance + 0.3 * np.clip(-25.0 - z_mm, 0.0, None).astype(np.float32)


def deform(template: Template, seed: int, patient: int, session: int) -> Head:
    """The head of one patient: own anatomy (same in all sessions), own position in the scanner (by session).

    Args:
        template: from `load_template`.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        Tissue fractions and template coordinates on the 2 mm grid in scanner space.
    """
    anatomy = generator(seed, Purpose.ANATOMY, patient)
    pose = generator(seed, Purpose.POSE, patient, session)
    controls = anatomy.normal(0.0, CONTROL_SD_MM, size=(3, 8, 9, 8)).astype(np.float32)
    scale = anatomy.normal(0.94, 0.025) * np.exp(anatomy.normal(0.0, 0.02, size=3))
    rotation = _rotation(np.deg2rad(pose.normal(0.0, (3.5, 3.0, 4.0))))
    offset_mm = np.round(pose.normal(0.0, (6.0, 15.0, 20.0)), 1)
    origin_mm = offset_mm - 0.5 * GRID_SPACING_MM * (np.array(GRID_SHAPE) - 1)
    # Lattice points in canonical head coordinates: centred on the brain of the template (about 0, -18, 5 mm in MNI).
    axes = [np.arange(0, size + LATTICE_STEP, LATTICE_STEP) for size in GRID_SHAPE]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float64) * GRID_SPACING_MM
    points += (origin_mm - offset_mm)[:, None, None, None]
    canonical = np.stack([sum(rotation[j, i] * points[j] for j in range(3)) / scale[i] for i in range(3)])
    canonical += np.array([0.0, -18.0, -1.0])[:, None, None, None]
    mapped = canonical + _displacement(controls, canonical)
    template_mm = _upsample(mapped.astype(np.float32))
    affine = np.diag([GRID_SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = origin_mm
    fractions = _tissue_fractions(template, template_mm, anatomy)
    present = np.flatnonzero(fractions.sum(axis=0).max(axis=(0, 1)) > 0.5)
    return Head(fractions, template_mm, affine, float(origin_mm[2] + GRID_SPACING_MM * present[-1]))


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix from angles about x, y, z in radians (applied in this order)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _displacement(controls: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """Cubic B-spline field of random control vectors, in mm, at canonical positions."""
    index = canonical / CONTROL_STEP_MM
    index += 0.5 * (np.array(controls.shape[1:]) - 1)[:, None, None, None]
    return np.stack([ndimage.map_coordinates(part, index, order=3, mode="nearest", prefilter=False) for part in controls])


def _upsample(lattice: np.ndarray) -> np.ndarray:
    """Linear interpolation from the lattice (3, x, y, z) to the grid (3, X, Y, Z); elementwise, so bit-reproducible."""
    volume = lattice
    for axis, size in enumerate(GRID_SHAPE, start=1):
        position = np.arange(size)
        low = position // LATTICE_STEP
        weight = ((position % LATTICE_STEP) / LATTICE_STEP).astype(np.float32)
        weight = weight.reshape([-1 if i == axis else 1 for i in range(4)])
        volume = volume.take(low, axis=axis) * (1 - weight) + volume.take(low + 1, axis=axis) * weight
    return volume


def _tissue_fractions(template: Template, template_mm: np.ndarray, anatomy: np.random.Generator) -> np.ndarray:
    """Sample the template at the patient's coordinates and build skull and scalp of the patient's own thickness."""
    csf_gap = anatomy.uniform(1.5, 3.5)
    bone_mm, marrow_mm = anatomy.uniform(5.5, 7.5), anatomy.uniform(2.0, 3.0)
    fat_mm = anatomy.uniform(3.5, 6.0)
    csf_gain, csf_floor = anatomy.uniform(1.2, 1.7), anatomy.uniform(0.05, 0.15)
    index = [(template_mm[i] - template.origin_mm[i]) / GRID_SPACING_MM for i in range(3)]
    white, grey = (ndimage.map_coordinates(template.channels[i], index, order=1) for i in (0, 1))
    to_skull, to_skin = (ndimage.map_coordinates(template.channels[i], index, order=1, mode="nearest") for i in (2, 3))
    inside_skull = _soft(csf_gap - to_skull)
    inside_skin = _soft(-to_skin)
    brain = np.clip(white + grey, 0.0, 1.0)
    # The maps are averages of 152 brains, so sulci are blurred: sharpen fluid against tissue, by patient (sulcal width).
    kept = np.clip((1.0 - brain - csf_floor) * csf_gain, 0.0, 1.0)
    shrink = (1.0 - kept) / np.maximum(white + grey, 1e-3) * inside_skull
    white, grey = white * shrink, grey * shrink
    fractions = np.empty((len(TISSUES), *GRID_SHAPE), dtype=np.float32)
    fractions[0], fractions[1] = white, grey
    fractions[2] = np.maximum(inside_skull - white - grey, 0.0)
    depth = to_skull - csf_gap
    shell = np.minimum(_soft(bone_mm - depth), inside_skin) - inside_skull
    shell = np.maximum(shell, 0.0)
    fractions[4] = shell * _soft(0.5 * marrow_mm - np.abs(depth - 0.5 * bone_mm))
    fractions[3] = shell - fractions[4]
    soft_tissue = np.maximum(inside_skin - np.maximum(inside_skull, _soft(bone_mm - depth)), 0.0)
    under_skin = _soft(fat_mm + to_skin) * _soft(-to_skin - 1.0)
    fractions[5] = soft_tissue * under_skin
    fractions[6] = soft_tissue - fractions[5]
    _add_eyes_and_airway(fractions, template_mm)
    return fractions


def _add_eyes_and_airway(fractions: np.ndarray, template_mm: np.ndarray) -> None:
    """Replace soft tissue by two eyeballs (fluid), orbital fat around them and an air-filled nasal cavity, in place."""
    muscle = fractions[6]
    for eye in EYES_MM:
        distance = np.sqrt(sum((template_mm[i] - eye[i]) ** 2 for i in range(3)))
        ball = _soft(EYE_RADIUS_MM - distance) * muscle
        socket = _soft(EYE_RADIUS_MM + 6.0 - distance) * muscle - ball
        fractions[2] += ball
        fractions[5] += socket
        muscle -= ball + socket
    radius = np.sqrt(sum(((template_mm[i] - AIRWAY_CENTRE_MM[i]) / AIRWAY_RADII_MM[i]) ** 2 for i in range(3)))
    muscle *= 1.0 - _soft((1.0 - radius) * 15.0)


def _soft(margin_mm: np.ndarray | float) -> np.ndarray:
    """1 where the margin is well positive, 0 where well negative, a ramp one voxel wide between (partial volume)."""
    return np.clip(np.asarray(margin_mm, dtype=np.float32) / GRID_SPACING_MM + 0.5, 0.0, 1.0)
