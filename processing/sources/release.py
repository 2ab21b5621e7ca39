"""A studies table in the form that may leave the house: Parquet shards without free text in headers, and without words
of reports unless they are asked for.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from selip.processing.deidentification import deidentify
from selip.processing.findings import StructuredReport, read_report
from selip.processing.findings_table import write_findings

from .nifti_header import free_text_fields, without_free_text
from .parquet import ExportInfo, write_export
from .splits import SPLITS
from .studies import FINDINGS_CONFIG, iter_studies

Texts = Literal["none", "findings", "reports"]
_TEXT_COLUMNS = ("study_id", "patient_id", "report", "labels", "reference_findings")


@dataclass
class Release:
    """What a release wrote.

    Attributes:
        export: Studies, shards and size.
        findings: Rows of the findings configuration.
        emptied: Header fields that held text and were emptied, in files by field.
        left_out: Findings that could not be read and were left out.
    """

    export: ExportInfo
    findings: int = 0
    emptied: Counter[str] = field(default_factory=Counter)
    left_out: int = 0


class _Written(NamedTuple):
    """Findings of a split: the file, its rows, and how many were left out as unreadable."""

    file: str
    rows: int
    left_out: int


def write_release(
    studies: Path, out: Path, *, findings: Path | None, texts: Texts, shard_bytes: int, clean_headers: bool
) -> Release:
    """Write the studies of a table, and its findings as a second configuration, into `out`.

    Args:
        studies: The studies table.
        out: Folder of the release.
        findings: Findings table; each split gets the rows of its studies.
        texts: What of the texts goes: nothing; structured findings without quotes and impressions; or all.
        shard_bytes: Size at which a shard is closed.
        clean_headers: Empty the free-text fields of NIfTI headers; otherwise they are left, for a check to find.

    Raises:
        FileNotFoundError: A volume file or the findings table is gone.
        ValueError: A volume is no NIfTI-1 file, or the findings are no table of these studies.
    """
    if findings is not None and not findings.is_file():
        raise FileNotFoundError(f"findings: expected a findings table (.parquet), found none at {findings}")
    emptied: Counter[str] = Counter()

    def changed(row: dict[str, Any]) -> dict[str, Any]:
        row = _with_texts(row, texts)
        return _with_clean_volumes(row, emptied) if clean_headers else row

    files = {} if findings is None else _write_findings(studies, findings, out, texts)
    configs = {FINDINGS_CONFIG: {split: entry.file for split, entry in files.items()}} if files else {}
    export = write_export(studies, out, shard_bytes=shard_bytes, change=changed, other_configs=configs)
    return Release(
        export,
        sum(entry.rows for entry in files.values()),
        emptied,
        sum(entry.left_out for entry in files.values()),
    )


def without_words(report: str) -> str:
    """JSON of a structured report without what is quoted from a text: quotes and impressions.

    Raises:
        ValueError: It does not follow the schema.
    """
    if not report:
        return ""
    read = read_report(report)
    findings = [finding.model_copy(update={"quote": ""}) for finding in read.findings]
    return StructuredReport(normal=read.normal, findings=findings, impression=[]).model_dump_json()


def _with_texts(row: dict[str, Any], texts: Texts) -> dict[str, Any]:
    if texts == "reports":
        return row
    reference = without_words(row["reference_findings"]) if texts == "findings" else ""
    return {**row, "report": {name: "" for name in row["report"]}, "reference_findings": reference}


def _with_clean_volumes(row: dict[str, Any], emptied: Counter[str]) -> dict[str, Any]:
    changed = dict(row)
    for column in ("series", "masks"):
        changed[column] = []
        for item in row[column]:
            content = item["volume"]["bytes"]
            try:
                emptied.update(free_text_fields(content))
                cleaned = without_free_text(content)
            except ValueError as error:
                raise ValueError(f"study {row['study_id']}: {item['volume']['path']}: {error}") from None
            changed[column].append({**item, "volume": {**item["volume"], "bytes": cleaned}})
    return changed


def _write_findings(studies: Path, findings: Path, out: Path, texts: Texts) -> dict[str, _Written]:
    """Write the findings of each split; returns what was written by split."""
    lacking = [name for name in ("study_id", "report") if name not in pq.read_schema(findings).names]
    if lacking:
        raise ValueError(
            f"findings: expected a findings table of `selip structure`, {findings} has no column {', '.join(lacking)}"
        )
    table = {row["study_id"]: row for row in pq.read_table(findings).to_pylist()}
    written = {}
    for split in SPLITS:
        rows, left_out = [], 0
        for study in _ids(studies, split):
            if study not in table:
                continue
            row = dict(table[study])
            try:
                row["report"] = row["report"] if texts == "reports" else without_words(row["report"])
            except ValueError:
                left_out += 1
                continue
            rows.append(row)
        if rows:
            name = f"{FINDINGS_CONFIG}/{split}.parquet"
            write_findings(rows, out / name)
            written[split] = _Written(name, len(rows), left_out)
    if not written:
        raise ValueError(f"expected findings of the studies in {studies}, {findings} has none of them")
    return written


def _ids(studies: Path, split: str) -> Iterator[str]:
    return (row["study_id"] for row in iter_studies(studies, split))


def header_text(folder: Path) -> Counter[str]:
    """Volumes of a release by the header field that still holds text; empty where none does."""
    found: Counter[str] = Counter()
    for row in _rows(folder, ("series", "masks")):
        for item in [*row["series"], *row["masks"]]:
            found.update(free_text_fields(item["volume"]["bytes"]))
    return found


def text_columns(folder: Path) -> Iterator[tuple[str, str]]:
    """Every text of a release with the column that it stands in: ids, file names, reports, findings."""
    for row in _rows(folder, (*_TEXT_COLUMNS, "series.list.element.series_id", "series.list.element.volume.path")):
        yield from (("report", text) for text in row["report"].values())
        yield from (("labels", text) for text in row["labels"])
        yield from ((name, row[name]) for name in ("study_id", "patient_id", "reference_findings"))
        for item in row["series"]:
            yield "series.series_id", item["series_id"]
            yield "series.volume.path", item["volume"]["path"] or ""
    for path in sorted((folder / FINDINGS_CONFIG).glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            yield from ((f"{FINDINGS_CONFIG}.{name}", str(value or "")) for name, value in row.items())


def personal_patterns(folder: Path) -> Counter[tuple[str, str]]:
    """What has the form of a person's data, counted by column and kind."""
    found: Counter[tuple[str, str]] = Counter()
    for column, text in text_columns(folder):
        found.update({(column, kind): count for kind, count in deidentify(text)[1].items()})
    return found


def has_words_of_reports(folder: Path) -> list[str]:
    """Columns of a release that hold words of reports."""
    found = set()
    for column, text in text_columns(folder):
        is_findings = column == "reference_findings" or column == f"{FINDINGS_CONFIG}.report"
        if (column == "report" and text.strip()) or (is_findings and text and without_words(text) != _canonical(text)):
            found.add(column)
    return sorted(found)


def _canonical(report: str) -> str:
    return read_report(report).model_dump_json()


def _rows(folder: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Rows of the shards, a row group of some 64 MB at a time."""
    for path in sorted((folder / "data").glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                table: pa.Table = file.read_row_group(number, columns=list(columns))
                yield from table.to_pylist()
