"""A page that shows reports with two sets of findings side by side: gold and predicted, or of two readers.

One HTML file that needs no other file and no network. It holds the texts of the reports.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selip.processing.findings import Finding

from ..tables.structuring import TextTable
from ..templates import render
from .highlighted_text import Span, highlighted, locate_quotes

# Kinds of rows, the most serious first; a stretch of text shows the most serious of its findings.
KINDS = ("first_only", "second_only", "taken", "differs", "same")
_SHOWN = (
    *("finding", "site", "laterality", "certainty"),
    *("signals", "morphology", "count", "size_mm", "severity", "acuity", "change"),
)
_UNSTATED = {
    "laterality": "no side",
    "signals": "no signal",
    "morphology": "no shape",
    "count": "no count",
    "size_mm": "no size",
    "severity": "no severity",
    "acuity": "no acuity",
    "change": "no change",
}


@dataclass(frozen=True)
class ComparedReport:
    """A report and two sets of its findings.

    Attributes:
        id: Of the report.
        language: en or zh.
        findings_text: Text of the findings section.
        impression_text: Text of the impression section.
        first: Findings that are compared with, e.g. gold.
        second: Findings that are compared, e.g. predicted.
        pairs: Positions of those that match.
        taken: Positions of a first and a second that were taken for each other, and what differs.
        note: What else is to be said, e.g. that there is no valid prediction.
    """

    id: str
    language: str
    findings_text: str
    impression_text: str
    first: Sequence[Finding]
    second: Sequence[Finding]
    pairs: Sequence[tuple[int, int]]
    taken: Mapping[tuple[int, int], str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class ReportPage:
    """What a page shows.

    Attributes:
        title: Heading.
        lead: A sentence or two on what is compared.
        first_name: Name of the first set of findings, e.g. "gold".
        second_name: Name of the second.
        headline: Pairs of a number and what it is.
        tables: Tables of scores.
        long_tables: Tables that are folded away.
        reports: In the order in which they are shown.
        left_out: Number of reports that are not on the page.
    """

    title: str
    lead: str
    first_name: str
    second_name: str
    headline: Sequence[tuple[str, str]]
    tables: Sequence[TextTable]
    long_tables: Sequence[TextTable]
    reports: Sequence[ComparedReport]
    left_out: int = 0


def write_report_page(page: ReportPage, path: Path) -> Path:
    """Write the page, atomically; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    context = {"page": page, "reports": [report_context(report) for report in page.reports]}
    partial.write_text(render("pages/report_page.html.jinja", context), encoding="utf-8")
    os.replace(partial, path)
    return path


def report_context(report: ComparedReport) -> dict[str, Any]:
    """What the template shows of one report: rows of findings, numbered, and the text in marked pieces."""
    rows = [{"number": n, **row} for n, row in enumerate(_rows(report), start=1)]
    text = f"{report.findings_text}\n{report.impression_text}"
    spans = []
    for side, findings in (("first_index", report.first), ("second_index", report.second)):
        places = locate_quotes(text, [finding.quote for finding in findings])
        for row in rows:
            index = row[side]
            place = places[index] if index is not None else None
            if place is not None:
                spans.append(Span(place[0], place[1], row["number"], row["kind"]))
    cut = len(report.findings_text)
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS}
    return {
        "id": report.id,
        "language": report.language,
        "note": report.note,
        "rows": rows,
        "counts": counts,
        "first_count": len(report.first),
        "second_count": len(report.second),
        "sections": [
            {"name": "Findings", "pieces": highlighted(text, spans, KINDS, 0, cut)},
            {"name": "Impression", "pieces": highlighted(text, spans, KINDS, cut + 1, len(text))},
        ],
    }


def _rows(report: ComparedReport) -> Iterable[dict[str, Any]]:
    """A row for each couple and each finding that is alone, in the order of the first set."""
    partner = {first: (second, "") for first, second in report.pairs}
    partner |= {first: (second, cause) for (first, second), cause in report.taken.items()}
    for index, finding in enumerate(report.first):
        if index not in partner:
            yield _row("first_only", finding, None, index, None)
            continue
        other, cause = partner[index]
        kind = "taken" if cause else "same"
        row = _row(kind, finding, report.second[other], index, other, cause)
        if kind == "same" and any(cell["is_different"] for cell in row["first"]):
            row["kind"] = "differs"
        yield row
    coupled = {other for other, _ in partner.values()}
    for index, finding in enumerate(report.second):
        if index not in coupled:
            yield _row("second_only", None, finding, None, index)


def _row(
    kind: str,
    first: Finding | None,
    second: Finding | None,
    first_index: int | None,
    second_index: int | None,
    cause: str = "",
) -> dict[str, Any]:
    words = [None if finding is None else _words(finding) for finding in (first, second)]
    different = {name for name in _SHOWN if None not in words and words[0][name] != words[1][name]}  # type: ignore[index]
    cells = [
        None
        if said is None
        else [
            {"name": name, "text": text or _UNSTATED[name], "is_different": name in different}
            for name, text in said.items()
            if text or name in different
        ]
        for said in words
    ]
    return {
        "kind": kind,
        "cause": cause,
        "first": cells[0],
        "second": cells[1],
        "first_index": first_index,
        "second_index": second_index,
    }


def _words(finding: Finding) -> dict[str, str]:
    """The fields of a finding as shown, "" for what it does not state."""
    stated = {name: str(getattr(finding, name)) for name in _SHOWN}
    stated |= {name: "" for name, value in stated.items() if value in ("none", "None")}
    stated["signals"] = ", ".join(f"{signal.sequence} {signal.signal}" for signal in finding.signals)
    stated["morphology"] = ", ".join(sorted(finding.morphology))
    stated["count"] = f"count {finding.count}" if finding.count != "none" else ""
    stated["size_mm"] = f"{finding.size_mm:g} mm" if finding.size_mm is not None else ""
    return stated
