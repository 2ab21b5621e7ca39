"""Intensity scaling and the stored 8-bit form."""

import numpy as np
import pytest

from selip.processing.intensity_selip import adc_factor, dequantise, quantise, scale_adc, scale_by_percentiles

WINDOW = (0.0, 3000.0)


@pytest.fixture
def inside() -> np.ndarray:
    mask = np.zeros((20, 20, 20), bool)
    mask[4:16, 4:16, 4:16] = True
    return mask


def test_percentiles_are_those_of_the_mask(inside: np.ndarray) -> None:
    """0 and 1 are numpy's percentiles of the masked values; what lies outside the mask has no say."""
    rng = np.random.default_rng(0)
    volume = rng.normal(500, 100, inside.shape).astype(np.float32)
    volume[~inside] *= 50
    low, high = np.percentile(volume[inside], (1, 99))
    expected = np.clip((volume - low) / (high - low), 0, 1)
    np.testing.assert_allclose(scale_by_percentiles(volume, inside, (1, 99)), expected, atol=1e-5)


def test_gain_and_offset_do_not_matter(inside: np.ndarray) -> None:
    """Scanner gain is arbitrary: a linear change of a magnitude image gives the same result."""
    volume = np.random.default_rng(1).gamma(3, 50, inside.shape).astype(np.float32)
    a = scale_by_percentiles(volume, inside, (0.5, 99.5))
    b = scale_by_percentiles(volume * 4201.875 + 17, inside, (0.5, 99.5))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_head_without_contrast_is_an_error(inside: np.ndarray) -> None:
    """A flat head cannot be scaled."""
    with pytest.raises(ValueError, match="percentiles are both 7") as caught:
        scale_by_percentiles(np.full(inside.shape, 7, np.float32), inside, (0.5, 99.5))
    assert caught.value.reason == "constant"


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-6])
def test_adc_comes_back_within_half_a_step(inside: np.ndarray, unit: float) -> None:
    """Whatever unit a map is stored in, the quantised form gives 10^-6 mm^2/s back to half a step of 3000/255."""
    truth = np.random.default_rng(2).uniform(300, 2600, inside.shape).astype(np.float32)
    truth[~inside] = 0
    stored = (truth * np.float32(unit)).astype(np.float32)
    factor = adc_factor(stored, inside)
    back = dequantise(quantise(scale_adc(stored, factor, WINDOW))) * 3000
    assert np.abs(back - truth).max() <= 3000 / 255 / 2 + 1e-2


@pytest.mark.parametrize("median", [0.05, 30.0, 9000.0])
def test_adc_in_no_known_unit_is_an_error(inside: np.ndarray, median: float) -> None:
    """A T2w file named ADC, or a unit nobody uses, is told and not rescaled."""
    with pytest.raises(ValueError, match=r"10\^-6 mm\^2/s") as caught:
        adc_factor(np.full(inside.shape, median, np.float32), inside)
    assert caught.value.reason == "units"


def test_quantise_is_the_nearest_level() -> None:
    """Every stored level survives a round trip, and no value moves by more than half a level."""
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(quantise(dequantise(levels)), levels)
    values = np.linspace(-0.2, 1.2, 5001, dtype=np.float32)
    assert np.abs(dequantise(quantise(values)) - np.clip(values, 0, 1)).max() <= 0.5 / 255 + 1e-6


def test_dequantise_refuses_other_types() -> None:
    """A volume that is already scaled is not divided by 255 again."""
    with pytest.raises(TypeError, match="float32"):
        dequantise(np.zeros(3, np.float32))
