"""Where report texts come from and where their findings go: a studies table, or a file of texts.

A studies table gives a findings table. A JSONL, CSV or Parquet file gives a file of the same kind with the findings
beside what it held: other columns, their order and the order of rows stay.
"""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from .atomic_files import replacing
from .deidentification import deidentify
from .findings import StructuredReport
from .findings_table import write_findings
from .reports import read_sections, report_language
from .row_files import ROW_FILES, read_rows
from .sources.studies import iter_studies
from .structurer import ReportText

_SECTIONS = ("findings", "impression")
_ADDED = ("report", "structurer", "version", "valid", "fallback")


class Outcome(NamedTuple):
    """What came of one report.

    Attributes:
        report: Its findings; None where there are none.
        structurer: What read them: name of the structurer.
        version: Of it.
        fallback: Why the findings are not from the structurer that was asked, or why there are none; else "".
    """

    report: StructuredReport | None
    structurer: str
    version: str
    fallback: str = ""

    def columns(self) -> dict[str, Any]:
        """The columns that it fills."""
        told = "" if self.report is None else self.report.model_dump_json()
        return dict(
            zip(_ADDED, (told, self.structurer, self.version, self.report is not None, self.fallback), strict=True)
        )


class Reports(Protocol):
    """Texts of reports in order, and how their findings are written."""

    @property
    def texts(self) -> Sequence[ReportText]:
        """The texts."""
        ...

    @property
    def removed(self) -> Counter[str]:
        """What was replaced in them, by kind."""
        ...

    def write(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """Write one outcome per text, atomically."""


def open_reports(path: Path, *, text_column: str, language: str, is_deidentified: bool = False) -> Reports:
    """The reports at a path.

    Args:
        path: Folder of a studies table, or a .jsonl, .csv or .parquet file of texts.
        text_column: Column with whole reports. A file without it may have `findings` and `impression` instead.
        language: en, zh, or auto: the column `language` of a file, else told by the script of each text.
        is_deidentified: Replace what looks like names, dates and numbers in the texts of a file, output too.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: Another kind of file, a broken row, no column with texts (the error says which there are), or a
            studies table whose texts are to be replaced.
    """
    if path.is_dir():
        if is_deidentified:
            raise ValueError("expected a file of texts with --deidentify; a studies table is made so by selip ingest")
        return StudyReports(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a studies table or a file of texts, found nothing at {path}")
    if path.suffix not in ROW_FILES:
        raise ValueError(f"expected a folder or a file that ends in {', '.join(ROW_FILES)}, got {path.name}")
    return TextFileReports(path, text_column, language, is_deidentified)


class StudyReports:
    """The reports of a studies table."""

    def __init__(self, path: Path):
        self.removed: Counter[str] = Counter()
        self.study_ids: list[str] = []
        self.texts: list[ReportText] = []
        for study in iter_studies(path):
            sections = study["report"] or {}
            findings, impression = (sections.get(name) or "" for name in _SECTIONS)
            self.study_ids.append(study["study_id"])
            self.texts.append(ReportText(findings, impression, study["language"]))

    def write(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """See `Reports`: the findings table."""
        pairs = zip(self.study_ids, outcomes, strict=True)
        write_findings(({"study_id": study_id, **outcome.columns()} for study_id, outcome in pairs), out)


class TextFileReports:
    """The reports of a JSONL, CSV or Parquet file."""

    def __init__(self, path: Path, text_column: str, language: str, is_deidentified: bool):
        self.path = path
        self.removed: Counter[str] = Counter()
        self._table = pq.read_table(path) if path.suffix == ".parquet" else None
        self.rows = self._table.to_pylist() if self._table is not None else [row for _, row in read_rows(path)]
        columns = list(self.rows[0]) if self.rows else [text_column]
        self._sections = text_column not in columns and _SECTIONS[0] in columns
        if text_column not in columns and not self._sections:
            raise ValueError(
                f"expected a column {text_column!r} with report texts in {path.name}, it has "
                f"{', '.join(map(str, columns))}; name one with --text-column"
            )
        taken = [name for name in _ADDED if name in columns]
        if taken:
            raise ValueError(f"the columns {', '.join(taken)} of {path.name} would be overwritten; rename them")
        self._columns = _SECTIONS if self._sections else (text_column,)
        for number, row in enumerate(self.rows, start=1):
            self._check(row, number)
            if is_deidentified:
                self._deidentify(row)
        self.texts = [self._text(row, language) for row in self.rows]

    def _check(self, row: Mapping[str, Any], number: int) -> None:
        for name in self._columns:
            if row.get(name) is not None and not isinstance(row[name], str):
                kind = type(row[name]).__name__
                raise ValueError(f"expected text in column {name} of row {number} of {self.path.name}, got {kind}")

    def _deidentify(self, row: dict[str, Any]) -> None:
        for name in self._columns:
            row[name], removed = deidentify(row.get(name) or "")
            self.removed += removed

    def _text(self, row: Mapping[str, Any], language: str) -> ReportText:
        values = [row.get(name) or "" for name in self._columns]
        sections = dict(zip(_SECTIONS, values, strict=True)) if self._sections else read_sections(values[0])
        findings, impression = (sections.get(name) or "" for name in _SECTIONS)
        if language == "auto":
            language = str(row.get("language") or report_language(findings + impression))
        return ReportText(findings, impression, language)

    def write(self, outcomes: Sequence[Outcome], out: Path) -> None:
        """See `Reports`: a file of the input's kind, whatever `out` is called.

        Raises:
            ValueError: `out` ends as another kind of file does.
        """
        if out.suffix != self.path.suffix:
            raise ValueError(f"expected an output that ends in {self.path.suffix} as the input does, got {out.name}")
        added = [outcome.columns() for outcome in outcomes]
        with replacing(out) as partial:
            if self._table is not None:
                table = self._table
                for name in self._columns if self.removed else ():
                    column = pa.array([row[name] for row in self.rows], type=pa.string())
                    table = table.set_column(table.column_names.index(name), name, column)
                for name in _ADDED:
                    table = table.append_column(name, pa.array([row[name] for row in added]))
                pq.write_table(table, partial)
                return
            rows = [{**row, **new} for row, new in zip(self.rows, added, strict=True)]
            _write_rows(rows, partial, out.suffix)


def _write_rows(rows: Sequence[Mapping[str, Any]], path: Path, kind: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind == ".csv":
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else list(_ADDED))
            writer.writeheader()
            writer.writerows(rows)
            return
        for row in rows:
            told = {**row, "report": json.loads(row["report"]) if row["report"] else None}
            file.write(json.dumps(told, ensure_ascii=False) + "\n")
