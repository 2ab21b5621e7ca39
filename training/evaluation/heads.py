"""What the tasks of models with a head share: the model, and whole studies on their boxes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from selip.processing.sources.schema import StudyRow

from .series_source import BoxedSeries
from .task import StudyInputs


@dataclass(frozen=True)
class HeadInputs(StudyInputs):
    """A model with a head, and the studies it is evaluated on.

    Attributes:
        model: `SelipForVolumeClassification` or `SelipForVolumeSegmentation` in evaluation mode.
    """

    model: Any


def boxed_studies(
    inputs: HeadInputs, split: str, reasons: Counter[str]
) -> Iterator[tuple[StudyRow, list[BoxedSeries]]]:
    """The studies of a split with those of their series that can be had, on one box a study.

    Args:
        inputs: What is evaluated.
        split: train, validation or test.
        reasons: Series, and studies without any, that cannot be had are counted here.
    """
    source = inputs.source(split)
    for row in tqdm(inputs.rows(split), total=len(inputs.studies(split)), desc="studies", unit="study", disable=None):
        names = [each["series_id"] for each in row["series"]]
        found = source.study(row["study_id"], names) if names else {}
        usable = [each for each in found.values() if isinstance(each, BoxedSeries)]
        reasons.update(each for each in found.values() if isinstance(each, str))
        if usable:
            yield row, usable
        else:
            reasons["study without a usable series"] += 1


@torch.inference_mode()
def head_logits(model: Any, studies: Sequence[Sequence[BoxedSeries]]) -> torch.Tensor:
    """Scores of a model with a head for whole studies, float32 on the CPU, its first axis B.

    Args:
        model: In evaluation mode; decides the device.
        studies: B studies of one series and more.

    Returns:
        (B, labels) of a classification, (B, classes, X, Y, Z) of a segmentation.
    """
    slots = max(len(series) for series in studies)
    first = studies[0][0]
    pixel_values = torch.zeros(len(studies), slots, *first.volume.shape)
    series_mask = torch.zeros(len(studies), slots, dtype=torch.bool)
    sequence_ids = torch.zeros(len(studies), slots, dtype=torch.long)
    patch_mask = torch.zeros(len(studies), slots, *first.patch_mask.shape, dtype=torch.bool)
    for number, series in enumerate(studies):
        count = len(series)
        pixel_values[number, :count] = torch.from_numpy(np.stack([each.volume for each in series]))
        series_mask[number, :count] = True
        sequence_ids[number, :count] = torch.tensor([each.sequence_id for each in series])
        patch_mask[number, :count] = torch.from_numpy(np.stack([each.patch_mask for each in series]))
    output = model(
        pixel_values=pixel_values.to(model.device),
        series_mask=series_mask.to(model.device),
        sequence_ids=sequence_ids.to(model.device),
        patch_mask=patch_mask.to(model.device),
    )
    logits: torch.Tensor = output.logits.float().cpu()
    return logits
