"""Writing a studies table: its rows, what was left out and why, and whose report repeats another's (studies.py)."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from selip.processing.atomic_files import write_json
from selip.processing.deidentification import KINDS, deidentify
from selip.processing.reports import report_key
from selip.processing.sequences_selip import SEQUENCE_NAMES

from .schema import REPEATED_NAME, SKIPPED_NAME, SkipLog, StudiesInfo, StudyRow, study_features
from .splits import SPLITS
from .studies import ARROW_NAME, FORMAT_VERSION, INFO_NAME

_ROWS_PER_BATCH = 512


class _Tally:
    """Validates rows one by one and keeps the counts and the fingerprint of the table.

    Attributes:
        repeats: (study, the first study with the same report).
        replaced: placeholders by kind that de-identification put into the reports; None: it was not asked for.
    """

    def __init__(self, *, deidentifies: bool) -> None:
        self.replaced: Counter[str] | None = Counter() if deidentifies else None
        self.repeats: list[tuple[str, str]] = []
        self.first_studies: dict[str, str] = {}  # by report key
        self.study_ids: set[str] = set()
        self.patient_splits: dict[str, str] = {}
        self.splits = Counter({name: 0 for name in SPLITS})
        self.sequences: Counter[str] = Counter()
        self.digest = hashlib.sha256()

    def add(self, row: StudyRow) -> None:
        """Check one row and count it; ValueError says what is wrong in which study."""
        study = row["study_id"]
        if not study or study in self.study_ids:
            raise ValueError(f"expected unique non-empty study ids, got {study!r} again; study ids identify rows")
        if row["split"] not in SPLITS:
            raise ValueError(f"study {study}: expected a split of {SPLITS}, got {row['split']!r}")
        if self.patient_splits.setdefault(row["patient_id"], row["split"]) != row["split"]:
            raise ValueError(f"study {study}: its patient is in two splits; assign splits by patient id")
        if not row["series"]:
            raise ValueError(f"study {study}: expected at least one series, got none; leave the study out")
        series_ids = [series["series_id"] for series in row["series"]]
        if len(set(series_ids)) != len(series_ids):
            raise ValueError(f"study {study}: expected unique series ids, got {series_ids}")
        for series in row["series"]:
            if series["sequence"] not in SEQUENCE_NAMES:
                raise ValueError(
                    f"series {series['series_id']} of study {study}: expected a sequence of {SEQUENCE_NAMES}, "
                    f"got {series['sequence']!r}"
                )
        self.study_ids.add(study)
        report = "\n".join(row["report"].values())
        first = self.first_studies.setdefault(report_key(report), study) if report.strip() else study
        if first != study:
            self.repeats.append((study, first))
        self.splits[row["split"]] += 1
        self.sequences.update(series["sequence"] for series in row["series"])

    def report(self, sections: Mapping[str, str]) -> dict[str, str]:
        """Return a report as it is stored, and count what was replaced in it."""
        if self.replaced is None:
            return dict(sections)
        stored = {}
        for name, text in sections.items():
            stored[name], counts = deidentify(text)
            self.replaced += counts
        return stored

    def info(self, out: Path, root: Path, skips: SkipLog) -> StudiesInfo:
        """Return the contents of studies.json for a table in `out` whose files lie under `root`."""
        return StudiesInfo(
            format_version=FORMAT_VERSION,
            root=Path(os.path.relpath(root, out)).as_posix(),
            root_absolute=str(root),
            studies=len(self.study_ids),
            patients=len(self.patient_splits),
            series=sum(self.sequences.values()),
            splits=dict(self.splits),
            sequences={name: self.sequences[name] for name in SEQUENCE_NAMES if self.sequences[name]},
            skipped_studies=skips.counts("study"),
            skipped_series=skips.counts("series"),
            fingerprint=self.digest.hexdigest(),
            repeated_reports=len(self.repeats),
            replaced=None if self.replaced is None else {kind: self.replaced[kind] for kind in KINDS},
        )


def _reference(volume: str | Path, root: Path, digest: "hashlib._Hash") -> dict[str, str | None]:
    """Return the stored cell of a file, relative to root where it lies inside; adds its size to the digest."""
    path = Path(volume)
    if not path.is_absolute():
        path = root / path
    try:
        size = path.stat().st_size
    except OSError as error:
        raise FileNotFoundError(f"expected a readable volume file, got {path} ({error.strerror})") from error
    stored = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    digest.update(f"{stored}\0{size}\n".encode())
    return {"path": stored, "bytes": None}


def _stored_rows(rows: Iterable[StudyRow], root: Path, tally: _Tally) -> Iterator[dict[str, Any]]:
    """Validate rows and turn their volume paths into stored cells."""
    for row in rows:
        tally.add(row)
        series = [{**item, "volume": _reference(item["volume"], root, tally.digest)} for item in row["series"]]
        masks = [{**item, "volume": _reference(item["volume"], root, tally.digest)} for item in row["masks"]]
        yield {**row, "report": tally.report(row["report"]), "series": series, "masks": masks}


def _write_stream(path: Path, rows: Iterable[dict[str, Any]], digest: "hashlib._Hash") -> None:
    """Write rows as an Arrow IPC stream in small record batches; the text of each row goes into the digest."""
    schema = study_features().arrow_schema
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode())
            batch.append(row)
            if len(batch) == _ROWS_PER_BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def write_studies(
    rows: Iterable[StudyRow],
    out: str | Path,
    root: str | Path,
    *,
    skips: SkipLog | None = None,
    deidentifies: bool = False,
    overwrite: bool = False,
) -> StudiesInfo:
    """Write a studies table of references to NIfTI files.

    `studies.json` is written last and removed first, so a folder that has it has a whole table.

    Args:
        rows: Studies; `volume` of series and masks is a path, absolute or relative to `root`. Read once.
        out: Folder of the table; made where it does not exist.
        root: Folder under which the files lie. Paths inside it are stored relative to it.
        skips: What the source left out, filled while `rows` is read.
        deidentifies: Put placeholders in the place of names, dates and numbers of persons in the reports.
        overwrite: Replace a table that is already in `out`.

    Returns:
        What `studies.json` holds.

    Raises:
        FileExistsError: `out` has a table and `overwrite` is False.
        FileNotFoundError: A volume or mask file does not exist.
        ValueError: Duplicate study or series id, unknown sequence or split, a patient in two splits, a study with no
            series, or no study at all.
    """
    out, root = Path(out).absolute(), Path(root).absolute()
    info_path = out / INFO_NAME
    if info_path.exists() and not overwrite:
        raise FileExistsError(f"{out} already has a studies table; give another folder, or say overwrite")
    out.mkdir(parents=True, exist_ok=True)
    skips = SkipLog() if skips is None else skips
    tally = _Tally(deidentifies=deidentifies)
    partial = out / f".{ARROW_NAME}.partial"
    try:
        _write_stream(partial, _stored_rows(rows, root, tally), tally.digest)
        if not tally.study_ids:
            raise ValueError(
                f"no usable study under {root}; skipped studies: {skips.counts('study') or 'none'}, "
                f"skipped series: {skips.counts('series') or 'none'}"
            )
        info = tally.info(out, root, skips)
        info_path.unlink(missing_ok=True)
        os.replace(partial, out / ARROW_NAME)
    finally:
        partial.unlink(missing_ok=True)
    skipped = "".join(f"{kind}\t{where}\t{reason}\n" for kind, where, reason in skips.items)
    (out / SKIPPED_NAME).write_text("kind\twhere\treason\n" + skipped, encoding="utf-8")
    repeated = "".join(f"{study}\t{first}\n" for study, first in tally.repeats)
    (out / REPEATED_NAME).write_text("study_id\tsame_report_as\n" + repeated, encoding="utf-8")
    write_json(info_path, info.__dict__)
    return info
