"""Agreement of readers is the same from either side, 1 with oneself, and kappa is that of scikit-learn."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from selip.model_cards.pages.annotation_page import export_pages
from selip.processing.annotation.config import AnnotateAgreeConfig, AnnotateExportConfig
from selip.processing.annotation.gold import GoldReport, gold_row, read_gold
from selip.processing.findings import Finding, StructuredReport, is_normal
from selip.processing.row_files import write_rows
from selip.processing.structurer import ReportText
from selip.readers import compare_readers
from selip.training.evaluation.reader_agreement import KAPPA_FIELDS, cohen_kappa, compare


def finding(term: str = "mass", site: str = "temporal lobe", side: str = "left", **fields: Any) -> Finding:
    return Finding.model_validate({"finding": term, "site": site, "laterality": side, **fields})


def gold(name: str, *findings: Finding, text: str = "A mass.") -> GoldReport:
    report = StructuredReport(normal=is_normal(list(findings)), findings=list(findings))
    return GoldReport(name, ReportText(text, "<b>x</b>", "en"), report, name)


FIRST = [
    gold("a", finding(severity="mild", count=1), finding("edema", certainty="absent")),
    gold("b", finding(site="hippocampus", acuity="acute"), finding("cyst", severity="severe")),
    gold("c", finding("normal", "brain", "none")),
    gold("d", finding("lacune", severity="mild"), finding("lacune", "pons", "none")),
]
SECOND = [
    gold("a", finding(severity="severe", count=1), finding("edema", certainty="absent")),
    gold("b", finding(acuity="acute"), finding("cyst", severity="severe")),
    gold("c", finding("cyst", "pons", "none")),
    gold("d", finding("lacune", severity="mild"), finding("lacune", "thalamus", "none")),
]


def agreement(first: list[GoldReport], second: list[GoldReport]) -> Any:
    return compare(first, second, bootstrap_samples=200, seed=0)


def test_readers_can_be_exchanged() -> None:
    """Every score and interval is the same from either side, also where one reader is more precise about the site."""
    one, other = agreement(FIRST, SECOND), agreement(SECOND, FIRST)
    assert one.metrics.keys() == other.metrics.keys()
    for name, value in one.metrics.items():
        if not name.endswith(("n_gold", "n_predicted")):
            assert value == pytest.approx(other.metrics[name], nan_ok=True), name
    assert one.intervals.keys() == other.intervals.keys()
    for name, ends in one.intervals.items():
        assert ends == pytest.approx(other.intervals[name], nan_ok=True), name
    # 2 + 1 + 0 + 1 pairs both ways; the mass of report b matches in the direction hippocampus to temporal lobe only
    assert one.metrics["finding/f1"] == pytest.approx(2 * 4.5 / 14)


def test_reader_agrees_with_oneself() -> None:
    """F1 and each kappa that is defined are 1, and there is nothing to adjudicate."""
    found = agreement(FIRST, FIRST)
    assert found.metrics["finding/f1"] == 1.0
    kappas = [found.metrics[f"{name}/kappa"] for name in ("normal", *KAPPA_FIELDS)]
    assert {value for value in kappas if not np.isnan(value)} == {1.0}
    assert np.isnan(found.metrics["change/kappa"])  # nobody states a change: there is nothing to agree on
    assert all(one.is_agreed for one in found.reports)


def test_kappa_of_a_field_is_that_of_its_pairs() -> None:
    """Severity over pairs that match both ways is the kappa of these values."""
    pairs = [("mild", "severe"), ("none", "none"), ("severe", "severe"), ("mild", "mild")]  # a, a, b, d
    pairs = [pair for pair in pairs for _ in range(2)] + [("none", "none")]  # b's mass: one direction
    expected = cohen_kappa_score(*zip(*pairs, strict=True))
    assert agreement(FIRST, SECOND).metrics["severity/kappa"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    """Cohen's kappa of random ratings, several matrices at once, weights included."""
    generator = np.random.default_rng(seed)
    ratings = generator.integers(0, 3, (4, 30, 2))
    confusion = np.zeros((4, 3, 3))
    for number, pairs in enumerate(ratings):
        np.add.at(confusion[number], (pairs[:, 0], pairs[:, 1]), 0.5)
    expected = [cohen_kappa_score(pairs[:, 0], pairs[:, 1]) for pairs in ratings]
    assert cohen_kappa(confusion) == pytest.approx(expected)
    assert np.isnan(cohen_kappa(np.diag([5.0, 0.0])))
    assert np.isnan(cohen_kappa(np.zeros((2, 2))))


def test_terms_are_counted_for_both_readers() -> None:
    """Each finding of either reader is in the table once, and matched ones are in both."""
    rows = {row["term"]: row for row in agreement(FIRST, SECOND).by_term}
    assert (rows["lacune"]["first"], rows["lacune"]["second"], rows["lacune"]["both"]) == (2, 2, 1)
    assert (rows["cyst"]["first"], rows["cyst"]["second"], rows["cyst"]["f1"]) == (1, 2, pytest.approx(2 / 3))
    assert sum(row["first"] for row in rows.values()) == sum(len(one.report.findings) for one in FIRST)


def test_other_texts_and_other_reports_are_refused() -> None:
    """Reports of one reader only are left out; none in common, or a changed text, is an error."""
    assert [one.first.id for one in agreement(FIRST[:3], SECOND[1:]).reports] == ["b", "c"]
    with pytest.raises(ValueError, match="no id is in both"):
        agreement(FIRST[:1], SECOND[1:])
    with pytest.raises(ValueError, match="report a"):
        agreement(FIRST, [replace(SECOND[0], text=ReportText("B", "", "en"))])


def test_adjudication_list_can_be_exported_again(tmp_path: Path) -> None:
    """Result, list, agreed reports and page: the list makes pages that start from the first reader's findings."""
    for name, reports in (("R1", FIRST), ("R2", [*SECOND[:3], gold("d", *FIRST[3].report.findings)])):
        write_rows([gold_row(one) for one in reports], tmp_path / f"{name}.jsonl")
    config = AnnotateAgreeConfig(tmp_path / "R1.jsonl", tmp_path / "R2.jsonl", tmp_path / "agree.json")
    record = compare_readers(config)
    stored = json.loads((tmp_path / "agree.json").read_text(encoding="utf-8"))
    assert stored["n"] == {"patients": 4, "studies": 4, "studies_that_differ": 3}
    assert stored["readers"] == ["R1", "R2"]
    assert stored["metrics"]["finding/f1"] == pytest.approx(record["metrics"]["finding/f1"])
    assert [one.id for one in read_gold(tmp_path / "agree.agreed.jsonl")] == ["d"]
    listed = tmp_path / "agree.adjudicate.jsonl"
    assert {one.id: one.report for one in read_gold(listed)} == {one.id: one.report for one in FIRST[:3]}
    assert export_pages(AnnotateExportConfig(listed, tmp_path / "pages")).prefilled == 3
    page = (tmp_path / "agree.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page
    assert "One reader calls this report normal." in page
    with pytest.raises(FileExistsError, match="overwrite"):
        compare_readers(config)
