"""One DICOM series -> the NIfTI volumes that a radiologist reads of it, by dcm2niix.

dcm2niix knows the vendors' private headers, mosaics and multi-frame files. What is ours: a diffusion series of several
b-values and directions becomes the one image that is read, and nothing that leads back to a patient stays.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from selip.processing.sources.bids_layout import DWI_BELOW, MIN_DWI_B_VALUE
from selip.processing.sources.nifti_header import without_free_text

from .sequences import DIFFUSION_B_VALUE, Naming, description_of, name_sequence

_TIMEOUT_S = 1800
# Of the JSON file of dcm2niix: how a series was measured, and nothing that a person typed.
_KEPT = (
    "Modality",
    "MagneticFieldStrength",
    "Manufacturer",
    "ManufacturersModelName",
    "MRAcquisitionType",
    "ScanningSequence",
    "SequenceVariant",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "EchoTrainLength",
    "SliceThickness",
    "PixelBandwidth",
    "ConversionSoftware",
    "ConversionSoftwareVersion",
)
# What dcm2niix tells apart within a series, by the end of the file name.
_TOLD_APART = {
    "ADC": Naming("ADC", "image-type"),
    **dict.fromkeys(("ph", "real", "imaginary"), Naming(None, "phase-or-complex")),
}
_READ_B_VALUE = 1000.0  # s/mm^2
_SAME_B_VALUE = 50.0


@dataclass(frozen=True)
class Converted:
    """One volume of a series.

    Attributes:
        naming: What it is, or why it is left out.
        description: What the scanner calls it.
        content: NIfTI-1 file without free text; None where it is left out.
        sidecar: How it was measured: the JSON file beside it.
    """

    naming: Naming
    description: str
    content: bytes | None = None
    sidecar: Mapping[str, Any] = field(default_factory=dict)


def convert_series(
    files: Sequence[Path], b_values: set[float], decided: Mapping[str, str], work: Path
) -> list[Converted]:
    """Convert one series.

    Args:
        files: Its DICOM files.
        b_values: That the public attribute names, in s/mm^2.
        decided: Sequences by description, or `-` to leave out, that somebody has decided.
        work: Folder for temporary files.

    Returns:
        Its volumes in the order of dcm2niix: one, or one an echo.

    Raises:
        ConversionError: dcm2niix made nothing of it.
        ModuleNotFoundError: The extra `dicom` is not installed.
    """
    with tempfile.TemporaryDirectory(dir=work) as name:
        source, out = Path(name) / "in", Path(name) / "out"
        source.mkdir()
        out.mkdir()
        for number, path in enumerate(files):
            (source / f"{number:06d}.dcm").symlink_to(path)
        _run_dcm2niix(source, out)
        converted = [_converted(path, b_values, decided) for path in evenly_spaced(sorted(out.glob("*.nii")))]
    if not converted:
        raise ConversionError("dcm2niix-made-nothing")
    return converted


def evenly_spaced(paths: Sequence[Path]) -> list[Path]:
    """Files of dcm2niix without those that it has made a second time with slices at even distances (`_Eq`)."""
    made_even = {path.stem.partition("_Eq")[0] for path in paths if "_Eq" in path.stem}
    return [path for path in paths if path.stem not in made_even]


class ConversionError(ValueError):
    """A series cannot be converted; the message is the reason, a word for the table."""


def _run_dcm2niix(source: Path, out: Path) -> None:
    """Convert a folder; what dcm2niix prints names files and is not kept."""
    try:
        import dcm2niix
    except ModuleNotFoundError:
        raise ModuleNotFoundError("converting DICOM needs dcm2niix: pip install 'selip[dicom]'") from None
    # -g i: no settings of the user; -ba y: no names and dates in the JSON; -l o: values as they are stored
    options = ("-g", "i", "-b", "y", "-ba", "y", "-z", "n", "-l", "o", "-x", "n", "-f", "s")
    try:
        done = subprocess.run(
            [dcm2niix.bin, *options, "-o", out, source], capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConversionError("dcm2niix-took-too-long") from None
    if done.returncode != 0 and not any(out.glob("*.nii")):
        raise ConversionError(f"dcm2niix-error-{done.returncode}")


def _converted(path: Path, b_values: set[float], decided: Mapping[str, str]) -> Converted:
    """What one file of dcm2niix is."""
    told_in = path.with_name(path.stem.partition("_Eq")[0])  # one made even shares the files of its first form
    sidecar = _read_sidecar(told_in.with_suffix(".json"))
    image = nib.Nifti1Image.from_filename(path)
    description = description_of(sidecar)
    naming = _TOLD_APART.get(path.stem.rpartition("_")[2]) or name_sequence(sidecar, min(image.shape[:3]))
    if description.lower() in decided:
        told = decided[description.lower()]
        naming = Naming(None, "decided") if told == "-" else Naming(told, "decided")
    if naming.sequence is None:
        return Converted(naming, description)
    kept = {name: sidecar[name] for name in _KEPT if name in sidecar}
    if naming.sequence == "DWI":
        values = _b_values(told_in.with_suffix(".bval"), image, b_values, description)
        return _diffusion(path, image, naming, description, kept, values)
    if _number_of_volumes(image) > 1:
        return Converted(Naming(None, f"{len(image.shape)}d"), description)
    return Converted(naming, description, _content(path), kept)


def _read_sidecar(path: Path) -> dict[str, Any]:
    # a scanner's bytes may be of any encoding; only words are looked at
    return dict(json.loads(path.read_text(encoding="utf-8", errors="replace"))) if path.is_file() else {}


def _diffusion(
    path: Path,
    image: nib.Nifti1Image,
    naming: Naming,
    description: str,
    kept: Mapping[str, Any],
    values: Sequence[float] | None,
) -> Converted:
    """The diffusion-weighted image that is read: of the b-value nearest to 1,000, the mean over its directions.

    The geometric mean of three orthogonal directions is the trace-weighted image (Mori and Barker, Anatomical Record
    257, 1999); of more directions it is the mean of the exponents.
    """
    volumes = _number_of_volumes(image)
    if values is None:
        if volumes > 1:
            return Converted(Naming(None, "4d-without-b-values"), description)
        return Converted(naming, description, _content(path), kept)
    high = [value for value in values if value >= MIN_DWI_B_VALUE]
    if not high:
        return Converted(Naming(None, DWI_BELOW), description)
    chosen = min(high, key=lambda value: (abs(value - _READ_B_VALUE), value))
    of_value = [index for index, value in enumerate(values) if abs(value - chosen) <= _SAME_B_VALUE]
    if volumes == 1:
        return Converted(naming, description, _content(path), {**kept, "bValue": chosen})
    data = np.stack([np.asarray(image.dataobj[..., index], dtype=np.float32) for index in of_value], axis=-1)
    mean = nib.Nifti1Image(geometric_mean(data), image.affine)
    mean.header.set_xyzt_units("mm")
    return Converted(naming, description, mean.to_bytes(), {**kept, "bValue": chosen})


def _content(path: Path) -> bytes:
    """A file of dcm2niix without the free text of its header, where it writes the time of day."""
    return without_free_text(path.read_bytes())


def geometric_mean(data: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Geometric mean over the last axis; 0 where any value is not positive."""
    is_positive = (data > 0).all(axis=-1)
    logs = np.log(np.where(data > 0, data, 1.0), dtype=np.float32).mean(axis=-1)
    return np.where(is_positive, np.exp(logs), 0.0).astype(np.float32)


def _number_of_volumes(image: nib.Nifti1Image) -> int:
    return int(np.prod(image.shape[3:]))


def _b_values(path: Path, image: nib.Nifti1Image, public: set[float], description: str) -> list[float] | None:
    """The b-value of every volume in s/mm^2: of dcm2niix, the public attribute, or the description; None: unknown."""
    volumes = _number_of_volumes(image)
    if path.is_file():
        values = [float(word) for word in path.read_text(encoding="ascii").split()]
        if len(values) == volumes:
            return values
    if volumes == 1 and len(public) == 1:
        return list(public)
    named = {float(value) for value in DIFFUSION_B_VALUE.findall(description.lower())}
    return list(named) if volumes == 1 and len(named) == 1 else None
