"""Gold findings in files: one JSON object a line, one line a report.

Two forms are read. In the form that is written, sections and findings stand apart:

    {"id", "patient_id", "language", "findings": "text of the section", "impression": "text of the section",
     "report": StructuredReport, "reader", ...}

The form of the annotation guide has one text, whose last part is the impression, and the entries themselves:

    {"id", "language", "text", "normal", "findings": [Finding], "impression": ["sentence", ...], "source"}
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..findings import StructuredReport, problems_of
from ..row_files import read_rows
from ..structurer import ReportText

_GUIDE_ONLY = ("source_span",)  # computed from the quote; no part of the schema


@dataclass(frozen=True)
class GoldReport:
    """A report and the findings that are taken as true.

    `patient_id` is the report's own id where the patient is not known: then reports count as independent. `weight`:
    how many reports of a corpus it stands for, from `selip annotate sample`; 1 where all were read.
    """

    id: str
    text: ReportText
    report: StructuredReport
    patient_id: str
    weight: float = 1.0

    @property
    def whole_text(self) -> str:
        """Both sections with a line feed between them; in it quotes are looked for."""
        return whole_text(self.text)


def whole_text(text: ReportText) -> str:
    """Both sections of a report with a line feed between them."""
    return f"{text.findings}\n{text.impression}"


def read_gold(path: Path) -> list[GoldReport]:
    """Read gold findings, either form.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A row lacks a part, does not follow the schema, or has the id of another one; there is no row.
    """
    reports: dict[str, GoldReport] = {}
    for place, row in read_rows(path):
        gold = _gold_report(row, place)
        if gold.id in reports:
            raise ValueError(f"{place}: expected each id once, got {gold.id!r} again")
        reports[gold.id] = gold
    if not reports:
        raise ValueError(f"expected at least one report with findings in {path}, got none")
    return list(reports.values())


def gold_row(gold: GoldReport, **more: Any) -> dict[str, Any]:
    """The row that `read_gold` reads back, with more columns at its end."""
    return {
        "id": gold.id,
        "patient_id": gold.patient_id,
        "language": gold.text.language,
        "findings": gold.text.findings,
        "impression": gold.text.impression,
        "text": gold.whole_text,
        "report": gold.report.model_dump(mode="json"),
        "weight": gold.weight,
        **more,
    }


def section_texts(row: Mapping[str, Any], place: str) -> ReportText:
    """The sections of a row of either form.

    Raises:
        ValueError: The row has no text or no language, or its text does not end in its impression.
    """
    language = row.get("language")
    if not isinstance(language, str) or not language:
        raise ValueError(f"{place}: expected the language of the report (en, zh) under 'language'")
    if isinstance(row.get("findings"), list):
        text, impression = row.get("text"), row.get("impression", [])
        if not isinstance(text, str) or not isinstance(impression, list):
            raise ValueError(f"{place}: expected 'text' and a list 'impression' beside a list of findings")
        return ReportText(*_split_text(text, impression, place), language)
    findings, impression = row.get("findings") or "", row.get("impression") or ""
    if not isinstance(findings, str) or not isinstance(impression, str) or not (findings + impression).strip():
        raise ValueError(f"{place}: expected the text of the report under 'findings' and 'impression'")
    return ReportText(findings, impression, language)


def row_id(row: Mapping[str, Any], place: str) -> str:
    """The id of a row, as text.

    Raises:
        ValueError: It has none.
    """
    found = row.get("id", row.get("study_id"))
    if found is None or isinstance(found, dict | list | bool) or not str(found):
        raise ValueError(f"{place}: expected the id of the report under 'id' or 'study_id', got none")
    return str(found)


def patient_of(row: Mapping[str, Any], name: str) -> str:
    """The patient of a row, as text; the report's own id where it is not known."""
    return str(row.get("patient_id") or name)


def weight_of(row: Mapping[str, Any], place: str) -> float:
    """How many reports a row stands for; 1 where it does not say.

    Raises:
        ValueError: It is no number above 0.
    """
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
        raise ValueError(f"{place}: expected a number above 0 under 'weight'")
    return float(weight)


def structured_report(row: Mapping[str, Any], place: str) -> StructuredReport:
    """The findings of a row: under `report` (an object, or its JSON as text), or as entries of the row itself.

    Raises:
        ValueError: They do not follow the schema; the message names entry and field, and repeats no words of a report.
    """
    content = row.get("report")
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except json.JSONDecodeError:
            raise ValueError(f"{place}: 'report' is not JSON") from None
    if content is None and isinstance(row.get("findings"), list):
        content = {name: row[name] for name in ("normal", "findings", "impression") if name in row}
    if not isinstance(content, dict):
        raise ValueError(f"{place}: expected a structured report under 'report', or entries under 'findings'")
    entries = content.get("findings", [])
    if isinstance(entries, list):
        content = {**content, "findings": [_without(entry, _GUIDE_ONLY) for entry in entries]}
    try:
        return StructuredReport.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{place}: {problems_of(error)}") from None


def _gold_report(row: Mapping[str, Any], place: str) -> GoldReport:
    name = row_id(row, place)
    place = f"{place} (report {name})"
    text, report = section_texts(row, place), structured_report(row, place)
    return GoldReport(name, text, report, patient_of(row, name), weight_of(row, place))


def _split_text(text: str, impression: list[Any], place: str) -> tuple[str, str]:
    """Cut a text at the line feed after which only the impression follows (list numbers aside)."""
    wanted = _letters("".join(map(str, impression)))
    for position in (number for number, letter in enumerate(text) if letter == "\n"):
        if _letters(text[position + 1 :]) == wanted:
            return text[:position], text[position + 1 :]
    if not wanted:
        return text, ""
    raise ValueError(f"{place}: expected a text that ends in a line feed and the sentences under 'impression'")


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text))


def _without(entry: Any, names: tuple[str, ...]) -> Any:
    return {name: value for name, value in entry.items() if name not in names} if isinstance(entry, dict) else entry
