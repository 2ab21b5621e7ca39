"""`selip segment`: a NIfTI file or the folder of a study in, a mask on the input's own grid out.

    selip segment runs/masks/best sub-01/ lesions.nii.gz

All series of a folder are read together. The probability of a lesion is computed on the study box in one piece (the
box holds the whole head, so there is nothing to slide a window over), brought to the grid of the output by linear
interpolation, and cut there.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers.utils.logging import disable_progress_bar

from selip.processing.nifti_selip import make_image

from .evaluation.segmentation import count_lesions
from .evaluation.segmentation_task import lesion_probability
from .finetuning.network import load_head_checkpoint
from .one_study import open_study, write_image
from .segment_config import SegmentConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentSummary:
    """What was written.

    Attributes:
        out: The mask.
        grid: File whose grid it has.
        volume_ml: Volume of what is marked.
        lesions: Connected parts of it (by face, edge or corner).
        series: Sequences of the series that were read, by series id.
        left_out: Why others were not, by their name.
    """

    out: Path
    grid: Path
    volume_ml: float
    lesions: int
    series: dict[str, str]
    left_out: dict[str, str]

    def __str__(self) -> str:
        read = ", ".join(f"{name} as {sequence}" for name, sequence in self.series.items())
        lines = [
            f"{self.out}: {self.volume_ml:.2f} ml in {self.lesions} parts, on the grid of {self.grid.name}",
            f"read {read}",
            *(f"left out {name} ({reason})" for name, reason in self.left_out.items()),
            "not a medical device: for research only",
        ]
        return "\n".join(lines)


def segment(config: SegmentConfig) -> SegmentSummary:
    """Write the mask that a checkpoint of `selip finetune` gives a study.

    Raises:
        FileExistsError: `out` is there and `overwrite` is False.
        FileNotFoundError: Input or checkpoint is not there.
        ValueError: The checkpoint is of another kind, or no series can be used.
    """
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another file, or say --overwrite")
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    model, image_processor = load_head_checkpoint(config.checkpoint, "segmentation")
    study = open_study(config.input, image_processor, sequence=config.sequence)
    read = study.series
    grid = config.grid or Path(study.volumes[next(iter(read))]["path"])
    box = lesion_probability(model, list(read.values()))
    native = image_processor.to_native(box, next(iter(read.values())).affine, like=str(grid))
    mask = np.asarray(native.dataobj) >= config.threshold
    write_image(make_image(mask.astype(np.uint8), native.affine), config.out)
    if any(each.sequence_id == 0 for each in read.values()):
        logger.warning("the sequence of a series is not known; give it by its name, or by --sequence with one file")
    return SegmentSummary(
        out=config.out,
        grid=grid,
        volume_ml=float(mask.sum() * abs(np.linalg.det(native.affine[:3, :3])) / 1000),
        lesions=count_lesions(mask, mask)[0],
        series={name: study.sequences[name] for name in read},
        left_out=dict(study.left_out),
    )
