"""One NIfTI file, or the folder of one study, as a row of the studies table; for use without ingestion."""

import hashlib
from pathlib import Path

from selip.processing.sequences_selip import sequence_id

from .bids import NOT_A_BIDS_NAME, entities_of, header_problem, is_nifti, nifti_stem, series_of_file
from .schema import SeriesEntry, SkipLog, StudyRow

_UNKNOWN = "unknown"


def study_of_file(path: Path, sequence: str | None = None) -> StudyRow:
    """A study of one series.

    Args:
        path: NIfTI file.
        sequence: Its MRI sequence; None: what `selip ingest` reads from its name, and `unknown` where the name tells
            nothing.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no NIfTI file, not one volume (4D), unusable by its name (a mask, say), or the sequence is
            unknown.
    """
    path = path.absolute()
    if not path.is_file():
        raise FileNotFoundError(f"expected a NIfTI file, found none at {path}")
    if not is_nifti(path):
        raise ValueError(f"expected a file named .nii or .nii.gz, got {path.name}; convert it first, e.g. by dcm2niix")
    if sequence is None:
        entry = _recognised(path, _bids_root(path.parent))
    else:
        sequence_id(sequence)  # raises with the allowed names
        problem = header_problem(path)
        entry = problem or SeriesEntry(series_id=nifti_stem(path), sequence=sequence, volume=path, b_value=None)
    if isinstance(entry, str):
        raise ValueError(f"{path.name} cannot be used ({entry}); give one 3D volume, and its --sequence if need be")
    return _row(_study_id([path]) or nifti_stem(path), [path], [entry])


def study_of_folder(folder: Path) -> tuple[StudyRow, SkipLog]:
    """A study of all NIfTI files in a folder and in those below it; links and hidden files are not followed.

    Returns:
        The row, and what was left out: (kind "series", path relative to the folder, reason).

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It has no usable NIfTI file, or files of several studies.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"expected the folder of a study, found none at {folder}")
    files = sorted(path for path in folder.rglob("*") if _is_data(path, folder))
    if not files:
        raise ValueError(f"expected NIfTI files (.nii, .nii.gz) in {folder}, found none")
    studies = {_study_id([path]) for path in files} - {""}
    if len(studies) > 1:
        raise ValueError(
            f"expected the files of one study in {folder}, found those of {len(studies)}; give the folder of one, or "
            "make a studies table of all with `selip ingest bids`"
        )
    skips, root = SkipLog(), _bids_root(folder)
    found: dict[str, SeriesEntry] = {}
    for path in files:
        entry = "symlink" if path.is_symlink() else _recognised(path, root)
        if not isinstance(entry, str) and entry["series_id"] in found:
            entry = "same-name"
        if isinstance(entry, str):
            skips.add("series", path.relative_to(folder).as_posix(), entry)
        else:
            found[entry["series_id"]] = entry
    if not found:
        raise ValueError(f"expected a usable series in {folder}, got none ({skips.counts('series')})")
    return _row(studies.pop() if studies else folder.name, files, list(found.values())), skips


def study_fingerprint(row: StudyRow) -> str:
    """SHA-256 over names, sequences and sizes of the files of a study: equal for the same files in another place."""
    digest = hashlib.sha256()
    for entry in row["series"]:
        size = Path(entry["volume"]).stat().st_size
        digest.update(f"{row['study_id']}\0{entry['series_id']}\0{entry['sequence']}\0{size}\n".encode())
    return digest.hexdigest()


def _recognised(path: Path, root: Path) -> SeriesEntry | str:
    """As ingestion does, but a name that says nothing of its sequence gives one of the sequence `unknown`."""
    entry = series_of_file(path, root, needs_entities=False)
    if entry != NOT_A_BIDS_NAME:
        return entry
    problem = header_problem(path)
    return problem or SeriesEntry(series_id=nifti_stem(path), sequence=_UNKNOWN, volume=path, b_value=None)


def _is_data(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return is_nifti(path) and path.is_file() and not hidden and ".partial" not in path.name


def _bids_root(folder: Path) -> Path:
    """The data set that a folder belongs to, whose sidecars hold for it too; the folder itself outside of one."""
    for candidate in (folder, *folder.parents):
        if (candidate / "dataset_description.json").is_file():
            return candidate
    return folder


def _study_id(files: list[Path]) -> str:
    """`sub-X` or `sub-X_ses-Y` of BIDS names, as ingestion calls the study; "" for other names."""
    entities = entities_of(files[0])
    return "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)


def _row(study_id: str, files: list[Path], series: list[SeriesEntry]) -> StudyRow:
    subject = entities_of(files[0]).get("sub", "")
    return {
        "study_id": study_id,
        "patient_id": f"sub-{subject}" if subject else "",
        "split": "test",
        "language": "en",
        "series": series,
        "report": {"findings": "", "impression": ""},
        "labels": [],
        "masks": [],
        "reference_findings": "",
    }
