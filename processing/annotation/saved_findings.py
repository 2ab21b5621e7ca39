"""`selip annotate import`: what a reader saved from the pages, checked and written as gold findings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..findings import StructuredReport, is_normal, problems_of
from ..row_files import read_rows, write_rows
from ..rules.structurer import READERS, structure_report
from ..structurer import ReportText
from .config import AnnotateImportConfig, check_reader_code
from .gold import GoldReport, gold_row, patient_of, row_id, section_texts, weight_of

FORMAT = "selip-annotation"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ImportSummary:
    """What was read: reports with gold findings, and those that the reader had not marked as done."""

    out_file: Path
    reader: str
    reports: int
    findings: int
    unfinished: int

    def __str__(self) -> str:
        left = f"; {self.unfinished} reports not marked as done are left out" if self.unfinished else ""
        return f"{self.reports} reports with {self.findings} findings of reader {self.reader}{left}\n{self.out_file}"


def import_findings(config: AnnotateImportConfig) -> ImportSummary:
    """Check what a reader saved and write gold findings: rows that `read_gold` reads, with `reader` and `is_blind`.

    Raises:
        FileExistsError: The file is there and `overwrite` is off.
        FileNotFoundError: A saved file or the sample is not there.
        ValueError: A file was not saved from such a page, the files are of several readers, a report is not in the
            sample or occurs twice, or an entry does not follow the schema or quotes what the report does not say. The
            message names file, report and entry, and repeats no words of a report.
    """
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another file or say --overwrite")
    sample = {row_id(row, place): (place, row) for place, row in read_rows(config.sample)}
    rows: dict[str, dict[str, Any]] = {}
    readers: dict[str, str] = {}
    unfinished = n_findings = 0
    for path in config.saved:
        saved = read_saved(path)
        readers[saved["reader"]] = path.name
        for entry in saved["reports"]:
            name = row_id(entry, str(path)) if isinstance(entry, dict) else ""
            place = f"{path}, report {name}"
            if name not in sample:
                raise ValueError(f"{place}: expected a report of {config.sample}, which has no such id")
            if name in rows:
                raise ValueError(f"{place}: expected each report once, got it again")
            if not entry.get("done"):
                unfinished += 1
                continue
            gold = _gold(name, entry, *sample[name], place)
            n_findings += len(gold.report.findings)
            rows[name] = gold_row(gold, reader=saved["reader"], is_blind=bool(saved.get("blind")))
    if len(readers) > 1:
        raise ValueError(
            f"expected files of one reader, got readers {', '.join(sorted(readers))}; import each into a file of its "
            "own, then compare them with `selip annotate agree`"
        )
    if not rows:
        raise ValueError(f"expected at least one report that is marked as done, got none in {len(config.saved)} files")
    write_rows(rows.values(), config.out)
    return ImportSummary(config.out, next(iter(readers)), len(rows), n_findings, unfinished)


def read_saved(path: Path) -> dict[str, Any]:
    """What was saved from a page.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It was not saved from a page of this version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file saved from an annotation page, found none at {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error.msg}, line {error.lineno}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"expected a file saved from an annotation page, {path} is none")
    if content.get("format_version") != FORMAT_VERSION:
        found = content.get("format_version")
        raise ValueError(f"{path}: expected format_version {FORMAT_VERSION}, got {found}; export the pages again")
    try:
        check_reader_code(content.get("reader"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(content.get("reports"), list):
        raise ValueError(f"{path}: expected a list under 'reports'")
    return dict(content)


def _gold(name: str, entry: Mapping[str, Any], row_place: str, row: Mapping[str, Any], place: str) -> GoldReport:
    text = section_texts(row, row_place)
    content = entry.get("report")
    if not isinstance(content, dict):
        raise ValueError(f"{place}: expected an object under 'report'")
    try:
        report = StructuredReport.model_validate({**content, "impression": _impression(text)})
    except ValidationError as error:
        raise ValueError(f"{place}: {problems_of(error)}") from None
    gold = GoldReport(name, text, report, patient_of(row, name), weight_of(row, row_place))
    for number, finding in enumerate(report.findings, start=1):
        if finding.quote and finding.quote not in gold.whole_text:
            raise ValueError(f"{place}, finding {number} ({finding.finding}): expected a quote that is in the report")
    if report.normal != is_normal(report.findings):
        raise ValueError(
            f"{place}: expected normal to be {is_normal(report.findings)} by its findings, got {report.normal}"
        )
    return gold


def _impression(text: ReportText) -> list[str]:
    """Sentences of the impression, as any structurer is asked for them."""
    if text.language in READERS:
        return structure_report("", text.impression, text.language).impression
    return [text.impression] if text.impression.strip() else []
