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
from datasets import Dataset
from transformers.utils.logging import disable_progress_bar

from selip.processing.atomic_files import replacing
from selip.processing.nifti_selip import make_image
from selip.processing.sources.nifti_study import study_of_file, study_of_folder
from selip.processing.sources.schema import SkipLog, study_features

from .config import SegmentConfig
from .evaluation.embedding import BoxedSeries, NiftiSeries
from .evaluation.segmentation import count_lesions
from .evaluation.segmentation_task import lesion_probability
from .finetuning.network import load_head_checkpoint

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
    if config.input.is_dir():
        if config.sequence is not None:
            raise ValueError("expected no --sequence with a folder, whose files are told by their names; leave it out")
        row, skips = study_of_folder(config.input)
    else:
        row, skips = study_of_file(config.input, config.sequence), SkipLog()
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    model, image_processor = load_head_checkpoint(config.checkpoint, "segmentation")
    cells = [{**entry, "volume": {"path": str(entry["volume"]), "bytes": None}} for entry in row["series"]]
    source = NiftiSeries(Dataset.from_list([{**row, "series": cells}], features=study_features()), image_processor)
    found = source.study(row["study_id"], [entry["series_id"] for entry in row["series"]])
    read = {name: each for name, each in found.items() if isinstance(each, BoxedSeries)}
    left_out = {where: reason for _, where, reason in skips.items}
    left_out |= {name: each for name, each in found.items() if isinstance(each, str)}
    if not read:
        raise ValueError(f"expected a usable series in {config.input}, got none ({left_out})")
    files = {entry["series_id"]: Path(entry["volume"]) for entry in row["series"]}
    grid = config.grid or files[next(iter(read))]
    box = lesion_probability(model, list(read.values()))
    native = image_processor.to_native(box, next(iter(read.values())).affine, like=str(grid))
    mask = np.asarray(native.dataobj) >= config.threshold
    with replacing(config.out) as partial:
        # nibabel goes by the ending of the name
        named = partial.with_name(partial.name + "".join(config.out.suffixes[-2:]))
        make_image(mask.astype(np.uint8), native.affine).to_filename(named)
        named.replace(partial)
    if any(each.sequence_id == 0 for each in read.values()):
        logger.warning("the sequence of a series is not known; give it by its name, or by --sequence with one file")
    sequences = {entry["series_id"]: entry["sequence"] for entry in row["series"]}
    return SegmentSummary(
        out=config.out,
        grid=grid,
        volume_ml=float(mask.sum() * abs(np.linalg.det(native.affine[:3, :3])) / 1000),
        lesions=count_lesions(mask, mask)[0],
        series={name: sequences[name] for name in read},
        left_out=left_out,
    )
