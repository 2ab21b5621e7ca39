"""`selip structure` and the findings table that it writes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.processing import findings_table
from selip.processing.findings_table import load_findings
from selip.processing.rules.structurer import structure_report
from selip.processing.sources.config import StructureConfig
from selip.processing.structuring import structure_studies


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    studies = [
        {"study_id": "a", "language": "en", "report": {"findings": "Acute infarct in the pons.", "impression": ""}},
        {"study_id": "b", "language": "en", "report": {"findings": "", "impression": " "}},
        {"study_id": "c", "language": "fr", "report": {"findings": "Infarctus du pont.", "impression": ""}},
    ]
    monkeypatch.setattr("selip.processing.structuring.iter_studies", lambda path: iter(studies))
    return tmp_path / "out" / "findings.parquet"


def test_findings_table(table: Path) -> None:
    """Invariant: one row a study with its provenance; invalid rows are counted by reason, kept, and not loaded."""
    summary = structure_studies(StructureConfig(studies=Path("studies"), out=table))
    assert (summary.studies, summary.findings) == (3, 1)
    assert summary.invalid == {"empty report": 1, "no rules for the language": 1}
    rows = pq.read_table(table).to_pylist()
    assert [(r["study_id"], r["valid"], r["structurer"]) for r in rows] == [
        ("a", True, "rules"),
        ("b", False, "rules"),
        ("c", False, "rules"),
    ]
    assert load_findings(table) == {"a": structure_report("Acute infarct in the pons.", "")}
    with pytest.raises(FileExistsError, match="overwrite"):
        structure_studies(StructureConfig(studies=Path("studies"), out=table))


def test_interrupted_run_leaves_the_old_table(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant: a failure while writing leaves the file that was there and nothing beside it."""
    structure_studies(StructureConfig(studies=Path("studies"), out=table))
    before = table.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(findings_table.pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        structure_studies(StructureConfig(studies=Path("studies"), out=table, overwrite=True))
    assert table.read_bytes() == before
    assert [p.name for p in table.parent.iterdir()] == [table.name]


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
