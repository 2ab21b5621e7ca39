"""What all tests share: no network, a cache of their own, real data where it is, GPU and Hub tests on request."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import settings
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

# Before anything imports transformers: code of checkpoints is copied into HF_HOME when it is loaded, and a test must
# neither see the copies of another run nor leave its own.
_HF_HOME = tempfile.TemporaryDirectory(prefix="selip-tests-")
os.environ["HF_HOME"] = _HF_HOME.name
if os.environ.get("SELIP_TEST_HUB") != "1":
    os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The same cases in every run, on machines of any speed, and no files left behind.
settings.register_profile("selip", derandomize=True, deadline=None, database=None)
settings.load_profile("selip")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs an accelerator or the Hub where there is none, saying so."""
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        has_gpu = torch.cuda.is_available()
    for item in items:
        if item.get_closest_marker("gpu") and not has_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, found none"))
        if item.get_closest_marker("hub") and os.environ.get("SELIP_TEST_HUB") != "1":
            item.add_marker(pytest.mark.skip(reason="needs the Hugging Face Hub; set SELIP_TEST_HUB=1"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real head MRI and reports; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SELIP_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real test data, found none at {folder}; set SELIP_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def write_dicom_series() -> Callable[..., list[Path]]:
    """Writes DICOM series of known voxels in a known place, as an archive would give them."""
    return _write_dicom_series


_UID_ROOT = "1.2.826.0.1.3680043.8.498."


def _uid(*numbers: int) -> str:
    return _UID_ROOT + ".".join(map(str, numbers))


def _write_dicom_series(
    folder: Path,
    voxels: npt.NDArray[np.int16],
    affine: npt.NDArray[np.float64],
    *,
    study: int = 1,
    series: int = 1,
    attributes: Mapping[str, Any] | None = None,
    first: int = 0,
) -> list[Path]:
    """Write one file a slice.

    Args:
        folder: Where to.
        voxels: (x, y, z); slices lie along z.
        affine: Index to RAS+ mm.
        study, series: Numbers that the ids are made of.
        attributes: Further attributes by keyword, or by (group, element, VR) for private ones.
        first: Number of the first slice, for a further volume of the same series.
    """
    folder.mkdir(parents=True, exist_ok=True)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    row, column = to_lps[:3, 0] / spacing[0], to_lps[:3, 1] / spacing[1]
    paths = []
    for index in range(voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = _uid(study, series, first + index + 1)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{study}-{series}-{first + index:04d}"
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = _uid(study), _uid(study, series)
        data.FrameOfReferenceUID = _uid(study, 9999)
        data.PatientID, data.PatientName, data.Modality = f"P{study}", "Canary^Bird", "MR"
        data.StudyDate, data.AccessionNumber = "19991231", f"A{study}"
        data.SeriesTime = data.AcquisitionTime = f"10{series:02d}00"
        data.Manufacturer, data.InstitutionName = "SIEMENS", "Canary Hospital"
        data.SeriesNumber, data.InstanceNumber = series, first + index + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        data.ScanningSequence, data.MRAcquisitionType = "SE", "2D"
        data.EchoTime, data.RepetitionTime = "90", "4000"
        data.Rows, data.Columns = voxels.shape[1], voxels.shape[0]
        data.ImageOrientationPatient = [f"{value:.10f}" for value in (*row, *column)]
        data.ImagePositionPatient = [f"{value:.8f}" for value in (to_lps @ [0, 0, index, 1])[:3]]
        data.PixelSpacing, data.SliceThickness = [f"{spacing[1]:.8f}", f"{spacing[0]:.8f}"], f"{spacing[2]:.8f}"
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.PixelData = np.ascontiguousarray(voxels[:, :, index].T.astype("<i2")).tobytes()
        for name, value in (attributes or {}).items():
            if isinstance(name, tuple):
                data.add_new((name[0], name[1]), name[2], value)
            else:
                setattr(data, name, value)
        pydicom.dcmwrite(path, data, enforce_file_format=True)
        paths.append(path)
    return paths
