"""`selip structure`: tables and files of texts, chunks that are kept, what falls back, and the findings table."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.processing import findings_table, structuring
from selip.processing.findings import StructuredReport
from selip.processing.findings_table import load_findings
from selip.processing.rules.structurer import structure_report
from selip.processing.sources.config import StructureConfig
from selip.processing.structurer import ReportText, RuleStructurer
from selip.processing.structuring import structure_reports, summary_path

PONS = (("Acute infarct in the pons.", "", "en"), ("脑桥急性梗死。", "", "zh"))


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where findings go; the studies table is a folder that stands for four studies."""
    studies = [
        {"study_id": "a", "language": "en", "report": {"findings": "Acute infarct in the pons.", "impression": ""}},
        {"study_id": "b", "language": "en", "report": {"findings": "", "impression": " "}},
        {"study_id": "c", "language": "zh", "report": {"findings": "脑桥急性梗死。", "impression": ""}},
        {"study_id": "d", "language": "de", "report": {"findings": "Akuter Infarkt im Pons.", "impression": ""}},
    ]
    (tmp_path / "studies").mkdir()
    monkeypatch.setattr("selip.processing.report_files.iter_studies", lambda path: iter(studies))
    return tmp_path / "out" / "findings.parquet"


def config(table: Path, **options: object) -> StructureConfig:
    return StructureConfig(studies=table.parents[1] / "studies", out=table, **options)  # type: ignore[arg-type]


def test_findings_table(table: Path) -> None:
    """Invariant: one row a study with its provenance; invalid rows are counted by reason, kept, and not loaded."""
    summary = structure_reports(config(table))
    assert (summary.reports, summary.texts, summary.findings, summary.fallbacks) == (4, 3, 2, {})
    assert summary.invalid == {"empty report": 1, "no rules for the language": 1}
    rows = pq.read_table(table).to_pylist()
    assert [(r["study_id"], r["valid"], r["structurer"], r["fallback"]) for r in rows] == [
        ("a", True, "rules", ""),
        ("b", False, "rules", "empty report"),
        ("c", True, "rules", ""),
        ("d", False, "rules", "no rules for the language"),
    ]
    english, chinese = (structure_report(*words) for words in PONS)
    assert load_findings(table) == {"a": english, "c": chinese}
    assert [one.finding for one in english.findings] == [one.finding for one in chinese.findings] == ["acute infarct"]
    assert json.loads(summary_path(table).read_text())["invalid"] == summary.invalid
    with pytest.raises(FileExistsError, match="overwrite"):
        structure_reports(config(table))


def test_interrupted_run_leaves_the_old_table(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant: a failure while writing leaves the file that was there, and chunks to go on from."""
    structure_reports(config(table))
    before = table.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(findings_table.pq, "write_table", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            structure_reports(config(table, overwrite=True))
    assert table.read_bytes() == before
    structure_reports(config(table, overwrite=True))
    assert table.read_bytes() == before
    assert {path.name for path in table.parent.iterdir()} == {table.name, summary_path(table).name}


def test_broken_tables_are_named(tmp_path: Path) -> None:
    """Invariant: a missing column, a doubled study and a report outside the schema are errors that name the study."""
    good = {"study_id": "a", "report": json.dumps({"normal": True}), "valid": True}
    for rows, message in (
        ([{"study_id": "a"}], "report, valid"),
        ([good, good], "a twice"),
        ([{**good, "report": json.dumps({"normal": "?"})}], "study a"),
    ):
        path = tmp_path / "broken.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        with pytest.raises(ValueError, match=message):
            load_findings(path)


ROWS = [
    {"number": "7", "text": "FINDINGS: Cyst in the pons. IMPRESSION: Cyst.", "site": "x"},
    {"number": "3", "text": "左侧丘脑急性梗死。", "site": "y"},
    {"number": "5", "text": "", "site": "z"},
    {"number": "9", "text": "FINDINGS: Cyst in the pons. IMPRESSION: Cyst.", "site": "z"},
]


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A file of texts of the kind that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
        return rows
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_a_file_of_texts_comes_back_with_findings(tmp_path: Path, kind: str) -> None:
    """Invariant: the same kind of file, rows and columns as they were, findings beside them; a text is read once."""
    source, out = write_rows(tmp_path / f"reports{kind}", ROWS), tmp_path / f"out{kind}"
    summary = structure_reports(StructureConfig(studies=source, out=out))
    assert (summary.reports, summary.texts) == (4, 2)
    rows = read_rows(out)
    assert [{name: row[name] for name in ROWS[0]} for row in rows] == ROWS
    told = [row["report"] for row in rows]
    reports = [
        StructuredReport.model_validate(json.loads(t) if isinstance(t, str) else t) if t else None for t in told
    ]
    assert [report and [f.finding for f in report.findings] for report in reports] == [
        ["cyst"],
        ["acute infarct"],
        None,
        ["cyst"],
    ]
    assert [row["fallback"] for row in rows] == ["", "", "empty report", ""]
    with pytest.raises(ValueError, match="would be overwritten"):
        structure_reports(StructureConfig(studies=out, out=tmp_path / f"again{kind}"))


def test_wrong_files_are_refused_with_what_they_have(tmp_path: Path) -> None:
    """A missing column, another kind, a broken row, an output of another kind: said without a word of the texts."""
    source = write_rows(tmp_path / "reports.jsonl", ROWS)
    with pytest.raises(ValueError, match=r"'report_text'.*it has number, text, site"):
        structure_reports(StructureConfig(studies=source, out=tmp_path / "o.jsonl", text_column="report_text"))
    with pytest.raises(ValueError, match=r"ends in \.jsonl as the input does"):
        structure_reports(StructureConfig(studies=source, out=tmp_path / "o.parquet"))
    with pytest.raises(ValueError, match="a file that ends in"):
        structure_reports(StructureConfig(studies=write_rows(tmp_path / "reports.txt", ROWS), out=tmp_path / "o.txt"))
    with pytest.raises(FileNotFoundError, match="found nothing"):
        structure_reports(StructureConfig(studies=tmp_path / "absent.csv", out=tmp_path / "o.csv"))
    source.write_text('{"text": "Cyst in the pons."}\nCyst of Mrs Canary\n')
    with pytest.raises(ValueError, match=r"reports\.jsonl, line 2 is not JSON") as raised:
        structure_reports(StructureConfig(studies=source, out=tmp_path / "o.jsonl"))
    assert "Canary" not in str(raised.value)


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_texts_are_deidentified_where_asked(table: Path, tmp_path: Path, kind: str) -> None:
    """Invariant: no canary is left anywhere in the output; what was replaced is counted; studies are refused."""
    rows = [{"text": "Patient: Jane Canary, MRN 1234567. Cyst of 12 mm in the pons, seen by Dr. Canary."}]
    out = tmp_path / f"out{kind}"
    summary = structure_reports(
        StructureConfig(studies=write_rows(tmp_path / f"reports{kind}", rows), out=out, deidentify=True)
    )
    (row,) = read_rows(out)
    assert "Canary" not in str(row)
    assert "1234567" not in str(row)
    assert "Cyst of 12 mm in the pons" in str(row["text"])
    assert sum(summary.removed.values()) >= 2
    with pytest.raises(ValueError, match="selip ingest"):
        structure_reports(config(table, deidentify=True))


def test_odd_line_separators_and_cells(tmp_path: Path) -> None:
    """Separators that only some call line ends survive in chunks; a CSV row with a cell too many is named at once."""
    rows = [{"text": "Cyst in the pons\u2028and\u0085mass in\u2029the left insula."}]
    source = write_rows(tmp_path / "odd.jsonl", rows)
    structure_reports(StructureConfig(studies=source, out=tmp_path / "o.jsonl"))
    assert [row["text"] for row in read_rows(tmp_path / "o.jsonl")] == [rows[0]["text"]]
    (tmp_path / "wide.csv").write_text("text\nCyst in the pons.\nCyst, of Mrs Canary\n")
    with pytest.raises(ValueError, match=r"wide\.csv, row 2 has more cells") as raised:
        structure_reports(StructureConfig(studies=tmp_path / "wide.csv", out=tmp_path / "o.csv"))
    assert "Canary" not in str(raised.value)


class Flaky:
    """The rules under another name, which give no findings where they should not and fail when they are told to."""

    name, version = "flaky", "1"

    def __init__(self, fails_at: int | None = None):
        self.fails_at, self.asked = fails_at, 0

    def __call__(self, reports: Sequence[ReportText]) -> list[StructuredReport | str]:
        if self.asked == self.fails_at:
            raise RuntimeError("the power is out")
        self.asked += 1
        read = RuleStructurer()(reports)
        return ["invalid JSON" if "3 mm" in r.findings else one for r, one in zip(reports, read, strict=True)]


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven texts in chunks of two."""
    monkeypatch.setattr(structuring, "CHUNK", 2)
    rows = [{"text": f"Cyst of {size} mm in the pons."} for size in range(1, 12)]
    return write_rows(tmp_path / "reports.jsonl", rows)


def test_what_a_model_gets_wrong_is_read_by_the_rules_and_marked(many: Path, tmp_path: Path) -> None:
    summary = structure_reports(StructureConfig(studies=many, out=tmp_path / "o.jsonl"), Flaky())
    rows = read_rows(tmp_path / "o.jsonl")
    assert [row["structurer"] for row in rows] == ["flaky", "flaky", "rules", *["flaky"] * 8]
    assert [row["fallback"] for row in rows] == ["", "", "invalid JSON", *[""] * 8]
    assert all(row["valid"] for row in rows)
    assert summary.fallbacks == {"invalid JSON": 1}
    assert "1 (9.1 %), invalid JSON" in str(summary)


@pytest.mark.parametrize("fails_at", [0, 1, 5])
def test_a_run_that_was_cut_goes_on(many: Path, tmp_path: Path, fails_at: int) -> None:
    """Invariant: cut at any chunk and started again, it asks only for what is missing and writes the same file."""
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    structure_reports(StructureConfig(studies=many, out=whole), Flaky())
    with pytest.raises(RuntimeError, match="power"):
        structure_reports(StructureConfig(studies=many, out=cut), Flaky(fails_at))
    assert not cut.exists()
    again = Flaky()
    structure_reports(StructureConfig(studies=many, out=cut), again)
    assert again.asked == 6 - fails_at
    assert cut.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*chunks"))


def test_shards_make_one_file(many: Path, tmp_path: Path) -> None:
    """Invariant: the last of several runs writes what one run writes; the others say what is missing."""
    whole, shared = tmp_path / "whole.jsonl", tmp_path / "shared.jsonl"
    structure_reports(StructureConfig(studies=many, out=whole))
    missing = []
    for index in (2, 0, 1, 1):  # one comes late, to an output that is there
        options = StructureConfig(studies=many, out=shared, shard_index=index, num_shards=3)
        missing.append(structure_reports(options).missing)
    assert missing == [4, 2, 0, 0]
    assert shared.read_bytes() == whole.read_bytes()


def test_processes_change_nothing(many: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    structure_reports(StructureConfig(studies=many, out=one))
    structure_reports(StructureConfig(studies=many, out=two, num_proc=2))
    assert one.read_bytes() == two.read_bytes()
    with pytest.raises(ValueError, match="num-proc 1"):
        structure_reports(StructureConfig(studies=many, out=tmp_path / "three.jsonl", num_proc=2), Flaky())
