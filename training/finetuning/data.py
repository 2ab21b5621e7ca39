"""From the studies table and the volumes table to what a head learns from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import DatasetDict

from selip.processing.sources.studies import iter_studies, load_studies

from ..data import choose_studies
from ..initialization import rows_by_sequence
from ..volumes import VolumesTable
from .batches import HeadStudy
from .config import FinetuneConfig
from .labels import choose_names, labels_of_table, read_labels, sided
from .masks import BoxMasks, read_masks

BACKGROUND, LESION = "background", "lesion"


@dataclass(frozen=True)
class HeadData:
    """What a run learns from and is validated on.

    Attributes:
        studies: Studies by split, `train` (the share that is learned from) and `validation`.
        left_out: Studies without a label or mask, or without volumes, by split.
        names: Labels, or background and lesion.
        masks: Of a segmentation, of all these studies.
        rows: Training volumes by sequence, of all training studies: images cost no label.
    """

    studies: dict[str, list[HeadStudy]]
    left_out: dict[str, int]
    names: tuple[str, ...]
    masks: BoxMasks | None
    rows: dict[int, list[int]]


def read_head_data(config: FinetuneConfig, table: VolumesTable, processor: Any, *, show_progress: bool) -> HeadData:
    """The studies of a run and what is to be learned of them.

    Raises:
        ValueError: Nothing can be learned: no labels or masks, one kind of study only, or a mirrored side.
    """
    splits = load_studies(config.data.studies)
    series = {
        name: {study_id: tuple(table.series_of(study_id)) for study_id in table.study_ids(name)}
        for name in ("train", "validation")
    }
    for name, found in series.items():
        if not found:
            raise ValueError(f"expected {name} studies with volumes, got none; ingest with a larger share for them")
    rows = rows_by_sequence(each for of_study in series["train"].values() for each in of_study)
    read = _read_masks if config.task == "segmentation" else _read_labels
    studies, names, masks = read(config, table, processor, splits, series, show_progress)
    left_out = {name: len(splits[name]) - len(studies[name]) for name in studies}
    for name in studies:
        if not studies[name]:
            raise ValueError(f"expected {name} studies with volumes and {config.task} targets, got none")
    studies["train"] = choose_studies(studies["train"], config.data.label_share)
    return HeadData(studies, left_out, names, masks, rows)


Series = dict[str, dict[str, tuple[Any, ...]]]
Read = tuple[dict[str, list[HeadStudy]], tuple[str, ...], BoxMasks | None]


def _read_labels(
    config: FinetuneConfig, table: VolumesTable, processor: Any, splits: DatasetDict, series: Series, show: bool
) -> Read:
    data = config.data
    columns = (row for name in series for row in splits[name].select_columns(["study_id", "labels"]))
    labels = labels_of_table(columns) if data.labels is None else read_labels(data.labels)
    names = choose_names(labels, list(series["train"]), data.label_names)
    mirrored = sided(names) if config.augmentation.flip_probability > 0 else []
    if mirrored:
        raise ValueError(
            f"expected augmentation.flip_probability 0 with labels that say a side, got "
            f"{config.augmentation.flip_probability} with {', '.join(mirrored)}"
        )
    studies: dict[str, list[HeadStudy]] = {}
    for split, found in series.items():
        studies[split] = []
        for study_id, of_study in found.items():
            known = labels.vector(study_id, names)
            if data.is_exclusive:
                if (known == 1).sum() == 1:
                    studies[split].append(HeadStudy(study_id, of_study, np.asarray(known.argmax())))
            elif (known >= 0).any():
                studies[split].append(HeadStudy(study_id, of_study, known))
    truth = labels.matrix([study.study_id for study in studies["validation"]], names)
    if not ((truth == 1).any(0) & (truth == 0).any(0)).any():
        raise ValueError(
            f"expected validation studies with and without one of the labels {', '.join(names)}, got one kind only"
        )
    return studies, names, None


def _read_masks(
    config: FinetuneConfig, table: VolumesTable, processor: Any, splits: DatasetDict, series: Series, show: bool
) -> Read:
    rows = [row for name in series for row in iter_studies(splits[name])]
    masks = read_masks(
        rows, config.data.mask, table, processor, threshold=config.data.mask_threshold, show_progress=show
    )
    studies = {
        split: [HeadStudy(study_id, of_study) for study_id, of_study in found.items() if study_id in masks]
        for split, found in series.items()
    }
    for split, of_split in studies.items():
        if not any(masks[study.study_id].any() for study in of_split):
            raise ValueError(
                f"expected a {split} study with a lesion in its mask {config.data.mask!r}, got none on boxes of "
                f"{table.processor_config['spacing_mm']} mm; lower data.mask_threshold if lesions are smaller"
            )
    return studies, (BACKGROUND, LESION), masks
