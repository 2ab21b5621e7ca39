"""`selip segment`: a mask on the input's own grid, wherever its axes point."""

import nibabel
import numpy as np
import pytest

from selip.processing.image_processing_selip import PRESETS, SelipImageProcessor
from selip.processing.nifti_selip import read_volume
from selip.training.evaluation.segmentation import dice_of_counts
from selip.training.segment import segment
from selip.training.segment_config import SegmentConfig


def dice(a, b):
    return dice_of_counts([(a & b).sum()], [a.sum()], [b.sum()])[0]


@pytest.mark.parametrize("number", [23, 20])
def test_mask_of_a_file_lies_on_its_lesion(segmentation_run, phantoms, tmp_path, number):
    """The mask has shape and affine of the file, and overlaps the true one; in a twin of other axes it is the same."""
    _, summary = segmentation_run
    file, out = phantoms.files / f"{number}-FLAIR.nii.gz", tmp_path / "mask.nii.gz"
    done = segment(SegmentConfig(summary.best, file, out, sequence="FLAIR"))
    image, written = nibabel.load(file), nibabel.load(out)
    assert written.shape == image.shape
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)
    mask = np.asarray(written.dataobj) > 0
    true = np.asarray(nibabel.load(phantoms.files / f"{number}-mask.nii.gz").dataobj) > 0
    assert dice(mask, true) > 0.5
    assert done.volume_ml == pytest.approx(mask.sum() * 0.512)
    axes = [nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt("PIR")]
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(*axes))
    turned.to_filename(tmp_path / "turned.nii.gz")
    segment(SegmentConfig(summary.best, tmp_path / "turned.nii.gz", tmp_path / "turned-mask.nii.gz", sequence="FLAIR"))
    of_turned = nibabel.load(tmp_path / "turned-mask.nii.gz")
    assert nibabel.aff2axcodes(of_turned.affine) == ("P", "I", "R")
    back = nibabel.as_closest_canonical(of_turned)
    assert np.array_equal(np.asarray(back.dataobj) > 0, np.asarray(nibabel.as_closest_canonical(written).dataobj) > 0)


def test_mask_of_a_folder_reads_all_series(segmentation_run, phantoms, tmp_path):
    """Series by their names; the grid is that of the first, or of a file that is named; a mask in the way is kept."""
    _, summary = segmentation_run
    folder = tmp_path / "study"
    folder.mkdir()
    for sequence in ("FLAIR", "T1w"):
        (folder / f"{sequence}.nii.gz").write_bytes((phantoms.files / f"23-{sequence}.nii.gz").read_bytes())
    grid = nibabel.Nifti1Image(np.zeros((10, 12, 9), np.uint8), np.diag([19.0, 19.0, 19.0, 1.0]))
    grid.to_filename(tmp_path / "grid.nii.gz")
    config = SegmentConfig(summary.best, folder, tmp_path / "out" / "mask.nii.gz", grid=tmp_path / "grid.nii.gz")
    done = segment(config)
    assert done.series == {"FLAIR": "FLAIR", "T1w": "T1w"}
    assert nibabel.load(config.out).shape == (10, 12, 9)
    assert [path.name for path in config.out.parent.iterdir()] == ["mask.nii.gz"]
    assert "not a medical device" in str(done)
    with pytest.raises(FileExistsError, match="overwrite"):
        segment(config)
    with pytest.raises(ValueError, match="no --sequence with a folder"):
        segment(SegmentConfig(summary.best, folder, tmp_path / "other.nii", sequence="FLAIR"))
    with pytest.raises(ValueError, match=r"\.nii or \.nii\.gz, got mask\.mha"):
        SegmentConfig(summary.best, folder, tmp_path / "mask.mha")
    with pytest.raises(ValueError, match=r"for segmentation in .*got one of SelipModel"):
        segment(SegmentConfig(phantoms.checkpoint, folder, tmp_path / "other.nii"))


@pytest.mark.parametrize(
    "name",
    [
        "orientations/T1w_AIL.nii.gz",
        "orientations/T1w_PSR.nii.gz",
        "orientations/T1w_LPS.nii.gz",
        "ms_long_p20/FLAIR.nii.gz",  # 13.6 degrees oblique
        "volunteer_fpg/FLAIR.nii.gz",  # oblique, 5.5 mm slices
    ],
)
def test_mask_drawn_on_a_real_grid_survives_the_box(test_data, name):
    """A ball drawn in the voxels of an awkward real file, to the study box and back, is where it was."""
    file = test_data / "head_mri" / name
    processor = SelipImageProcessor(**PRESETS["tiny"])
    volume, affine = read_volume(file, where=name, max_voxels=processor.max_voxels)
    head = np.argwhere(volume > np.percentile(volume, 70))
    centre = np.median(head, axis=0) @ affine[:3, :3].T + affine[:3, 3] + np.array([15.0, -10.0, 5.0])
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1)
    ball = np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3] - centre, axis=-1) < 20.0
    box = processor([{"volume": str(file), "sequence": "FLAIR"}])["affines"][0, 0].numpy()
    native = processor.to_native(processor.mask_to_box((ball.astype(np.float32), affine), box), box, like=str(file))
    got = np.asarray(native.dataobj) > 0
    assert dice(got, ball) > 0.85
    shift = np.argwhere(got).mean(0) @ affine[:3, :3].T - np.argwhere(ball).mean(0) @ affine[:3, :3].T
    assert np.abs(shift).max() < 1.5
