"""One patient's head in the realistic form: sulci, ventricles and iron by age, vessels, paranasal sinuses."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..anatomy import (
    GRID_SHAPE,
    GRID_SPACING_MM,
    TISSUES,
    Head,
    Placement,
    Template,
    place,
    sample,
    soft,
    tissue_fractions,
    upsample,
)
from ..streams import Purpose, generator
from .details import FOLD_SIZE, HeadTemplate
from .patient import Patient

NAMES = (*TISSUES, "vein", "artery", "choroid plexus", "iron-rich grey matter", "mucosa")
"""Tissues of a realistic head; those after `TISSUES` are carved out of the others."""

FOLD_DEPTH_MM = 17.0
"""How deep sulci reach from the hull of the brain."""

RIBBON_MM = 2.6
"""Thickness of the cortex: 1 to 4.5, on average 2.5 mm (Fischl and Dale, PNAS 2000;97:11050-11055)."""

PLEXUS = ((21.0, -38.0, 8.0), (5.0, 7.0, 4.0))
# Pallidum, substantia nigra and red nucleus, where iron is (Hallgren and Sourander, J Neurochem 1958;3:41-51).
IRON = (
    ((19.0, -3.0, -1.0), (4.5, 9.0, 5.5)),
    ((11.0, -18.0, -12.0), (5.0, 4.0, 3.0)),
    ((5.0, -20.0, -10.0), (3.0, 3.0, 3.0)),
)
MAXILLARY_SINUS = ((24.0, 50.0, -52.0), (12.0, 16.0, 14.0))
SPHENOID_SINUS = ((7.0, 22.0, -46.0), (7.0, 10.0, 8.0))


@dataclass(frozen=True)
class Shape:
    """What age and findings do to the form of a brain.

    Args:
        ventricle_mm: how far the walls of the ventricles stand outside (negative: inside) those of the template.
        sulcus_mm: half the width of the sulci.
        iron: 0 to 1, part of the iron of an old pallidum.
        mucosa_mm: thickness of the sinus mucosa on the right and left.
    """

    ventricle_mm: float
    sulcus_mm: float
    iron: float
    mucosa_mm: tuple[float, float]


def normal_shape(patient: Patient, seed: int) -> Shape:
    """The form of a healthy brain of that age.

    Sulci and ventricles widen slowly up to 60 and faster afterwards (Scahill et al., Arch Neurol 2003;60:989-994;
    Fjell et al., J Neurosci 2009;29:15223-15231); the slopes here are ours, in mm.

    Args:
        patient: the patient.
        seed: seed of the run.
    """
    rng = generator(seed, Purpose.ANATOMY, patient.number, 0, 1)
    ageing = 0.3 * (patient.age - 18) / 42.0 + 0.7 * max(patient.age - 60, 0) / 30.0
    ventricle_mm = -1.0 + 3.4 * ageing + rng.normal(0.0, 0.5)
    sulcus_mm = 0.45 + 0.9 * ageing + rng.normal(0.0, 0.1)
    iron = min(patient.age / 70.0, 1.0) * rng.uniform(0.7, 1.0)
    return Shape(float(ventricle_mm), float(max(sulcus_mm, 0.3)), float(iron), (0.0, 0.0))


def build_head(template: HeadTemplate, shape: Shape, seed: int, patient: int, session: int) -> Head:
    """The head of one patient: anatomy by patient, position by session.

    Args:
        template: from `load_head_template`.
        shape: form of the brain.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        Fractions of `NAMES` on the 2 mm grid in scanner space.
    """
    anatomy = generator(seed, Purpose.ANATOMY, patient)
    placement = place(template.base, anatomy, generator(seed, Purpose.POSE, patient, session))
    placement = _widen_ventricles(placement, template, shape.ventricle_mm)
    offset_mm = anatomy.uniform(0.0, FOLD_SIZE * GRID_SPACING_MM, size=3)

    def folded_brain(base: Template, at_mm: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return _folded_brain(template, at_mm, shape.sulcus_mm, offset_mm)

    tissues = tissue_fractions(template.base, placement, anatomy, folded_brain)
    at_mm = placement.template_mm.reshape(3, -1)[:, placement.voxels]
    tissues = _add_details(tissues, template, at_mm, shape)
    return Head(tissues, placement.voxels, placement.template_mm, placement.affine, placement.vertex_mm, NAMES)


def _widen_ventricles(placement: Placement, template: HeadTemplate, amount_mm: float) -> Placement:
    """Displace tissue around the ventricles so that their walls move outwards; made at every other voxel."""
    coarse = placement.template_mm[:, ::2, ::2, ::2]
    push = np.stack([sample(part, template.base, coarse) for part in template.push])
    moved = placement.template_mm - np.float32(amount_mm) * upsample(push, GRID_SHAPE, 2)
    return Placement(
        moved.astype(np.float32),
        placement.affine,
        placement.voxels,
        placement.to_skull,
        placement.to_skin,
        placement.vertex_mm,
    )


def _folded_brain(
    template: HeadTemplate, at_mm: np.ndarray, sulcus_mm: float, offset_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """White and grey matter fractions (n,) with sulci cut into the cerebral cortex.

    The maps are averages of 152 brains, in which sulci are a blur. Their fluid and grey matter are sharpened, and
    sheets of fluid, lined with a ribbon of grey matter, are cut in down to some depth.
    """
    white, grey, to_skull = (sample(template.base.channels[i], template.base, at_mm) for i in range(3))
    brain = 1.0 - np.clip((1.0 - white - grey - 0.12) * 1.5, 0.0, 1.0)
    ratio = np.clip((white / np.maximum(white + grey, 1e-3) - 0.5) * 2.2 + 0.5, 0.0, 1.0)
    index = [((at_mm[i] + offset_mm[i]) / GRID_SPACING_MM) for i in range(3)]
    to_fold = ndimage.map_coordinates(template.folds, index, order=1, mode="grid-wrap")
    # Sulci narrow towards their floor; the cerebellum and the base keep the maps as they are.
    depth = np.clip(1.0 + to_skull / FOLD_DEPTH_MM, 0.0, 1.0)
    is_cerebrum = np.clip((at_mm[2] - 0.35 * (at_mm[1] + 40.0) * (at_mm[1] < -40.0) + 12.0) / 10.0, 0.0, 1.0)
    half_mm = sulcus_mm * np.minimum(2.0 * depth, 1.0) * is_cerebrum
    fluid = soft(half_mm - to_fold) * (half_mm > 0.0) * np.minimum(half_mm / 0.6, 1.0)
    ribbon = soft(half_mm + RIBBON_MM - to_fold) * (half_mm > 0.1)
    brain = brain * (1.0 - fluid)
    ratio = ratio * (1.0 - 0.9 * ribbon)
    return brain * ratio, brain * (1.0 - ratio)


def _add_details(tissues: np.ndarray, template: HeadTemplate, at_mm: np.ndarray, shape: Shape) -> np.ndarray:
    """Carve vessels, choroid plexus, iron-rich nuclei and sinuses out of the seven tissues: (7, n) to (12, n)."""
    result = np.zeros((len(NAMES), tissues.shape[1]), dtype=np.float32)
    result[: len(TISSUES)] = tissues
    below = np.flatnonzero(at_mm[2] < -28.0)
    _add_sinuses(result, at_mm, below, shape.mucosa_mm)
    inside = np.flatnonzero(tissues[0] + tissues[1] + tissues[2] > 0.3)
    at = at_mm[:, inside]
    mirrored = np.abs(at[0]), at[1], at[2]
    fluid, grey_white = tissues[2, inside], tissues[0, inside] + tissues[1, inside]
    carved = np.stack(
        [
            sample(template.vein, template.base, at),
            sample(template.artery, template.base, at),
            _ellipsoid(mirrored, *PLEXUS) * fluid,
            np.max([_ellipsoid(mirrored, *nucleus) for nucleus in IRON], axis=0) * grey_white * shape.iron,
        ]
    ).astype(np.float32)
    carved /= np.maximum(carved.sum(axis=0), 1.0)
    result[: len(TISSUES), inside] *= 1.0 - carved.sum(axis=0)
    first = len(TISSUES)
    result[first : first + len(carved), inside] = carved
    return result


def _add_sinuses(result: np.ndarray, at_mm: np.ndarray, voxels: np.ndarray, mucosa_mm: tuple[float, float]) -> None:
    """Replace muscle, fat and bone of the face by air-filled maxillary and sphenoid sinuses, lined with mucosa."""
    at = at_mm[:, voxels]
    mirrored = np.abs(at[0]), at[1], at[2]
    face = result[3:7, voxels]
    thickness = np.where(at[0] > 0.0, mucosa_mm[0], mucosa_mm[1]) + 0.4
    for centre, radii in (MAXILLARY_SINUS, SPHENOID_SINUS):
        inside = _ellipsoid(mirrored, centre, radii)
        lining = thickness if centre == MAXILLARY_SINUS[0] else 0.4
        air = _ellipsoid(mirrored, centre, radii, lining)
        result[11, voxels] += (inside - air) * face.sum(axis=0)
        face = face * (1.0 - inside)
    result[3:7, voxels] = face


def _ellipsoid(
    at: tuple[np.ndarray, ...],
    centre: tuple[float, ...],
    radii: tuple[float, ...],
    shrink_mm: float | np.ndarray = 0.0,
) -> np.ndarray:
    """1 inside an ellipsoid made smaller by `shrink_mm`, 0 outside, a ramp of one voxel between."""
    radius = np.sqrt(sum(((at[i] - np.float32(centre[i])) / np.float32(radii[i])) ** 2 for i in range(3)))
    return soft((1.0 - radius) * np.float32(min(radii)) - shrink_mm).astype(np.float32)
