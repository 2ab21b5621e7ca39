"""What `selip heatmap` takes: typed, frozen, checked. Standard library only, so that `--help` stays quick."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class HeatmapConfig:
    """`selip heatmap`: where the series of a study speak for a text, on their own grids and as pictures."""

    checkpoint: Path = field(metadata={"help": "Folder of a pretraining checkpoint, e.g. RUN/best."})
    source: Path = field(metadata={"help": "NIfTI file, folder of one study, or a studies table (then with --study)."})
    text: str = field(metadata={"help": "What is looked for, e.g. 'FLAIR: left frontal lobe shows glioma.'"})
    out: Path = field(metadata={"help": "Folder for the maps (.nii.gz), pictures (.png) and heatmap.json."})
    study: str | None = field(default=None, metadata={"help": "Id of the study of a studies table."})
    sequence: str | None = field(
        default=None, metadata={"help": "MRI sequence of a single file, e.g. FLAIR; none: what its name says."}
    )
    against: str | None = field(
        default=None,
        metadata={"help": "Another text, e.g. that of a normal study, whose map is taken away from the first."},
    )
    method: Literal["similarity", "rollout"] = field(
        default="similarity",
        metadata={
            "help": "similarity: what each position adds to the cosine with the text; rollout: what the series is "
            "read from by attention, whatever the text (a ViT only)."
        },
    )
    num_slices: int = field(default=3, metadata={"help": "Slices in a picture; 0: no pictures (extra `plots`)."})
    overwrite: bool = field(default=False, metadata={"help": "Replace what is in the folder already."})

    def __post_init__(self) -> None:
        if not self.text.strip() or (self.against is not None and not self.against.strip()):
            raise ValueError("expected words in the text and in --against, got none")
        if self.method == "rollout" and self.against is not None:
            raise ValueError("expected no --against with rollout, which reads no text; leave it out")
        if self.num_slices < 0:
            raise ValueError(f"expected num_slices of at least 0, got {self.num_slices}")
