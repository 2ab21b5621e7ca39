"""`selip structure`: the reports of a studies table to a findings table."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .findings import StructuredReport
from .findings_table import write_findings
from .sources.config import StructureConfig
from .sources.studies import iter_studies
from .structurer import ReportText, RuleStructurer, Structurer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StructuringSummary:
    """What `structure_studies` did: rows written, and studies without findings by reason."""

    studies: int
    findings: int
    invalid: dict[str, int]
    out_file: Path


def structure_studies(config: StructureConfig) -> StructuringSummary:
    """Structure the reports of a studies table and write the findings table (Parquet), atomically.

    Columns: study_id, report (JSON of `StructuredReport`), structurer, version, valid. A study whose report is empty
    or in a language without rules gets a row with `valid` False and an empty report; the summary counts them by
    reason.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
    """
    out_file = Path(config.out)
    if out_file.exists() and not config.overwrite:
        raise FileExistsError(f"{out_file} exists; choose another file or say overwrite")
    structurer = RuleStructurer()
    rows: list[dict[str, Any]] = []
    invalid: Counter[str] = Counter()
    n_findings = 0
    for study in iter_studies(config.studies):
        result = _structure_study(study, structurer)
        if isinstance(result, str):
            invalid[result] += 1
        else:
            n_findings += len(result.findings)
        rows.append(
            {
                "study_id": study["study_id"],
                "report": "" if isinstance(result, str) else result.model_dump_json(),
                "structurer": structurer.name,
                "version": structurer.version,
                "valid": not isinstance(result, str),
            }
        )
    write_findings(rows, out_file)
    summary = StructuringSummary(len(rows), n_findings, dict(invalid), out_file)
    logger.info(
        "structured %d studies, %d findings, without findings by reason: %s", len(rows), n_findings, dict(invalid)
    )
    return summary


def _structure_study(study: Mapping[str, Any], structurer: Structurer) -> StructuredReport | str:
    sections = study["report"] or {}
    report = ReportText(sections.get("findings") or "", sections.get("impression") or "", study["language"])
    if not (report.findings + report.impression).strip():
        return "empty report"
    return structurer([report])[0]
