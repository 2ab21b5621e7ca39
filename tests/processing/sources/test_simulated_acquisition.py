"""Scans: they overlay in scanner space, axes are stored in many ways without moving a voxel, ADC is in its unit."""

import nibabel as nib
import numpy as np
import pytest

nilearn = pytest.importorskip("nilearn", reason="the simulator needs the extra `simulate`")

from selip.processing.sources.simulated.acquisition import acquire, acquired_sequences, store  # noqa: E402
from selip.processing.sources.simulated.anatomy import Head, deform, load_template  # noqa: E402
from selip.processing.sources.simulated.contrast import SEQUENCES  # noqa: E402


@pytest.fixture(scope="module")
def head() -> Head:
    return deform(load_template(), seed=11, patient=3, session=1)


def scanner_mm(series_affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    index = np.indices(shape).reshape(3, -1)
    return series_affine[:3, :3] @ index + series_affine[:3, 3:]


def test_series_of_a_study_overlay_in_scanner_space(head: Head) -> None:
    """Centroids of the head over the heights all series cover agree within 4 mm left-right and 6 mm front-back."""
    centroids = []
    for sequence in ("T1w", "T2w", "FLAIR", "DWI"):
        series = acquire(head, [], sequence, 11, 3, 1)
        voxels = series.data.reshape(-1)
        points = scanner_mm(series.affine, series.data.shape)
        is_covered = (points[2] < head.vertex_mm - 20.0) & (points[2] > head.vertex_mm - 90.0)
        is_head = voxels > 0.3 * np.quantile(voxels[is_covered], 0.9)
        centroids.append(points[:2, is_covered & is_head].mean(axis=1))
    spread = np.ptp(np.stack(centroids), axis=0)
    assert spread[0] < 4.0
    assert spread[1] < 6.0


def test_adc_is_in_its_unit(head: Head) -> None:
    """Reference: literature values, about 750 in white matter and 3000 in fluid (10^-6 mm^2/s); air is 0."""
    series = acquire(head, [], "ADC", 11, 3, 1)
    points = scanner_mm(series.affine, series.data.shape)
    index = np.rint((points - head.affine[:3, 3:]) / 2.0).astype(int)
    shape = head.template_mm.shape[1:]
    on_grid = np.logical_and.reduce([(index[i] >= 2) & (index[i] < shape[i] - 2) for i in range(3)])
    index, voxels = index[:, on_grid], series.data.reshape(-1)[on_grid]
    median = {}
    for name in ("white matter", "csf"):
        fraction = head.tissue(name)
        is_pure = np.logical_and.reduce([fraction[index[0], index[1], index[2] + k] > 0.97 for k in (-2, -1, 0, 1, 2)])
        median[name] = np.median(voxels[is_pure])
    assert median["white matter"] == pytest.approx(750.0, rel=0.08)
    assert median["csf"] == pytest.approx(3000.0, rel=0.15)
    assert (voxels == 0).mean() > 0.2


def test_diffusion_scan_and_map_share_their_grid(head: Head) -> None:
    """DWI and ADC come from one scan, so shape and affine are equal."""
    dwi, adc = (acquire(head, [], sequence, 11, 3, 1) for sequence in ("DWI", "ADC"))
    assert dwi.data.shape == adc.data.shape
    np.testing.assert_array_equal(dwi.affine, adc.affine)
    assert dwi.sidecar["bValue"] == 1000


@pytest.mark.parametrize("axis_codes", ["RAS", "LPS", "AIL", "PSR", "SLP"])
def test_storage_order_moves_no_voxel(axis_codes: str) -> None:
    """Reference: nibabel brings the stored array back to the array and affine it came from."""
    volume = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    affine = np.array([[2.0, 0.1, 0.0, -5.0], [-0.1, 2.0, 0.2, 7.0], [0.0, -0.6, 6.0, 3.0], [0.0, 0.0, 0.0, 1.0]])
    data, stored_affine = store(volume, affine, axis_codes)
    assert "".join(nib.aff2axcodes(stored_affine)) == axis_codes
    back = nib.as_closest_canonical(nib.Nifti1Image(data, stored_affine))
    np.testing.assert_array_equal(np.asarray(back.dataobj), volume)
    np.testing.assert_allclose(back.affine, affine, atol=1e-12)


def test_orientation_and_obliquity_vary_between_scans(head: Head) -> None:
    """Six scans of one head have at least three storage orders, and all are a little oblique."""
    codes, tilts = set(), []
    for patient in range(3):
        for sequence in ("T1w", "FLAIR"):
            series = acquire(head, [], sequence, 11, patient, 1)
            codes.add("".join(nib.aff2axcodes(series.affine)))
            tilts.append(float(nib.affines.obliquity(series.affine).max()))
    assert len(codes) >= 3
    assert min(tilts) > 0.0
    assert np.rad2deg(max(tilts)) < 25.0


def test_sequences_are_missing_at_random_but_two_are_left() -> None:
    """Each sequence is missing in about 15 % of the studies and every study has two or more."""
    studies = [acquired_sequences(0, patient, 1) for patient in range(1500)]
    for sequence in SEQUENCES:
        assert np.mean([sequence not in study for study in studies]) == pytest.approx(0.15, abs=0.03)
    assert min(len(study) for study in studies) == 2
