"""Files of reports with findings: pseudo reports that are written out, and a group's corrected reports that are read.

One row a report: id, language, findings and impression (the text of the sections), report (a `StructuredReport`).
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from selip.processing.findings import StructuredReport
from selip.processing.structurer import ReportText

from .config import PseudoReportsConfig
from .pseudo_reports import LabelledReport, iter_pseudo_reports

COLUMNS = ("id", "language", "findings", "impression", "report")


@dataclass(frozen=True)
class PseudoReportsSummary:
    """What `write_pseudo_reports` wrote."""

    out: Path
    reports: int
    findings: int


def write_pseudo_reports(config: PseudoReportsConfig) -> PseudoReportsSummary:
    """Write pseudo reports with their findings, atomically. A Parquet file has the report as JSON text.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
    """
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another file or pass --overwrite")
    made = iter_pseudo_reports(config.reports, seed=config.seed, language=config.language, writer=config.writer)
    reports = list(tqdm(made, total=config.reports, desc="pseudo reports", unit="report", disable=None))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    partial = config.out.with_name(f".{config.out.name}.{os.getpid()}.partial")
    try:
        if config.out.suffix == ".parquet":
            rows = [{**_row(report), "report": report.target.model_dump_json()} for report in reports]
            pq.write_table(pa.Table.from_pylist(rows), partial)
        else:
            with partial.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(_row(report), ensure_ascii=False) + "\n" for report in reports)
        os.replace(partial, config.out)
    finally:
        partial.unlink(missing_ok=True)
    return PseudoReportsSummary(config.out, len(reports), sum(len(report.target.findings) for report in reports))


def _row(report: LabelledReport) -> dict[str, Any]:
    return {
        "id": report.id,
        "language": report.text.language,
        "findings": report.text.findings,
        "impression": report.text.impression,
        "report": report.target.model_dump(mode="json"),
    }


def read_report_files(paths: Sequence[Path]) -> list[LabelledReport]:
    """Reports with findings from .jsonl or .parquet files, in order.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a column is missing, an id occurs twice, or a report does not follow the schema (names file and
            row, never what it says).
    """
    reports = [_read_row(row, path, number) for path in paths for number, row in _rows(path)]
    seen: set[str] = set()
    for report in reports:
        if report.id in seen:
            raise ValueError(f"expected each report once, got the id {report.id!r} twice in {_names(paths)}")
        seen.add(report.id)
    return reports


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of reports with findings, found none at {path}")
    if path.suffix == ".parquet":
        yield from enumerate(pq.read_table(path).to_pylist(), start=1)
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError:
                    raise ValueError(f"row {number} of {path} is not JSON") from None


def _read_row(row: Any, path: Path, number: int) -> LabelledReport:
    missing = [name for name in COLUMNS if not isinstance(row, dict) or row.get(name) is None]
    if missing:
        raise ValueError(f"expected {', '.join(COLUMNS)} in row {number} of {path}, {', '.join(missing)} missing")
    try:
        if isinstance(row["report"], str):
            target = StructuredReport.model_validate_json(row["report"])
        else:
            target = StructuredReport.model_validate(row["report"])
    except ValueError as error:
        raise ValueError(f"report in row {number} of {path} does not follow the schema: {error}") from None
    return LabelledReport(str(row["id"]), ReportText(row["findings"], row["impression"], row["language"]), target)


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths)
