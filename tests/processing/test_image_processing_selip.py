"""The image processor: forms of input, batches, the study box, masks there and back."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from selip.processing.image_processing_selip import PRESETS, SelipImageProcessor, SeriesInput
from selip.processing.intensity_selip import dequantise, quantise

MakeImage = Callable[..., nib.Nifti1Image]
LEFT_BALL_MM = np.array([-32.0, 10.0, 35.0])  # bright, in the left hemisphere of the phantom
ADC_STEP = 3000 / 255


@pytest.fixture(scope="module")
def processor() -> SelipImageProcessor:
    return SelipImageProcessor()


@pytest.fixture(scope="module")
def t1(make_head: MakeImage) -> nib.Nifti1Image:
    return make_head((2.0, 2.0, 4.0))


@pytest.fixture(scope="module")
def flair(make_head: MakeImage) -> nib.Nifti1Image:
    return make_head((1.8, 1.8, 5.0), (14.0, 3.0), scale=3.0)


def test_all_forms_of_one_study_are_equal(
    processor: SelipImageProcessor, t1: nib.Nifti1Image, flair: nib.Nifti1Image, tmp_path: Path
) -> None:
    """A dict, a list of dicts, of `SeriesInput`, or of look-alikes, of paths or images: bitwise one result."""
    nib.save(t1, tmp_path / "t1.nii.gz")
    expected = processor({"T1w": t1, "FLAIR": flair})
    for study in (
        {"T1w": tmp_path / "t1.nii.gz", "FLAIR": flair},
        [
            {"volume": t1, "sequence": "T1w"},
            {"volume": flair, "sequence": "FLAIR", "series_id": "s2", "b_value": None},
        ],
        [SeriesInput(t1, "T1w"), SeriesInput(flair, "FLAIR")],
        [SimpleNamespace(volume=v, sequence=s, series_id="") for v, s in ((t1, "T1w"), (flair, "FLAIR"))],
        [{"T1w": t1, "FLAIR": flair}],
    ):
        batch = processor(study)
        for key in expected:
            assert torch.equal(batch[key], expected[key]), key


def test_alone_equals_in_a_batch(
    processor: SelipImageProcessor, t1: nib.Nifti1Image, flair: nib.Nifti1Image, make_head: MakeImage
) -> None:
    """A study's tensors are bitwise those it has alone, whatever stands beside it; absent slots are masked."""
    other = make_head((4.0, 4.0, 4.0), (0.0, 10.0))
    studies = [{"T2w": other}, {"T1w": t1, "FLAIR": flair}, [SeriesInput(flair, "FLAIR")]]
    batch = processor(studies)
    assert batch["series_mask"].tolist() == [[True, False], [True, True], [True, False]]
    assert batch["sequence_ids"].tolist() == [[3, 0], [1, 4], [4, 0]]
    for b, study in enumerate(studies):
        alone = processor(study)
        n = alone["series_mask"].shape[1]
        for key in ("pixel_values", "sequence_ids", "affines", "patch_mask"):
            assert torch.equal(batch[key][b, :n], alone[key][0]), key
    absent = ~batch["series_mask"]
    assert not batch["pixel_values"][absent].any()
    assert not batch["patch_mask"][absent].any()
    assert torch.equal(batch["affines"][absent], torch.eye(4).expand(2, 4, 4))


def test_fields_are_what_the_model_takes(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """Names, types, ranges and shapes of the batch contract; numpy holds the same numbers."""
    batch = processor({"T1w": t1})
    assert list(batch) == processor.model_input_names
    assert batch["pixel_values"].shape == (1, 1, 72, 88, 24)
    assert [batch[k].dtype for k in batch] == [torch.float32, torch.bool, torch.int64, torch.float32, torch.bool]
    assert batch["pixel_values"].min() == 0.0
    assert batch["pixel_values"].max() == 1.0
    as_numpy = processor({"T1w": t1}, return_tensors="np")
    for key in batch:
        np.testing.assert_array_equal(as_numpy[key], batch[key].numpy())


def test_one_place_in_every_series(
    processor: SelipImageProcessor, t1: nib.Nifti1Image, flair: nib.Nifti1Image
) -> None:
    """Two series of other grids and tilts show the same head on the box: contrast apart, the volumes agree."""
    study = processor.process_study([SeriesInput(t1, "T1w"), SeriesInput(flair, "FLAIR")])
    a, b = (volume[study.head_mask] for volume in study.volumes)
    assert np.corrcoef(a, b)[0, 1] > 0.97
    box_mm = np.argwhere(study.volumes[1] > 0.97) @ study.affine[:3, :3].T + study.affine[:3, 3]
    assert np.linalg.norm(box_mm - LEFT_BALL_MM, axis=1).min() < 4


def test_low_x_is_the_patients_left(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """The bright ball of the left hemisphere lies in the lower half of axis x and the upper half of axis y."""
    volume = processor({"T1w": t1})["pixel_values"][0, 0].numpy()
    ball = np.array(np.unravel_index(np.argmax(volume[:, :, 12:]), volume[:, :, 12:].shape))
    assert ball[0] < 36
    assert ball[1] > 44


@pytest.mark.parametrize("axes", [((0, -1), (1, -1), (2, 1)), ((1, 1), (2, -1), (0, -1)), ((2, -1), (0, 1), (1, 1))])
def test_storage_order_does_not_matter(
    processor: SelipImageProcessor, t1: nib.Nifti1Image, axes: tuple[tuple[int, int], ...]
) -> None:
    """LPS = RAS: the same voxels stored in another axis order give the same tensor."""
    stored = t1.as_reoriented(np.array(axes, float))
    assert nib.aff2axcodes(stored.affine) != nib.aff2axcodes(t1.affine)
    a, b = processor({"T1w": t1}), processor({"T1w": stored})
    assert (a["pixel_values"] - b["pixel_values"]).abs().max() < 1e-5
    assert torch.equal(a["affines"], b["affines"])


def test_what_a_series_does_not_cover_is_air(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """A slab beside a whole head: same box, 0 outside the slab, and inside it only the scaling may differ."""
    slab = t1.slicer[:, :, 20:35]
    study = processor.process_study([SeriesInput(t1, "T1w"), SeriesInput(slab, "T1c")])
    z_mm = study.affine[2, 3] + study.affine[2, 2] * np.arange(24)
    ends = slab.affine[2, 3] + np.array([-0.5, 14.5]) * 4.0
    inside = (z_mm > ends[0]) & (z_mm < ends[1])
    assert not study.volumes[1][:, :, ~inside].any()
    whole, part = (v[:, :, inside][study.head_mask[:, :, inside]] for v in study.volumes)
    assert np.corrcoef(whole, part)[0, 1] > 0.99


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-6])
def test_adc_on_the_box_grid_comes_back(processor: SelipImageProcessor, t1: nib.Nifti1Image, unit: float) -> None:
    """Where nothing is interpolated, the stored form of an ADC map gives its numbers back to half a step."""
    study = processor.process_study([SeriesInput(t1, "T1w")])
    truth = np.where(study.head_mask, 500 + 1500 * study.volumes[0], 0).astype(np.float32)
    adc = SeriesInput((truth * np.float32(unit), study.affine), "ADC")
    out = processor.process_study([adc], box_affine=study.affine)
    back = dequantise(quantise(out.volumes[0])) * 3000
    assert np.abs(back - truth).max() <= ADC_STEP / 2 + 0.1


def test_adc_of_no_known_unit_is_an_error(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """The message names study and series."""
    wrong = nib.Nifti1Image(np.asarray(t1.dataobj) * 100, t1.affine)
    with pytest.raises(ValueError, match=r"median.*study-7/adc") as caught:
        processor.process_study([SeriesInput(wrong, "ADC", "adc")], "study-7")
    assert caught.value.reason == "units"


def test_bad_series_can_be_left_out(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """With `skip_invalid` the good series are processed as if the bad ones were not there; those are told."""
    bad = [SeriesInput("/nowhere.nii.gz", "T2w", "a"), SeriesInput((np.ones((9, 9, 9)), np.eye(4) * 5), "DWI", "b")]
    series = [bad[0], SeriesInput(t1, "T1w", "c"), bad[1]]
    study = processor.process_study(series, "s", skip_invalid=True)
    assert study.kept == (1,)
    assert [(i, e.reason) for i, e in study.errors] == [(0, "missing"), (2, "affine")]
    np.testing.assert_array_equal(study.volumes, processor.process_study([series[1]]).volumes)
    with pytest.raises(ValueError, match="nothing at") as caught:
        processor.process_study(bad, skip_invalid=True)
    assert caught.value.reason == "missing"
    with pytest.raises(ValueError, match="nothing at"):
        processor.process_study(series)


def test_head_mask_is_of_the_study_and_filled(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """One mask for all series: a FLAIR whose fluid is black has it too, and counts add up to the mask."""
    dark = nib.Nifti1Image(np.maximum(np.asarray(t1.dataobj) - 200, 0), t1.affine)
    both = processor.process_study([SeriesInput(t1, "T1w"), SeriesInput(dark, "FLAIR")])
    assert both.patch_counts.sum() == both.head_mask.sum()
    patch_mask = processor([SeriesInput(t1, "T1w"), SeriesInput(dark, "FLAIR")])["patch_mask"]
    assert patch_mask.shape == (1, 2, 9, 11, 6)
    for x, y, z in np.ndindex(9, 11, 6):
        touches = both.head_mask[8 * x : 8 * x + 8, 8 * y : 8 * y + 8, 4 * z : 4 * z + 4].any()
        assert (patch_mask[0, :, x, y, z] == touches).all()
    assert 0.2 < patch_mask.float().mean() < 0.8
    middle = both.head_mask[30:42, 30:58, 8:16]
    assert middle.all()
    assert both.volumes[1][30:42, 30:58, 8:16].min() == 0.0, (
        "the ventricle must be black, or this test would be vacuous"
    )


@pytest.mark.parametrize("preset", ["tiny", "base"])
@pytest.mark.parametrize(
    ("spacing", "angles"), [((1.0, 1.0, 1.0), (0, 0)), ((0.9, 0.9, 5.0), (16, 5)), ((5.0, 0.9, 0.9), (-8, 12))]
)
def test_mask_to_box_and_back(
    make_ball: MakeImage, preset: str, spacing: tuple[float, float, float], angles: tuple[float, float]
) -> None:
    """There and back, a mask moves by less than half a voxel and its outline by less than one, on any grid.

    On the box, half a voxel of the file is allowed on top: that much the file's own mask may miss the true surface by.
    """
    processor = SelipImageProcessor(**PRESETS[preset])
    mask = make_ball(spacing, angles)
    box = np.diag([*processor.spacing_mm, 1.0])
    box[:3, 3] = LEFT_BALL_MM + 0.37 - box[:3, :3] @ (np.array(processor.spatial_size) / 2 - 1)
    native = np.asarray(mask.dataobj) > 0
    on_box = processor.mask_to_box(mask, box)
    back = np.asarray(processor.to_native(on_box, box, mask).dataobj) > 0
    extent = np.abs(mask.affine[:3, :3]).sum(axis=1)  # of one tilted voxel along the scanner's axes
    voxel = np.maximum(processor.spacing_mm, extent)  # the coarser of the two grids
    radii = np.array([18.0, 14.0, 16.0])
    for changed, affine, allowed in ((on_box, box, 1.0 + 0.5 * (extent / voxel).max()), (back, mask.affine, 1.0)):
        points = np.argwhere(changed) @ affine[:3, :3].T + affine[:3, 3]
        truth = np.argwhere(native) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
        assert (np.abs(points.mean(axis=0) - truth.mean(axis=0)) / voxel).max() < 0.5
        everywhere = np.argwhere(np.ones_like(changed)) @ affine[:3, :3].T + affine[:3, 3] - LEFT_BALL_MM
        r = np.linalg.norm(everywhere / radii, axis=1)
        wrong = (r <= 1) != changed.ravel()
        beyond = everywhere * ((r - 1) / np.maximum(r, 1e-9))[:, None]  # from the true surface to the voxel's centre
        assert np.linalg.norm(beyond[wrong] / voxel, axis=1).max() < allowed


def test_labels_keep_their_numbers(processor: SelipImageProcessor, make_ball: MakeImage) -> None:
    """A label map goes there and back with its numbers, none mixed; only outlines move."""
    one, two = make_ball((1.0, 1.0, 2.0)), make_ball((1.0, 1.0, 2.0), radii_mm=(9.0, 7.0, 8.0))
    labels = np.asarray(one.dataobj).astype(np.int16) * 3 + np.asarray(two.dataobj).astype(np.int16) * 4
    box = np.diag([2.5, 2.5, 6.0, 1.0])
    box[:3, 3] = LEFT_BALL_MM - box[:3, :3] @ (np.array([72, 88, 24]) // 2)
    on_box = processor.mask_to_box((labels, one.affine), box, labels=True)
    back = np.asarray(processor.to_native(on_box, box, one).dataobj)
    assert set(np.unique(on_box)) == set(np.unique(back)) == {0, 3, 7}
    deep = distance_transform_edt(labels == 7, sampling=(1, 1, 2)) > 4.5  # deeper than half the box voxel's diagonal
    assert (back[deep] == 7).all()


def test_empty_mask_stays_empty(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """A study without lesions has a mask of zeros, which is no error."""
    empty = nib.Nifti1Image(np.zeros(t1.shape, np.uint8), t1.affine)
    assert not processor.mask_to_box(empty, np.diag([2.5, 2.5, 6.0, 1.0])).any()


def test_heatmap_goes_to_the_native_grid(processor: SelipImageProcessor, flair: nib.Nifti1Image) -> None:
    """A linear ramp in scanner mm, put on the box, has its values at the input's own voxels, 0 outside the box."""
    study = processor.process_study([SeriesInput(flair, "FLAIR")])
    index = np.stack(np.meshgrid(*map(np.arange, (72, 88, 24)), indexing="ij"), -1)
    ramp = (index @ study.affine[:3, :3].T + study.affine[:3, 3]) @ [0.5, -0.2, 1.0] + 500.0
    out = processor.to_native(torch.from_numpy(ramp), study.affine, flair)
    np.testing.assert_allclose(out.affine, flair.affine)
    own = np.stack(np.meshgrid(*map(np.arange, flair.shape), indexing="ij"), -1)
    mm = own @ flair.affine[:3, :3].T + flair.affine[:3, 3]
    at = (mm - study.affine[:3, 3]) / np.diag(study.affine)[:3]
    inner = ((at > 1) & (at < np.array([70, 86, 22]))).all(-1)
    np.testing.assert_allclose(np.asarray(out.dataobj)[inner], (mm @ [0.5, -0.2, 1.0] + 500.0)[inner], atol=0.5)
    outside = ((at < -1) | (at > np.array([72, 88, 24]))).any(-1)
    assert outside.any()
    assert not np.asarray(out.dataobj)[outside].any()


def test_ambiguous_or_wrong_input_says_what_to_write(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """A flat list of volumes, a bare array, an unknown sequence, extra keys and empty input are told apart."""
    array = np.asarray(t1.dataobj)
    for images, error, message in (
        ([t1, t1], ValueError, r'bare volume.*\{"T1w": volume'),
        ([{"T1w": t1}, t1], ValueError, "place 1"),
        (array, TypeError, r"\(array, affine\)"),
        ([array], TypeError, r"place 0.*ndarray"),
        ({"t1": t1}, ValueError, "expected a sequence name"),
        ([{"volume": t1, "sequnce": "T1w"}], TypeError, "sequnce"),
        ([], ValueError, "empty list"),
        ({}, ValueError, "empty dict"),
        (3, TypeError, "got int"),
    ):
        with pytest.raises(error, match=message):
            processor(images)
    with pytest.raises(ValueError, match="at least one series"):
        processor.process_study([])


def test_unknown_options_are_errors(processor: SelipImageProcessor, t1: nib.Nifti1Image) -> None:
    """A misspelt setting is not ignored, neither at construction nor per call."""
    with pytest.raises(TypeError, match="spatialsize"):
        SelipImageProcessor(spatialsize=(8, 8, 8))
    with pytest.raises(TypeError, match="do_resize"):
        processor({"T1w": t1}, do_resize=True)
    with pytest.raises(TypeError, match="positional"):
        processor({"T1w": t1}, (8, 8, 4))


@pytest.mark.parametrize(
    "settings",
    [
        {"spatial_size": (72, 88)},
        {"spatial_size": (72, 88, 25)},
        {"spatial_size": (72.5, 88, 24)},
        {"spacing_mm": (0, 1, 1)},
        {"percentiles": (99, 1)},
        {"adc_window": (10, 10)},
        {"sequence_names": ("T1w", "unknown")},
        {"max_voxels": 0},
    ],
)
def test_settings_out_of_range_are_errors(settings: dict) -> None:
    """What cannot rebuild an input is refused when it is set, not when it is used."""
    with pytest.raises(ValueError, match="expected"):
        SelipImageProcessor(**settings)


def test_settings_per_call_and_after_json(processor: SelipImageProcessor, t1: nib.Nifti1Image, tmp_path: Path) -> None:
    """Settings given per call, at construction, or read from JSON as lists give the same tensors."""
    settings = {"spatial_size": (40, 48, 12), "spacing_mm": (5, 5, 12.0), "percentiles": (2, 98)}
    made = SelipImageProcessor(**settings)
    made.save_pretrained(tmp_path)
    loaded = SelipImageProcessor.from_pretrained(tmp_path)
    assert loaded.settings() == made.settings()
    expected = made({"T1w": t1})["pixel_values"]
    assert expected.shape == (1, 1, 40, 48, 12)
    assert torch.equal(loaded({"T1w": t1})["pixel_values"], expected)
    assert torch.equal(processor({"T1w": t1}, **settings)["pixel_values"], expected)
    assert processor.spatial_size == (72, 88, 24)


def test_base_box_shows_the_same_head(t1: nib.Nifti1Image) -> None:
    """The preset for the larger model puts the head at the same scanner place, at its own resolution."""
    studies = [SelipImageProcessor(**PRESETS[p]).process_study([SeriesInput(t1, "T1w")]) for p in ("tiny", "base")]
    litres = [s.head_mask.sum() * np.linalg.det(s.affine) / 1e6 for s in studies]
    assert litres[0] == pytest.approx(litres[1], rel=0.16)  # the base box is 168 mm high, the tiny one 144 mm
    tops = [s.affine[2, 3] + (s.volumes.shape[3] - 0.5) * s.affine[2, 2] for s in studies]
    assert tops[0] == pytest.approx(tops[1])
