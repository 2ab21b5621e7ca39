"""The studies table: round trip, moving, checks, atomic writing."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import nibabel
import numpy as np
import pytest

from selip.processing.sources.bids import ingest_bids
from selip.processing.sources.config import IngestConfig
from selip.processing.sources.schema import StudyRow
from selip.processing.sources.studies import iter_studies, load_studies, read_studies_info, studies_fingerprint
from selip.processing.sources.studies_writer import write_studies


def row(study_id: str = "s1", volume: str = "a.nii.gz", **changes: Any) -> StudyRow:
    """Make a small valid row, changed as asked."""
    content: dict[str, Any] = {
        "study_id": study_id,
        "patient_id": "p1",
        "split": "train",
        "language": "en",
        "series": [{"series_id": "a", "sequence": "T1w", "volume": volume, "b_value": None}],
        "report": {"findings": "none", "impression": ""},
        "labels": [],
        "masks": [],
        "reference_findings": "",
    }
    return {**content, **changes}  # type: ignore[typeddict-item, return-value]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one volume."""
    folder = tmp_path / "files"
    folder.mkdir()
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 3, 4, 1])), folder / "a.nii.gz")
    return folder


@pytest.fixture
def table(bids: Path) -> Path:
    """A table beside its BIDS folder; some studies in each split."""
    ingest_bids(IngestConfig(bids, bids.parent / "table", fractions=(0.4, 0.3, 0.3)))
    return bids.parent / "table"


class TestLoading:
    def test_volumes_decode_lazily_to_the_files_on_disk(self, table: Path, bids: Path) -> None:
        """Cells are nibabel images with the voxels and affine of the source; the table itself is small."""
        study = next(iter(load_studies(table)["train"]))
        for item in study["series"]:
            image = item["volume"].nifti_image
            source = nibabel.load(next(bids.rglob(f"{item['series_id']}.nii.gz")))
            np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(source.dataobj))
            np.testing.assert_array_equal(image.affine, source.affine)
        assert sum(path.stat().st_size for path in table.iterdir()) < 100_000

    def test_splits_hold_every_study_once(self, table: Path) -> None:
        """The three splits are disjoint in patients, complete, and as counted in studies.json."""
        studies = load_studies(table)
        assert list(studies) == ["train", "validation", "test"]
        ids = [set(part["study_id"]) for part in studies.values()]
        patients = [set(part["patient_id"]) for part in studies.values()]
        assert sum(map(len, ids)) == len(set.union(*ids)) == 9
        assert sum(map(len, patients)) == len(set.union(*patients)) == 8
        assert read_studies_info(table).splits == {name: len(part) for name, part in studies.items()}

    def test_iteration_opens_no_file(self, table: Path, bids: Path) -> None:
        """Undecoded rows come from the table alone: all but the first file may be gone."""
        first = next(iter_studies(table))["series"][0]["volume"]["path"]
        for path in bids.rglob("*.nii.gz"):
            if str(path) != first and "sub-0001" not in path.name:
                path.unlink()
        rows = list(iter_studies(table))
        assert len(rows) == 9
        assert all(Path(item["volume"]["path"]).is_absolute() for r in rows for item in r["series"] + r["masks"])

    def test_iteration_takes_paths_tables_and_splits(self, table: Path) -> None:
        """The forms agree."""
        studies = load_studies(table)
        assert list(iter_studies(table, "test")) == list(iter_studies(studies, "test"))
        assert list(iter_studies(studies["test"])) == list(iter_studies(table, "test"))
        everything = [item["study_id"] for name in studies for item in iter_studies(table, name)]
        assert [item["study_id"] for item in iter_studies(table)] == everything

    def test_map_and_filter_keep_the_volumes(self, table: Path) -> None:
        """The table is an ordinary dataset."""
        part = load_studies(table)["train"]
        kept = part.filter(lambda text: "mm" in text["findings"], input_columns=["report"])
        assert len(kept) == len(part)
        assert isinstance(kept.features["series"].feature["volume"], datasets.Nifti)
        assert kept[0]["series"][0]["volume"].nifti_image.shape == (5, 6, 7)


class TestMoving:
    def test_whole_tree_moves(self, table: Path, tmp_path: Path) -> None:
        """Table and files moved together still fit, and the fingerprint is the same."""
        fingerprint = studies_fingerprint(table)
        moved = tmp_path / "elsewhere" / "deep"
        moved.mkdir(parents=True)
        shutil.move(tmp_path / "bids", moved / "bids")
        shutil.move(table, moved / "table")
        cell = next(iter_studies(moved / "table"))["series"][0]["volume"]
        assert cell["path"].startswith(str(moved / "bids"))
        assert studies_fingerprint(moved / "table") == fingerprint
        assert load_studies(moved / "table")["train"][0]["series"][0]["volume"].nifti_image.shape == (5, 6, 7)

    def test_copy_reads_its_own_files(self, table: Path, tmp_path: Path) -> None:
        """A copied tree does not look back at the original."""
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "bids", copy / "bids")
        shutil.copytree(table, copy / "table")
        assert next(iter_studies(copy / "table"))["series"][0]["volume"]["path"].startswith(str(copy))

    def test_table_inside_the_source_moves_with_it(self, bids: Path, tmp_path: Path) -> None:
        """A table in derivatives is found by its relative place."""
        ingest_bids(IngestConfig(bids, bids / "derivatives" / "selip"))
        shutil.move(bids, tmp_path / "renamed")
        rows = list(iter_studies(tmp_path / "renamed" / "derivatives" / "selip"))
        assert all(Path(item["volume"]["path"]).is_file() for r in rows for item in r["series"])

    def test_moved_table_alone_finds_the_files_where_they_were(self, table: Path, tmp_path: Path) -> None:
        """The absolute place is the second try."""
        (tmp_path / "x" / "y").mkdir(parents=True)
        shutil.move(table, tmp_path / "x" / "y" / "table")
        rows = list(iter_studies(tmp_path / "x" / "y" / "table"))
        assert all(Path(item["volume"]["path"]).is_file() for r in rows for item in r["series"])

    def test_missing_files_give_an_error_that_helps_and_root_answers_it(self, table: Path, tmp_path: Path) -> None:
        """The error names the places looked at; `root=` says where the files are now."""
        shutil.move(tmp_path / "bids", tmp_path / "archive")
        with pytest.raises(FileNotFoundError, match=rf"neither under .*{tmp_path}/bids.*root="):
            load_studies(table)
        study = load_studies(table, root=tmp_path / "archive")["train"][0]
        assert study["series"][0]["volume"].nifti_image.shape == (5, 6, 7)

    def test_files_outside_the_root_keep_their_absolute_path(self, root: Path, tmp_path: Path) -> None:
        """A file elsewhere is stored as it is and never joined to the root."""
        (tmp_path / "other").mkdir()
        write_studies([row(volume=str(root / "a.nii.gz"))], tmp_path / "table", tmp_path / "other")
        cell = next(iter_studies(tmp_path / "table"))["series"][0]["volume"]
        assert cell["path"] == str(root / "a.nii.gz")


class TestChecks:
    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([row(), row()], "unique non-empty study ids, got 's1'"),
            ([row(study_id="")], "unique non-empty study ids"),
            ([row(split="dev")], "study s1: expected a split"),
            ([row(), row("s2", split="test")], "study s2: its patient is in two splits"),
            ([row(series=[])], "study s1: expected at least one series"),
            ([row(series=row()["series"] * 2)], "study s1: expected unique series ids"),
            (
                [row(series=[{**row()["series"][0], "sequence": "T1"}])],
                r"series a of study s1: expected a sequence of .*'T1w'.*got 'T1'",
            ),
            ([], "no usable study"),
        ],
    )
    def test_wrong_rows_are_refused_and_leave_nothing(
        self, root: Path, tmp_path: Path, rows: list[StudyRow], message: str
    ) -> None:
        """The error names study and series; no half table stays behind."""
        with pytest.raises(ValueError, match=message):
            write_studies(rows, tmp_path / "table", root)
        assert list((tmp_path / "table").iterdir()) == []

    def test_missing_volume_is_named(self, root: Path, tmp_path: Path) -> None:
        """A reference to nothing is found at writing, not in training."""
        with pytest.raises(FileNotFoundError, match=r"b\.nii\.gz"):
            write_studies([row(volume="b.nii.gz")], tmp_path / "table", root)

    def test_overwriting_must_be_asked_for(self, root: Path, tmp_path: Path) -> None:
        """A table is never replaced by accident."""
        write_studies([row()], tmp_path / "table", root)
        with pytest.raises(FileExistsError, match="say overwrite"):
            write_studies([row("s2")], tmp_path / "table", root)
        write_studies([row("s2")], tmp_path / "table", root, overwrite=True)
        assert [item["study_id"] for item in iter_studies(tmp_path / "table")] == ["s2"]

    def test_failed_overwrite_keeps_the_old_table(self, root: Path, tmp_path: Path) -> None:
        """A source that breaks in the middle does not cost the table that was there."""

        def broken() -> Iterator[StudyRow]:
            yield row("s2")
            raise OSError("disk gone")

        write_studies([row()], tmp_path / "table", root)
        with pytest.raises(OSError, match="disk gone"):
            write_studies(broken(), tmp_path / "table", root, overwrite=True)
        assert [item["study_id"] for item in iter_studies(tmp_path / "table")] == ["s1"]

    def test_fingerprint_tells_contents_apart(self, root: Path, tmp_path: Path) -> None:
        """The same content gives the same fingerprint anywhere; another text or another file size another one."""
        prints = [write_studies([row()], tmp_path / name, root).fingerprint for name in ("a", "b")]
        report = {"findings": "other", "impression": ""}
        prints.append(write_studies([row(report=report)], tmp_path / "c", root).fingerprint)
        nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9)), np.eye(4)), root / "a.nii.gz")
        prints.append(write_studies([row()], tmp_path / "d", root).fingerprint)
        assert prints[0] == prints[1]
        assert len(set(prints)) == 3

    def test_wrong_paths_say_what_to_do(self, tmp_path: Path) -> None:
        """No guess at the Hub: a path that is not there is an error that names the Hub form."""
        with pytest.raises(FileNotFoundError, match="hf://datasets/"):
            load_studies("owner/name")
        with pytest.raises(FileNotFoundError, match="selip ingest"):
            load_studies(tmp_path)

    def test_other_format_version_is_refused(self, root: Path, tmp_path: Path) -> None:
        """A table of the future is not half understood."""
        write_studies([row()], tmp_path / "table", root)
        index = tmp_path / "table" / "studies.json"
        index.write_text(index.read_text().replace('"format_version": 1', '"format_version": 2'))
        with pytest.raises(ValueError, match="expected format_version 1, got 2"):
            load_studies(tmp_path / "table")
