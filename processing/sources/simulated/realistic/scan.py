"""One scan of a realistic head: the scanner's slices and timing, contrast agent, susceptibility, artefacts, noise."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from ..acquisition import Series, Slab, adc_map, detect, shading, sidecar, signal_volume, slab_at, slices, store
from ..anatomy import GRID_SHAPE, Head, rotation, upsample
from ..contrast import Timing, head_signals
from ..lesions import Lesion
from ..streams import Purpose, generator
from .artefacts import Artefacts, distorted, draw_artefacts, limited_k_space, next_to_air, with_ghosts
from .scanners import SEQUENCES, Scanner, timing

HEIGHT_MM = 162.0
"""Extent of a stack from above the vertex down."""

FIELD_MM = (192.0, 228.0)
VEIN_MASK = 5.0
"""Exponent by which the phase mask of SWI darkens a voxel of venous blood at 3 T and 20 ms (a mask to the fourth
power: Haacke et al., Magn Reson Med 2004;52:612-618; the number is ours)."""

BLOOM = 0.6
"""Part of a lesion's dephasing that a gradient echo sees 2 mm outside it; ours."""

# Where moving fluid is bright on FLAIR: before and in the fourth ventricle, and at the foramina of Monro.
INFLOW_PLACES = (((0.0, -30.0, -36.0), 14.0), ((0.0, -2.0, 8.0), 6.0))


@dataclass(frozen=True)
class Examination:
    """What all scans of a visit share.

    Args:
        head: the head, without lesions.
        lesions: lesions in it.
        scanner: the scanner.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.
    """

    head: Head
    lesions: tuple[Lesion, ...]
    scanner: Scanner
    seed: int
    patient: int
    session: int

    @cached_property
    def air(self) -> np.ndarray:
        """How much air disturbs the field, on the grid of the head; made at every other voxel, as it is smooth."""
        return upsample(next_to_air(self.head.template_mm[:, ::2, ::2, ::2])[None], GRID_SHAPE, 2)[0]

    def artefacts(self, sequence: str) -> Artefacts:
        """Artefacts of one scan; DWI and ADC are one scan."""
        item = SEQUENCES.index(_scan_of(sequence))
        return draw_artefacts(self.scanner, sequence, self.seed, self.patient, self.session, item)

    def rng(self, item: int) -> np.random.Generator:
        """Generator of one part of the acquisition."""
        return generator(self.seed, Purpose.ACQUISITION, self.patient, self.session, item)


def scan(examination: Examination, sequence: str) -> Series:
    """Scan a head with one sequence.

    Args:
        examination: head, lesions and scanner.
        sequence: one of `SEQUENCES`.

    Returns:
        The series in storage order. DWI and ADC share geometry. Lesions change nothing of it: the same examination
        without them differs only where they are (and where a filter of the scan reaches from there).
    """
    scanner = examination.scanner
    number = SEQUENCES.index(_scan_of(sequence))
    shared = examination.rng(number)
    slab = _slab(examination, _scan_of(sequence), shared)
    times = timing(scanner, _scan_of(sequence), shared)
    own = examination.rng(len(SEQUENCES) + SEQUENCES.index(sequence))
    if sequence == "ADC":
        data = _adc(examination, times, slab, own)
    else:
        data = _magnitude(examination, sequence, times, slab, own)
    stored, affine = store(data, slab.affine, scanner.axis_codes if slab.slice_axis == 2 else "RAS")
    fields = sidecar(sequence, times, slab)
    fields |= {"MagneticFieldStrength": scanner.field_t, "ManufacturersModelName": f"simulated {scanner.name}"}
    return Series(sequence, stored, affine, fields)


def _scan_of(sequence: str) -> str:
    return "DWI" if sequence == "ADC" else sequence


def _slab(examination: Examination, sequence: str, rng: np.random.Generator) -> Slab:
    """Axial slices; T1w is sagittal on scanners with a gradient echo in one scan of three."""
    scanner = examination.scanner
    tilt = rotation(np.deg2rad(rng.normal((scanner.tilt_deg, 0.0, 0.0), (2.0, 1.5, 1.5))))
    shift_mm = rng.normal(0.0, 2.0, size=2)
    above_mm = rng.uniform(2.0, 9.0)
    axes, extents = (0, 1, 2), (*FIELD_MM, HEIGHT_MM)
    if sequence == "T1w" and scanner.t1_tr_ms < 50.0 and rng.random() < 0.33:
        axes, extents = (1, 2, 0), (FIELD_MM[1], HEIGHT_MM + 10.0, 172.0)
    sizes = (scanner.in_plane_mm, scanner.in_plane_mm, scanner.thickness_mm)
    columns, rows, count = (round(extent / size) for extent, size in zip(extents, sizes, strict=True))
    shape = (columns, 2 * (rows // 2), count)
    return slab_at(examination.head, tilt, axes, shape, scanner.in_plane_mm, scanner.thickness_mm, shift_mm, above_mm)


def _magnitude(
    examination: Examination, sequence: str, times: Timing, slab: Slab, rng: np.random.Generator
) -> np.ndarray:
    """A magnitude image with the effects of its sequence; int16."""
    scanner, head = examination.scanner, examination.head
    artefacts = examination.artefacts(sequence)
    values = head_signals(times)
    level = 0.5 * (values["white matter"] + values["grey matter"])
    volume = _disturbed(examination, times, artefacts)
    if artefacts.inflow:
        volume = volume + np.float32(artefacts.inflow * level) * head.tissue("csf") * _inflow(head)
    image = slices(volume, head, slab)
    if artefacts.pulsation:
        vessels = slices(head.tissue("vein") * np.float32(values["vein"]), head, slab)
        image = with_ghosts(image, vessels, artefacts.pulsation, slab.shape[1] // 7)
    is_echo_planar = sequence == "DWI"
    if is_echo_planar:
        image = distorted(image, _shift(examination, slab))
    image = limited_k_space(image, 0.7 if is_echo_planar else scanner.kept, artefacts)
    image = image * shading(slab.shape, rng, scanner.shading) / np.float32(level)
    return detect(image, scanner.noise * (2.0 if is_echo_planar else 1.0), rng)


def _adc(examination: Examination, times: Timing, slab: Slab, rng: np.random.Generator) -> np.ndarray:
    """The ADC map of the diffusion scan; int16."""
    unweighted = replace(times, b_value=0.0)
    artefacts = examination.artefacts("DWI")
    shift = _shift(examination, slab)
    plain, weighted = (
        limited_k_space(
            distorted(slices(_disturbed(examination, part, artefacts), examination.head, slab), shift), 0.7, artefacts
        )
        for part in (unweighted, times)
    )
    return adc_map(plain, weighted, times.b_value, 0.12 * head_signals(unweighted)["white matter"], rng)


def _disturbed(examination: Examination, times: Timing, artefacts: Artefacts) -> np.ndarray:
    """Signal on the grid of the head, less what dephases next to air and around blood."""
    volume = signal_volume(examination.head, list(examination.lesions), times)
    if times.flip_deg is not None and times.te_ms > 10.0:
        strength = VEIN_MASK * times.te_ms * times.field_t / 60.0
        volume *= np.exp(-np.float32(strength) * examination.head.tissue("vein"))
        for lesion in examination.lesions:
            _bloom(volume, lesion, times)
    if artefacts.dropout:
        volume *= np.maximum(1.0 - np.float32(artefacts.dropout) * examination.air, 0.0)
    return volume


def _bloom(volume: np.ndarray, lesion: Lesion, times: Timing) -> None:
    """Let iron in a lesion darken its surroundings, in place."""
    dephasing = sum(weight * np.float32(tissue.dephasing) for tissue, weight in lesion.parts)
    if not np.any(dephasing):
        return
    around = np.maximum(BLOOM * ndimage.grey_dilation(dephasing, size=3) - dephasing, 0.0)
    volume[lesion.box] *= np.exp(-1e-3 * times.te_ms * times.field_t / 3.0 * around)


def _shift(examination: Examination, slab: Slab) -> np.ndarray:
    """Displacement of a diffusion image in voxels of the slab along its second axis."""
    scanner = examination.scanner
    return slices(examination.air, examination.head, slab) * np.float32(scanner.distortion_mm / scanner.in_plane_mm)


def _inflow(head: Head) -> np.ndarray:
    """Where fluid moves fast, 0 to 1, on the grid of the head."""
    coarse = head.template_mm[:, ::2, ::2, ::2]
    result = np.zeros(coarse.shape[1:], dtype=np.float32)
    for centre, reach_mm in INFLOW_PLACES:
        square = sum((coarse[i] - np.float32(centre[i])) ** 2 for i in range(3))
        result += np.exp(-square / np.float32(2.0 * reach_mm**2))
    return upsample(result[None], GRID_SHAPE, 2)[0]
