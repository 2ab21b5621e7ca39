"""The head: ICBM152 tissue maps, a skull and scalp around them, and one patient's deformation of it all.

Spaces: *template* is MNI ICBM152 millimetres (RAS); *scanner* is millimetres of the simulated scanner (RAS). A patient
is a map from scanner to template, evaluated on a coarse lattice and interpolated linearly, and a head on a 2 mm grid
of scanner space.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from .streams import Purpose, generator

GRID_SPACING_MM = 2.0
LATTICE_STEP = 4
GRID_SHAPE = (96, 112, 98)
TISSUES = ("white matter", "grey matter", "csf", "bone", "marrow", "fat", "muscle")
"""Tissues of a head, in the order of the rows of `Head.tissues`. What is missing to 1 is air."""

TEMPLATE_LOWEST_MM = -100.0
SHELL_MM = 15.0
EYES_MM = ((33.0, 64.0, -36.0), (-33.0, 64.0, -36.0))
EYE_RADIUS_MM = 12.0
AIRWAY_CENTRE_MM = (0.0, 60.0, -62.0)
AIRWAY_RADII_MM = (13.0, 28.0, 22.0)
CENTRE_MM = (0.0, -18.0, 4.0)
"""Template position at the centre of the grid: about the middle of the brain, so that vertex and neck fit."""

CONTROL_STEP_MM = 36.0
CONTROL_SD_MM = 3.2


@dataclass(frozen=True)
class Template:
    """What every patient is deformed from.

    Args:
        channels: float32 (4, X, Y, Z): white and grey matter fraction, then signed distances in mm (negative inside)
        to the
            surface of the intracranial space and to the surface of the head.
        origin_mm: template coordinates of voxel (0, 0, 0); the spacing is 2 mm, the axes are RAS.
    """

    channels: np.ndarray
    origin_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Head:
    """One patient in one session, on an axis-aligned RAS grid of 2 mm in scanner space.

    Args:
        tissues: float32 (T, n), tissue fractions of the n voxels of the head in the order of `names`, sum at most 1.
        voxels: int64 (n,), flat indices of these voxels; all others are air.
        template_mm: float32 (3, X, Y, Z), template coordinates of every voxel.
        affine: float64 (4, 4), voxel to scanner mm.
        vertex_mm: highest scanner z of the head.
        names: the T tissues.
    """

    tissues: np.ndarray
    voxels: np.ndarray
    template_mm: np.ndarray
    affine: np.ndarray
    vertex_mm: float
    names: tuple[str, ...] = TISSUES

    def volume(self, values: np.ndarray) -> np.ndarray:
        """Values of the head's voxels, float32 (n,), as a volume (X, Y, Z) with 0 in air."""
        volume = np.zeros(self.template_mm.shape[1:], dtype=np.float32)
        volume.reshape(-1)[self.voxels] = values
        return volume

    def tissue(self, name: str) -> np.ndarray:
        """Fraction of one of `names` as a volume (X, Y, Z)."""
        return self.volume(self.tissues[self.names.index(name)])


@dataclass(frozen=True)
class Placement:
    """Where the parts of one patient lie in the scanner, before they have a tissue.

    Args:
        template_mm: float32 (3, X, Y, Z), template coordinates of every voxel.
        affine: float64 (4, 4), voxel to scanner mm.
        voxels: int64 (n,), flat indices of the voxels of the head.
        to_skull: float32 (n,), their distance to the intracranial space in mm, negative inside.
        to_skin: float32 (n,), their distance to the surface in mm, negative inside.
        vertex_mm: highest scanner z of the head.
    """

    template_mm: np.ndarray
    affine: np.ndarray
    voxels: np.ndarray
    to_skull: np.ndarray
    to_skin: np.ndarray
    vertex_mm: float


BrainModel = Callable[[Template, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""White and grey matter fraction (n,) at template coordinates (3, n)."""


@lru_cache(maxsize=1)
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
    image = load_mni152_template(resolution=1)
    t1w = _halve(np.asarray(image.dataobj))
    grey = _halve(np.asarray(load_mni152_gm_template(resolution=1).dataobj))
    white = _halve(np.asarray(load_mni152_wm_template(resolution=1).dataobj))
    origin = image.affine[:3, 3] + 0.5
    below = int(np.ceil((origin[2] - TEMPLATE_LOWEST_MM) / GRID_SPACING_MM))
    t1w, grey, white = (np.pad(volume, ((0, 0), (0, 0), (below, 0))) for volume in (t1w, grey, white))
    origin_mm = (float(origin[0]), float(origin[1]), float(origin[2] - below * GRID_SPACING_MM))
    brain = t1w > 0.1
    to_skull = _signed_distance_mm(_intracranial(brain))
    to_skin = _distance_to_skin_mm(to_skull, origin_mm[2])
    inside = to_skull < 0.0
    channels = np.stack([np.where(inside, white, 0.0), np.where(inside, grey, 0.0), to_skull, to_skin])
    return Template(channels.astype(np.float32), origin_mm)


def _halve(volume: np.ndarray) -> np.ndarray:
    """Mean of blocks of 2 x 2 x 2 voxels; an odd last plane (air in these maps) is dropped."""
    x, y, z = (size // 2 for size in volume.shape)
    blocks = volume[: 2 * x, : 2 * y, : 2 * z].astype(np.float32).reshape(x, 2, y, 2, z, 2)
    return blocks.mean(axis=(1, 3, 5))


def _intracranial(brain: np.ndarray) -> np.ndarray:
    """Space inside the skull: the brain mask with its gaps (cisterns, fissures) closed."""
    closed = ndimage.binary_closing(np.pad(brain, 8), structure=_ball(5))[8:-8, 8:-8, 8:-8]
    return ndimage.binary_fill_holes(closed | brain)


def _ball(radius: int) -> np.ndarray:
    axis = np.arange(-radius, radius + 1)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return x * x + y * y + z * z <= radius * radius


def _signed_distance_mm(mask: np.ndarray) -> np.ndarray:
    """Distance to the border of a mask in mm, negative inside; smoothed, as a voxel mask has a staircase border."""
    outside = ndimage.distance_transform_edt(~mask, sampling=GRID_SPACING_MM)
    inside = ndimage.distance_transform_edt(mask, sampling=GRID_SPACING_MM)
    return ndimage.gaussian_filter((outside - inside).astype(np.float32), sigma=0.7)


def _distance_to_skin_mm(to_skull: np.ndarray, lowest_mm: float) -> np.ndarray:
    """Signed distance to the skin: a shell around the skull, its widest outline carried down as face and neck."""
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
    placement = place(template, anatomy, generator(seed, Purpose.POSE, patient, session))
    tissues = tissue_fractions(template, placement, anatomy, average_brain)
    return Head(tissues, placement.voxels, placement.template_mm, placement.affine, placement.vertex_mm)


def place(template: Template, anatomy: np.random.Generator, pose: np.random.Generator) -> Placement:
    """Draw a patient's deformation of the template and position in the scanner.

    Args:
        template: from `load_template`.
        anatomy: generator of the patient.
        pose: generator of the session.

    Returns:
        Template coordinates on the 2 mm grid in scanner space, and the voxels of the head.
    """
    controls = anatomy.normal(0.0, CONTROL_SD_MM, size=(3, 8, 9, 8)).astype(np.float32)
    scale = anatomy.normal(0.94, 0.025) * np.exp(anatomy.normal(0.0, 0.02, size=3))
    turn = rotation(np.deg2rad(pose.normal(0.0, (3.5, 3.0, 4.0))))
    offset_mm = np.round(pose.normal(0.0, (6.0, 15.0, 20.0)), 1)
    origin_mm = offset_mm - 0.5 * GRID_SPACING_MM * (np.array(GRID_SHAPE) - 1)
    axes = [np.arange(0, size + LATTICE_STEP, LATTICE_STEP) for size in GRID_SHAPE]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float64) * GRID_SPACING_MM
    points += (origin_mm - offset_mm)[:, None, None, None]
    canonical = np.stack([sum(turn[j, i] * points[j] for j in range(3)) / scale[i] for i in range(3)])
    canonical += np.array(CENTRE_MM)[:, None, None, None]
    mapped = (canonical + _displacement(controls, canonical)).astype(np.float32)
    template_mm = upsample(mapped, GRID_SHAPE, LATTICE_STEP)
    affine = np.diag([GRID_SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = origin_mm
    to_skull, to_skin = _distances(template, template_mm)
    voxels = np.flatnonzero(to_skin < 0.5 * GRID_SPACING_MM)
    highest = int(np.max(voxels % GRID_SHAPE[2]))
    vertex_mm = float(origin_mm[2] + GRID_SPACING_MM * highest)
    return Placement(template_mm, affine, voxels, to_skull[voxels], to_skin[voxels], vertex_mm)


def rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix.

    Args:
        angles: angles about x, y and z in radians, applied in this order, (3,).

    Returns:
        Float64 (3, 3).
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _displacement(controls: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """Cubic B-spline field of random control vectors, in mm, at canonical positions."""
    index = canonical / CONTROL_STEP_MM
    index += 0.5 * (np.array(controls.shape[1:]) - 1)[:, None, None, None]
    return np.stack(
        [ndimage.map_coordinates(part, index, order=3, mode="nearest", prefilter=False) for part in controls]
    )


def upsample(lattice: np.ndarray, shape: tuple[int, int, int], step: int) -> np.ndarray:
    """Linear interpolation from every step-th voxel (C, x, y, z) to all (C, X, Y, Z); the same on any machine."""
    volume = lattice
    for axis, size in enumerate(shape, start=1):
        position = np.arange(size)
        low = position // step
        high = np.minimum(low + 1, volume.shape[axis] - 1)
        weight = ((position % step) / step).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(4)])
        volume = volume.take(low, axis=axis) * (1 - weight) + volume.take(high, axis=axis) * weight
    return volume


def sample(channel: np.ndarray, template: Template, template_mm: np.ndarray) -> np.ndarray:
    """A volume (X, Y, Z) on the grid of the template at template coordinates (3, ...), linearly interpolated."""
    index = [(template_mm[i] - template.origin_mm[i]) / GRID_SPACING_MM for i in range(3)]
    return ndimage.map_coordinates(channel, index, order=1, mode="nearest")


def _distances(template: Template, template_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm to skull and skin of every voxel, flat; sampled at every other voxel, as both are smooth."""
    coarse = template_mm[:, ::2, ::2, ::2]
    sampled = np.stack([sample(template.channels[i], template, coarse) for i in (2, 3)])
    to_skull, to_skin = upsample(sampled, GRID_SHAPE, 2)
    return to_skull.reshape(-1), to_skin.reshape(-1)


def tissue_fractions(
    template: Template, placement: Placement, rng: np.random.Generator, brain: BrainModel
) -> np.ndarray:
    """Tissue fractions of the voxels of a head: brain by a model, skull and scalp of the patient's own thickness.

    Args:
        template: the template.
        placement: where the parts of the head lie.
        rng: generator of the patient.
        brain: white and grey matter inside the skull.

    Returns:
        Float32 (7, n), in the order of `TISSUES`.
    """
    to_skull, to_skin = placement.to_skull, placement.to_skin
    template_mm = placement.template_mm.reshape(3, -1)[:, placement.voxels]
    csf_gap_mm, fat_mm = rng.uniform(-0.5, 1.5), rng.uniform(3.0, 5.0)
    bone_mm, marrow_mm = rng.uniform(5.5, 7.5), rng.uniform(2.0, 3.0)
    fractions = np.zeros((len(TISSUES), template_mm.shape[1]), dtype=np.float32)
    depth = to_skull - np.float32(csf_gap_mm)
    inside_skull, inside_skin = soft(-depth), soft(-to_skin)
    in_brain = np.flatnonzero(to_skull < 2.0)
    white, grey = brain(template, template_mm[:, in_brain], rng)
    fractions[0, in_brain] = white * inside_skull[in_brain]
    fractions[1, in_brain] = grey * inside_skull[in_brain]
    fractions[2] = np.maximum(inside_skull - fractions[0] - fractions[1], 0.0)
    inside_bone = np.maximum(inside_skull, soft(bone_mm - depth))
    shell = np.maximum(np.minimum(inside_bone, inside_skin) - inside_skull, 0.0)
    fractions[4] = shell * soft(0.5 * marrow_mm - np.abs(depth - 0.5 * bone_mm))
    fractions[3] = shell - fractions[4]
    soft_tissue = np.maximum(inside_skin - inside_bone, 0.0)
    # Fat under a millimetre of skin.
    fractions[5] = soft_tissue * soft(fat_mm + to_skin) * soft(-to_skin - 1.0)
    fractions[6] = soft_tissue - fractions[5]
    below = np.flatnonzero(template_mm[2] < -10.0)
    face = fractions[:, below]
    _add_eyes_and_airway(face, template_mm[:, below])
    fractions[:, below] = face
    return fractions


def average_brain(
    template: Template, template_mm: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """White and grey matter fractions (n,) at template coordinates (3, n); a `BrainModel`.

    The maps are averages of 152 brains, so borders are blurred: fluid is sharpened against tissue, by patient (width
    of sulci and ventricles), and white against grey matter.
    """
    gain, floor = rng.uniform(1.2, 1.7), rng.uniform(0.05, 0.15)
    white, grey = (sample(template.channels[i], template, template_mm) for i in (0, 1))
    brain = 1.0 - np.clip((1.0 - white - grey - floor) * gain, 0.0, 1.0)
    ratio = white / np.maximum(white + grey, 1e-3)
    ratio = np.clip((ratio - 0.5) * 1.5 + 0.5, 0.0, 1.0)
    return brain * ratio, brain * (1.0 - ratio)


def _add_eyes_and_airway(fractions: np.ndarray, template_mm: np.ndarray) -> None:
    """Replace soft tissue by two eyeballs (fluid), fat around them and an air-filled nasal cavity, in place."""
    muscle = fractions[6]
    for eye in EYES_MM:
        distance = np.sqrt(sum((template_mm[i] - np.float32(eye[i])) ** 2 for i in range(3)))
        ball = soft(EYE_RADIUS_MM - distance) * muscle
        socket = np.maximum(soft(EYE_RADIUS_MM + 6.0 - distance) * muscle - ball, 0.0)
        fractions[2] += ball
        fractions[5] += socket
        muscle -= ball + socket
    scaled = [(template_mm[i] - np.float32(AIRWAY_CENTRE_MM[i])) / np.float32(AIRWAY_RADII_MM[i]) for i in range(3)]
    radius = np.sqrt(sum(part * part for part in scaled))
    muscle *= 1.0 - soft((1.0 - radius) * 15.0)


def soft(margin_mm: np.ndarray) -> np.ndarray:
    """1 where the margin is well positive, 0 where well negative, a ramp one voxel wide between (partial volume)."""
    return np.clip(margin_mm * np.float32(1.0 / GRID_SPACING_MM) + np.float32(0.5), 0.0, 1.0)
