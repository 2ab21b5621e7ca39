"""A converted study as BIDS files, whole or not at all."""

import gzip
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from selip.processing.atomic_files import write_json
from selip.processing.sources.bids_layout import BIDS_VERSION, FILE_NAMES

from .conversion import Converted


def write_study(
    folder: Path, work: Path, name: str, volumes: Sequence[tuple[str, Converted]], report: str | None
) -> list[str]:
    """Write one study into `folder`, in the place of what is there.

    Args:
        folder: Its folder of the data set; it does not appear where there is no volume.
        work: Folder of the same disk to build it in.
        name: `sub-..._ses-...`.
        volumes: Sequence ("" for one that is left out) and volume.
        report: Its report, if there is one.

    Returns:
        The file of every volume, "" for those left out.
    """
    built = work / name
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir(parents=True)
    totals, counts = Counter(sequence for sequence, _ in volumes), Counter[str]()
    files = []
    for sequence, converted in volumes:
        counts[sequence] += 1
        run = f"run-{counts[sequence]:02d}_" if totals[sequence] > 1 else ""
        files.append(_write_volume(built, name, sequence, run, converted) if sequence else "")
    if report is not None:
        (built / f"{name}_report.txt").write_text(report, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    if any(files):
        folder.parent.mkdir(exist_ok=True)
        built.rename(folder)
    shutil.rmtree(built, ignore_errors=True)
    return files


def _write_volume(built: Path, name: str, sequence: str, run: str, converted: Converted) -> str:
    """Write a volume with its JSON file; returns its place in the folder of the study."""
    if converted.content is None:
        raise ValueError(f"{name}: expected the voxels of a {sequence}, got none")
    entities, _, suffix = FILE_NAMES[sequence].format(name).rpartition("_")
    stem = f"{entities}_{run}{suffix}"
    (built / stem).parent.mkdir(exist_ok=True)
    (built / f"{stem}.nii.gz").write_bytes(gzip.compress(converted.content, compresslevel=6, mtime=0))
    write_json(built / f"{stem}.json", converted.sidecar)
    return f"{stem}.nii.gz"


def write_description(out: Path) -> None:
    """Write what BIDS wants of a data set."""
    description = {
        "Name": "converted studies",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "selip convert-dicom"}],
    }
    write_json(out / "dataset_description.json", description)
    (out / ".bidsignore").write_text("*_report.txt\n*_ADC.*\nseries.tsv\n", encoding="utf-8")
