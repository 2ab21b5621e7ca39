"""`selip annotate export`: pages on which a reader corrects findings, each one HTML file without server or network."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from selip.processing import findings as schema
from selip.processing.annotation.config import READER_CODE, AnnotateExportConfig
from selip.processing.annotation.gold import row_id, section_texts, structured_report
from selip.processing.annotation.saved_findings import FORMAT, FORMAT_VERSION
from selip.processing.findings import StructuredReport
from selip.processing.row_files import read_rows
from selip.processing.structurer import ReportText, RuleStructurer
from selip.processing.vocabulary import LANGUAGES, load_lexicon, load_terms

from ..templates import render

# Fields with few values, in the order of the page.
_CHOICES = {
    "laterality": schema.Laterality,
    "certainty": schema.Certainty,
    "severity": schema.Severity,
    "acuity": schema.Acuity,
    "change": schema.Change,
    "sequence": schema.Sequence,
    "signal": schema.SignalWord,
}
_LIMITS = {
    "findings": schema.MAX_FINDINGS,
    "signals": schema.MAX_SIGNALS,
    "morphology": schema.MAX_MORPHOLOGY,
    "quote": schema.MAX_QUOTE_CHARACTERS,
    "count": schema.MAX_COUNT,
    "size_mm": schema.MAX_SIZE_MM,
}


@dataclass(frozen=True)
class ExportSummary:
    """Pages that were written."""

    pages: tuple[Path, ...]
    reports: int
    prefilled: int

    def __str__(self) -> str:
        start = f"{self.prefilled} start from findings" if self.prefilled else "all start from empty lists"
        lines = [f"{self.reports} reports on {len(self.pages)} pages, {start}", *map(str, self.pages)]
        return "\n".join(
            [*lines, "open a page in a browser; it works without a network and keeps what is typed there"]
        )


def export_pages(config: AnnotateExportConfig) -> ExportSummary:
    """Write the pages of a sample.

    Raises:
        FileExistsError: A page is there and `overwrite` is off.
        FileNotFoundError: The sample is not there.
        ValueError: A row cannot be read, or there is none.
    """
    rows = list(read_rows(config.sample))
    if not rows:
        raise ValueError(f"expected reports in {config.sample}, got none")
    batches = [rows[first : first + config.batch_size] for first in range(0, len(rows), config.batch_size)]
    pages = tuple(config.out / f"batch-{number:02d}.html" for number in range(1, len(batches) + 1))
    there = [path.name for path in pages if path.exists()]
    if there and not config.overwrite:
        raise FileExistsError(f"{config.out} has {', '.join(there)}; choose another folder or say --overwrite")
    fingerprint = hashlib.sha256(config.sample.read_bytes()).hexdigest()[:16]
    config.out.mkdir(parents=True, exist_ok=True)
    prefilled = 0
    for path, batch in zip(pages, batches, strict=True):
        reports = [_report(row, place, is_blind=config.blind) for place, row in batch]
        prefilled += sum(report["start"] is not None for report in reports)
        content = page_content(reports, batch=path.stem, sample=fingerprint, is_blind=config.blind)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(render("pages/annotation_page.html.jinja", {"content": content}), encoding="utf-8")
        os.replace(partial, path)
    return ExportSummary(pages, len(rows), prefilled)


def page_content(reports: Sequence[Mapping[str, Any]], *, batch: str, sample: str, is_blind: bool) -> dict[str, Any]:
    """What the script of a page works on: the reports, the vocabulary and the limits of the schema.

    Args:
        reports: id, language, findings, impression, and `start`: a structured report as an object, or None.
        batch: Name of the batch.
        sample: Fingerprint of the sample, so that work on another one is not taken up by mistake.
        is_blind: Whether the reader sees no findings at the start.
    """
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "batch": batch,
        "sample": sample,
        "blind": is_blind,
        "start": "empty" if is_blind else f"{RuleStructurer.name} {RuleStructurer.version}",
        "reader_code": f"^{READER_CODE}$",
        "reports": list(reports),
        "vocabulary": _vocabulary(),
        "limits": _LIMITS,
    }


def _report(row: Mapping[str, Any], place: str, *, is_blind: bool) -> dict[str, Any]:
    text = section_texts(row, place)
    start = None if is_blind else _start(row, text, place)
    return {
        "id": row_id(row, place),
        **text._asdict(),
        "start": None if start is None else start.model_dump(mode="json", exclude={"impression"}),
    }


def _start(row: Mapping[str, Any], text: ReportText, place: str) -> StructuredReport | None:
    """The findings that a reader corrects: those that the row brings along, else those of the rules."""
    if "report" in row:
        return structured_report(row, place)
    found = RuleStructurer()([text])[0]
    return None if isinstance(found, str) else found


def _vocabulary() -> dict[str, Any]:
    terms = load_terms()
    return {
        "findings": [
            {
                "term": name,
                "names": _names("findings", name),
                "site": term.default_site,
                "status": term.kind == "status",
            }
            for name, term in terms.findings.items()
        ],
        "sites": [
            {"term": name, "names": _names("sites", name), "depth": sum(1 for _ in _ancestors(name))}
            for name in _tree_order()
        ],
        "morphology": [{"term": name, "names": _names("morphology", name)} for name in terms.morphology],
        **{name: list(get_args(words)) for name, words in _CHOICES.items()},
    }


def _names(group: str, term: str) -> dict[str, str]:
    """Name of a term in each language that has one of its own."""
    names = {language: load_lexicon(language).names.get(group, {}).get(term, term) for language in LANGUAGES}
    return {language: name for language, name in names.items() if name != term}


def _ancestors(site: str) -> Iterator[str]:
    parent = load_terms().sites[site].parent
    while parent is not None:
        yield parent
        parent = load_terms().sites[parent].parent


def _tree_order() -> list[str]:
    """Sites with what lies below them right after them."""
    sites = load_terms().sites
    order: list[str] = []

    def add(parent: str | None) -> None:
        for name, site in sites.items():
            if site.parent == parent:
                order.append(name)
                add(name)

    add(None)
    return order
