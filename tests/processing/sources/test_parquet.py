"""The Hub form: plain `load_dataset` reads it anywhere, and it holds what the studies table refers to."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest

from selip.processing.sources import parquet
from selip.processing.sources.bids import ingest_bids
from selip.processing.sources.config import ExportConfig, IngestConfig
from selip.processing.sources.parquet import export_parquet
from selip.processing.sources.studies import iter_studies, load_studies, studies_fingerprint

# Run without selip: an import of it would end the program.
READER = """
import sys
sys.modules["selip"] = None
import json
import numpy as np
from datasets import load_dataset

folder, streaming = sys.argv[1], sys.argv[2] == "streaming"
found = {}
for split, part in load_dataset(folder, streaming=streaming).items():
    for row in part:
        assert row["split"] == split
        images = [item["volume"].nifti_image for item in row["series"] + row["masks"]]
        found[row["study_id"]] = {
            "sums": [int(np.asarray(image.dataobj, dtype=np.int64).sum()) for image in images],
            "affine": images[0].affine.tolist(),
            "labels": row["labels"],
            "masks": [mask["name"] for mask in row["masks"]],
            "findings": row["report"]["findings"],
        }
print(json.dumps(found))
"""


@pytest.fixture
def table(bids: Path) -> Path:
    """A table with studies in every split."""
    ingest_bids(IngestConfig(bids, bids.parent / "table", fractions=(0.4, 0.3, 0.3)))
    return bids.parent / "table"


def expected_of(table: Path) -> dict[str, dict[str, object]]:
    """Return what the reader program should print, read from the source files by nibabel."""
    expected = {}
    for row in iter_studies(table):
        images = [nibabel.load(item["volume"]["path"]) for item in [*row["series"], *row["masks"]]]
        expected[row["study_id"]] = {
            "sums": [int(np.asarray(image.dataobj, dtype=np.int64).sum()) for image in images],
            "affine": images[0].affine.tolist(),
            "labels": row["labels"],
            "masks": [mask["name"] for mask in row["masks"]],
            "findings": row["report"]["findings"],
        }
    return expected


def test_plain_load_dataset_reads_a_moved_export_without_selip(table: Path, bids: Path, tmp_path: Path) -> None:
    """In a fresh process, offline, moved, the sources deleted: all voxels, masks, labels and texts are there."""
    export_parquet(ExportConfig(table, tmp_path / "export"))
    expected = expected_of(table)
    shutil.move(tmp_path / "export", tmp_path / "moved")
    shutil.rmtree(bids)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    for mode in ("cached", "streaming"):
        result = subprocess.run(
            [sys.executable, "-c", READER, str(tmp_path / "moved"), mode],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        assert json.loads(result.stdout) == expected


def test_export_holds_the_bytes_of_the_files(table: Path, tmp_path: Path) -> None:
    """Embedded bytes are the files, byte for byte; names are bare; every row and column of the table is there."""
    export_parquet(ExportConfig(table, tmp_path / "export"))
    found = {}
    for path in sorted((tmp_path / "export" / "data").glob("*.parquet")):
        found.update({row["study_id"]: row for row in pq.read_table(path).to_pylist()})
    for row in iter_studies(table):
        other = found.pop(row["study_id"])
        for name in ("series", "masks"):
            for item, embedded in zip(row[name], other[name], strict=True):  # type: ignore[literal-required]
                path = Path(item["volume"]["path"])
                assert embedded["volume"] == {"bytes": path.read_bytes(), "path": path.name}
                assert {**embedded, "volume": None} == {**item, "volume": None}
        plain = {"series": None, "masks": None}
        assert {**other, **plain} == {**row, **plain}
    assert not found


def test_load_studies_reads_both_forms_alike(table: Path, tmp_path: Path) -> None:
    """Splits, order, texts, voxels and fingerprint agree between the local table and the export."""
    export_parquet(ExportConfig(table, tmp_path / "export"))
    local, exported = load_studies(table), load_studies(tmp_path / "export")
    assert list(local) == list(exported)
    assert studies_fingerprint(table) == studies_fingerprint(tmp_path / "export")
    for name in local:
        assert local[name]["study_id"] == exported[name]["study_id"]
        assert local[name].features == exported[name].features
        for one, other in zip(local[name], exported[name], strict=True):
            for a, b in zip(one["series"], other["series"], strict=True):
                np.testing.assert_array_equal(
                    np.asarray(a["volume"].nifti_image.dataobj), np.asarray(b["volume"].nifti_image.dataobj)
                )


def test_exports_of_one_name_are_told_apart_by_the_cache(table: Path, bids: Path, tmp_path: Path) -> None:
    """Plain load_dataset of another folder of the same name, and of a replaced export, gives their own rows.

    The cache of `datasets` 5.2 gave the first folder's rows for both.
    """
    for study in ("sub-0002_ses-01", "sub-0003_ses-01"):
        next(bids.rglob(f"{study}_report.txt")).unlink()
        ingest_bids(IngestConfig(bids, table, overwrite=True))
        expected = {row["study_id"] for row in iter_studies(table)}
        assert study not in expected
        for folder in (tmp_path / study / "export", tmp_path / "same" / "export"):
            export_parquet(ExportConfig(table, folder, overwrite=True))
            loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
            assert {study_id for part in loaded.values() for study_id in part["study_id"]} == expected


def test_empty_split_is_an_empty_dataset(bids: Path, tmp_path: Path) -> None:
    """A split without studies has no shard, and load_studies gives it with no rows."""
    ingest_bids(IngestConfig(bids, tmp_path / "table", fractions=(1.0, 0.0, 0.0)))
    info = export_parquet(ExportConfig(tmp_path / "table", tmp_path / "export"))
    assert info.studies == {"train": 9}
    assert [len(part) for part in load_studies(tmp_path / "export").values()] == [9, 0, 0]


def test_shards_and_row_groups_keep_their_limits(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups and shards close at their sizes, in the order of the table, and the limits do not change the rows."""
    one = export_parquet(ExportConfig(table, tmp_path / "one"))
    study_bytes = max(
        sum(Path(item["volume"]["path"]).stat().st_size for item in [*row["series"], *row["masks"]])
        for row in iter_studies(table)
    )
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", study_bytes)
    many = export_parquet(ExportConfig(table, tmp_path / "many"))
    groups = [pq.ParquetFile(path).num_row_groups for path in (tmp_path / "many" / "data").glob("*.parquet")]
    assert sum(groups) == sum(many.studies.values()) == 9
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 1)
    rows = {}
    for name, shard_bytes in (("small", 1), ("large", 10**9)):
        (tmp_path / name).mkdir()
        shards = parquet._write_split(iter_studies(table, "train"), tmp_path / name, "train", shard_bytes)
        paths = sorted((tmp_path / name).iterdir())
        assert len(paths) == shards == (one.studies["train"] if name == "small" else 1)
        rows[name] = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert rows["small"] == rows["large"]


def test_overwriting_must_be_asked_for_and_removes_only_an_export(table: Path, tmp_path: Path) -> None:
    """A folder with anything in it is refused; overwriting replaces shards and leaves foreign files."""
    export_parquet(ExportConfig(table, tmp_path / "export"))
    (tmp_path / "export" / "LICENSE").write_text("mine")
    with pytest.raises(FileExistsError, match="say overwrite"):
        export_parquet(ExportConfig(table, tmp_path / "export"))
    stale = tmp_path / "export" / "data" / "train-00099.parquet"
    stale.write_bytes(b"")
    export_parquet(ExportConfig(table, tmp_path / "export", overwrite=True))
    assert not stale.exists()
    assert (tmp_path / "export" / "LICENSE").read_text() == "mine"


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti2_is_refused_by_name(table: Path, bids: Path, tmp_path: Path, ending: str) -> None:
    """A file that readers could not decode from bytes is not embedded."""
    path = next(bids.rglob("sub-0002_ses-01_T1w.nii.gz"))
    path.unlink()
    path = path.with_name(f"sub-0002_ses-01_T1w{ending}")
    nibabel.save(nibabel.Nifti2Image(np.zeros((3, 3, 3), dtype=np.int16), np.eye(4)), path)
    ingest_bids(IngestConfig(bids, table, overwrite=True))
    with pytest.raises(ValueError, match=rf"{path.name} is NIfTI-2"):
        export_parquet(ExportConfig(table, tmp_path / "export"))


def test_missing_volume_is_named(table: Path, bids: Path, tmp_path: Path) -> None:
    """A file that has gone since ingest is named with its study."""
    next(bids.rglob("sub-0004_ses-01_FLAIR.nii.gz")).unlink()
    with pytest.raises(FileNotFoundError, match=r"study sub-0004_ses-01: .*FLAIR"):
        export_parquet(ExportConfig(table, tmp_path / "export"))
