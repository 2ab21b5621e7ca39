"""Files of reports with findings: pseudo reports that are written out, and a group's corrected reports that are read.

One row a report: id, language, findings and impression (the text of the sections), report (a `StructuredReport`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from selip.processing.annotation.gold import read_gold
from selip.processing.atomic_files import replacing
from selip.processing.row_files import write_rows

from .config import PseudoReportsConfig
from .pseudo_reports import LabelledReport, iter_pseudo_reports


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
    if config.out.suffix == ".parquet":
        rows = [{**_row(report), "report": report.target.model_dump_json()} for report in reports]
        with replacing(config.out) as partial:
            pq.write_table(pa.Table.from_pylist(rows), partial)
    else:
        write_rows(map(_row, reports), config.out)
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
    """Reports with findings, in order, from files as `read_gold` takes them.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a row lacks a part or does not follow the schema, or an id occurs twice (names file and row, never
            what it says).
    """
    reports = [LabelledReport(gold.id, gold.text, gold.report) for path in paths for gold in read_gold(path)]
    seen: set[str] = set()
    for report in reports:
        if report.id in seen:
            names = ", ".join(path.name for path in paths)
            raise ValueError(f"expected each report once, got the id {report.id!r} twice in {names}")
        seen.add(report.id)
    return reports
