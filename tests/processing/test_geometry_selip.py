"""Axis orders and resampling, against nibabel, SimpleITK and scipy."""

from collections.abc import Callable
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its documentation calls it so)
from scipy.ndimage import gaussian_filter

from selip.processing.geometry_selip import FWHM_TO_VARIANCE, block_mean, resample, to_canonical

LPS = np.diag([-1.0, -1.0, 1.0])
ALL_AXIS_ORDERS = [(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]


def in_axis_order(image: nib.Nifti1Image, order: tuple[int, ...], signs: tuple[int, ...]) -> nib.Nifti1Image:
    """The same image stored in another axis order; the work is done by nibabel."""
    orientation = np.array(list(zip(order, signs, strict=True)), float)
    return image.as_reoriented(orientation)


def to_sitk(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """The same image in ITK's LPS convention."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((LPS @ affine[:3, 3]).tolist())
    return image


def sitk_resample(
    array: np.ndarray, affine: np.ndarray, target_affine: np.ndarray, size: tuple[int, int, int], interpolator: int
) -> np.ndarray:
    target = to_sitk(np.zeros(size, np.float32), target_affine)
    image = sitk.Resample(to_sitk(array, affine), target, sitk.Transform(), interpolator, 0.0)
    return sitk.GetArrayFromImage(image).T


def target_grid(spacing: tuple[float, float, float], size: tuple[int, int, int]) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array([3.0, -12.0, 20.0]) - (np.array(size) - 1) / 2 * spacing
    return affine


@pytest.mark.parametrize(("order", "signs"), ALL_AXIS_ORDERS)
def test_canonical_order_is_nibabels(
    make_head: Callable[..., nib.Nifti1Image], order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    """For all 48 storage orders the closest RAS+ view and its affine are those of nibabel."""
    stored = in_axis_order(make_head((9.0, 8.0, 7.0), (9.0, 6.0)), order, signs)
    view, affine = to_canonical(np.asarray(stored.dataobj), stored.affine)
    expected = nib.as_closest_canonical(stored)
    np.testing.assert_array_equal(view, np.asarray(expected.dataobj))
    np.testing.assert_allclose(affine, expected.affine, atol=1e-9)
    assert np.shares_memory(view, np.asarray(stored.dataobj))


def test_same_grid_gives_the_same_values(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """Resampling to the own grid changes nothing beyond rounding, and all of it is covered."""
    image = make_head((4.0, 3.0, 6.0), (12.0, 7.0))
    array = np.asarray(image.dataobj)
    axis_aligned, affine = to_canonical(array, image.affine)
    values, covered = resample(array, image.affine, affine, axis_aligned.shape)
    np.testing.assert_allclose(values, array, atol=0.02)  # of 700
    assert covered.all()


@pytest.mark.parametrize("angles", [(0.0, 0.0), (16.0, 0.0), (12.5, -20.0)])
def test_trilinear_equals_simpleitk(make_head: Callable[..., nib.Nifti1Image], angles: tuple[float, float]) -> None:
    """To a finer grid, where nothing is smoothed, values equal SimpleITK's linear interpolation, oblique or not."""
    image = make_head((4.0, 5.0, 6.0), angles)
    array, size = np.asarray(image.dataobj), (72, 88, 40)
    target = target_grid((2.5, 2.5, 3.0), size)
    values, covered = resample(array, image.affine, target, size)
    expected = sitk_resample(array, image.affine, target, size, sitk.sitkLinear)
    assert covered.mean() > 0.9
    np.testing.assert_allclose(values, expected, atol=0.05)  # of 700


def test_nearest_equals_simpleitk(make_ball: Callable[..., nib.Nifti1Image]) -> None:
    """Label maps take the nearest voxel, as SimpleITK does; only points halfway between voxels may differ."""
    image = make_ball((1.7, 1.9, 5.0), (11.0, 4.0))
    array, size = np.asarray(image.dataobj).astype(np.float32) * 3, (72, 88, 24)
    target = target_grid((2.5, 2.5, 6.0), size)
    values, _ = resample(array, image.affine, target, size, nearest=True)
    expected = sitk_resample(array, image.affine, target, size, sitk.sitkNearestNeighbor)
    assert set(np.unique(values)) == {0.0, 3.0}
    assert (values != expected).mean() < 1e-5


@pytest.mark.parametrize("angles", [(0.0, 0.0), (16.0, 0.0)])
def test_smoothing_equals_gaussian_then_interpolation(
    make_head: Callable[..., nib.Nifti1Image], angles: tuple[float, float]
) -> None:
    """To a coarser grid, values equal scipy's Gaussian of the matched width followed by SimpleITK's interpolation."""
    image = make_head((1.25, 1.25, 2.5), angles)
    array, size, spacing = np.asarray(image.dataobj), (72, 88, 24), np.array([3.0, 3.0, 7.0])
    target = target_grid(tuple(spacing), size)
    own = np.array([1.25, 1.25, 2.5])
    widths = np.linalg.norm(spacing[:, None] * image.affine[:3, :3] / own, axis=0) / own
    smooth = gaussian_filter(array, np.sqrt((widths**2 - 1) * FWHM_TO_VARIANCE), mode="nearest")
    expected = sitk_resample(smooth, image.affine, target, size, sitk.sitkLinear)
    values, _ = resample(array, image.affine, target, size)
    difference = np.abs(values - expected)
    assert np.percentile(difference, 99.9) < 7.0  # 1 % of the range; blocks of two stand in for part of the Gaussian
    assert difference.max() < 20.0


def test_fine_texture_does_not_alias() -> None:
    """Stripes finer than the target's voxels become grey instead of a moire of full contrast."""
    stripes = np.zeros((200, 200, 40), np.float32)
    stripes[::2] = 1.0
    size = (60, 60, 12)
    target = np.diag([2.5, 2.5, 3.0, 1.0])
    target[:3, 3] = (20.0, 20.0, 2.0)
    assert resample(stripes, np.eye(4), target, size)[0].std() < 0.02
    plain = sitk_resample(stripes, np.eye(4), target, size, sitk.sitkLinear)
    assert plain.std() > 0.2, "the case must alias without smoothing, or this test would be vacuous"


def test_thick_slices_are_not_blurred_through_plane() -> None:
    """Slices as thick as the target's keep their contrast from slice to slice."""
    slices = np.zeros((100, 100, 20), np.float32)
    slices[:, :, ::2] = 1.0
    source = np.diag([1.0, 1.0, 6.0, 1.0])
    target = np.diag([2.5, 2.5, 6.0, 1.0])
    values, _ = resample(slices, source, target, (40, 40, 20))
    np.testing.assert_allclose(values[:39, :39], np.broadcast_to(slices[0, 0], (39, 39, 20)), atol=1e-5)


def test_what_the_source_does_not_cover_is_zero() -> None:
    """A constant source is constant up to half a voxel beyond its outer centres, and 0 from there on."""
    source = np.diag([2.0, 2.0, 5.0, 1.0])
    size = (30, 30, 12)
    target = np.diag([1.0, 1.0, 3.0, 1.0])
    target[:3, 3] = (-8.0, -8.0, -6.0)
    values, covered = resample(np.full((6, 6, 3), 5.0, np.float32), source, target, size)
    points = [target[k, 3] + target[k, k] * np.arange(size[k]) for k in range(3)]
    extents = zip(points, (2.0, 2.0, 5.0), (6, 6, 3), strict=True)
    inside = [(p >= -s / 2 - 1e-6) & (p <= (n - 0.5) * s + 1e-6) for p, s, n in extents]
    expected = inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    np.testing.assert_array_equal(covered, expected)
    np.testing.assert_allclose(values, np.where(expected, 5.0, 0.0), atol=1e-5)


def test_one_slice_fills_its_own_thickness() -> None:
    """A volume one voxel deep appears where it lies, as thick as its affine says."""
    source = np.diag([1.0, 1.0, 8.0, 1.0])
    values, covered = resample(
        np.full((50, 50, 1), 2.0, np.float32), source, np.diag([2.0, 2.0, 2.0, 1.0]), (20, 20, 9)
    )
    np.testing.assert_array_equal(covered[5, 5], [True, True, True, *[False] * 6])
    np.testing.assert_allclose(values[5, 5], [2.0, 2.0, 2.0, *[0.0] * 6], atol=1e-6)


def test_grids_that_do_not_meet_give_air() -> None:
    """A source elsewhere in the scanner leaves the target empty and says so."""
    away = np.eye(4)
    away[0, 3] = 900.0
    values, covered = resample(np.ones((40, 40, 40), np.float32), away, np.eye(4), (8, 8, 8))
    assert not values.any()
    assert not covered.any()


@pytest.mark.parametrize("layout", ["C", "F", "flipped"])
def test_block_mean_equals_the_loop(layout: str) -> None:
    """Whatever the memory layout, block means are those of a plain loop."""
    volume = np.random.default_rng(3).normal(size=(11, 9, 7)).astype(np.float32)
    stored = {"C": volume, "F": np.asfortranarray(volume), "flipped": volume[::-1, :, ::-1][::-1, :, ::-1]}[layout]
    out = block_mean(stored, [3, 2, 4]).numpy()
    for i, j, k in np.ndindex(3, 4, 1):
        expected = volume[3 * i : 3 * i + 3, 2 * j : 2 * j + 2, 4 * k : 4 * k + 4].mean()
        assert out[i, j, k] == pytest.approx(expected, abs=1e-6)
