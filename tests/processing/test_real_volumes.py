"""Real head MRI, case by case: every file gives a correct tensor or its documented error."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import center_of_mass, label
from scipy.stats import spearmanr

from selip.processing.geometry_selip import resample
from selip.processing.image_processing_selip import SelipImageProcessor, SeriesInput
from selip.processing.nifti_selip import VolumeError

CASES = {
    "epilepsy_grid_seg3d": {"T1w.nii.gz": "T1w"},
    "ms_cs_p19": {"T1w.nii.gz": "T1w", "T1c.nii.gz": "T1c", "T2w.nii.gz": "T2w", "FLAIR.nii.gz": "FLAIR"},
    "ms_long_p01": {"T1w.nii.gz": "T1w", "T2w.nii.gz": "T2w", "FLAIR.nii.gz": "FLAIR"},
    "ms_long_p03": {"T1w.nii.gz": "T1w", "FLAIR.nii.gz": "FLAIR"},
    "ms_long_p20": {"T1w.nii.gz": "T1w", "FLAIR.nii.gz": "FLAIR"},
    "small_nibabel": {"T1w_crop_bigendian.nii": "T1w"},
    "stroke_acute_isles0009": {"DWI.nii.gz": "DWI", "ADC.nii.gz": "ADC", "FLAIR.nii.gz": "FLAIR"},
    "stroke_chronic_arc_m2265": {"T2w.nii.gz": "T2w"},
    "stroke_chronic_cstar": {"T1w.nii.gz": "T1w", "T2w.nii.gz": "T2w", "FLAIR.nii.gz": "FLAIR"},
    "volunteer_fpg": {"FLAIR.nii.gz": "FLAIR"},
    "volunteer_philips_gre": {"GRE_echo1.nii.gz": "unknown", "GRE_echo1_phase.nii.gz": "unknown"},
    "volunteer_xa30": {
        "T1w.nii.gz": "T1w",
        "ADC.nii": "ADC",
        "TRACE.nii": "DWI",
        "GRE_echo1.nii": "unknown",
        "GRE_phase.nii": "unknown",
    },
}
ERRORS = {
    "small_nibabel/EPI_4D_oblique.nii.gz": "not-3d",
    "volunteer_xa30/DWI_4D.nii.gz": "not-3d",
    "volunteer_xa30/FA_colour_rgb.nii": "rgb",
}
ORIENTATIONS = ("RAS", "LPS", "AIL", "PSR")
BRAIN_ONLY = ("ms_cs_p19", "stroke_acute_isles0009", "stroke_chronic_cstar")


@pytest.fixture(scope="module")
def folder(test_data: Path) -> Path:
    return test_data / "head_mri"


@pytest.fixture(scope="module")
def processor() -> SelipImageProcessor:
    return SelipImageProcessor()


def study_of(folder: Path, case: str) -> list[SeriesInput]:
    return [SeriesInput(folder / case / name, sequence) for name, sequence in CASES[case].items()]


@pytest.mark.parametrize("case", CASES)
def test_case_gives_a_correct_tensor(folder: Path, processor: SelipImageProcessor, case: str) -> None:
    """All series of the study load; values and head volume are those of a head; the box cuts nothing off."""
    study = processor.process_study(study_of(folder, case), case)
    assert len(study.volumes) == len(CASES[case])
    assert study.volumes.min() >= 0.0
    assert study.volumes.max() <= 1.0
    litres = study.head_mask.sum() * np.linalg.det(study.affine) / 1e6
    expected = (1.0, 1.7) if case in BRAIN_ONLY else (2.0, 4.0)
    if case == "small_nibabel":
        expected = (0.2, 0.35)
    assert expected[0] < litres < expected[1]
    mask = study.head_mask
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        # a nose may touch the front; around the Philips head lies a shell of phase noise
        assert edge.mean() < (0.1 if case == "volunteer_philips_gre" else 0.03)
    assert mask[:, :, -1].sum() < 0.4 * mask[:, :, -2].sum(), "the box must end above the vertex"


@pytest.mark.parametrize("case", ["ms_long_p01", "ms_long_p03", "ms_long_p20", "stroke_acute_isles0009"])
def test_series_of_other_grids_meet_in_the_box(folder: Path, processor: SelipImageProcessor, case: str) -> None:
    """Box voxels agree with nibabel's own point lookup at their scanner place, and less so 4 mm beside it."""
    study = processor.process_study(study_of(folder, case), case)
    inner = np.argwhere(study.head_mask)
    inner = inner[np.random.default_rng(0).choice(len(inner), 6000)]
    mm = inner @ study.affine[:3, :3].T + study.affine[:3, 3]
    for volume, name in zip(study.volumes, CASES[case], strict=True):
        image = nib.load(folder / case / name)
        array = np.asarray(image.dataobj)

        def agreement(shift_mm: np.ndarray, image=image, array=array, volume=volume) -> float:
            index = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), mm + shift_mm)).astype(int)
            within = ((index >= 0) & (index < array.shape)).all(axis=1)
            return spearmanr(array[tuple(index[within].T)], volume[tuple(inner[within].T)]).statistic

        here = agreement(np.zeros(3))
        assert here > 0.75, name
        beside = [agreement(sign * 4.0 * axis) for axis in np.eye(3) for sign in (1, -1)]
        assert here > max(beside), name


@pytest.mark.parametrize("name", ERRORS)
def test_case_gives_its_error(folder: Path, processor: SelipImageProcessor, name: str) -> None:
    """Frames and colours are refused with the documented reason; the message names the file the caller gave."""
    with pytest.raises(VolumeError, match=name.split("/")[1]) as caught:
        processor(folder / name)
    assert caught.value.reason == ERRORS[name]


def test_every_volume_of_the_set_is_tested(folder: Path) -> None:
    """No file of the data set is left out by mistake; masks are used below."""
    known = {f"{case}/{name}" for case, names in CASES.items() for name in names} | set(ERRORS)
    known |= {f"orientations/T1w_{axes}.nii.gz" for axes in ORIENTATIONS}
    found = {f"{p.parent.name}/{p.name}" for p in folder.glob("*/*.nii*") if "mask" not in p.name}
    assert found == known


def test_four_orientations_are_one_tensor(folder: Path, processor: SelipImageProcessor) -> None:
    """RAS, LPS, AIL and PSR files of one image give the same tensor, box and mask."""
    studies = [
        processor.process_study([SeriesInput(folder / f"orientations/T1w_{a}.nii.gz", "T1w")]) for a in ORIENTATIONS
    ]
    for study in studies[1:]:
        assert np.abs(study.volumes - studies[0].volumes).max() < 1e-4
        np.testing.assert_allclose(study.affine, studies[0].affine, atol=1e-4)
        np.testing.assert_array_equal(study.head_mask, studies[0].head_mask)


def test_the_letter_l_is_on_the_left(folder: Path, processor: SelipImageProcessor) -> None:
    """The burned-in letters, the brightest voxels: one stroke of L in the low-x half, the denser R in the high-x half.

    An L has one upright stroke at its own left and a foot below; an R has a bowl at the top. Seen in RAS+ (x to the
    right, y up), the upper half of the low-x letter is therefore thinner than the upper half of the high-x letter.
    nibabel's own reorientation of another file says on which side of the scanner the letters are.
    """
    volume = processor({"T1w": folder / "orientations/T1w_LPS.nii.gz"})["pixel_values"][0, 0].numpy()
    letters = (volume[:, :, 8:20] > 0.97).mean(axis=2) > 0.5
    x, y = np.nonzero(letters)
    middle_x, middle_y = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    low, high = letters[: int(middle_x)], letters[int(middle_x) + 1 :]
    assert low[:, int(middle_y) + 1 :].sum() * 1.5 < high[:, int(middle_y) + 1 :].sum()
    reference = nib.as_closest_canonical(nib.load(folder / "orientations/T1w_PSR.nii.gz"))
    array = np.asarray(reference.dataobj)
    bright = (array >= array.max()).mean(axis=2) > 0.4
    rx, ry = np.nonzero(bright)
    split_x, split_y = int((rx.min() + rx.max()) / 2), int((ry.min() + ry.max()) / 2)
    assert bright[:split_x, split_y:].sum() * 1.5 < bright[split_x + 1 :, split_y:].sum()


def test_lesion_lies_where_it_did(folder: Path, processor: SelipImageProcessor) -> None:
    """The infarct of the oblique DWI is bright on DWI and dark on ADC in the box too, and goes home within a voxel."""
    case = folder / "stroke_acute_isles0009"
    study = processor.process_study(study_of(folder, case.name))
    mask = nib.load(case / "lesion_mask.nii.gz")
    on_box = processor.mask_to_box(mask, study.affine)
    dwi, adc = study.volumes[0], study.volumes[1]
    around = study.head_mask & ~on_box
    assert np.median(dwi[on_box]) > np.percentile(dwi[around], 90)
    assert np.median(adc[on_box]) < np.median(adc[around])
    # the largest of 21 lesions: specks of one voxel of 8 mm^3 are lost in box voxels of 37 mm^3, as documented
    parts = label(np.asarray(mask.dataobj) > 0)[0]
    largest = nib.Nifti1Image((parts == np.bincount(parts.ravel())[1:].argmax() + 1).astype(np.uint8), mask.affine)
    there = processor.mask_to_box(largest, study.affine)
    back = np.asarray(processor.to_native(there, study.affine, largest).dataobj)
    moved = np.array(center_of_mass(np.asarray(largest.dataobj))) - center_of_mass(back)
    assert (np.abs(mask.affine[:3, :3] @ moved) < np.array(processor.spacing_mm) / 2).all()


@pytest.mark.parametrize(
    ("name", "unit"), [("stroke_acute_isles0009/ADC.nii.gz", 1e3), ("volunteer_xa30/ADC.nii", 1.0)]
)
def test_adc_is_in_its_unit(folder: Path, processor: SelipImageProcessor, name: str, unit: float) -> None:
    """Two vendors' units come out as one: values are those of the file, in 10^-6 mm^2/s, clipped to the window."""
    study = processor.process_study([SeriesInput(folder / name, "ADC")])
    image = nib.load(folder / name)
    own = np.asarray(image.dataobj, dtype=np.float32) * np.float32(unit)
    expected = np.clip(resample(own, image.affine, study.affine, processor.spatial_size)[0], 0, 3000)
    np.testing.assert_allclose(study.volumes[0] * 3000, expected, atol=0.5)
    brain = study.volumes[0][study.head_mask & (study.volumes[0] > 0.05)] * 3000
    assert 600 < np.median(brain) < 1300
