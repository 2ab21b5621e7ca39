"""DICOM -> BIDS: voxels stay where they are, nothing leads back to a patient, a stopped run goes on."""

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from selip.processing.sources.bids import ingest_bids
from selip.processing.sources.config import IngestConfig
from selip.processing.sources.dicom import convert
from selip.processing.sources.dicom.config import DicomConfig
from selip.processing.sources.dicom.conversion import geometric_mean
from selip.processing.sources.dicom.convert import convert_dicom
from selip.processing.sources.dicom.headers import scan_folder
from selip.processing.sources.dicom.pseudonyms import pseudonym
from selip.processing.sources.studies import iter_studies

Writer = Callable[..., list[Path]]
SHAPE = (20, 24, 12)
CANARIES = ("Canary", "19991231", "1.2.826.0", "Time=", "10:0", "P1", "A1", "series_of_doctor_canary")


def oblique() -> np.ndarray:
    """Index to RAS+ mm of a sagittal, tilted stack of 2 x 2 x 5 mm."""
    turned = np.linalg.qr([[0.0, 0.1, -5.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.2]])[0]
    affine = np.eye(4)
    affine[:3, :3] = turned * np.sign(np.diag(turned[[1, 2, 0]])) * [2.0, 2.0, 5.0]
    affine[:3, 3] = (30.0, -20.0, -15.0)
    return affine


def voxels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 900, SHAPE).astype(np.int16)


def on_grid(path: Path, affine: np.ndarray) -> np.ndarray:
    """The values of a NIfTI file at the voxels of another grid, which must be the same points in space."""
    image = nib.load(path)
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    to_file = np.linalg.inv(image.affine) @ affine
    index = places @ to_file[:3, :3].T + to_file[:3, 3]
    assert np.abs(index - np.round(index)).max() < 1e-4
    return np.asarray(image.dataobj)[tuple(np.round(index).astype(int).transpose(3, 0, 1, 2))]


def volume(out: Path, ending: str) -> Path:
    [path] = out.rglob(f"*{ending}")
    return path


def write_reports(path: Path, **texts: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("accession_number", "text"), *texts.items()])
    return path


@pytest.fixture
def archive(tmp_path: Path, write_dicom_series: Writer) -> Path:
    """Two studies, files of all series in one folder, with what an archive has beside."""
    folder = tmp_path / "archive"
    for study in (1, 2):
        for series, name in enumerate(("t1_tse", "t1_tse_KM", "t2_tse_sag"), start=1):
            write_dicom_series(
                folder,
                voxels(series),
                oblique(),
                study=study,
                series=series,
                attributes={"SeriesDescription": name, "StudyDescription": "series_of_doctor_canary"},
            )
    (folder / "readme.txt").write_text("no DICOM")
    (folder / "cut.dcm").write_bytes(next(folder.glob("1-1-*")).read_bytes()[:140])
    return folder


def test_voxels_and_their_places_are_those_of_the_slices(tmp_path: Path, write_dicom_series: Writer) -> None:
    """Of a tilted sagittal stack every voxel is at its place in space; values of a map are scaled."""
    write_dicom_series(tmp_path / "in", voxels(), oblique(), attributes={"SeriesDescription": "t2_tse_sag"})
    scaled = {
        "SeriesDescription": "ADC",
        "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"],
        "RescaleSlope": "0.5",
        "RescaleIntercept": "10",
    }
    write_dicom_series(tmp_path / "in", voxels(), oblique(), series=2, attributes=scaled)
    summary = convert_dicom(DicomConfig(tmp_path / "in", tmp_path / "out"))
    assert summary.sequences == {"T2w": 1, "ADC": 1}
    np.testing.assert_array_equal(on_grid(volume(tmp_path / "out", "T2w.nii.gz"), oblique()), voxels())
    np.testing.assert_array_equal(on_grid(volume(tmp_path / "out", "ADC.nii.gz"), oblique()), voxels() * 0.5 + 10)


def test_diffusion_is_the_mean_of_the_directions_at_the_b_value_that_is_read(
    tmp_path: Path, write_dicom_series: Writer
) -> None:
    """Of b 0, 500 and three directions at 1,000: the geometric mean of the three, with its b-value."""
    for number, (b_value, added) in enumerate([(0, 900), (500, 400), (1000, 10), (1000, 90), (1000, 250)]):
        attributes = {
            "SeriesDescription": "ep2d_diff_tra",
            "ScanningSequence": "EP",
            "AcquisitionNumber": number + 1,
            "AcquisitionTime": f"1001{number:02d}",
            (0x19, 0x10, "LO"): "SIEMENS MR HEADER",
            (0x19, 0x100C, "IS"): str(b_value),
        }
        write_dicom_series(
            tmp_path / "in", voxels() + added, oblique(), first=number * SHAPE[2], attributes=attributes
        )
    convert_dicom(DicomConfig(tmp_path / "in", tmp_path / "out"))
    path = volume(tmp_path / "out", "dwi.nii.gz")
    expected = np.prod([voxels().astype(float) + added for added in (10, 90, 250)], axis=0) ** (1 / 3)
    np.testing.assert_allclose(on_grid(path, oblique()), expected, rtol=1e-5)
    assert json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())["bValue"] == 1000


def test_geometric_mean_of_what_is_not_positive_is_zero() -> None:
    """Noise can be zero, and the logarithm of zero is nothing."""
    data = np.array([[0.0, 4.0], [1.0, 4.0], [-2.0, 2.0]], dtype=np.float32)
    np.testing.assert_allclose(geometric_mean(data), [0.0, 2.0, 0.0])


def test_a_stack_with_a_slice_missing_is_one_volume_at_even_distances(
    tmp_path: Path, write_dicom_series: Writer
) -> None:
    """dcm2niix writes such a stack twice; the even one is taken: a ramp along the slices is one at its places."""
    ramp = np.broadcast_to(100 + 60 * np.arange(SHAPE[2], dtype=np.int16), SHAPE)
    files = write_dicom_series(tmp_path / "in", ramp, oblique(), attributes={"SeriesDescription": "t2"})
    files[5].unlink()
    summary = convert_dicom(DicomConfig(tmp_path / "in", tmp_path / "out"))
    assert summary.sequences == {"T2w": 1}
    image = nib.load(volume(tmp_path / "out", "T2w.nii.gz"))
    slices = [(np.linalg.inv(oblique()) @ image.affine @ [3, 3, index, 1])[2] for index in range(image.shape[2])]
    assert slices[-1] == pytest.approx(SHAPE[2] - 1, abs=1.01)
    np.testing.assert_allclose(np.asarray(image.dataobj)[3, 3], 100 + 60 * np.array(slices), atol=1.0)


def test_nothing_that_leads_to_a_patient_is_in_the_bids_folder(tmp_path: Path, archive: Path) -> None:
    """No name, id, date, time or description in any file or name, headers of volumes too."""
    convert_dicom(DicomConfig(archive, tmp_path / "out"))
    checked = 0
    for path in (tmp_path / "out").rglob("*"):
        if path.is_dir():
            continue
        content = path.read_bytes()
        content = gzip.decompress(content)[:352] if path.suffix == ".gz" else content
        text = content.decode("latin-1") + path.relative_to(tmp_path / "out").as_posix()
        assert not [canary for canary in CANARIES if canary in text], path.name
        checked += 1
    assert checked >= 12


def test_pseudonyms_are_those_of_the_key(tmp_path: Path, archive: Path) -> None:
    """The same key gives the same ids in another folder, another key others; they hold no digit."""
    first = convert_dicom(DicomConfig(archive, tmp_path / "a", private=tmp_path / "private"))
    names = sorted(path.name for path in (tmp_path / "a").glob("sub-*"))
    shutil.rmtree(tmp_path / "private" / "records")
    convert_dicom(DicomConfig(archive, tmp_path / "b", private=tmp_path / "private"))
    convert_dicom(DicomConfig(archive, tmp_path / "c"))
    assert first.studies == 2
    assert sorted(path.name for path in (tmp_path / "b").glob("sub-*")) == names
    assert not set(names) & {path.name for path in (tmp_path / "c").glob("sub-*")}
    assert (tmp_path / "private" / "key").stat().st_mode & 0o077 == 0
    many = {pseudonym(b"k" * 32, str(number), 10) for number in range(2000)}
    assert len(many) == 2000
    assert all(name.isalpha() for name in many)


def test_a_study_becomes_a_row_with_its_report(tmp_path: Path, archive: Path) -> None:
    """Reports by accession number; without one, or with two, a study is left out; contrast is told from the study."""
    reports = write_reports(tmp_path / "reports.csv", A1="FINDINGS: A mass. IMPRESSION: Glioma.", B7="of nobody")
    summary = convert_dicom(DicomConfig(archive, tmp_path / "out", reports=reports))
    assert (summary.studies, summary.left_out_studies) == (1, {"no-report": 1})
    assert summary.unused_files == {"not-dicom": 1, "no-ids": 1}
    ingest_bids(IngestConfig(tmp_path / "out", tmp_path / "table", fractions=(1.0, 0.0, 0.0)))
    [row] = iter_studies(tmp_path / "table", "train")
    assert row["report"] == {"findings": "A mass.", "impression": "Glioma."}
    assert sorted(series["sequence"] for series in row["series"]) == ["T1c", "T1w", "T2w"]
    with (tmp_path / "out.private" / "studies.tsv").open() as file:
        known = {each["accession_number"]: each["study_id"] for each in csv.DictReader(file, delimiter="\t")}
    assert known == {"A1": row["study_id"], "A2": ""}


def test_names_that_nobody_recorded_reach_the_table(tmp_path: Path, write_dicom_series: Writer) -> None:
    """A T1 after contrast agent of which nothing is said, and a diffusion image without b-value."""
    for series, name in enumerate(("t1_KM", "t1_cor", "ep2d_trace"), start=1):
        write_dicom_series(tmp_path / "in", voxels(), oblique(), series=series, attributes={"SeriesDescription": name})
    reports = write_reports(tmp_path / "reports.csv", A1="Normal.")
    convert_dicom(DicomConfig(tmp_path / "in", tmp_path / "out", reports=reports))
    ingest_bids(IngestConfig(tmp_path / "out", tmp_path / "table", fractions=(1.0, 0.0, 0.0)))
    [row] = iter_studies(tmp_path / "table", "train")
    assert sorted(each["sequence"] for each in row["series"]) == ["DWI-b-unknown", "T1c", "T1w-contrast-unknown"]


def test_what_is_decided_is_obeyed(tmp_path: Path, archive: Path) -> None:
    """The table of names decides what a description is, or that it is left out; what is no sequence is refused."""
    out, names = tmp_path / "out", tmp_path / "out.private" / "series_names.tsv"
    convert_dicom(DicomConfig(archive, out))
    rows = list(csv.reader(names.read_text().splitlines(), delimiter="\t"))
    assert rows[0] == ["description", "named", "decided"]
    assert dict(row[:2] for row in rows[1:]) == {"t1_tse": "T1w 2", "t1_tse_KM": "T1c 2", "t2_tse_sag": "T2w 2"}
    names.write_text("description\tnamed\tdecided\nt1_tse\t\tPD\nt2_tse_sag\t\t-\n")
    with pytest.raises(FileExistsError, match=r"2 of 2 studies .* --overwrite"):
        convert_dicom(DicomConfig(archive, out))
    summary = convert_dicom(DicomConfig(archive, out, overwrite=True))
    assert summary.sequences == {"PD": 2, "T1c": 2}
    assert summary.left_out_series == {"decided": 2}
    assert "t2_tse_sag\tdecided 2\t-" in names.read_text()
    names.write_text("description\tnamed\tdecided\nof_no_series\t\tPD\nt1_tse\t\tPD\nt2_tse_sag\t\t-\n")
    assert convert_dicom(DicomConfig(archive, out)).converted == 0  # nothing that concerns a study has changed
    assert "of_no_series\t\tPD" in names.read_text()
    names.write_text("description\tnamed\tdecided\nt1_tse\t\tT3\n")
    with pytest.raises(ValueError, match=r"line 2: expected one of T1w, .* got 'T3'"):
        convert_dicom(DicomConfig(archive, out))


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the second study, then said again; the first study is not made twice, new ones are added."""
    private = tmp_path / "private"
    convert_dicom(DicomConfig(archive, tmp_path / "whole", private=private))
    shutil.rmtree(private / "records")
    real, calls = convert.write_study, []

    def stops(*arguments: object) -> list[str]:
        calls.append(arguments[0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    out = tmp_path / "out"
    monkeypatch.setattr(convert, "write_study", stops)
    with pytest.raises(KeyboardInterrupt):
        convert_dicom(DicomConfig(archive, out, private=private))
    summary = convert_dicom(DicomConfig(archive, out, private=private))
    assert (summary.studies, summary.converted, len(calls)) == (2, 1, 3)
    files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    whole = tmp_path / "whole"
    assert files == {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*") if path.is_file()}


def test_another_folder_of_the_archive_is_added(tmp_path: Path, archive: Path, write_dicom_series: Writer) -> None:
    """What an earlier run made of other files stays, in the tables too; a further study of a patient gets its id."""
    out = tmp_path / "out"
    convert_dicom(DicomConfig(archive, out))
    later = {"SeriesDescription": "AX FLAIR", "PatientID": "P1"}
    write_dicom_series(tmp_path / "later", voxels(), oblique(), study=3, attributes=later)
    summary = convert_dicom(DicomConfig(tmp_path / "later", out))
    assert (summary.studies, summary.sequences) == (1, {"FLAIR": 1})
    assert len((out / "participants.tsv").read_text().split()) == 3
    listed = [line.split("\t")[0] for line in (out / "series.tsv").read_text().splitlines()[1:]]
    assert sorted(listed) == sorted(path.relative_to(out).as_posix() for path in out.rglob("*.nii.gz"))
    with (tmp_path / "out.private" / "studies.tsv").open() as file:
        subjects = {row["accession_number"]: row["study_id"][:14] for row in csv.DictReader(file, delimiter="\t")}
    assert set(subjects) == {"A1", "A2", "A3"}
    assert subjects["A1"] == subjects["A3"] != subjects["A2"]


def test_files_are_grouped_by_their_headers(tmp_path: Path, archive: Path, write_dicom_series: Writer) -> None:
    """Series in one folder are told apart; other modalities, screens and damaged files are counted by reason."""
    write_dicom_series(tmp_path / "archive/ct", voxels(), oblique(), series=7, attributes={"Modality": "CT"})
    screen = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
    write_dicom_series(tmp_path / "archive/screen", voxels(), oblique(), series=8, attributes=screen)
    write_dicom_series(tmp_path / "archive/x", voxels(), oblique(), series=9, attributes={"PatientID": "other"})
    folder = scan_folder(archive)
    assert [len(study.series) for study in folder.studies.values()] == [5, 3]
    assert {len(series.files) for study in folder.studies.values() for series in study.series.values()} == {12}
    assert folder.reasons()["another-patient-in-the-study"] == 12
    summary = convert_dicom(DicomConfig(archive, tmp_path / "out"))
    assert summary.left_out_series == {"modality-CT": 1, "screen-picture": 1}


def test_wrong_input_is_refused(tmp_path: Path, archive: Path) -> None:
    """No folder, no MR in it, a folder of somebody else's, reports without ids, a damaged key."""
    with pytest.raises(FileNotFoundError, match="expected a folder of DICOM files"):
        convert_dicom(DicomConfig(tmp_path / "none", tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="none in 0 studies: no DICOM file"):
        convert_dicom(DicomConfig(tmp_path / "empty", tmp_path / "out0"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("of somebody")
    with pytest.raises(FileExistsError, match="holds something"):
        convert_dicom(DicomConfig(archive, tmp_path / "other"))
    (tmp_path / "reports.csv").write_text("id,text\n1,Normal.\n")
    with pytest.raises(ValueError, match="row 1: expected the column text and a value of study_uid or accession"):
        convert_dicom(DicomConfig(archive, tmp_path / "out1", reports=tmp_path / "reports.csv"))
    (tmp_path / "out2.private").mkdir()
    (tmp_path / "out2.private" / "key").write_text("short")
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits"):
        convert_dicom(DicomConfig(archive, tmp_path / "out2"))
    with pytest.raises(ValueError, match="num_proc: expected at least 1"):
        DicomConfig(archive, tmp_path / "out", num_proc=0)


def test_real_series_agrees_with_another_reader(tmp_path: Path, test_data: Path) -> None:
    """A tilted clinical series: sequence, values and places as SimpleITK (GDCM) reads them.

    Its slices are not quite evenly spaced: dcm2niix takes the first gap, GDCM another, so places agree within a slice.
    """
    source = test_data / "head_mri" / "dicom_pd_axial_ge"
    summary = convert_dicom(DicomConfig(source, tmp_path / "out"))
    assert summary.sequences == {"PD": 1}
    image = nib.load(volume(tmp_path / "out", "PDw.nii.gz"))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
    other = reader.Execute()
    values = SimpleITK.GetArrayFromImage(other).transpose(2, 1, 0)
    data = np.asarray(image.dataobj)
    assert data.shape == values.shape
    np.testing.assert_array_equal(data, values[:, ::-1])  # dcm2niix stores rows upwards
    for place in ((0, 0, 0), (255, 255, 19), (128, 100, 10)):
        ours = (image.affine @ [*place, 1])[:3]
        theirs = other.TransformIndexToPhysicalPoint((place[0], 255 - place[1], place[2]))
        assert np.abs(ours - np.array(theirs) * [-1, -1, 1]).max() < 3.0
