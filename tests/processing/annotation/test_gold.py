"""Gold findings survive their file in both forms, and what is wrong with a saved file is named by report and entry."""

import json
from pathlib import Path
from typing import Any

import pytest

from selip.processing.annotation.config import AnnotateImportConfig
from selip.processing.annotation.gold import GoldReport, gold_row, read_gold
from selip.processing.annotation.saved_findings import import_findings
from selip.processing.findings import StructuredReport
from selip.processing.row_files import write_rows
from selip.processing.structurer import ReportText

SECRET = "Mrs Testperson"
SAMPLE = [
    {
        "id": "a",
        "patient_id": "p",
        "language": "en",
        "findings": f"{SECRET}: cyst in the pons.",
        "impression": "1. Cyst.\n2. No mass.",
        "weight": 2.5,
    },
    {"id": "b", "language": "zh", "findings": "脑桥囊肿。", "impression": ""},
]
CYST = {"finding": "cyst", "site": "pons", "quote": "cyst in the pons"}


def saved(folder: Path, entries: list[dict[str, Any]], name: str = "batch-01-R1.json", **changes: Any) -> Path:
    content = {"format": "selip-annotation", "format_version": 1, "reader": "R1", "blind": False, "reports": entries}
    (folder / name).write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return folder / name


def entry(name: str = "a", *, done: bool = True, normal: bool = False, findings: Any = (CYST,)) -> dict[str, Any]:
    return {"id": name, "done": done, "comment": "", "report": {"normal": normal, "findings": list(findings)}}


def imported(folder: Path, *files: Path) -> Path:
    write_rows(SAMPLE, folder / "sample.jsonl")
    import_findings(AnnotateImportConfig(files, folder / "sample.jsonl", folder / "gold.jsonl"))
    return folder / "gold.jsonl"


def test_imported_findings_are_gold(tmp_path: Path) -> None:
    """Rows are those of the sample with the reader's findings; what is not done is left out; sentences are told."""
    file = saved(tmp_path, [entry(), entry("b", done=False)])
    path = imported(tmp_path, file)
    (gold,) = read_gold(path)
    assert (gold.id, gold.patient_id, gold.text) == ("a", "p", ReportText(*list(SAMPLE[0].values())[3:5], "en"))
    assert gold.report.findings[0].finding == "cyst"
    assert gold.report.impression == ["Cyst.", "No mass."]
    row = json.loads(path.read_text(encoding="utf-8"))
    assert (row["reader"], row["is_blind"], row["weight"]) == ("R1", False, 2.5)


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    """A report in the form of the annotation guide, written in the other form, is read back unchanged."""
    guide = {
        "id": "g",
        "language": "en",
        "text": "Cyst in the pons.\nAnother line.\n1. Cyst.\n2) No mass.",
        "normal": False,
        "findings": [{**CYST, "quote": "Cyst in the pons", "source_span": [0, 16]}],
        "impression": ["Cyst.", "No mass."],
    }
    write_rows(
        [guide, {**guide, "id": "h", "text": "Cyst in the pons.\n", "impression": []}], tmp_path / "guide.jsonl"
    )
    reports = read_gold(tmp_path / "guide.jsonl")
    assert reports[0].text == ("Cyst in the pons.\nAnother line.", "1. Cyst.\n2) No mass.", "en")
    assert reports[1].text == ("Cyst in the pons.", "", "en")
    assert [report.whole_text for report in reports] == [guide["text"], "Cyst in the pons.\n"]
    write_rows([gold_row(report) for report in reports], tmp_path / "own.jsonl")
    assert read_gold(tmp_path / "own.jsonl") == reports


def test_patient_is_the_report_where_it_is_not_known(tmp_path: Path) -> None:
    """Without a patient id reports count as independent."""
    gold = GoldReport("a", ReportText("A", "", "en"), StructuredReport(normal=True), "a")
    write_rows([{**gold_row(gold), "patient_id": None}], tmp_path / "gold.jsonl")
    assert read_gold(tmp_path / "gold.jsonl") == [gold]


@pytest.mark.parametrize(
    ("reports", "changes", "message"),
    [
        ([entry("c")], {}, "report c: expected a report of .*sample"),
        ([entry(), entry()], {}, "report a: expected each report once"),
        ([entry(findings=[{**CYST, "site": "ponz"}])], {}, "report a: finding 1 site: .*pons"),
        ([entry(findings=[CYST, {**CYST, "size_mm": -1}])], {}, "report a: finding 2 size_mm"),
        ([entry(findings=[{**CYST, "quote": SECRET + "s"}])], {}, r"report a, finding 1 \(cyst\): expected a quote"),
        ([entry(findings=[{**CYST, SECRET: 1}])], {}, "report a: finding 1: a key that"),
        ([entry(findings=[])], {}, "report a: expected normal to be True"),
        ([entry(normal=True)], {}, "report a: expected no abnormal finding"),
        ([entry(done=False)], {}, "at least one report that is marked as done"),
        ([{"id": "a", "done": True}], {}, "report a: expected an object under 'report'"),
        ([], {"reader": "Dr. A. Name"}, "expected a reader code"),
        ([], {"format": "other"}, "expected a file saved from an annotation page"),
        ([], {"format_version": 2}, "expected format_version 1, got 2"),
        ([], {"reports": None}, "expected a list under 'reports'"),
    ],
)
def test_what_is_wrong_is_named(reports: list[Any], changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """File, report and entry are named, the words of the report are not, and nothing is written."""
    with pytest.raises(ValueError, match=message) as error:
        imported(tmp_path, saved(tmp_path, reports, **changes))
    assert "batch-01-R1.json" in str(error.value) or "1 files" in str(error.value)
    assert SECRET not in str(error.value)
    assert not (tmp_path / "gold.jsonl").exists()


def test_files_of_two_readers_are_not_mixed(tmp_path: Path) -> None:
    """Batches of one reader become one file; a second reader, and a report in two batches, are refused."""
    first = saved(tmp_path, [entry()], "1.json")
    other = saved(tmp_path, [entry("b", findings=[{**CYST, "quote": ""}])], "2.json")
    assert [gold.id for gold in read_gold(imported(tmp_path, first, other))] == ["a", "b"]
    (tmp_path / "gold.jsonl").unlink()
    with pytest.raises(ValueError, match="readers R1, R2"):
        imported(tmp_path, first, saved(tmp_path, [entry("b", done=False)], "3.json", reader="R2"))
    with pytest.raises(ValueError, match=r"4\.json, report a: expected each report once"):
        imported(tmp_path, first, saved(tmp_path, [entry()], "4.json"))
    imported(tmp_path, first)
    with pytest.raises(FileExistsError, match="overwrite"):
        imported(tmp_path, first)


GUIDE_ROW = {"id": "g", "language": "en", "normal": True, "findings": []}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "g", "language": "en", "findings": "A"}, r"report g\): expected a structured report"),
        ({**GUIDE_ROW, "text": "A", "impression": ["B"]}, "ends in a line feed"),
        ({"id": "g", "language": "en", "findings": "A", "report": "{"}, "'report' is not JSON"),
        ({"id": "g", "language": "en", "findings": "", "report": {"normal": True}}, "expected the text of the report"),
    ],
)
def test_broken_gold_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A row that cannot be gold is an error with file, line and report."""
    write_rows([row], tmp_path / "gold.jsonl")
    with pytest.raises(ValueError, match=rf"gold\.jsonl, line 1 .*{message}"):
        read_gold(tmp_path / "gold.jsonl")
