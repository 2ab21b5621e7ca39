"""The scanners: each has its own field, protocol, resolution, noise, shading, distortion and way to store images.

Twelve of them, invented; values span what clinical protocols at 1.5 and 3 T use. Training and validation see eight,
the test split the other four, which are not always inside the range of the eight.
"""

from dataclasses import dataclass

import numpy as np

from ..contrast import FLUID_T1_MS, TISSUE_PROPERTIES, Timing
from ..streams import Purpose, generator
from .patient import Patient

SEQUENCES = ("T1w", "T1c", "T2w", "FLAIR", "DWI", "ADC", "SWI")
"""Sequences of the realistic form, in the order of the lexicon."""


@dataclass(frozen=True)
class Scanner:
    """One scanner with its protocol.

    Args:
        name: as the sidecars say.
        field_t: field strength in tesla.
        in_plane_mm: voxel size within a slice.
        thickness_mm: slice thickness.
        t1_tr_ms: repetition time of T1w; below 50 it is a spoiled gradient echo, else a spin echo.
        t2_te_ms: echo time of T2w.
        flair_te_ms: echo time of FLAIR.
        b_value: diffusion weighting in s/mm^2.
        suppresses_fat: whether T2w, FLAIR and T1c are fat suppressed.
        noise: standard deviation of noise relative to the brain's signal (diffusion has twice as much).
        shading: strength of the coil's shading.
        kept: part of k-space that is acquired along the phase direction.
        distortion_mm: largest shift of diffusion images next to air.
        tilt_deg: usual tilt of axial slices about the left-right axis.
        axis_codes: how axial images are stored.
        motion_rate: part of its scans with visible motion.
    """

    name: str
    field_t: float
    in_plane_mm: float
    thickness_mm: float
    t1_tr_ms: float
    t2_te_ms: float
    flair_te_ms: float
    b_value: float
    suppresses_fat: bool
    noise: float
    shading: float
    kept: float
    distortion_mm: float
    tilt_deg: float
    axis_codes: str
    motion_rate: float


SEEN: tuple[Scanner, ...] = (
    Scanner("A1", 3.0, 1.9, 5.5, 550.0, 95.0, 110.0, 1000.0, False, 0.025, 0.10, 0.95, 5.0, -6.0, "LAS", 0.06),
    Scanner("A2", 3.0, 2.0, 6.0, 600.0, 90.0, 120.0, 1000.0, True, 0.030, 0.12, 0.85, 6.0, -4.0, "LAS", 0.08),
    Scanner("B1", 1.5, 2.0, 6.0, 500.0, 100.0, 115.0, 1000.0, False, 0.045, 0.05, 0.80, 3.0, -8.0, "LPS", 0.12),
    Scanner("B2", 1.5, 2.1, 6.3, 450.0, 95.0, 105.0, 800.0, False, 0.055, 0.06, 0.75, 2.5, 0.0, "RAS", 0.15),
    Scanner("C1", 3.0, 1.9, 5.0, 8.0, 85.0, 125.0, 1000.0, True, 0.030, 0.12, 0.95, 6.5, -5.0, "LAS", 0.06),
    Scanner("C2", 1.5, 1.9, 5.5, 9.0, 105.0, 120.0, 1000.0, False, 0.040, 0.06, 0.90, 3.0, 4.0, "LPS", 0.10),
    Scanner("D1", 3.0, 2.1, 6.0, 650.0, 100.0, 115.0, 1200.0, False, 0.035, 0.10, 0.80, 5.5, -7.0, "RAS", 0.10),
    Scanner("D2", 1.5, 2.0, 5.5, 520.0, 90.0, 125.0, 1000.0, True, 0.050, 0.05, 0.75, 3.5, 2.0, "LAS", 0.12),
)

UNSEEN: tuple[Scanner, ...] = (
    Scanner("E1", 3.0, 1.8, 5.0, 580.0, 80.0, 105.0, 1000.0, True, 0.028, 0.14, 0.95, 7.0, -9.0, "LPI", 0.06),
    Scanner("E2", 1.5, 2.2, 6.5, 480.0, 110.0, 130.0, 900.0, False, 0.060, 0.07, 0.70, 3.0, 6.0, "RPS", 0.15),
    Scanner("F1", 1.5, 2.0, 5.0, 10.0, 95.0, 110.0, 1000.0, True, 0.045, 0.08, 0.85, 2.5, -2.0, "LAS", 0.10),
    Scanner("F2", 3.0, 1.9, 6.0, 7.0, 92.0, 118.0, 1100.0, False, 0.033, 0.12, 0.90, 6.0, -3.0, "RAS", 0.08),
)

EVERYDAY_RATES = {"T1w": 0.95, "T1c": 0.30, "T2w": 0.95, "FLAIR": 0.93, "DWI": 0.90, "ADC": 0.95, "SWI": 0.45}
"""Probability that a sequence is acquired; ADC: where there is DWI."""

LEAST_SERIES = 2


def draw_scanner(patient: Patient, seed: int, session: int) -> Scanner:
    """The scanner of a visit: one of the four unseen ones in the test split, else one of the eight others."""
    pool = UNSEEN if patient.split == "test" else SEEN
    return pool[int(generator(seed, Purpose.SCANNER, patient.number, session).integers(len(pool)))]


def draw_sequences(
    seed: int, patient: int, session: int, wanted: frozenset[str], needed: frozenset[str]
) -> tuple[str, ...]:
    """Sequences of a study.

    Args:
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.
        wanted: sequences that the question asks for (contrast for a tumour); they are missing in one study of ten.
        needed: sequences that are never missing.

    Returns:
        At least two, in the order of `SEQUENCES`.
    """
    rng = generator(seed, Purpose.PROTOCOL, patient, session)
    draws = dict(zip(SEQUENCES, rng.random(len(SEQUENCES)), strict=True))
    kept = {name for name in SEQUENCES if draws[name] < (0.9 if name in wanted else EVERYDAY_RATES[name])}
    kept |= needed
    if "DWI" not in kept:
        kept.discard("ADC")
    for name in ("T2w", "T1w"):
        if len(kept) < LEAST_SERIES:
            kept.add(name)
    return tuple(name for name in SEQUENCES if name in kept)


def timing(scanner: Scanner, sequence: str, rng: np.random.Generator) -> Timing:
    """Timing of one scan: the scanner's protocol, varied by 2 % as technicians adapt it.

    Args:
        scanner: the scanner.
        sequence: one of `SEQUENCES` except ADC.
        rng: generator of the scan.
    """
    vary = rng.uniform(0.98, 1.02, size=2)
    field_t, is_quiet = scanner.field_t, scanner.suppresses_fat
    if sequence in ("T1w", "T1c"):
        tr_ms, is_enhanced = scanner.t1_tr_ms * vary[0], sequence == "T1c"
        is_quiet = is_quiet and is_enhanced
        if scanner.t1_tr_ms < 50.0:
            return Timing(
                tr_ms, 3.0, flip_deg=18.0, is_enhanced=is_enhanced, field_t=field_t, is_fat_suppressed=is_quiet
            )
        return Timing(tr_ms, 10.0 * vary[1], is_enhanced=is_enhanced, field_t=field_t, is_fat_suppressed=is_quiet)
    if sequence == "T2w":
        return Timing(4500.0 * vary[0], scanner.t2_te_ms * vary[1], field_t=field_t, is_fat_suppressed=is_quiet)
    if sequence == "FLAIR":
        tr_ms = 9000.0 * vary[0]
        fluid_ms = max(TISSUE_PROPERTIES["csf"].t1_ms, FLUID_T1_MS)
        null_ms = fluid_ms * (np.log(2.0) - np.log1p(np.exp(-tr_ms / fluid_ms)))
        te_ms = scanner.flair_te_ms * vary[1]
        return Timing(tr_ms, te_ms, ti_ms=float(null_ms), field_t=field_t, is_fat_suppressed=is_quiet)
    if sequence == "SWI":
        te_ms = 20.0 if field_t == 3.0 else 40.0  # the usual compensation for the lower field
        return Timing(te_ms + 10.0, te_ms, flip_deg=15.0, field_t=field_t)
    b_value = scanner.b_value
    return Timing(6000.0 * vary[0], 85.0 * vary[1], b_value=b_value, field_t=field_t, is_fat_suppressed=True)
