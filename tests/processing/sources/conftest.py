"""A small BIDS folder for the tests of sources: asymmetric volumes, made in milliseconds, no nilearn."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

REPORT = "FINDINGS:\nA {index} mm lesion in the left frontal lobe.\n\nIMPRESSION:\nOne lesion.\n"


def write_nifti(path: Path, shape: tuple[int, ...] = (5, 6, 7), seed: int = 0) -> None:
    """Write random int16 voxels with a non-trivial affine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    affine = np.array([[-2.0, 0, 0, 9], [0, 2.5, 0, -8], [0, 0, 3, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def write_study(bids: Path, subject: str, session: str = "01", *, index: int = 0) -> None:
    """Write T1w, FLAIR, trace DWI and ADC, a report and its truth."""
    folder = bids / f"sub-{subject}" / f"ses-{session}"
    stem = f"sub-{subject}_ses-{session}"
    for offset, name in enumerate(("anat/{}_T1w", "anat/{}_FLAIR", "dwi/{}_dwi", "dwi/{}_ADC")):
        write_nifti(folder / f"{name.format(stem)}.nii.gz", seed=4 * index + offset)
    (folder / "dwi" / f"{stem}_dwi.json").write_text('{"bValue": 1000}')
    (folder / f"{stem}_report.txt").write_text(REPORT.format(index=index + 1))
    truth = bids / "derivatives" / "truth" / f"sub-{subject}" / f"ses-{session}"
    write_nifti(truth / f"{stem}_desc-lesions_dseg.nii.gz", seed=index)
    (truth / f"{stem}_labels.json").write_text(json.dumps(["infarct"]))
    (truth / f"{stem}_findings.json").write_text(json.dumps({"normal": False, "findings": [], "impression": []}))


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """A BIDS folder of eight patients, the first with two sessions."""
    folder = tmp_path / "bids"
    for index in range(8):
        write_study(folder, f"{index + 1:04d}", index=index)
    write_study(folder, "0001", "02", index=8)
    (folder / "dataset_description.json").write_text('{"Name": "test", "BIDSVersion": "1.10.0"}')
    return folder


@pytest.fixture
def nifti_writer() -> Callable[..., None]:
    """`write_nifti`, for tests that add files of their own."""
    return write_nifti
