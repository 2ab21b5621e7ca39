"""DICOM files in any arrangement -> studies and series, by their headers; no pixel is read."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

# Attributes by keyword (DICOM PS3.6).
_READ = (
    "SOPClassUID",
    "Modality",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "AccessionNumber",
    "SeriesNumber",
    "SeriesTime",
    "AcquisitionTime",
    "ContrastBolusAgent",
    "DiffusionBValue",
)
# PS3.4 table B.5-1: pictures of a screen, whatever modality they say they are.
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NO_AGENT = ("", "NO", "NONE", "N", "0")


@dataclass
class DicomSeries:
    """The files of one series.

    Attributes:
        uid: SeriesInstanceUID.
        modality: As the files say it.
        is_screen: Pictures of a screen (secondary capture).
        order: Time and number, to tell what came before what within a study.
        has_agent: A contrast agent is named.
        b_values: In s/mm^2, where the public attribute says them.
        files: Absolute paths, in name order.
    """

    uid: str
    modality: str
    is_screen: bool
    order: tuple[float, int]
    has_agent: bool
    b_values: set[float] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)


@dataclass
class DicomStudy:
    """The series of one study, by SeriesInstanceUID.

    Attributes:
        uid: StudyInstanceUID.
        patient: PatientID; the uid of the study where it is empty.
        accession: AccessionNumber, "" where there is none.
        series: Its series.
    """

    uid: str
    patient: str
    accession: str
    series: dict[str, DicomSeries] = field(default_factory=dict)


@dataclass
class DicomFolder:
    """What lies in a folder.

    Attributes:
        studies: By StudyInstanceUID, in its order.
        unreadable: Paths of files that were not used, each with its reason.
    """

    studies: dict[str, DicomStudy] = field(default_factory=dict)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """Number of files not used, by reason."""
        return dict(Counter(reason for _, reason in self.unreadable).most_common())


def scan_folder(directory: Path) -> DicomFolder:
    """Group the files below a folder by study and series.

    Files that are no DICOM, directories of media (`DICOMDIR`) and files without the ids that group them are listed
    as unreadable. Links and hidden files are not followed.

    Raises:
        FileNotFoundError: It is not a folder.
        ModuleNotFoundError: The extra `dicom` is not installed.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"expected a folder of DICOM files, {directory} is not a folder")
    found = DicomFolder()
    for path in tqdm(sorted(_files(directory)), desc="read headers", unit="file", disable=None):
        header = _header(path)
        if isinstance(header, str):
            found.unreadable.append((path, header))
        else:
            _add(found, path, header)
    found.studies = dict(sorted(found.studies.items()))
    for study in found.studies.values():
        study.series = dict(sorted(study.series.items(), key=lambda item: (item[1].order, item[0])))
    return found


def _files(directory: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(directory.absolute()):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            if not name.startswith(".") and not path.is_symlink():
                yield path


class _Header(NamedTuple):
    """What grouping needs of one file."""

    study: str
    series: str
    patient: str
    accession: str
    modality: str
    is_screen: bool
    order: tuple[float, int]
    has_agent: bool
    b_value: float | None


def _header(path: Path) -> _Header | str:
    """The header of one file, or the reason why it cannot be used."""
    pydicom = _pydicom()
    try:
        read = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_READ))
        values = {name: str(value).strip() for name in _READ if (value := read.get(name)) is not None}
    except pydicom.errors.InvalidDicomError:
        return "not-dicom"
    except Exception:  # pydicom raises whatever a damaged file leads it to
        return "damaged-header"
    if "StudyInstanceUID" not in values or "SeriesInstanceUID" not in values:
        return "dicomdir" if path.name.upper() == "DICOMDIR" else "no-ids"
    time = _number(values.get("AcquisitionTime")) or _number(values.get("SeriesTime")) or 0.0
    return _Header(
        study=values["StudyInstanceUID"],
        series=values["SeriesInstanceUID"],
        patient=values.get("PatientID") or values["StudyInstanceUID"],
        accession=values.get("AccessionNumber", ""),
        modality=values.get("Modality") or "unknown",
        is_screen=values.get("SOPClassUID") == _SECONDARY_CAPTURE,
        order=(time, int(_number(values.get("SeriesNumber")) or 0)),
        has_agent=values.get("ContrastBolusAgent", "").upper() not in _NO_AGENT,
        b_value=_number(values.get("DiffusionBValue")),
    )


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.errors
    except ModuleNotFoundError:
        raise ModuleNotFoundError("reading DICOM needs pydicom and dcm2niix: pip install 'selip[dicom]'") from None
    return pydicom


def _add(found: DicomFolder, path: Path, header: _Header) -> None:
    study = found.studies.setdefault(header.study, DicomStudy(header.study, header.patient, header.accession))
    if header.patient != study.patient:
        found.unreadable.append((path, "another-patient-in-the-study"))
        return
    series = study.series.setdefault(
        header.series,
        DicomSeries(header.series, header.modality, header.is_screen, header.order, header.has_agent),
    )
    series.order = min(series.order, header.order)
    series.has_agent |= header.has_agent
    if header.b_value is not None:
        series.b_values.add(header.b_value)
    series.files.append(path)


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
