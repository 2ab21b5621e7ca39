"""Random changes of a volume against their definition, voxel by voxel."""

import numpy as np
import pytest
from scipy import ndimage

from selip.processing.head_selip import count_in_patches
from selip.training.augmentation import VolumeChange, apply_change, draw_change, draw_patches, head_patches
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


@pytest.mark.parametrize("shift", [(0, 0, 0.4), (0, 0, -0.3), (1, 0, 0.45), (0.2, -1, -0.49)])
def test_fractions_of_a_voxel_are_interpolated(volume, shift):
    """Between voxels the value is scipy's linear one, with air around the volume."""
    got = apply_change(volume, VolumeChange(shift=shift))
    # a layer of air on all sides: scipy's own border takes nothing from beyond the outer centres
    air = np.pad(volume / 255, 2)
    expected = ndimage.shift(air, shift, order=1)[2:-2, 2:-2, 2:-2]
    np.testing.assert_allclose(got, expected, atol=1e-6)


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
    """The largest shift is the limit over the voxel size, rounded down, but in full within thick slices."""
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
    assert np.abs(shifts[:, :2]).max(axis=0).tolist() == [2, 3]
    assert (shifts[:, :2] % 1 == 0).all()
    assert 0.8 < np.abs(shifts[:, 2]).max() <= 6 / 7
    assert abs(shifts[:, 2].mean()) < 0.1


PATCH = (4, 5, 2)


@pytest.fixture
def head() -> np.ndarray:
    """An ellipsoid off the middle, a mask of 24 x 30 x 16 voxels."""
    places = np.indices((24, 30, 16)).transpose(1, 2, 3, 0)
    return (((places - (10, 16, 7)) / (8, 11, 6)) ** 2).sum(-1) <= 1


def changed_counts(head: np.ndarray, change: VolumeChange) -> np.ndarray:
    """Head voxels in each patch of the changed volume, counted anew."""
    return count_in_patches(apply_change(head.astype(np.uint8) * 255, change) >= 0.5, PATCH)


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("shift", [(0, 0, 0), (4, -5, 2), (-8, 10, -4)])
def test_head_patches_follow_flips_and_shifts_of_whole_patches(head, is_flipped, shift):
    """The patches are those of the changed head mask, exactly, where none but whole patches move."""
    change = VolumeChange(is_flipped=is_flipped, shift=shift)
    expected = changed_counts(head, change)
    got = head_patches(count_in_patches(head, PATCH), change, PATCH)
    # with a shift, a patch with hardly any head is left out
    least = 1 if not any(shift) else 0.02 * np.prod(PATCH)
    np.testing.assert_array_equal(got, expected >= least)


def test_head_patches_of_a_shifted_head_lose_next_to_nothing(head):
    """Any shift: under one in a hundred head voxels lies outside the patches, and few patches are without head."""
    generator, lost, extra = np.random.default_rng(0), [], []
    for _ in range(50):
        change = VolumeChange(
            is_flipped=bool(generator.integers(2)),
            shift=(*(int(step) for step in generator.integers(-3, 4, 2)), generator.uniform(-3, 3)),
        )
        counts, got = changed_counts(head, change), head_patches(count_in_patches(head, PATCH), change, PATCH)
        lost.append(counts[~got].sum() / counts.sum())
        extra.append(got.sum() / (counts > 0).sum())
    assert max(lost) < 0.01
    # some more than touch it, as where the head lies within a patch is not known; this one is only six patches wide
    assert 1 < np.mean(extra) < 1.5


def test_drawn_patches_are_an_even_draw_within_the_budget():
    """Never more than the budget, never one without head, each as likely as any other; few or no limit: all."""
    is_head = np.random.default_rng(1).random((4, 5, 3)) < 0.5
    count = int(is_head.sum())
    drawn = np.array([draw_patches(is_head, 10, np.random.default_rng(seed)) for seed in range(400)])
    assert (drawn.sum((1, 2, 3)) == 10).all()
    assert not drawn[:, ~is_head].any()
    np.testing.assert_allclose(drawn.mean(0)[is_head], 10 / count, atol=0.12)
    for budget in (None, count, 60):
        assert np.array_equal(draw_patches(is_head, budget, np.random.default_rng(0)), is_head)
