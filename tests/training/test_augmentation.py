"""Random changes of a volume against their definition, voxel by voxel."""

import numpy as np
import pytest

from selip.training.augmentation import VolumeChange, apply_change, draw_change
from selip.training.config import AugmentationConfig


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(6, 7, 5), dtype=np.uint8)


def test_no_change_is_division_by_255(volume):
    """The identity gives the stored intensities."""
    np.testing.assert_allclose(apply_change(volume, VolumeChange()), volume / 255, atol=1e-7)


def test_flip_mirrors_left_and_right_only(volume):
    """A flip reverses the first axis and nothing else; twice is nothing."""
    flipped = apply_change(volume, VolumeChange(is_flipped=True))
    np.testing.assert_allclose(flipped, volume[::-1] / 255, atol=1e-7)
    np.testing.assert_allclose(apply_change(volume[::-1], VolumeChange(is_flipped=True)), volume / 255, atol=1e-7)


@pytest.mark.parametrize("shift", [(2, 0, 0), (-1, 3, -2), (0, 0, 4)])
def test_shift_moves_voxels_and_brings_in_air(volume, shift):
    """Voxel p goes to p + shift; what has no source is air."""
    got = apply_change(volume, VolumeChange(shift=shift))
    for index in np.ndindex(volume.shape):
        source = tuple(place - step for place, step in zip(index, shift, strict=True))
        is_inside = all(0 <= place < size for place, size in zip(source, volume.shape, strict=True))
        assert got[index] == pytest.approx(volume[source] / 255 if is_inside else 0.0, abs=1e-6)


def test_gamma_and_gain_follow_their_formula(volume):
    """Intensity v becomes clip(gain v^gamma, 0, 1)."""
    got = apply_change(volume, VolumeChange(gamma=1.2, gain=1.1))
    np.testing.assert_allclose(got, np.clip(1.1 * (volume / 255) ** 1.2, 0, 1), atol=1e-6)


def test_adc_keeps_its_scale():
    """ADC is a physical quantity: neither gain nor gamma is drawn for it; other sequences get both."""
    config = AugmentationConfig(max_gamma=0.5, max_gain=0.5)

    def draw(sequence):
        return draw_change(
            config, np.random.default_rng(4), spacing_mm=(2.5, 2.5, 6.0), sequence=sequence, is_flipped=False
        )

    adc, flair = draw("ADC"), draw("FLAIR")
    assert (adc.gamma, adc.gain) == (1.0, 1.0)
    assert flair.gamma != 1.0
    assert flair.gain != 1.0
    assert adc.shift == flair.shift


def test_shift_stays_within_its_limit_in_mm():
    """The largest shift along an axis is the limit over the voxel size, rounded down, and it is reached."""
    generator = np.random.default_rng(0)
    shifts = np.array(
        [
            draw_change(
                AugmentationConfig(max_shift_mm=6.0),
                generator,
                spacing_mm=(2.5, 2.0, 7.0),
                sequence="T1w",
                is_flipped=False,
            ).shift
            for _ in range(300)
        ]
    )
    assert np.abs(shifts).max(axis=0).tolist() == [2, 3, 0]
