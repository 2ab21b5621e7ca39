"""What `selip segment` takes. Standard library only, so that `--help` stays quick."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class SegmentConfig:
    """`selip segment`: the mask of a study on its own grid."""

    checkpoint: Path = field(metadata={"help": "Folder of a checkpoint of `selip finetune` for segmentation."})
    input: Path = field(metadata={"help": "NIfTI file, or the folder of one study; its series are read together."})
    out: Path = field(metadata={"help": "Mask to write (.nii.gz, .nii): 1 = lesion."})
    sequence: str | None = field(
        default=None,
        metadata={"help": "MRI sequence of a single file, e.g. FLAIR; none: what its name says."},
    )
    grid: Path | None = field(
        default=None,
        metadata={"help": "NIfTI file whose grid the mask gets; none: the file, or the first series of a folder."},
    )
    threshold: float = field(default=0.5, metadata={"help": "Probability from which a voxel is marked, in (0, 1]."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a mask of the same name."})

    def __post_init__(self) -> None:
        if not self.out.name.endswith((".nii", ".nii.gz")):
            raise ValueError(f"expected out to end in .nii or .nii.gz, got {self.out.name}")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"expected threshold in (0, 1], got {self.threshold}")
