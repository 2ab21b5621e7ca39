"""Head detection and the study box."""

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from selip.processing.head_selip import (
    core_of,
    count_in_patches,
    fill_holes,
    find_head,
    head_on_box,
    largest_part,
    study_box,
)
from selip.processing.nifti_selip import VolumeError

SIZE, SPACING = (72, 88, 24), (2.5, 2.5, 6.0)
CENTRE_MM, RADII_MM = np.array([3.0, -12.0, 20.0]), np.array([72.0, 92.0, 88.0])  # of the phantom's scalp


def volumes_of(*images: nib.Nifti1Image) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(image.dataobj, dtype=np.float32), image.affine) for image in images]


def box_of(*images: nib.Nifti1Image) -> np.ndarray:
    return study_box(find_head(volumes_of(*images)), SIZE, SPACING)


def crop(image: nib.Nifti1Image, low_mm: float, high_mm: float) -> nib.Nifti1Image:
    """Slab of an axis-aligned image between two heights."""
    z = image.affine[2, 3] + image.affine[2, 2] * np.arange(image.shape[2])
    keep = np.flatnonzero((z >= low_mm) & (z <= high_mm))
    return image.slicer[:, :, keep[0] : keep[-1] + 1]


@pytest.mark.parametrize("angles", [(0.0, 0.0), (16.0, 0.0), (-10.0, 8.0)])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 4.0), (4.0, 1.5, 1.5)])
def test_head_is_the_ellipsoid(
    make_head: Callable[..., nib.Nifti1Image], spacing: tuple[float, ...], angles: tuple[float, float]
) -> None:
    """Volume and middle of the filled head are those of the phantom's outline, from any grid."""
    found = find_head(volumes_of(make_head(spacing, angles)))
    head, affine = found.mask, found.affine
    volume = head.sum() * abs(np.linalg.det(affine))
    assert volume == pytest.approx(4 / 3 * np.pi * RADII_MM.prod(), rel=0.15)
    middle = affine[:3, :3] @ np.argwhere(head).mean(axis=0) + affine[:3, 3]
    np.testing.assert_allclose(middle, CENTRE_MM, atol=1.5)


def test_box_hangs_from_the_vertex_and_is_centred(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """The box's top is within 8 mm above the vertex, its middle within 2 mm of the head's."""
    affine = box_of(make_head())
    top_mm = affine[2, 3] + (SIZE[2] - 0.5) * SPACING[2]
    assert 0 <= top_mm - (CENTRE_MM + RADII_MM)[2] <= 8
    middle = affine[:2, 3] + (np.array(SIZE[:2]) - 1) / 2 * SPACING[:2]
    np.testing.assert_allclose(middle, CENTRE_MM[:2], atol=2)
    np.testing.assert_array_equal(affine[:3, :3], np.diag(SPACING))


def test_a_neck_does_not_move_the_box(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """A field of view that holds the neck, off centre, gives the box of the head alone to half a coarse voxel."""
    difference = box_of(make_head(neck=True, field_mm=300.0)) - box_of(make_head())
    assert np.abs(difference).max() <= 2.0


def test_a_slab_beside_a_whole_head_does_not_move_the_box(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """The series with the larger coverage decides, whatever the others show."""
    whole = make_head((2.0, 2.0, 4.0))
    slab = crop(make_head((1.5, 1.5, 3.0)), 10, 60)
    np.testing.assert_allclose(box_of(whole, slab), box_of(whole), atol=2.0)


def test_each_series_alone_gets_the_box_of_the_study(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """A series that shows no fat under the scalp ends 5 mm lower; the study takes the middle one, not the highest."""
    image = make_head((2.0, 2.0, 4.0))
    inner = make_head((2.0, 2.0, 4.0))
    values = np.asarray(inner.dataobj).copy()
    places = np.argwhere(np.ones(values.shape, bool)) @ inner.affine[:3, :3].T + inner.affine[:3, 3]
    scalp = (((places - CENTRE_MM) / (RADII_MM - 5.0)) ** 2).sum(axis=1).reshape(values.shape) > 1
    values[scalp] = 0
    inner = nib.Nifti1Image(values, inner.affine)
    tops = [find_head(volumes_of(*images)).vertex_mm for images in ([image], [inner], [inner, image, inner])]
    assert tops[0] - tops[1] == pytest.approx(5.0, abs=2.5)
    assert tops[2] == tops[1]


@pytest.mark.parametrize("offset_mm", [0.0, 0.7, 1.6, 2.9, 3.5])
def test_the_vertex_is_found_to_half_a_coarse_voxel(
    make_head: Callable[..., nib.Nifti1Image], offset_mm: float
) -> None:
    """Wherever a head lies on the coarse grid, its vertex is that of the phantom within 3 mm, and moves along."""
    image = make_head((2.0, 2.0, 2.0))
    moved = image.affine.copy()
    moved[2, 3] += offset_mm
    vertex = find_head(volumes_of(nib.Nifti1Image(np.asarray(image.dataobj), moved))).vertex_mm
    assert vertex - find_head(volumes_of(image)).vertex_mm == pytest.approx(offset_mm, abs=2.0)
    assert vertex == pytest.approx((CENTRE_MM + RADII_MM)[2] + offset_mm, abs=3.0)


def test_a_slab_alone_hangs_from_its_own_top(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """Documented limit: where no series shows the vertex, the top of what is shown stands for it."""
    affine = box_of(crop(make_head((1.5, 1.5, 3.0)), 0, 60))
    assert abs(affine[2, 3] + (SIZE[2] - 0.5) * SPACING[2] - 60) <= 10
    middle = affine[:2, 3] + (np.array(SIZE[:2]) - 1) / 2 * SPACING[:2]
    np.testing.assert_allclose(middle, CENTRE_MM[:2], atol=3)


def test_noise_in_air_does_not_move_the_box(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """Rician background noise of 5 % is no head."""
    image = make_head()
    rng = np.random.default_rng(0)
    values = np.asarray(image.dataobj)
    noisy = np.hypot(values + rng.normal(0, 30, values.shape), rng.normal(0, 30, values.shape)).astype(np.float32)
    np.testing.assert_allclose(box_of(nib.Nifti1Image(noisy, image.affine)), box_of(image), atol=2.0)


def test_a_phase_map_does_not_define_the_head(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """A series without air is left out of the union if another one shows where the head ends."""
    image = make_head((4.0, 4.0, 4.0))
    phase = np.random.default_rng(1).uniform(-4096, 4094, image.shape).astype(np.float32)
    both = find_head(volumes_of(image, nib.Nifti1Image(phase, image.affine))).mask
    assert both.sum() == find_head(volumes_of(image)).mask.sum()


def test_series_far_apart_are_an_error(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """Two metres between the series of one study is a broken origin, told before a grid over both is allocated."""
    image = make_head((4.0, 4.0, 4.0))
    affine = image.affine.copy()
    affine[0, 3] += 2_000_000.0
    away = nib.Nifti1Image(np.asarray(image.dataobj), affine)
    with pytest.raises(VolumeError, match="origins") as caught:
        find_head(volumes_of(image, away))
    assert caught.value.reason == "affine"


@pytest.mark.parametrize("seed", range(4))
def test_largest_part_is_scipys(seed: int) -> None:
    """The kept part is the largest face-connected component, also among thousands of specks."""
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(30, 26, 22)), 0.6 + 0.3 * seed) > (0.05, 0.1, 0.1, 0.05)[seed]
    labels, count = ndimage.label(mask)
    assert count > 3
    sizes = np.bincount(labels.ravel())[1:]
    out = largest_part(mask)
    assert out.sum() == sizes.max()
    assert len(np.unique(labels[out])) == 1


def test_holes_are_filled_and_nothing_is_lost() -> None:
    """An enclosed cavity and a tunnel along one axis are filled; air beside the head stays air."""
    mask = np.zeros((20, 20, 20), bool)
    mask[3:17, 3:17, 3:17] = True
    hollow = mask.copy()
    hollow[6:12, 6:12, 6:12] = False
    hollow[8:10, 8:10, :] = False
    np.testing.assert_array_equal(fill_holes(hollow), mask)
    assert np.array_equal(ndimage.binary_fill_holes(hollow) & ~fill_holes(hollow), np.zeros_like(mask))


def test_core_leaves_the_scalp_behind(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """Every voxel of the core lies at least 14 mm from the outline in its axial plane."""
    found = find_head(volumes_of(make_head()))
    head, affine = found.mask, found.affine
    core = core_of(head)
    assert 0.4 < core.sum() / head.sum() < 0.8
    for k in range(head.shape[2]):
        depth = ndimage.distance_transform_cdt(np.pad(head[:, :, k], 1), "taxicab")[1:-1, 1:-1]
        np.testing.assert_array_equal(core[:, :, k], depth > 4)
    assert affine[0, 0] == 4.0


def test_counts_equal_the_loop(make_head: Callable[..., nib.Nifti1Image]) -> None:
    """Patch counts are the numbers of head voxels, patch by patch; head and core masks nest."""
    head = find_head(volumes_of(make_head()))
    mask, core = head_on_box(head, study_box(head, SIZE, SPACING), SIZE)
    assert not (core & ~mask).any()
    counts = count_in_patches(mask, (8, 8, 4))
    assert counts.shape == (9, 11, 6)
    assert counts.dtype == np.uint16
    for i, j, k in np.ndindex(*counts.shape):
        assert counts[i, j, k] == mask[8 * i : 8 * i + 8, 8 * j : 8 * j + 8, 4 * k : 4 * k + 4].sum()
