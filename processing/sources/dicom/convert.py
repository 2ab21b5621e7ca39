"""`selip convert-dicom`: DICOM studies -> BIDS with pseudonyms, study by study, so that a run can be stopped.

In `OUT`: what may be worked with. In the private folder: what leads back to patients (the key of the pseudonyms,
which study is which, how scanners call series, files that could not be used).
"""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from selip.processing.atomic_files import write_json
from selip.processing.sources.bids_layout import study_folder

from .bids_writer import write_description, write_study
from .config import DicomConfig
from .conversion import ConversionError, Converted, convert_series
from .headers import DicomFolder, DicomSeries, DicomStudy, scan_folder
from .pseudonyms import pseudonym, read_or_make_key
from .sequences import Naming, decide_contrast
from .tables import NAMES, counted, read_decided, read_reports, write_names, write_table

# Raised when the same files would be converted otherwise.
CONVERTER_VERSION = 1
# In the private folder.
KEY, STUDIES, FILES, RECORDS = "key", "studies.tsv", "unused_files.tsv", "records"
SERIES, WORK = "series.tsv", ".work"  # in the BIDS folder
_PATIENT_LETTERS, _STUDY_LETTERS = 10, 6


@dataclass(frozen=True)
class ConversionSummary:
    """What a run made and what it left out, by reason.

    Attributes:
        out: The BIDS folder.
        private: The folder that leads back to patients.
        studies: Studies in the BIDS folder of this archive.
        converted: Of these, made by this run.
        sequences: Volumes by sequence.
        left_out_series: By reason.
        left_out_studies: By reason.
        unused_files: By reason.
        seconds: Of this run.
    """

    out: Path
    private: Path
    studies: int
    converted: int
    sequences: dict[str, int]
    left_out_series: dict[str, int]
    left_out_studies: dict[str, int]
    unused_files: dict[str, int]
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{self.studies} studies in {self.out}, {self.converted} of them converted now in {self.seconds:.0f} s: "
            + counted(self.sequences.items())
        ]
        for what, counts, where in (
            ("studies", self.left_out_studies, STUDIES),
            ("series", self.left_out_series, f"{NAMES} names them; fill in its column `decided` to change one"),
            ("files", self.unused_files, FILES),
        ):
            if counts:
                lines.append(f"left out {sum(counts.values())} {what}: {counted(counts.items())} ({where})")
        lines.append(f"{self.private} leads back to patients: keep it as you keep the archive")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Job:
    """A study to convert."""

    study: DicomStudy
    subject: str
    session: str
    report: str | None
    fingerprint: str

    @property
    def name(self) -> str:
        """The id of the study."""
        return f"{self.subject}_{self.session}"


def convert_dicom(config: DicomConfig) -> ConversionSummary:
    """Convert a folder of DICOM files to a BIDS folder.

    Studies that are there already are left as they are; the same command again adds those that have come.

    Raises:
        FileNotFoundError: The folder of DICOM files or the table of reports is not there.
        FileExistsError: `out` holds something else, or studies whose files, report or decided names have changed, and
            `overwrite` is off.
        ModuleNotFoundError: The extra `dicom` is not installed.
        ValueError: No study could be converted, or a table of the user cannot be used.
    """
    start = time.perf_counter()
    out, private = config.out.absolute(), config.private_folder.absolute()
    if out.exists() and any(out.iterdir()) and not (private / KEY).is_file():
        raise FileExistsError(
            f"{out} holds something, and {private} has no key of its pseudonyms; choose another folder, or name the "
            "private folder of this one with --private"
        )
    reports = None if config.reports is None else read_reports(config.reports)
    folder = scan_folder(config.directory)
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    decided = read_decided(private / NAMES)
    jobs, left_out = _plan(folder, reports, read_or_make_key(private / KEY))
    waiting = _waiting(jobs, out, private, decided, overwrite=config.overwrite)
    _convert_all(waiting, out, private, decided, config.num_proc)
    records = _read_records(private)
    _write_private(private, folder, records, decided)
    made = [job for job in jobs if _volumes(records[job.name])]
    reasons = _reasons(records[job.name] for job in jobs)
    if not made:
        raise ValueError(
            f"expected MR series of the head, got none in {len(folder.studies)} studies: "
            f"{counted((reasons | left_out | folder.reasons()).items()) or 'no DICOM file'}"
        )
    write_description(out)
    _write_lists(out, records)
    if len(made) < len(jobs):
        left_out["no-usable-series"] = len(jobs) - len(made)
    return ConversionSummary(
        out=config.out,
        private=config.private_folder,
        studies=len(made),
        converted=len({job.name for job in waiting} & {job.name for job in made}),
        sequences=_counts(row["sequence"] for job in made for row in _volumes(records[job.name])),
        left_out_series=reasons,
        left_out_studies=left_out,
        unused_files=folder.reasons(),
        seconds=time.perf_counter() - start,
    )


def _plan(
    folder: DicomFolder, reports: Mapping[str, Sequence[str]] | None, key: bytes
) -> tuple[list[_Job], dict[str, int]]:
    """What to convert, and how many studies are left out by reason."""
    jobs = []
    left_out: Counter[str] = Counter()
    for study in folder.studies.values():
        texts = [] if reports is None else [*reports.get(study.uid, ()), *reports.get(study.accession or "-", ())]
        if reports is not None and len(texts) != 1:
            left_out["no-report" if not texts else "several-reports"] += 1
            continue
        report = texts[0] if texts else None
        jobs.append(
            _Job(
                study,
                f"sub-{pseudonym(key, study.patient, _PATIENT_LETTERS)}",
                f"ses-{pseudonym(key, study.uid, _STUDY_LETTERS)}",
                report,
                _fingerprint(study, report),
            )
        )
    if len({job.name for job in jobs}) < len(jobs):
        raise ValueError("two studies got one pseudonym; convert into another folder, with another private folder")
    return sorted(jobs, key=lambda job: job.name), dict(left_out.most_common())


def _fingerprint(study: DicomStudy, report: str | None) -> str:
    """Changes when what a study is made of changes."""
    content: list[Any] = [CONVERTER_VERSION, report]
    content += [[series.uid, len(series.files)] for series in study.series.values()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read_records(private: Path) -> dict[str, dict[str, Any]]:
    """What was made of every study by this and earlier runs, by its name; other folders of DICOM may be among them."""
    paths = sorted((private / RECORDS).glob("*.json"))
    return {path.stem: dict(json.loads(path.read_text(encoding="utf-8"))) for path in paths}


def _waiting(
    jobs: Sequence[_Job], out: Path, private: Path, decided: Mapping[str, str], *, overwrite: bool
) -> list[_Job]:
    """Studies that are not there, or that have changed."""
    missing, changed = [], []
    records = _read_records(private)
    for job in jobs:
        record = records.get(job.name)
        if record is None or (_volumes(record) and not study_folder(out, job.name).is_dir()):
            missing.append(job)
        elif record["fingerprint"] != job.fingerprint or any(
            row["decided"] != decided.get(row["description"].lower(), "") for row in record["series"]
        ):
            changed.append(job)
    if changed and not overwrite:
        raise FileExistsError(
            f"{len(changed)} of {len(jobs)} studies in {out} were made of other files, with another report or other "
            "decided names; pass --overwrite to convert these anew"
        )
    return [*missing, *changed]


def _convert_all(jobs: Sequence[_Job], out: Path, private: Path, decided: Mapping[str, str], num_proc: int) -> None:
    """Convert studies one after the other, the series of each at the same time: dcm2niix and gzip are not Python.

    The record of a study is written last and says that it is whole.
    """
    work = out / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (private / RECORDS).mkdir(exist_ok=True)
    with ThreadPoolExecutor(num_proc) as pool:
        for job in tqdm(jobs, desc="convert", unit="study", disable=None):
            series = list(job.study.series.values())
            converted = pool.map(lambda each: _convert(each, decided, work), series)
            pairs = [(one, each) for one, volumes in zip(series, converted, strict=True) for each in volumes]
            sequences = _sequences(pairs)
            volumes = [(sequence, each) for sequence, (_, each) in zip(sequences, pairs, strict=True)]
            files = write_study(study_folder(out, job.name), work, job.name, volumes, job.report)
            rows = [
                {
                    "file": file and f"{job.subject}/{job.session}/{file}",
                    "sequence": sequence,
                    "reason": each.naming.reason,
                    "description": each.description,
                    "decided": decided.get(each.description.lower(), ""),
                }
                for file, (sequence, each) in zip(files, volumes, strict=True)
            ]
            ids = {"study_uid": job.study.uid, "accession": job.study.accession, "patient": job.study.patient}
            record = {"fingerprint": job.fingerprint, **ids, "series": rows}
            write_json(private / RECORDS / f"{job.name}.json", record)
    shutil.rmtree(work)


def _convert(series: DicomSeries, decided: Mapping[str, str], work: Path) -> list[Converted]:
    """The volumes of a series, or the reason why it has none."""
    reason = "screen-picture" if series.is_screen else "" if series.modality == "MR" else f"modality-{series.modality}"
    if not reason:
        try:
            return convert_series(series.files, series.b_values, decided, work)
        except ConversionError as error:
            reason = str(error)
    return [Converted(Naming(None, reason), "")]


def _sequences(pairs: Sequence[tuple[DicomSeries, Converted]]) -> list[str]:
    """The sequence of every volume, "" where it is left out; contrast is told from the whole study."""
    sequences = [each.naming.sequence or "" for _, each in pairs]
    open_ones = [
        index for index, (_, each) in enumerate(pairs) if sequences[index] == "T1w" and each.naming.reason != "decided"
    ]
    told = [_contrast(*pairs[index]) for index in open_ones]
    names = decide_contrast(
        [(pairs[index][0].order, contrast) for index, contrast in zip(open_ones, told, strict=True)]
    )
    for index, name in zip(open_ones, names, strict=True):
        sequences[index] = name
    return sequences


def _contrast(series: DicomSeries, converted: Converted) -> bool | None:
    """Whether a contrast agent was given: the description knows better than the form that names the agent."""
    if converted.naming.contrast is not None:
        return converted.naming.contrast
    return True if series.has_agent else None


def _volumes(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in record["series"] if row["file"]]


def _reasons(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return _counts(row["reason"] for record in records for row in record["series"] if not row["file"])


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _write_lists(out: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """The patients, and how every volume was named."""
    made = {name: _volumes(record) for name, record in records.items() if _volumes(record)}
    subjects = sorted({name.partition("_")[0] for name in made})
    write_table(out / "participants.tsv", ("participant_id",), [(subject,) for subject in subjects])
    rows = [(row["file"], row["sequence"], row["reason"]) for volumes in made.values() for row in volumes]
    write_table(out / SERIES, ("file", "sequence", "told_by"), rows)


def _write_private(
    private: Path, folder: DicomFolder, records: Mapping[str, Mapping[str, Any]], decided: Mapping[str, str]
) -> None:
    """Which study is which, how series are called and were named, and what files were not used."""
    rows = [(name, each["study_uid"], each["accession"], each["patient"]) for name, each in records.items()]
    known = {each["study_uid"] for each in records.values()}
    rows += [("", each.uid, each.accession, each.patient) for each in folder.studies.values() if each.uid not in known]
    write_table(private / STUDIES, ("study_id", "study_uid", "accession_number", "patient_id"), rows)
    write_names(private / NAMES, records.values(), decided)
    write_table(private / FILES, ("file", "reason"), [(str(path), reason) for path, reason in folder.unreadable])
