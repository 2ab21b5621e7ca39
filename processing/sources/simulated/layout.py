"""Where the files of a simulated data set lie (BIDS), for those who write and those who draw them."""

from pathlib import Path

TRUTH_FOLDER = Path("derivatives") / "truth"

# Image of a sequence in its session's folder, without ending; {} is the name of the study. BIDS has no suffix of its
# own for SWI; its magnitude is a T2star-weighted image.
FILE_NAMES = {
    "T1w": "anat/{}_T1w",
    "T1c": "anat/{}_ce-gadolinium_T1w",
    "T2w": "anat/{}_T2w",
    "FLAIR": "anat/{}_FLAIR",
    "DWI": "dwi/{}_dwi",
    "ADC": "dwi/{}_ADC",
    "SWI": "anat/{}_T2starw",
}


def study_folder(root: Path, study: str) -> Path:
    """Folder of a study, as `sub-0001_ses-01`, below a root."""
    return root.joinpath(*study.split("_"))
