"""One line to load studies, whole or streaming, with findings; and the builder. Compared with the table itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selip
from selip.processing.findings_table import write_findings
from selip.processing.sources.bids import ingest_bids
from selip.processing.sources.config import ExportConfig, IngestConfig
from selip.processing.sources.parquet import export_parquet
from selip.processing.sources.studies import iter_studies

REPORT = json.dumps({"normal": True, "findings": [], "impression": []})


@pytest.fixture
def table(bids: Path) -> Path:
    """Nine studies, all in train and test: the split validation is empty."""
    ingest_bids(IngestConfig(bids, bids.parent / "table", fractions=(0.5, 0.0, 0.5)))
    return bids.parent / "table"


@pytest.fixture
def findings(table: Path) -> tuple[Path, dict[str, str]]:
    """Findings of every second study, one of them not valid, and what should be joined."""
    rows, expected = [], {}
    for number, row in enumerate(iter_studies(table)):
        study = row["study_id"]
        expected[study] = REPORT if number in (2, 4, 6, 8) else ""
        if number % 2 == 0:
            shared = {"structurer": "rules", "version": "1", "fallback": ""}
            rows.append({"study_id": study, "report": REPORT, "valid": number > 0, **shared})
    write_findings(rows, table.parent / "findings.parquet")
    return table.parent / "findings.parquet", expected


def voxels(row: Any) -> list[int]:
    return [int(np.asarray(item["volume"].nifti_image.dataobj, dtype=np.int64).sum()) for item in row["series"]]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
@pytest.mark.parametrize("form", ["table", "export"])
def test_every_form_gives_the_same_studies(table: Path, findings: Any, form: str, streaming: bool) -> None:
    """A local table and an export, whole and streaming, with findings joined: the same ids, texts and voxels."""
    file, expected = findings
    path = table
    if form == "export":
        path = table.parent / "export"
        export_parquet(ExportConfig(table, path))
    reference = {
        split: {row["study_id"]: voxels(row) for row in part} for split, part in selip.load_studies(table).items()
    }
    loaded = selip.load_studies(path, findings=file, streaming=streaming)
    assert {split: {row["study_id"]: voxels(row) for row in part} for split, part in loaded.items()} == reference
    joined = {row["study_id"]: row["structured"] for part in loaded.values() for row in part}
    assert joined == expected
    part = selip.load_studies(path, split="test", streaming=streaming)
    assert {row["study_id"] for row in part} == reference["test"].keys()
    assert "structured" not in next(iter(part))


def test_wrong_requests_say_what_is_expected(table: Path, tmp_path: Path) -> None:
    """A split that is none, findings that were not published, and a file that is no findings table."""
    with pytest.raises(ValueError, match="expected one of"):
        selip.load_studies(table, split="dev")
    with pytest.raises(ValueError, match="no findings were published"):
        selip.load_studies(table, findings=True)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"study_id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="report, valid missing"):
        selip.load_studies(table, findings=tmp_path / "other.parquet")


def test_the_builder_gives_what_load_studies_gives(table: Path, findings: Any, tmp_path: Path) -> None:
    """Prepared and streaming; a table that changes in its place is not taken from the cache."""
    file, expected = findings
    builder = selip.SelipStudies(data_dir=str(table), findings=str(file), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    built = builder.as_dataset()
    assert set(built) == {"train", "test"}  # a split without studies is left out
    loaded = selip.load_studies(table)
    for split, part in built.items():
        assert {row["study_id"]: voxels(row) for row in part} == {
            row["study_id"]: voxels(row) for row in loaded[split]
        }
    assert {row["study_id"]: row["structured"] for part in built.values() for row in part} == expected
    streamed = builder.as_streaming_dataset(split="test")
    assert [voxels(row) for row in streamed] == [voxels(row) for row in built["test"]]
    ingest_bids(IngestConfig(table.parent / "bids", table, fractions=(0.0, 0.0, 1.0), overwrite=True))
    again = selip.SelipStudies(data_dir=str(table), cache_dir=str(tmp_path / "cache"))
    again.download_and_prepare()
    assert len(again.as_dataset(split="test")) == 9


def test_the_builder_needs_a_table(tmp_path: Path) -> None:
    """Without a folder, and with one that has no table."""
    with pytest.raises(ValueError, match="expected data_dir"):
        selip.SelipStudies()
    with pytest.raises(FileNotFoundError, match="selip ingest"):
        selip.SelipStudies(data_dir=str(tmp_path))
