"""BIDS: what is read, what is skipped and said, and that no voxel is touched."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from selip.processing.sources.bids import ingest_bids, volume_shape
from selip.processing.sources.config import IngestConfig
from selip.processing.sources.schema import StudiesInfo, StudyRow
from selip.processing.sources.studies import iter_studies

Writer = Callable[..., None]


def ingest(bids: Path, **options: object) -> tuple[StudiesInfo, dict[str, StudyRow]]:
    """Ingest a folder and return the summary and the rows by study id."""
    out = bids.parent / "table"
    info = ingest_bids(IngestConfig(bids, out, overwrite=True, **options))  # type: ignore[arg-type]
    return info, {row["study_id"]: row for row in iter_studies(out)}


def sequences(row: StudyRow) -> dict[str, str]:
    """Return {suffix part of the series id: sequence} of a study."""
    prefix = f"{row['study_id']}_"
    return {item["series_id"].removeprefix(prefix): item["sequence"] for item in row["series"]}


class TestReading:
    def test_a_study_is_a_session_with_all_that_belongs_to_it(self, bids: Path) -> None:
        """Ids, sequences, b-value, report sections, labels, mask and truth arrive as written."""
        info, rows = ingest(bids)
        assert (info.studies, info.patients, info.series) == (9, 8, 36)
        assert not info.skipped_studies
        assert not info.skipped_series
        row = rows["sub-0003_ses-01"]
        assert row["patient_id"] == "sub-0003"
        assert sequences(row) == {"ADC": "ADC", "dwi": "DWI", "T1w": "T1w", "FLAIR": "FLAIR"}
        assert {item["sequence"]: item["b_value"] for item in row["series"]}["DWI"] == 1000
        assert row["report"] == {"findings": "A 3 mm lesion in the left frontal lobe.", "impression": "One lesion."}
        assert (row["labels"], row["language"]) == (["infarct"], "en")
        assert json.loads(row["reference_findings"]) == {"normal": False, "findings": [], "impression": []}
        assert [mask["name"] for mask in row["masks"]] == ["lesions"]
        assert Path(row["masks"][0]["volume"]["path"]).name == "sub-0003_ses-01_desc-lesions_dseg.nii.gz"

    def test_a_split_that_the_data_set_states_comes_before_the_rule(self, bids: Path) -> None:
        """Patients named in participants.tsv have that split under any salt; the others have what they had."""
        _, before = ingest(bids, split_salt="a")
        (bids / "participants.tsv").write_text(
            "participant_id\tage\tsplit\nsub-0001\t50\tvalidation\nsub-0002\t60\tn/a\nsub-0003\t70\ttest\n"
        )
        for salt in "ab":
            _, rows = ingest(bids, split_salt=salt)
            assert rows["sub-0001_ses-01"]["split"] == rows["sub-0001_ses-02"]["split"] == "validation"
            assert rows["sub-0003_ses-01"]["split"] == "test"
        _, rows = ingest(bids, split_salt="a")
        named = ("sub-0001", "sub-0003")
        assert all(rows[i]["split"] == before[i]["split"] for i in rows if rows[i]["patient_id"] not in named)

    @pytest.mark.parametrize("line", ["sub-0001\tdev", "\ttest", "sub-0001\ttest\nsub-0001\ttrain"])
    def test_a_damaged_statement_of_splits_is_an_error(self, bids: Path, line: str) -> None:
        """An unknown split, one of nobody and two of one patient name the file and the line."""
        (bids / "participants.tsv").write_text(f"participant_id\tsplit\n{line}\n")
        with pytest.raises(ValueError, match=r"participants\.tsv, line [23]: .*split"):
            ingest(bids)

    def test_sessions_of_a_patient_share_the_split(self, bids: Path) -> None:
        """The split belongs to the patient, whatever the salt."""
        for salt in "abcdef":
            _, rows = ingest(bids, split_salt=salt, fractions=(0.4, 0.3, 0.3))
            assert rows["sub-0001_ses-01"]["split"] == rows["sub-0001_ses-02"]["split"]

    def test_layout_without_sessions(self, bids: Path, nifti_writer: Writer) -> None:
        """Data directly under the subject is one study, named by the subject."""
        nifti_writer(bids / "sub-plain" / "anat" / "sub-plain_T2w.nii")
        (bids / "sub-plain" / "sub-plain_report.txt").write_text("No lesion.")
        truth = bids / "derivatives" / "truth" / "sub-plain"
        truth.mkdir(parents=True)
        (truth / "sub-plain_labels.json").write_text("[]")
        _, rows = ingest(bids)
        assert sequences(rows["sub-plain"]) == {"T2w": "T2w"}
        assert rows["sub-plain"]["report"] == {"findings": "No lesion.", "impression": ""}

    def test_study_without_truth_is_complete(self, bids: Path) -> None:
        """Truth is optional."""
        for path in sorted((bids / "derivatives").rglob("sub-0002*"), reverse=True):
            path.unlink() if path.is_file() else None
        row = ingest(bids)[1]["sub-0002_ses-01"]
        assert (row["labels"], row["masks"], row["reference_findings"]) == ([], [], "")

    def test_order_and_table_do_not_depend_on_the_file_system(
        self, bids: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Listing folders backwards gives the same table."""
        first, rows = ingest(bids)
        listing = Path.iterdir
        monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(listing(self), reverse=True)))
        again, rows_again = ingest(bids)
        assert first.fingerprint == again.fingerprint
        assert list(rows.items()) == list(rows_again.items())


class TestSequences:
    @pytest.mark.parametrize(
        ("name", "sequence"),
        [
            ("anat/{}_ce-gadolinium_T1w", "T1c"),
            ("anat/{}_acq-mprage_run-2_T1w", "T1w"),
            ("anat/{}_ce-gadolinium_FLAIR", "FLAIR"),
            ("anat/{}_PDw", "PD"),
            ("anat/{}_T2starw", "SWI"),
            ("anat/{}_part-mag_T2starw", "SWI"),
            ("anat/{}_angio", "MRA"),
            ("swi/{}_swi", "SWI"),
            ("dwi/{}_rec-x_ADC", "ADC"),
            ("dwi/{}_trace", "DWI-b-unknown"),
        ],
    )
    def test_suffix_and_entities_give_the_sequence(
        self, bids: Path, nifti_writer: Writer, name: str, sequence: str
    ) -> None:
        """Each BIDS name of an MRI contrast becomes its sequence; it is a series beside those already there."""
        stem = "sub-0002_ses-01"
        path = bids / "sub-0002" / "ses-01" / f"{name.format(stem)}.nii.gz"
        nifti_writer(path)
        row = ingest(bids)[1][stem]
        assert len(row["series"]) == 5
        assert sequences(row)[path.name.removeprefix(f"{stem}_").removesuffix(".nii.gz")] == sequence

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("anat/{}_part-phase_T2starw", "part-phase"),
            ("anat/{}_T1map", "suffix-T1map"),
            ("func/{}_task-rest_bold", "suffix-bold"),
            ("anat/scan_of_monday", "not-a-bids-name"),
        ],
    )
    def test_what_is_not_a_sequence_is_counted_by_reason(
        self, bids: Path, nifti_writer: Writer, name: str, reason: str
    ) -> None:
        """Nothing disappears silently: the reason is in the summary, the file in skipped.tsv."""
        path = bids / "sub-0002" / "ses-01" / f"{name.format('sub-0002_ses-01')}.nii.gz"
        nifti_writer(path)
        info, rows = ingest(bids)
        assert info.skipped_series == {reason: 1}
        assert f"skipped 1 series: {reason} 1" in str(info)
        assert len(rows["sub-0002_ses-01"]["series"]) == 4
        listed = (bids.parent / "table" / "skipped.tsv").read_text().splitlines()
        assert listed[1:] == [f"series\t{path.relative_to(bids).as_posix()}\t{reason}"]

    def test_four_axes_are_skipped_but_a_trailing_one_is_not(self, bids: Path, nifti_writer: Writer) -> None:
        """A 4D series needs a choice of frame that nobody made; an axis of length 1 needs none."""
        dwi = bids / "sub-0002" / "ses-01" / "dwi" / "sub-0002_ses-01_dwi.nii.gz"
        nifti_writer(dwi, shape=(4, 4, 4, 6))
        nifti_writer(bids / "sub-0003" / "ses-01" / "dwi" / "sub-0003_ses-01_dwi.nii.gz", shape=(4, 4, 4, 1))
        info, rows = ingest(bids)
        assert info.skipped_series == {"4d": 1}
        assert "DWI" not in sequences(rows["sub-0002_ses-01"]).values()
        assert "DWI" in sequences(rows["sub-0003_ses-01"]).values()

    @pytest.mark.parametrize(
        ("sidecars", "sequence", "b_value"),
        [
            ({}, "DWI-b-unknown", None),
            ({"dwi/{}_dwi.json": "{not json"}, "DWI-b-unknown", None),
            ({"dwi/{}_dwi.json": '{"bValue": [0, 1000]}'}, "DWI-b-unknown", None),
            ({"dwi/{}_dwi.json": '{"DiffusionBValue": 800}'}, "DWI", 800),
            ({"dwi/{}_dwi.bval": "1000\n"}, "DWI", 1000),
            ({"../../dwi.json": '{"bValue": 900}'}, "DWI", 900),
            ({"../../dwi.json": '{"bValue": 900}', "dwi/{}_dwi.json": '{"bValue": 1200}'}, "DWI", 1200),
            ({"../../task-x_dwi.json": '{"bValue": 900}'}, "DWI-b-unknown", None),
        ],
    )
    def test_b_value_comes_from_the_nearest_sidecar(
        self, bids: Path, sidecars: dict[str, str], sequence: str, b_value: float | None
    ) -> None:
        """Sidecars apply from the root inwards; an unknown b-value is a sequence of its own."""
        stem = "sub-0002_ses-01"
        session = bids / "sub-0002" / "ses-01"
        (session / "dwi" / f"{stem}_dwi.json").unlink()
        for name, text in sidecars.items():
            (session / name.format(stem)).write_text(text)
        row = ingest(bids)[1][stem]
        found = {item["series_id"]: (item["sequence"], item["b_value"]) for item in row["series"]}
        assert found[f"{stem}_dwi"] == (sequence, b_value)

    def test_low_b_value_is_not_diffusion(self, bids: Path) -> None:
        """A b 0 image looks like T2; it is left out, not called DWI."""
        (bids / "sub-0002" / "ses-01" / "dwi" / "sub-0002_ses-01_dwi.json").write_text('{"bValue": 0}')
        assert ingest(bids)[0].skipped_series == {"dwi-b-below-500": 1}


class TestSkipping:
    def test_no_voxel_is_read(self, bids: Path) -> None:
        """A file cut after its header is still listed: only preparation may find out."""
        path = bids / "sub-0002" / "ses-01" / "anat" / "sub-0002_ses-01_T1w.nii.gz"
        whole = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(whole[:360]))
        info, rows = ingest(bids)
        assert "T1w" in sequences(rows["sub-0002_ses-01"]).values()
        assert not info.skipped_series

    @pytest.mark.parametrize("content", [b"", b"not a nifti file", b"\x1f\x8b\x08\x00broken", bytes(400)])
    def test_damaged_headers_are_skipped(self, bids: Path, content: bytes) -> None:
        """A damaged file costs its series, not the run."""
        (bids / "sub-0002" / "ses-01" / "anat" / "sub-0002_ses-01_T1w.nii.gz").write_bytes(content)
        info, rows = ingest(bids)
        assert info.skipped_series == {"unreadable-header": 1}
        assert len(rows["sub-0002_ses-01"]["series"]) == 3

    def test_links_hidden_and_unfinished_files_are_not_data(self, bids: Path, nifti_writer: Writer) -> None:
        """A link is counted (it may be a datalad tree); what is hidden or being written is not there."""
        anat = bids / "sub-0002" / "ses-01" / "anat"
        (anat / "sub-0002_ses-01_T2w.nii.gz").symlink_to(anat / "sub-0002_ses-01_T1w.nii.gz")
        nifti_writer(anat / ".sub-0002_ses-01_T2w.nii.gz")
        (anat / "sub-0002_ses-01_PDw.partial.nii.gz").write_bytes(b"")
        (bids / "sub-loop").symlink_to(bids)
        info, rows = ingest(bids)
        assert info.skipped_series == {"symlink": 1}
        assert len(rows["sub-0002_ses-01"]["series"]) == 4
        assert info.studies == 9

    def test_studies_without_report_or_series_are_counted(self, bids: Path) -> None:
        """Each reason is counted on its own, and the other studies are read."""

        def report(subject: str) -> Path:
            return bids / f"sub-{subject}" / "ses-01" / f"sub-{subject}_ses-01_report.txt"

        report("0001").unlink()
        report("0002").write_text(" \n")
        report("0003").write_bytes("病灶".encode("gb18030"))
        report("0004").with_name("sub-0004_ses-01_run-2_report.txt").write_text("another")
        for path in (bids / "sub-0005").rglob("*.nii.gz"):
            path.unlink()
        info, rows = ingest(bids)
        assert info.skipped_studies == {
            "empty-report": 1,
            "no-report": 1,
            "no-usable-series": 1,
            "report-not-utf8": 1,
            "several-reports": 1,
        }
        assert sorted(rows) == ["sub-0001_ses-02", "sub-0006_ses-01", "sub-0007_ses-01", "sub-0008_ses-01"]

    def test_a_source_without_studies_is_an_error_that_says_why(self, bids: Path) -> None:
        """An empty table helps nobody."""
        for path in bids.rglob("*_report.txt"):
            path.unlink()
        with pytest.raises(ValueError, match=r"no usable study under .*'no-report': 9"):
            ingest(bids)

    def test_damaged_truth_is_an_error_that_names_the_file(self, bids: Path) -> None:
        """Truth that is silently dropped would bias an evaluation."""
        path = bids / "derivatives" / "truth" / "sub-0002" / "ses-01" / "sub-0002_ses-01_labels.json"
        path.write_text("[")
        with pytest.raises(ValueError, match=r"sub-0002_ses-01_labels\.json"):
            ingest(bids)

    def test_missing_folder(self, tmp_path: Path) -> None:
        """The folder that was asked for is named."""
        with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
            ingest_bids(IngestConfig(tmp_path / "nowhere", tmp_path / "table"))


class TestDeidentification:
    SECRETS = ("Doe", "00482915", "2023")
    REPORT = (
        "FINDINGS:\nLesion of 3 mm, MRN: 00482915.\nIMPRESSION:\nLesion. Discussed with Dr. Jane Doe on 05/14/2023.\n"
    )

    def test_reports_lose_what_names_a_person(self, bids: Path, tmp_path: Path) -> None:
        """Nothing of a canary is in any file of the table, placeholders are, and the summary counts them by kind."""
        (bids / "sub-0002" / "ses-01" / "sub-0002_ses-01_report.txt").write_text(self.REPORT)
        info = ingest_bids(IngestConfig(bids, tmp_path / "clean", deidentify=True))
        assert info.replaced == {"NAME": 1, "DATE": 1, "ID": 1, "PHONE": 0, "EMAIL": 0}
        assert "NAME 1, DATE 1, ID 1" in str(info)
        stored = {row["study_id"]: row["report"] for row in iter_studies(tmp_path / "clean")}
        assert stored["sub-0002_ses-01"]["findings"] == "Lesion of 3 mm, MRN: [ID]."
        assert stored["sub-0002_ses-01"]["impression"] == "Lesion. Discussed with Dr. [NAME] on [DATE]."
        assert stored["sub-0003_ses-01"]["findings"] == "A 3 mm lesion in the left frontal lobe."
        for path in (tmp_path / "clean").iterdir():
            assert not [secret for secret in self.SECRETS if secret.encode() in path.read_bytes()], path.name

    def test_reports_are_left_alone_unless_asked(self, bids: Path, tmp_path: Path) -> None:
        """Without the option every word is kept and the summary says nothing of placeholders."""
        (bids / "sub-0002" / "ses-01" / "sub-0002_ses-01_report.txt").write_text(self.REPORT)
        info = ingest_bids(IngestConfig(bids, tmp_path / "plain"))
        assert info.replaced is None
        assert "placeholders" not in str(info)
        assert b"Jane Doe" in (tmp_path / "plain" / "studies.arrow").read_bytes()

    def test_repeated_reports_are_marked(self, bids: Path, tmp_path: Path) -> None:
        """A report that says the same in other spacing, case and list marks is listed with the first that said it."""
        report = "Findings:\n1. a 3 MM   lesion in the left frontal lobe\nImpression: one lesion."
        (bids / "sub-0005" / "ses-01" / "sub-0005_ses-01_report.txt").write_text(report)
        info = ingest_bids(IngestConfig(bids, tmp_path / "table"))
        assert info.repeated_reports == 1
        assert "1 reports repeat" in str(info)
        lines = (tmp_path / "table" / "repeated_reports.tsv").read_text().splitlines()
        assert lines == ["study_id\tsame_report_as", "sub-0005_ses-01\tsub-0003_ses-01"]


class TestShape:
    @pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
    @pytest.mark.parametrize("big_endian", [False, True])
    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    def test_header_shape_equals_nibabel(self, tmp_path: Path, kind: type, big_endian: bool, ending: str) -> None:
        """The own header reader agrees with nibabel for both versions, byte orders and forms."""
        image = kind(np.zeros((3, 5, 7, 2), dtype=np.int16), np.eye(4))
        if big_endian:
            image = kind(image.dataobj, np.eye(4), image.header.as_byteswapped(">"))
        path = tmp_path / f"volume{ending}"
        nibabel.save(image, path)
        assert volume_shape(path) == nibabel.load(path).shape

    def test_header_shapes_of_real_files(self, test_data: Path) -> None:
        """On real head MRI the header reader equals nibabel, trailing axes of length 1 aside."""
        paths = sorted(path for path in (test_data / "head_mri").rglob("*.nii*"))
        assert len(paths) > 20
        for path in paths:
            shape = nibabel.load(path).shape
            while shape[-1] == 1:
                shape = shape[:-1]
            assert volume_shape(path) == shape, path.name
