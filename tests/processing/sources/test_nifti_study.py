"""One file or the folder of a study as a row: the same sequences as ingestion gives, and what is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from selip.processing.sources.nifti_study import study_fingerprint, study_of_file, study_of_folder


def write(path: Path, shape: tuple[int, ...] = (4, 5, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.ones(shape, np.float32), np.eye(4)).to_filename(path)
    return path


def sequences(row: dict) -> dict[str, str]:
    return {item["series_id"]: item["sequence"] for item in row["series"]}


def test_sequences_are_told_as_in_ingestion(tmp_path: Path) -> None:
    """BIDS names, the contrast entity, the b-value of a sidecar of the data set; masks are left out by reason."""
    session = tmp_path / "sub-7" / "ses-2"
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "dwi.json").write_text('{"bValue": 1000}')
    for name in (
        "anat/sub-7_ses-2_T1w",
        "anat/sub-7_ses-2_ce-gad_T1w",
        "anat/sub-7_ses-2_FLAIR",
        "dwi/sub-7_ses-2_dwi",
    ):
        write(session / f"{name}.nii.gz")
    write(session / "anat" / "sub-7_ses-2_desc-lesion_mask.nii.gz")
    write(session / "anat" / "sub-7_ses-2_T2w.nii.gz", (4, 5, 6, 2))
    (session / "anat" / "sub-7_ses-2_PDw.nii.gz").write_bytes(b"no NIfTI")
    (session / "anat" / "sub-7_ses-2_swi.nii.gz").symlink_to("sub-7_ses-2_FLAIR.nii.gz")
    row, skips = study_of_folder(session)
    assert (row["study_id"], row["patient_id"]) == ("sub-7_ses-2", "sub-7")
    assert {name.removeprefix("sub-7_ses-2_"): found for name, found in sequences(row).items()} == {
        "T1w": "T1w",
        "ce-gad_T1w": "T1c",
        "FLAIR": "FLAIR",
        "dwi": "DWI",
    }
    assert skips.counts("series") == {"suffix-mask": 1, "4d": 1, "unreadable-header": 1, "symlink": 1}


def test_other_names_are_told_as_far_as_they_go(tmp_path: Path) -> None:
    """A bare suffix is one; a name that says nothing is `unknown`, not left out; the study is called as its folder."""
    for name in ("FLAIR.nii.gz", "t1w.nii", "scan_0003.nii.gz", ".hidden.nii.gz"):
        write(tmp_path / "case" / name)
    row, skips = study_of_folder(tmp_path / "case")
    assert (row["study_id"], row["patient_id"], skips.items) == ("case", "", [])
    assert sequences(row) == {"FLAIR": "FLAIR", "t1w": "T1w", "scan_0003": "unknown"}


def test_a_single_file_can_be_named(tmp_path: Path) -> None:
    """The option wins over the name, and lets in what the name would leave out."""
    path = write(tmp_path / "sub-1_T1w.nii.gz")
    assert sequences(study_of_file(path)) == {"sub-1_T1w": "T1w"}
    assert study_of_file(path)["study_id"] == "sub-1"
    assert sequences(study_of_file(path, "FLAIR")) == {"sub-1_T1w": "FLAIR"}
    assert sequences(study_of_file(write(tmp_path / "sub-1_mask.nii.gz"), "SWI")) == {"sub-1_mask": "SWI"}
    assert study_of_file(write(tmp_path / "a.nii"))["study_id"] == "a"


def test_fingerprint_follows_the_files(tmp_path: Path) -> None:
    """The same files elsewhere have the same one; another size or sequence another."""
    first, second = (write(tmp_path / place / "T1w.nii") for place in "ab")
    assert study_fingerprint(study_of_file(first)) == study_fingerprint(study_of_file(second))
    assert study_fingerprint(study_of_file(first)) != study_fingerprint(study_of_file(first, "T2w"))
    write(second, (4, 5, 7))
    assert study_fingerprint(study_of_file(first)) != study_fingerprint(study_of_file(second))


def test_wrong_sources_say_what_to_do(tmp_path: Path) -> None:
    """Nothing there, no NIfTI, 4D, a mask, an unknown sequence, several studies, nothing usable."""
    with pytest.raises(FileNotFoundError, match="found none"):
        study_of_file(tmp_path / "gone.nii.gz")
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.nii"):
        study_of_file(tmp_path / "a.dcm")
    with pytest.raises(ValueError, match="4d"):
        study_of_file(write(tmp_path / "bold.nii.gz", (4, 5, 6, 3)))
    with pytest.raises(ValueError, match="suffix-mask"):
        study_of_file(write(tmp_path / "sub-1_mask.nii.gz"))
    with pytest.raises(ValueError, match="FLAIR"):
        study_of_file(write(tmp_path / "x.nii.gz"), "FLARE")
    for name in ("sub-1/sub-1_T1w.nii.gz", "sub-2/sub-2_T1w.nii.gz"):
        write(tmp_path / "many" / name)
    with pytest.raises(ValueError, match="those of 2"):
        study_of_folder(tmp_path / "many")
    with pytest.raises(FileNotFoundError):
        study_of_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found none"):
        study_of_folder(tmp_path / "empty")
    write(tmp_path / "masks" / "sub-1_mask.nii.gz")
    with pytest.raises(ValueError, match="suffix-mask"):
        study_of_folder(tmp_path / "masks")
