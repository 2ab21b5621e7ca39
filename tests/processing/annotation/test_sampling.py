"""A sample holds all kinds of reports in equal numbers, depends on the seed alone, and says what it stands for."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.processing.annotation.config import AnnotateSampleConfig
from selip.processing.annotation.sampling import read_texts, sample_reports
from selip.processing.findings import Finding, StructuredReport
from selip.processing.findings_table import write_findings
from selip.processing.row_files import read_rows, write_rows

TEXTS = {
    "normal": "Normal MRI of the brain.",
    "common": "There is an acute infarct in the left thalamus.",
    "rare": "There is an arachnoid cyst in the left temporal lobe.",
}
PADDING = " The technologist noted nothing else of interest in this long and winding report." * 3


def rows_of(counts: dict[str, int]) -> list[dict[str, Any]]:
    """Reports of each kind, every other one long."""
    rows = []
    for kind, count in counts.items():
        for number in range(count):
            text = TEXTS[kind] + PADDING * (number % 2)
            rows.append({"id": f"{kind}-{number}", "language": "en", "findings": text, "impression": ""})
    return rows


def sample(rows: list[dict[str, Any]], folder: Path, **options: Any) -> list[dict[str, Any]]:
    write_rows(rows, folder / "texts.jsonl")
    config = AnnotateSampleConfig(folder / "texts.jsonl", folder / "sample.jsonl", overwrite=True, **options)
    summary = sample_reports(config)
    drawn = [row for _, row in read_rows(folder / "sample.jsonl")]
    assert Counter(row["stratum"] for row in drawn) == summary.drawn
    return drawn


def test_kinds_are_drawn_in_equal_numbers(tmp_path: Path) -> None:
    """Of 90 normal, 40 common and 10 rare reports each kind gives a third, as long as it has so many."""
    drawn = sample(rows_of({"normal": 90, "common": 40, "rare": 10}), tmp_path, reports=24)
    assert Counter(row["id"].split("-")[0] for row in drawn) == {"normal": 8, "common": 8, "rare": 8}
    assert Counter(row["stratum"].split()[2] for row in drawn) == {"short": 12, "long": 12}
    more = sample(rows_of({"normal": 90, "common": 40, "rare": 10}), tmp_path, reports=60)
    assert Counter(row["id"].split("-")[0] for row in more)["rare"] == 10


def test_weights_add_up_to_the_corpus(tmp_path: Path) -> None:
    """The rows stand for all reports: weights sum to the number of reports, in each stratum and in all."""
    drawn = sample(rows_of({"normal": 90, "common": 40, "rare": 10}), tmp_path, reports=30)
    assert sum(row["weight"] for row in drawn) == pytest.approx(140)
    assert sum(row["weight"] for row in drawn if row["stratum"].startswith("en normal")) == pytest.approx(90)


def test_seed_decides(tmp_path: Path) -> None:
    """The same seed draws the same reports in the same order, another one others."""
    rows = rows_of({"normal": 30, "common": 30})
    first = [sample(rows, tmp_path, reports=10, seed=seed) for seed in (0, 0, 1)]
    assert first[0] == first[1]
    assert first[0] != first[2]


def test_one_report_of_each_patient(tmp_path: Path) -> None:
    """Reports of one patient are drawn once at most, and a sample larger than the corpus is all patients."""
    rows = [{**row, "patient_id": row["id"][-1]} for row in rows_of({"normal": 10, "common": 10})]
    drawn = sample(rows, tmp_path, reports=50)
    assert sorted(row["patient_id"] for row in drawn) == sorted({row["patient_id"] for row in rows})


def test_languages_and_unread_reports_are_strata(tmp_path: Path) -> None:
    """Reports in a language without rules are drawn as well, as unread."""
    rows = rows_of({"normal": 6})
    rows += [{"id": f"xx-{n}", "language": "xx", "findings": "lorem ipsum", "impression": ""} for n in range(6)]
    drawn = sample(rows, tmp_path, reports=6)
    assert Counter(row["stratum"].split()[0] for row in drawn)["xx"] >= 2
    assert {row["stratum"].split()[1] for row in drawn if row["language"] == "xx"} == {"unread"}


def test_one_text_is_cut_at_its_headings(tmp_path: Path) -> None:
    """A row with one text gets its sections from the headings and its language from the script."""
    rows = [
        {"id": 1, "text": "FINDINGS: No mass.\nIMPRESSION: Normal."},
        {"id": 2, "text": "脑实质未见异常。"},
        {"id": 3, "language": "en", "findings": "A", "impression": None},
        {"id": 4, "text": "  "},
    ]
    write_rows(rows, tmp_path / "texts.jsonl")
    found = {report.id: report.text for report in read_texts(tmp_path / "texts.jsonl")}
    assert found["1"] == ("No mass.", "Normal.", "en")
    assert (found["2"].findings, found["2"].language) == ("脑实质未见异常。", "zh")
    assert found["3"] == ("A", "", "en")
    assert "4" not in found


def test_findings_table_decides_the_kinds(tmp_path: Path) -> None:
    """With a findings table its findings count, not those of the rules; a report that is not in it is unread."""
    mass = StructuredReport(normal=False, findings=[Finding(finding="mass", site="pons")])
    found = {"normal-0": mass, "common-0": StructuredReport(normal=True)}
    table = [
        {"study_id": name, "report": report.model_dump_json(), "structurer": "s", "version": "1", "valid": True}
        for name, report in found.items()
    ]
    write_findings(table, tmp_path / "findings.parquet")
    rows = rows_of({"normal": 1, "common": 1, "rare": 1})
    drawn = sample(rows, tmp_path, reports=3, findings=tmp_path / "findings.parquet")
    kinds = {row["id"]: row["stratum"].split()[1] for row in drawn}
    assert kinds == {"normal-0": "common", "common-0": "normal", "rare-0": "unread"}


def test_tables_are_read_as_lines_are(tmp_path: Path) -> None:
    """CSV, with the mark that spreadsheets write, and Parquet hold the same reports as JSON lines."""
    rows = [
        {"id": "1", "language": "en", "findings": 'A "mass",\nleft.', "impression": ""},
        {"id": "2", "language": "zh"},
    ]
    rows[1] |= {"findings": "脑桥囊肿。", "impression": "囊肿。"}
    write_rows(rows, tmp_path / "texts.jsonl")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
    with (tmp_path / "texts.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    expected = list(read_texts(tmp_path / "texts.jsonl"))
    assert [report.text.findings for report in expected] == [row["findings"] for row in rows]
    assert list(read_texts(tmp_path / "texts.csv")) == expected
    assert list(read_texts(tmp_path / "texts.parquet")) == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"id": "a", "language": "en", "findings": "A"}'] * 2, "line 2: expected each report once, got a"),
        (['{"language": "en", "findings": "A"}'], "line 1: expected the id"),
        (['{"id": "a", "findings": "A"}'], "line 1: expected the language"),
        (["[1]"], "line 1: expected a JSON object, got a list"),
        (["{"], "line 1 is not JSON"),
        (['{"id": "a", "text": " "}'], "at least one report with text"),
    ],
)
def test_broken_rows_are_named(lines: list[str], message: str, tmp_path: Path) -> None:
    """What cannot be read is an error with file and line, and nothing is written."""
    (tmp_path / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        sample_reports(AnnotateSampleConfig(tmp_path / "texts.jsonl", tmp_path / "sample.jsonl"))
    assert not (tmp_path / "sample.jsonl").exists()


def test_sample_that_is_there_stays(tmp_path: Path) -> None:
    """A sample is not replaced unless told: pages may have been made of it."""
    (tmp_path / "sample.jsonl").write_text("mine")
    write_rows(rows_of({"normal": 2}), tmp_path / "texts.jsonl")
    with pytest.raises(FileExistsError, match="overwrite"):
        sample_reports(AnnotateSampleConfig(tmp_path / "texts.jsonl", tmp_path / "sample.jsonl"))
    assert (tmp_path / "sample.jsonl").read_text() == "mine"
    assert json.loads((tmp_path / "texts.jsonl").read_text().splitlines()[0])["id"] == "normal-0"
