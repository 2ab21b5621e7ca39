"""`selip publish-dataset`: no text of a header, no word of a report unless asked, readable by everybody, anywhere."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selip.model_cards.publishing.config import PublishDatasetConfig
from selip.model_cards.publishing.dataset import publish_dataset
from selip.model_cards.publishing.verification import PublishError

REPO = "my-group/studies"
CANARY = "Zebulon Canary"

# Plain `datasets`, where selip cannot be imported: whole and streaming, both configurations.
READER = """
import sys
sys.modules["selip"] = None
import json
from datasets import load_dataset

name = sys.argv[1]
found = {}
for split in ("train", "test"):
    for streaming in (False, True):
        part = load_dataset(name, split=split, streaming=streaming)
        found[f"{split} {streaming}"] = [(row["study_id"], row["series"][0]["volume"].shape) for row in part]
found["findings"] = len(load_dataset(name, "findings", split="train"))
print(json.dumps(found))
"""
EXPECTED = {
    **{f"train {streaming}": [[f"s{n}", [5, 6, 7]] for n in range(3)] for streaming in (False, True)},
    **{f"test {streaming}": [["s3", [5, 6, 7]]] for streaming in (False, True)},
    "findings": 2,
}


def config_of(studies: Path, **changed: Any) -> PublishDatasetConfig:
    options = {"source": ("openneuro",), "dry_run": True, "out": studies.parent / "staged", **changed}
    return PublishDatasetConfig(studies, REPO, **options)


def every_text(folder: Path) -> str:
    """All that is in a folder, volumes unpacked, as one text."""
    parts = [path.read_text(encoding="utf-8") for path in folder.glob("*.md")]
    for path in folder.rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            volumes = [item.pop("volume") for item in [*row.get("series", []), *row.get("masks", [])]]
            parts.append(json.dumps(row))
            for volume in volumes:
                content = volume["bytes"]
                is_gzip = content[:2] == b"\x1f\x8b"
                parts.append((gzip.decompress(content) if is_gzip else content).decode("latin-1"))
    return "\n".join(parts)


def test_findings_go_without_a_word_of_a_report(studies: Path, findings: Path) -> None:
    """By default: structured findings, nothing of header, report, quote or impression."""
    made = publish_dataset(config_of(studies, findings=findings))
    text = every_text(made.folder)
    assert "Canary" not in text
    assert "Zebulon" not in text
    rows = [row for path in sorted((made.folder / "findings").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert {row["study_id"]: row["valid"] for row in rows} == {"s0": True, "s1": False, "s3": True}
    assert json.loads(rows[0]["report"])["findings"][0]["finding"] == "cyst"
    assert made.release.emptied["descrip"] == made.release.emptied["extension"] == 2  # series and mask of one study
    table = pq.read_table(made.folder / "data" / "test-00000.parquet").to_pylist()
    assert json.loads(table[0]["reference_findings"])["findings"][0]["finding"] == "cyst"
    card = (made.folder / "README.md").read_text()
    assert "as written" not in card
    assert "| `report` | empty: the reports are not here |" in card
    assert "it holds no words of a report" in card


def test_none_means_no_text(studies: Path) -> None:
    """Images, ids and labels alone."""
    folder = publish_dataset(config_of(studies, texts="none")).folder
    (row,) = pq.read_table(folder / "data" / "test-00000.parquet").to_pylist()
    assert row["report"] == {"findings": "", "impression": ""}
    assert row["reference_findings"] == ""


def test_reports_go_only_when_asked_and_are_looked_at(studies: Path, tmp_path: Path) -> None:
    """With the reports the name in them is refused if it is forbidden; the message does not repeat it."""
    (tmp_path / "names.txt").write_text(CANARY)
    with pytest.raises(PublishError) as raised:
        publish_dataset(config_of(studies, texts="reports", forbid=(tmp_path / "names.txt",)))
    assert "column report" in str(raised.value)
    assert "Canary" not in str(raised.value)
    folder = publish_dataset(config_of(studies, texts="reports", out=tmp_path / "asked")).folder
    assert CANARY in every_text(folder)
    assert "| `report` | `findings` and `impression` as written |" in (folder / "README.md").read_text()


def test_headers_that_are_not_cleaned_are_refused(studies: Path) -> None:
    """The check reads the shards themselves."""
    with pytest.raises(PublishError, match="volumes hold text in descrip"):
        publish_dataset(config_of(studies, clean_headers=False))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"source": ("mr-rate",)}, "by agreement"),
        ({"source": ("hospital",), "licence": ("hospital=cc-by-4.0",)}, "--may-be-shared hospital"),
    ],
)
def test_data_that_may_not_be_shown_is_refused(studies: Path, changed: dict[str, Any], expected: str) -> None:
    """Gated data always, unknown data until somebody answers for it; nothing is written."""
    with pytest.raises(PermissionError, match=expected):
        publish_dataset(config_of(studies, **changed))
    assert not (studies.parent / "staged").exists()


def test_a_table_of_no_findings_is_told_and_leaves_nothing(studies: Path, tmp_path: Path) -> None:
    """The columns that are not there are named; no half of a folder stays."""
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1]}), table)
    with pytest.raises(ValueError, match="has no column study_id, report"):
        publish_dataset(config_of(studies, findings=table))
    assert not [path for path in studies.parent.iterdir() if "staged" in path.name]


def test_data_of_ones_own_needs_a_licence_and_a_word(studies: Path) -> None:
    """With both it goes, under that licence."""
    config = config_of(studies, source=("hospital",), licence=("hospital=cc-by-4.0",), may_be_shared=("hospital",))
    card = (publish_dataset(config).folder / "README.md").read_text()
    assert "license: cc-by-4.0" in card


def test_a_pushed_data_set_is_read_by_plain_datasets(
    studies: Path, findings: Path, tmp_path: Path, hub: Any, run_elsewhere: Callable[..., str]
) -> None:
    """By name from the Hub, and from the folder after it was moved, whole and streaming, without selip."""
    made = publish_dataset(config_of(studies, findings=findings, dry_run=False))
    names = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*") if path.is_file()}
    assert hub.files(REPO, "datasets").keys() == names
    assert json.loads(run_elsewhere(READER, hub, REPO)) == EXPECTED
    moved = tmp_path / "moved" / "elsewhere"
    shutil.move(made.folder, moved)
    shutil.rmtree(studies.parent / "files")
    assert json.loads(run_elsewhere(READER, hub, moved)) == EXPECTED
