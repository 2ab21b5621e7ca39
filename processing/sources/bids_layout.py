"""Where the files of a BIDS data set lie, for those who write, read and draw them; knows no voxels."""

from pathlib import Path

BIDS_VERSION = "1.10.0"
TRUTH_FOLDER = Path("derivatives") / "truth"

# Image of a sequence in its session's folder, without ending; {} is the name of the study. BIDS has no suffix of its
# own for SWI (its magnitude is a T2star-weighted image) and none for ADC.
FILE_NAMES = {
    "T1w": "anat/{}_T1w",
    "T1c": "anat/{}_ce-gadolinium_T1w",
    "T1w-contrast-unknown": "anat/{}_ce-unknown_T1w",
    "T2w": "anat/{}_T2w",
    "FLAIR": "anat/{}_FLAIR",
    "PD": "anat/{}_PDw",
    "SWI": "anat/{}_T2starw",
    "MRA": "anat/{}_angio",
    "DWI": "dwi/{}_dwi",
    "ADC": "dwi/{}_ADC",
}

# Below this b-value (s/mm^2) an image is T2 contrast for the reader, not diffusion; clinical head DWI is read at
# b 800 to 1000 (ACR-ASNR-SPR practice parameter for MRI of the brain).
MIN_DWI_B_VALUE = 500.0
DWI_BELOW = f"dwi-b-below-{MIN_DWI_B_VALUE:.0f}"
"""Reason of an image that is left out for it."""


def study_folder(root: Path, study: str) -> Path:
    """Folder of a study, as `sub-0001_ses-01`, below a root."""
    return root.joinpath(*study.split("_"))
