"""One scan of a head: slices, point spread, bias, noise, gain, and how the file stores its axes.

The first form: effects are simple, separate functions that later forms replace one by one.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, ndimage

from .anatomy import GRID_SPACING_MM, Head, rotation
from .contrast import SEQUENCES, Timing, draw_timing, head_signals, signal
from .lesions import Lesion
from .streams import Purpose, generator

MISSING_RATE = 0.15
"""Probability that a sequence was not acquired."""

LEAST_SERIES = 2

COMMON_ORIENTATIONS = ("LAS", "RAS", "LPS")
"""Axis codes that converters write most often for axial scans."""

COMMON_ORIENTATION_RATE = 0.6

OTHER_PLANE_RATE = 0.12

# Scanner axes (0 x, 1 y, 2 z) of the array axes, and voxels, of scans in another plane: sagittal T1w, coronal T2w.
OTHER_PLANES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "T1w": ((1, 2, 0), (112, 84, 30)),
    "T2w": ((0, 2, 1), (96, 84, 36)),
}

ADC_NOISE = 45.0
"""Standard deviation of ADC in tissue, 10^-6 mm^2/s."""


@dataclass(frozen=True)
class Series:
    """One simulated series as a file would hold it.

    Args:
        sequence: one of `SEQUENCES`.
        data: int16 voxels in storage order; ADC in 10^-6 mm^2/s, others in arbitrary units.
        affine: float64 (4, 4), voxel to scanner mm (RAS+).
        sidecar: fields of the JSON sidecar.
    """

    sequence: str
    data: np.ndarray
    affine: np.ndarray
    sidecar: dict[str, float | int | str]


@dataclass(frozen=True)
class Slab:
    """Geometry of a scan before storage: axes (in-plane, in-plane, slice).

    Args:
        shape: voxels.
        affine: float64 (4, 4), voxel to scanner mm.
        slice_axis: scanner axis (0 x, 1 y, 2 z) nearest to the slice normal.
        thickness_mm: slice thickness.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    slice_axis: int
    thickness_mm: float


def acquired_sequences(seed: int, patient: int, session: int) -> tuple[str, ...]:
    """Sequences of a study: each is missing with `MISSING_RATE`, at least two are there.

    Args:
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        Sequence names in the order of `SEQUENCES`.
    """
    rng = generator(seed, Purpose.PROTOCOL, patient, session)
    kept = rng.random(len(SEQUENCES)) >= MISSING_RATE
    for index in rng.permutation(len(SEQUENCES)):
        if kept.sum() >= LEAST_SERIES:
            break
        kept[index] = True
    return tuple(name for name, keep in zip(SEQUENCES, kept, strict=True) if keep)


def acquire(head: Head, lesions: list[Lesion], sequence: str, seed: int, patient: int, session: int) -> Series:
    """Scan a head with one sequence.

    Args:
        head: the head, without lesions.
        lesions: lesions in it.
        sequence: one of `SEQUENCES`.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        The series in storage order. DWI and ADC of a study share geometry, as both come from one diffusion scan.
    """
    scan = "DWI" if sequence == "ADC" else sequence
    shared = generator(seed, Purpose.ACQUISITION, patient, session, SEQUENCES.index(scan))
    slab = _slab(head, scan, shared)
    timing = draw_timing(scan, shared)
    axis_codes = _orientation(slab, shared)
    own = generator(seed, Purpose.ACQUISITION, patient, session, len(SEQUENCES) + SEQUENCES.index(sequence))
    if sequence == "ADC":
        volume = _adc_volume(head, lesions, timing, slab, own)
    else:
        volume = _magnitude_volume(head, lesions, timing, slab, own, is_echo_planar=sequence == "DWI")
    data, affine = store(volume, slab.affine, axis_codes)
    return Series(sequence, data, affine, sidecar(sequence, timing, slab))


def _slab(head: Head, sequence: str, rng: np.random.Generator) -> Slab:
    """Axial slices from above the vertex downwards, slightly oblique; now and then T1w sagittal or T2w coronal."""
    tilt = rotation(np.deg2rad(rng.normal(0.0, (5.0, 1.5, 2.0))))
    in_plane_mm = rng.uniform(1.9, 2.1)
    thickness_mm = rng.uniform(5.6, 6.3)
    shape = (int(rng.integers(94, 101)), 2 * int(rng.integers(54, 59)), int(rng.integers(26, 29)))
    is_other_plane = rng.random() < OTHER_PLANE_RATE
    shift_mm = rng.normal(0.0, 2.0, size=2)
    above_mm = rng.uniform(2.0, 9.0)
    axes = (0, 1, 2)
    if is_other_plane and sequence in OTHER_PLANES:
        axes, shape = OTHER_PLANES[sequence]
    return slab_at(head, tilt, axes, shape, in_plane_mm, thickness_mm, shift_mm, above_mm)


def slab_at(
    head: Head,
    tilt: np.ndarray,
    axes: tuple[int, int, int],
    shape: tuple[int, int, int],
    in_plane_mm: float,
    thickness_mm: float,
    shift_mm: np.ndarray,
    above_mm: float,
) -> Slab:
    """Place a stack of slices over a head.

    Args:
        head: the head.
        tilt: rotation of the stack, (3, 3).
        axes: scanner axes (0 x, 1 y, 2 z) of the array axes (in-plane, in-plane, slice).
        shape: voxels along these axes.
        in_plane_mm: voxel size within a slice.
        thickness_mm: slice thickness and distance.
        shift_mm: shift from the middle of the head's grid along scanner x and y, (2,).
        above_mm: how far the stack begins above the vertex.
    """
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.eye(3)[:, axes] * np.array([in_plane_mm, in_plane_mm, thickness_mm])
    vertical = axes.index(2)
    height_mm = shape[vertical] * (thickness_mm if vertical == 2 else in_plane_mm)
    middle_mm = head.affine[:2, 3] + GRID_SPACING_MM * 0.5 * (np.array(head.template_mm.shape[1:3]) - 1)
    centre = np.array([*(middle_mm + shift_mm), head.vertex_mm + above_mm - 0.5 * height_mm])
    affine[:3, 3] = centre - affine[:3, :3] @ (0.5 * (np.array(shape) - 1))
    return Slab(shape, affine, axes[2], float(thickness_mm))


def signal_volume(head: Head, lesions: list[Lesion], timing: Timing) -> np.ndarray:
    """Noise-free signal of head and lesions on the 2 mm grid: fraction-weighted sum over tissues."""
    values = head_signals(timing)
    inside = np.zeros(len(head.voxels), dtype=np.float32)
    for fraction, name in zip(head.tissues, head.names, strict=True):
        inside += fraction * np.float32(values[name])
    volume = head.volume(inside)
    for lesion in lesions:
        patch = volume[lesion.box]
        for tissue, weight in lesion.parts:
            patch = patch + weight * (np.float32(signal(tissue, timing)) - patch)
        volume[lesion.box] = patch
    return volume


def slices(volume: np.ndarray, head: Head, slab: Slab) -> np.ndarray:
    """Average over the slice thickness along the nearest axis, then sample at the voxels of the slab (air outside)."""
    width = slab.thickness_mm / GRID_SPACING_MM
    blurred = ndimage.uniform_filter1d(volume, size=max(round(width), 1), axis=slab.slice_axis, mode="constant")
    transform = np.linalg.inv(head.affine) @ slab.affine
    return ndimage.affine_transform(
        blurred, transform[:3, :3], transform[:3, 3], output_shape=slab.shape, order=1, mode="constant", cval=0.0
    )


def _magnitude_volume(
    head: Head, lesions: list[Lesion], timing: Timing, slab: Slab, rng: np.random.Generator, *, is_echo_planar: bool
) -> np.ndarray:
    """Scan with limited k-space, coil shading, Rician noise and arbitrary gain; int16."""
    volume = slices(signal_volume(head, lesions, timing), head, slab)
    volume = limit_k_space(volume, rng.uniform(0.62, 0.75) if is_echo_planar else rng.uniform(0.75, 0.98))
    brain_level = 0.5 * sum(head_signals(timing)[name] for name in ("white matter", "grey matter"))
    volume *= shading(slab.shape, rng) / np.float32(brain_level)
    noise = 1.0 / (rng.uniform(14.0, 22.0) if is_echo_planar else rng.uniform(22.0, 45.0))
    return detect(volume, noise, rng)


def detect(volume: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude image: Rician noise and an arbitrary gain; int16.

    Args:
        volume: signal relative to the brain's.
        noise: standard deviation of the noise relative to the brain's signal.
        rng: generator of the scan.
    """
    deviation, shape = np.float32(noise), volume.shape
    real = volume + deviation * rng.standard_normal(shape, dtype=np.float32)
    imaginary = deviation * rng.standard_normal(shape, dtype=np.float32)
    gain = np.float32(np.exp(rng.uniform(np.log(120.0), np.log(1500.0))))
    return np.clip(np.rint(gain * np.sqrt(real * real + imaginary * imaginary)), 0, 32767).astype(np.int16)


def _adc_volume(head: Head, lesions: list[Lesion], timing: Timing, slab: Slab, rng: np.random.Generator) -> np.ndarray:
    """ADC = log(S(0) / S(b)) / b of the signals mixed in each voxel, 0 where the scan has too little signal; int16."""
    unweighted = replace(timing, b_value=0.0)
    plain = slices(signal_volume(head, lesions, unweighted), head, slab)
    weighted = slices(signal_volume(head, lesions, timing), head, slab)
    kept = rng.uniform(0.62, 0.75)
    plain, weighted = limit_k_space(plain, kept), limit_k_space(weighted, kept)
    threshold = 0.12 * head_signals(unweighted)["white matter"]
    return adc_map(plain, weighted, timing.b_value, threshold, rng)


def adc_map(
    plain: np.ndarray, weighted: np.ndarray, b_value: float, threshold: float, rng: np.random.Generator
) -> np.ndarray:
    """Map of log(S(0) / S(b)) / b in 10^-6 mm^2/s, 0 where there is too little signal; int16.

    Args:
        plain: image without diffusion weighting.
        weighted: image with it.
        b_value: the weighting in s/mm^2.
        threshold: least signal of the plain image.
        rng: generator of the map's noise.
    """
    is_measured = plain > threshold
    ratio = np.maximum(plain, threshold) / np.maximum(weighted, 1e-3)
    adc = np.log(np.maximum(ratio, 1.0)) / b_value * 1e6
    adc += ADC_NOISE * rng.standard_normal(plain.shape, dtype=np.float32)
    return np.where(is_measured, np.clip(np.rint(adc), 1, 4000), 0).astype(np.int16)


def limit_k_space(volume: np.ndarray, kept: float) -> np.ndarray:
    """Keep the central part of k-space along the second axis (phase encoding), tapered: blur with slight ringing."""
    spectrum = fft.rfft(volume, axis=1)
    frequency = np.linspace(0.0, 1.0, spectrum.shape[1])
    window = np.clip((kept - frequency) / 0.08 + 0.5, 0.0, 1.0).astype(np.float32)
    return fft.irfft(spectrum * window[None, :, None], n=volume.shape[1], axis=1)


def shading(shape: tuple[int, int, int], rng: np.random.Generator, strength: float = 0.08) -> np.ndarray:
    """Smooth positive shading of the receive coil, by about `strength` around 1: exp of a random quadratic."""
    x, y, z = (
        np.linspace(-1.0, 1.0, n, dtype=np.float32).reshape([-1 if i == j else 1 for j in range(3)])
        for i, n in enumerate(shape)
    )
    a = rng.normal(0.0, strength, size=9).astype(np.float32)
    linear = a[0] * x + a[1] * y + a[2] * z
    return np.exp(linear + a[3] * x * x + a[4] * y * y + a[5] * z * z + a[6] * x * y + a[7] * y * z + a[8] * x * z)


def _orientation(slab: Slab, rng: np.random.Generator) -> str:
    """Axis codes of the stored array: usually a converter's usual one, otherwise any order and direction."""
    is_common = rng.random() < COMMON_ORIENTATION_RATE
    choice = int(rng.integers(len(COMMON_ORIENTATIONS)))
    order = rng.permutation(3)
    flips = rng.random(3) < 0.5
    if is_common and slab.slice_axis == 2:
        return COMMON_ORIENTATIONS[choice]
    return "".join(("RAS"[axis], "LPI"[axis])[int(flips[axis])] for axis in order)


def store(volume: np.ndarray, affine: np.ndarray, axis_codes: str) -> tuple[np.ndarray, np.ndarray]:
    """Reorder and flip the array axes so that they run towards `axis_codes`; the affine follows, no voxel moves."""
    nearest = np.argmax(np.abs(affine[:3, :3]), axis=0)
    moved = np.eye(4)
    moved[:3, :3] = 0.0
    order, flips = [], []
    for position, code in enumerate(axis_codes):
        scanner_axis = "RLAPSI".index(code) // 2
        source = int(np.flatnonzero(nearest == scanner_axis)[0])
        wants_positive = code in "RAS"
        is_flipped = (affine[scanner_axis, source] > 0.0) != wants_positive
        order.append(source)
        flips.append(is_flipped)
        moved[source, position] = -1.0 if is_flipped else 1.0
        moved[source, 3] = volume.shape[source] - 1 if is_flipped else 0.0
    stored = volume.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return np.ascontiguousarray(stored), affine @ moved


def sidecar(sequence: str, timing: Timing, slab: Slab) -> dict[str, float | int | str]:
    """BIDS sidecar: times in seconds, as the standard asks; the b-value of a trace image under `bValue`."""
    fields: dict[str, float | int | str] = {
        "Modality": "MR",
        "MagneticFieldStrength": 3,
        "SliceThickness": round(slab.thickness_mm, 3),
        "RepetitionTime": round(timing.tr_ms / 1000.0, 4),
        "EchoTime": round(timing.te_ms / 1000.0, 4),
        "SimulatedSequence": sequence,
    }
    if timing.ti_ms is not None:
        fields["InversionTime"] = round(timing.ti_ms / 1000.0, 4)
    if sequence == "DWI":
        fields["bValue"] = int(timing.b_value)
    if sequence == "ADC":
        fields["Units"] = "10^-6 mm^2/s"
    return fields
