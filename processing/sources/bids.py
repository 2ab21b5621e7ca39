"""BIDS folders -> studies table. A study is one session of one subject with a report.

Only names, sidecars and NIfTI headers are read; no voxel is. What cannot be used is skipped, counted by reason and
listed. Layout: `sub-*/[ses-*/]<datatype>/<entities>_<suffix>.nii[.gz]`, the report in `sub-*/[ses-*/]*_report.txt`,
optional truth (labels, reference findings, masks; for evaluation only) in `derivatives/truth/sub-*/[ses-*/]`.
Entities and suffixes: BIDS specification 1.10, "Magnetic Resonance Imaging".
"""

import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selip.processing.reports import read_sections, report_language

from .bids_layout import DWI_BELOW, MIN_DWI_B_VALUE, TRUTH_FOLDER
from .config import IngestConfig
from .schema import MaskEntry, SeriesEntry, SkipLog, StudiesInfo, StudyRow
from .splits import assign_split, stated_splits
from .studies_writer import write_studies

# Lower-case suffix -> sequence. Diffusion is decided with its b-value, T1w with its contrast entity.
_SUFFIX_SEQUENCES = {
    "t1w": "T1w",
    "t2w": "T2w",
    "flair": "FLAIR",
    "pdw": "PD",
    "pd": "PD",
    "adc": "ADC",
    "t2star": "SWI",
    "t2starw": "SWI",
    "swi": "SWI",
    "angio": "MRA",
    "dwi": "DWI",
    "trace": "DWI",
}
NIFTI_ENDINGS = (".nii.gz", ".nii")
_B_VALUE_KEYS = ("bValue", "DiffusionBValue", "BValue")
NOT_A_BIDS_NAME = "not-a-bids-name"
"""Reason of a file whose name says nothing of its sequence."""
_NAME = re.compile(r"^(?P<entities>(?:[a-z0-9]+-[A-Za-z0-9+]+_)+)(?P<suffix>[A-Za-z0-9]+)$")


@dataclass(frozen=True)
class _Name:
    """A BIDS file name taken apart."""

    stem: str
    entities: dict[str, str]
    suffix: str


def volume_shape(path: Path) -> tuple[int, ...]:
    """Read the shape of a NIfTI file from its header, trailing axes of length 1 removed; no voxel is read.

    Args:
        path: NIfTI-1 or NIfTI-2 file, gzip or not, either byte order.

    Returns:
        Axis lengths in voxels, at most 7.

    Raises:
        ValueError: Not a NIfTI file, a damaged gzip stream, or a header with impossible axis lengths.
        OSError: The file cannot be opened.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            head = file.read(80)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"expected a NIfTI file, got a damaged gzip stream in {path.name}") from error
    for order in "<>":
        if len(head) == 80 and struct.unpack_from(order + "i", head)[0] == 348:
            dims = struct.unpack_from(order + "8h", head, 40)  # NIfTI-1: int16 dim[8] at byte 40
            break
        if len(head) == 80 and struct.unpack_from(order + "i", head)[0] == 540:
            dims = struct.unpack_from(order + "8q", head, 16)  # NIfTI-2: int64 dim[8] at byte 16
            break
    else:
        raise ValueError(f"expected a NIfTI file, got another header in {path.name}")
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise ValueError(f"expected axis lengths above 0, got dim {dims} in {path.name}")
    shape = list(dims[1 : dims[0] + 1])
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _parse_name(path: Path) -> _Name | None:
    """Take a file name apart; None where it is not a BIDS name."""
    ending = next((ending for ending in (*NIFTI_ENDINGS, ".json") if path.name.endswith(ending)), "")
    stem = path.name.removesuffix(ending)
    match = _NAME.match(stem)
    if match is None:
        return None
    entities = dict(part.split("-", 1) for part in match["entities"].rstrip("_").split("_"))
    return _Name(stem, entities, match["suffix"])


def _is_visible(path: Path) -> bool:
    """Tell whether a path is data: not hidden and not being written."""
    return not path.name.startswith(".") and ".partial" not in path.name


def _children(folder: Path) -> list[Path]:
    """Return the visible entries of a folder in name order; none where it does not exist."""
    return sorted(path for path in folder.iterdir() if _is_visible(path)) if folder.is_dir() else []


def _folders(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the visible real folders in a folder in name order; links are not followed (they may form circles)."""
    return [path for path in _children(folder) if path.match(pattern) and path.is_dir() and not path.is_symlink()]


def series_of_file(path: Path, root: Path, *, needs_entities: bool = True) -> SeriesEntry | str:
    """Make the series entry of one NIfTI file, or return the reason why it is not used.

    Only the name, the sidecars and the header are read.

    Args:
        path: The file, below `root`.
        root: Folder of the data set, above which no sidecar is looked for.
        needs_entities: Refuse a name without entities; False takes a bare suffix such as `FLAIR.nii.gz` too.
    """
    name = _parse_name(path)
    if name is None and not needs_entities:
        stem = nifti_stem(path)
        name = _Name(stem, {}, stem) if stem.lower() in _SUFFIX_SEQUENCES else None
    if name is None:
        return NOT_A_BIDS_NAME
    sequence = _SUFFIX_SEQUENCES.get(name.suffix.lower())
    if sequence is None:
        return f"suffix-{name.suffix}"
    if name.entities.get("part", "mag") != "mag":
        return f"part-{name.entities['part']}"
    problem = header_problem(path)
    if problem:
        return problem
    b_value = None
    if sequence == "T1w" and "ce" in name.entities:
        sequence = "T1w-contrast-unknown" if name.entities["ce"] == "unknown" else "T1c"
    elif sequence == "DWI":
        b_value = _b_value(path, name, root)
        if b_value is None:
            sequence = "DWI-b-unknown"
        elif b_value < MIN_DWI_B_VALUE:
            return DWI_BELOW
    return {"series_id": name.stem, "sequence": sequence, "volume": path, "b_value": b_value}


def header_problem(path: Path) -> str:
    """Why a NIfTI file is not one volume by its header: `unreadable-header`, `4d` or the like; "" if it is one."""
    try:
        shape = volume_shape(path)
    except (ValueError, OSError):
        return "unreadable-header"
    return f"{len(shape)}d" if len(shape) > 3 else ""


def entities_of(path: Path) -> dict[str, str]:
    """The BIDS entities of a file name, e.g. {"sub": "01", "ses": "1"}; none where it is not a BIDS name."""
    name = _parse_name(path)
    return {} if name is None else name.entities


def nifti_stem(path: Path) -> str:
    """A file name without `.nii` or `.nii.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def is_nifti(path: Path) -> bool:
    """Whether a path is named as a NIfTI file."""
    return path.name.endswith(NIFTI_ENDINGS)


def _b_value(path: Path, name: _Name, root: Path) -> float | None:
    """Return the b-value of a diffusion image in s/mm^2 from its sidecars or its .bval file, None = unknown."""
    value: Any = None
    for sidecar in _sidecars(path, name, root):
        content = _read_json(sidecar)
        if isinstance(content, dict):
            value = next((content[key] for key in _B_VALUE_KEYS if key in content), value)
    bval = path.with_name(f"{name.stem}.bval")
    if value is None and bval.is_file():
        value = bval.read_text(encoding="utf-8", errors="replace").split()
    values = set(value) if isinstance(value, list) else {value}
    if len(values) != 1:
        return None
    try:
        return float(values.pop())
    except (TypeError, ValueError):
        return None


def _sidecars(path: Path, name: _Name, root: Path) -> Iterator[Path]:
    """Yield the JSON sidecars that apply, most general first (the inheritance principle of BIDS)."""
    folder = root
    for part in ("", *path.parent.relative_to(root).parts):
        folder = folder / part
        for candidate in _children(folder):
            if not candidate.name.endswith(".json"):
                continue
            if candidate.name == f"{name.suffix}.json":  # at the root, without entities
                yield candidate
                continue
            other = _parse_name(candidate)
            if other and other.suffix == name.suffix and other.entities.items() <= name.entities.items():
                yield candidate


class _BidsReader:
    """Walks one BIDS folder and makes rows; `skips` says what was left out."""

    def __init__(self, root: Path, salt: str, fractions: Sequence[float]) -> None:
        self.root = root
        self.salt = salt
        self.fractions = fractions
        self.stated = stated_splits(root / "participants.tsv")
        self.skips = SkipLog()

    def rows(self) -> Iterator[StudyRow]:
        """Yield one row a usable study, in the order of subjects and sessions."""
        for subject in _folders(self.root, "sub-*"):
            sessions = _folders(subject, "ses-*")
            if any(not folder.name.startswith("ses-") for folder in _folders(subject)):
                sessions.insert(0, subject)  # data directly under the subject
            for session in sessions:
                row = self.study(subject, session)
                if row is not None:
                    yield row

    def study(self, subject: Path, session: Path) -> StudyRow | None:
        """Make the row of one session, or record why it has none."""
        study_id = subject.name if session == subject else f"{subject.name}_{session.name}"
        report = self.report(study_id, session)
        if report is None:
            return None
        series = self.series(session)
        if not series:
            self.skips.add("study", study_id, "no-usable-series")
            return None
        truth = self.root / TRUTH_FOLDER / session.relative_to(self.root)
        drawn = assign_split(subject.name, salt=self.salt, fractions=self.fractions)
        return {
            "study_id": study_id,
            "patient_id": subject.name,
            "split": self.stated.get(subject.name, drawn),
            "language": report_language(report["findings"] + report["impression"]),
            "series": series,
            "report": report,
            "labels": self.truth_json(truth, study_id, "labels", list) or [],
            "masks": self.masks(truth),
            "reference_findings": self.reference_findings(truth, study_id),
        }

    def report(self, study_id: str, session: Path) -> dict[str, str] | None:
        """Read the one report of a session, or record why it cannot be used."""
        paths = [path for path in _children(session) if path.name.endswith("_report.txt") and not path.is_symlink()]
        if len(paths) != 1:
            self.skips.add("study", study_id, "no-report" if not paths else "several-reports")
            return None
        try:
            sections = read_sections(paths[0].read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError:
            self.skips.add("study", study_id, "report-not-utf8")
            return None
        report = {name: sections.get(name, "") for name in ("findings", "impression")}
        if not any(report.values()):
            self.skips.add("study", study_id, "empty-report")
            return None
        return report

    def series(self, session: Path) -> list[SeriesEntry]:
        """Make the series of a session; several runs of one sequence are several series."""
        found: dict[str, SeriesEntry] = {}
        for folder in _folders(session):
            if folder.name.startswith("ses-"):
                continue  # when the session is the subject's own folder
            for path in _children(folder):
                if not is_nifti(path):
                    continue
                item = "symlink" if path.is_symlink() else series_of_file(path, self.root)
                if isinstance(item, str):
                    self.skips.add("series", path.relative_to(self.root).as_posix(), item)
                elif item["series_id"] in found:  # T1w.nii beside T1w.nii.gz
                    self.skips.add("series", path.relative_to(self.root).as_posix(), "same-name")
                else:
                    found[item["series_id"]] = item
        return list(found.values())

    def masks(self, truth: Path) -> list[MaskEntry]:
        """Return the masks of a study; their name is the `desc` entity, or the file's stem without one."""
        rows: list[MaskEntry] = []
        for path in _children(truth):
            name = _parse_name(path) if is_nifti(path) and not path.is_symlink() else None
            if name is not None and name.suffix in ("dseg", "mask"):
                rows.append({"name": name.entities.get("desc", name.stem), "volume": path})
        return rows

    def truth_json(self, truth: Path, study_id: str, name: str, kind: type) -> Any:
        """Read one truth file of a study: None where there is none, ValueError where it is damaged."""
        path = truth / f"{study_id}_{name}.json"
        if not path.is_file():
            return None
        content = _read_json(path)
        if not isinstance(content, kind):
            raise ValueError(f"expected a JSON {kind.__name__} in {path}; repair the file or remove it")
        return content

    def reference_findings(self, truth: Path, study_id: str) -> str:
        """Return the true findings as canonical JSON text, "" where there is no truth."""
        content = self.truth_json(truth, study_id, "findings", dict)
        return "" if content is None else json.dumps(content, ensure_ascii=False)


def _read_json(path: Path) -> Any:
    """Read a JSON file; None where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


def ingest_bids(config: IngestConfig) -> StudiesInfo:
    """Read a BIDS folder into a studies table.

    Symbolic links, hidden files and files being written (`.partial`) are not used; a link in the place of a series is
    counted as skipped (`datalad unlock` a datalad tree first). A column `split` in `participants.tsv` decides the
    split of the patients it names, whatever salt and fractions are.

    Args:
        config: The BIDS folder, the folder of the table, and how patients are split.

    Returns:
        Counts of what is in the table and of what was skipped, by reason; printing it says them in words.

    Raises:
        FileNotFoundError: `directory` is not a folder.
        FileExistsError: `out` has a table and `overwrite` is False.
        ValueError: No study is usable, or a truth file or the column `split` of `participants.tsv` is damaged.

    Example:
        >>> print(ingest_bids(IngestConfig("data/bids", "data/studies")))
    """
    root = Path(config.directory).absolute()
    if not root.is_dir():
        raise FileNotFoundError(f"expected a BIDS folder, {root} is not a folder")
    reader = _BidsReader(root, config.split_salt, config.fractions)
    return write_studies(
        reader.rows(),
        config.out,
        root,
        skips=reader.skips,
        deidentifies=config.deidentify,
        overwrite=config.overwrite,
    )
