"""The page of reports: nothing of a report is read as HTML, and every finding is where it belongs."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from selip.judge import judge_structurer
from selip.model_cards.pages.highlighted_text import Span, highlighted, locate_quotes
from selip.model_cards.pages.report_page import ComparedReport, report_context
from selip.model_cards.tables.structuring import field_table, finding_table
from selip.processing.annotation.gold import GoldReport, gold_row
from selip.processing.findings import Finding, StructuredReport, is_normal
from selip.processing.row_files import write_rows
from selip.processing.structurer import ReportText
from selip.training.evaluation.structuring_config import StructuringEvaluateConfig

HOSTILE = '</span></p><script>hacked()</script><img src=x onerror="hacked()"> {{ 7 * 7 }} <!-- &amp; \' "'


class Tags(HTMLParser):
    """Elements of a page, that they close, and the text of each report."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def finding(term: str, site: str, quote: str = "", **fields: Any) -> Finding:
    return Finding.model_validate({"finding": term, "site": site, "quote": quote, **fields})


def test_hostile_reports_stay_text(tmp_path: Path) -> None:
    """Ids, texts, quotes and structurer names with markup are shown as they are; the page fetches and runs nothing."""
    text = f"Mass in the pons {HOSTILE}. No edema."
    gold = [finding("mass", "pons", f"pons {HOSTILE}"), finding("cyst", "pons", HOSTILE)]
    report = StructuredReport(normal=is_normal(gold), findings=gold)
    row = gold_row(GoldReport(HOSTILE, ReportText(text, HOSTILE, "en"), report, "p"))
    write_rows([row], tmp_path / "gold.jsonl")
    made = {"id": HOSTILE, "structurer": HOSTILE, "version": HOSTILE, "report": report.model_dump()}
    write_rows([made], tmp_path / "made.jsonl")
    page = tmp_path / "page.html"
    judge_structurer(
        StructuringEvaluateConfig(
            str(tmp_path / "made.jsonl"), tmp_path / "gold.jsonl", "structuring", out=tmp_path / "r.json", html=page
        )
    )
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    assert tags.open == []
    assert not tags.seen & {"script", "img", "iframe", "link", "object"}
    assert all(link.startswith("#report-") for link in tags.links)
    assert "Mass in the pons" in tags.text
    assert tags.text.count(HOSTILE) >= 4  # heading, list, title, impression
    with pytest.raises(FileExistsError, match="page"):
        judge_structurer(StructuringEvaluateConfig("rules", tmp_path / "gold.jsonl", "structuring", html=page))


def test_rows_are_matched_taken_or_alone() -> None:
    """Every finding of both sides is in one row, of the kind that the pairs say; fields that differ are marked."""
    first = [finding("mass", "pons", "mass"), finding("cyst", "pons", "cyst"), finding("edema", "pons")]
    second = [
        finding("glioma", "pons", "mass"),
        finding("cyst", "pons", "cyst", size_mm=4),
        finding("lacune", "pons"),
    ]
    report = ComparedReport("r", "en", "A mass. A cyst.", "", first, second, [(1, 1)], {(0, 0): "other term"})
    rows = report_context(report)["rows"]
    assert [(row["kind"], row["first_index"], row["second_index"]) for row in rows] == [
        ("taken", 0, 0),
        ("differs", 1, 1),
        ("first_only", 2, None),
        ("second_only", None, 2),
    ]
    different = {cell["name"]: cell["text"] for cell in rows[1]["first"] if cell["is_different"]}
    assert different == {"size_mm": "no size"}
    same = ComparedReport("r", "en", "", "", first, first, [(0, 0), (1, 1), (2, 2)])
    assert {row["kind"] for row in report_context(same)["rows"]} == {"same"}


def test_pieces_are_the_text() -> None:
    """Pieces join to the section, overlapping spans show the most serious kind, numbers stand at the ends."""
    text = "abcdefghij\nklm"
    spans = [Span(0, 6, 1, "same"), Span(4, 8, 2, "first_only"), Span(9, 13, 3, "same")]
    kinds = ("first_only", "same")
    pieces = highlighted(text, spans, kinds, 0, 10)
    assert "".join(piece["text"] for piece in pieces) == text[:10]
    assert [(piece["text"], piece["kind"], piece["numbers"]) for piece in pieces] == [
        ("abcd", "same", []),
        ("ef", "first_only", [1]),
        ("gh", "first_only", [2]),
        ("i", "", []),
        ("j", "same", [3]),
    ]
    assert "".join(piece["text"] for piece in highlighted(text, spans, kinds, 11, 14)) == "klm"
    assert highlighted("", [], kinds, 0, 0) == []


def test_repeated_quotes_are_found_in_order() -> None:
    """The second quote of the same words is not put before the first; what is not in the text has no place."""
    text = "cyst left, cyst right"
    assert locate_quotes(text, ["left", "cyst", "absent", ""]) == [(5, 9), (11, 15), None, None]
    assert locate_quotes(text, ["right", "left"]) == [(16, 21), (5, 9)]


def test_tables_hold_the_numbers_of_the_result(tmp_path: Path) -> None:
    """Each cell is its metric in percent with its interval; what has no cases has no number."""
    gold = [finding("mass", "pons", "mass")]
    report = StructuredReport(normal=False, findings=gold)
    rows = [gold_row(GoldReport(f"r{n}", ReportText("A mass.", "", "en"), report, f"p{n}")) for n in range(4)]
    write_rows(rows, tmp_path / "gold.jsonl")
    write_rows(rows[:3], tmp_path / "made.jsonl")
    out = tmp_path / "r.json"
    made = str(tmp_path / "made.jsonl")
    judge_structurer(StructuringEvaluateConfig(made, tmp_path / "gold.jsonl", "structuring", out=out))
    record = json.loads(out.read_text(encoding="utf-8"))
    low, high = (100 * end for end in record["intervals"]["finding/recall"])
    table = {row[0]: row[1:] for row in finding_table(record).rows}
    assert table["all findings"][2:] == (f"75.0 ({low:.1f} to {high:.1f})", "4", "3")
    assert table["absent"] == ("-", "-", "-", "0", "0")
    fields = {row[0]: row[1:] for row in field_table(record).rows}
    assert fields["severity"] == ("100.0 (100.0 to 100.0)", "3", "-", "0")
