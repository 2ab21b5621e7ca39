"""Intensity: robust scaling per volume, ADC in physical units, and the 8-bit form that is stored.

Everything here sees one volume at a time, so that a volume's result cannot depend on its batch.
"""

import numpy as np

from .nifti_selip import VolumeError

ADC_UNITS = ((1.0, "10^-6 mm^2/s"), (1e3, "10^-3 mm^2/s"), (1e6, "mm^2/s"))
"""Factor to 10^-6 mm^2/s and name of the units that ADC maps are stored in."""
ADC_MEDIAN_RANGE = (300.0, 2500.0)
"""Range in 10^-6 mm^2/s the median over a head must fall in. Brain tissue lies at 700 to 900, fluid near 3000 (Sener,
Comput Med Imaging Graph 25:299, 2001); the range is wide for crops of mostly fluid and for low values in fat."""
MAX_SAMPLES = 200_000
"""Voxels that a percentile is taken from; more change it by less than the quantisation step."""


def scale_by_percentiles(volume: np.ndarray, inside: np.ndarray, percentiles: tuple[float, float]) -> np.ndarray:
    """Scale a volume to [0, 1] by its own percentiles within the head, clipped at both ends.

    Args:
        volume: float32 (X, Y, Z) in any unit.
        inside: bool (X, Y, Z), head voxels that the series covers.
        percentiles: Lower and upper percentile that become 0 and 1.

    Returns:
        float32 (X, Y, Z) in [0, 1].

    Raises:
        VolumeError: `constant`, if the head has no contrast between the percentiles.
    """
    low, high = np.percentile(_sample(volume[inside]), percentiles)
    if not high > low:
        raise VolumeError("constant", f"expected contrast within the head, percentiles are both {low:g}")
    scaled = (volume - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def adc_factor(volume: np.ndarray, inside: np.ndarray) -> float:
    """Recognise the unit of an ADC map by the median of its positive values within the head.

    Args:
        volume: float32 (X, Y, Z).
        inside: bool (X, Y, Z), head voxels that the series covers.

    Returns:
        Factor that takes the map to 10^-6 mm^2/s: 1, 1e3 or 1e6.

    Raises:
        VolumeError: `units`, if no unit puts the median into `ADC_MEDIAN_RANGE`.
    """
    values = volume[inside]
    values = values[values > 0]
    median = float(np.median(_sample(values)))
    for factor, _ in ADC_UNITS:
        if ADC_MEDIAN_RANGE[0] <= median * factor <= ADC_MEDIAN_RANGE[1]:
            return factor
    units = ", ".join(name for _, name in ADC_UNITS)
    raise VolumeError("units", f"expected an ADC map in {units}; the median within the head is {median:g}")


def scale_adc(volume: np.ndarray, factor: float, window: tuple[float, float]) -> np.ndarray:
    """Map ADC values to [0, 1] by a fixed window: physics, not contrast, so no percentile.

    Args:
        volume: float32 (X, Y, Z) in any of `ADC_UNITS`.
        factor: Factor to 10^-6 mm^2/s, from `adc_factor`.
        window: Values in 10^-6 mm^2/s that become 0 and 1; values beyond are clipped.

    Returns:
        float32 (X, Y, Z) in [0, 1].
    """
    low, high = window
    scaled = (volume * np.float32(factor) - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def quantise(volume: np.ndarray) -> np.ndarray:
    """Return the stored form of a volume in [0, 1]: uint8 `round(255 v)`, any shape."""
    return np.rint(np.clip(volume, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)


def dequantise(stored: np.ndarray) -> np.ndarray:
    """Return the float32 volume in [0, 1] of its uint8 form; wrong by at most half a step of 1/255."""
    if stored.dtype != np.uint8:
        raise TypeError(f"expected a uint8 volume, got {stored.dtype}")
    return stored.astype(np.float32) / np.float32(255.0)


def _sample(values: np.ndarray) -> np.ndarray:
    """Take an evenly strided sample of at most about `MAX_SAMPLES` values."""
    if values.size == 0:
        raise VolumeError("constant", "expected signal within the head, found none")
    return values[:: max(1, values.size // MAX_SAMPLES)]
