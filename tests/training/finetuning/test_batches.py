"""Batches of fine-tuning: drawn from the step alone, masks moved with the volumes, every study in its turn."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from selip.training.augmentation import VolumeChange, apply_change, move_labels
from selip.training.config import AugmentationConfig
from selip.training.finetuning.batches import HeadBatches, HeadStudy, Targets, whole_batch
from selip.training.finetuning.masks import BoxMasks
from selip.training.volumes import SeriesRow

SHAPE = (16, 20, 8)


@dataclass
class MaskTable:
    """Volumes that are the mask of their study, as bright as can be: row 10 n + k is series k of study n."""

    processor_config: dict

    def read(self, row):
        volume = np.zeros(SHAPE, np.uint8)
        number = row // 10
        volume[2 + number % 9, 3 + number % 11, 1 + number % 5] = 255
        volume[5:8, 4:6, 2:4] = 255
        return volume

    def patch_counts(self, row):
        return np.full((4, 5, 4), 5, dtype=np.uint16)


@pytest.fixture
def table():
    return MaskTable({"spatial_size": SHAPE, "spacing_mm": (2.0, 2.0, 3.0), "patch_size": (4, 4, 2)})


@pytest.fixture
def studies():
    return [
        HeadStudy(
            f"study-{number}",
            tuple(SeriesRow(10 * number + k, f"s{k}", "FLAIR", 4) for k in range(1 + number % 3)),
            np.array([number % 2, -100], np.float32),
        )
        for number in range(7)
    ]


def batches_of(studies, table, targets, **options):
    augmentation = AugmentationConfig(max_shift_mm=6.0, max_gamma=0.0, max_gain=0.0, drop_sequence_id=0.0)
    settings = {"batch_studies": 4, "max_series": 2, "seed": 3, **options}
    return HeadBatches(studies, table, targets, augmentation, **settings)


def test_labels_move_as_the_volume_does():
    """A mask taken for a volume, changed and cut, is the mask changed: for flips and shifts either way."""
    mask = np.random.default_rng(0).random(SHAPE) < 0.3
    for change in (VolumeChange(True, (1, -2, 3)), VolumeChange(False, (-3, 0, -1)), VolumeChange(True)):
        seen = apply_change((255 * mask).astype(np.uint8), change) > 0.5
        assert np.array_equal(move_labels(mask.astype(np.int64), change) > 0, seen)


def test_masks_of_a_batch_lie_on_their_lesions(studies, table):
    """Whatever is drawn: all series of a study show their lesion where the mask of the batch has it."""
    masks = BoxMasks(SHAPE)
    for study in studies:
        masks.add(study.study_id, table.read(study.series[0].row) > 0)
        assert np.array_equal(masks[study.study_id], table.read(study.series[0].row) > 0)
    source = batches_of(studies, table, Targets(masks))
    moved = set()
    for step in range(6):
        batch = source.batch(step)
        assert batch["labels"].shape == (4, *SHAPE)
        for number in range(4):
            for slot in batch["series_mask"][number].nonzero()[:, 0]:
                assert torch.equal(batch["pixel_values"][number, slot] > 0.5, batch["labels"][number] == 1)
        moved |= {tuple(each.nonzero()[0].tolist()) for each in batch["labels"]}
    assert len(moved) > 7


def test_every_study_comes_once_before_any_comes_again(studies, table):
    """28 places of 7 batches are 4 epochs of 7 studies, in an order of each epoch's own."""
    source = batches_of(studies, table, Targets())
    chosen = [study.study_id for step in range(7) for study, _ in source.chosen(step)]
    epochs = [chosen[start : start + 7] for start in range(0, 28, 7)]
    assert all(Counter(epoch) == Counter(study.study_id for study in studies) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_processes_share_the_batch_of_one(studies, table):
    """Two processes hold the halves of what one would, in order; a batch that does not divide is refused."""
    whole = batches_of(studies, table, Targets()).batch(5)
    halves = [
        batches_of(studies, table, Targets(), process_index=index, num_processes=2).batch(5) for index in range(2)
    ]
    for name, value in whole.items():
        assert torch.equal(torch.cat([half[name] for half in halves]), value), name
    with pytest.raises(ValueError, match="multiple of the 3 processes, got 4"):
        batches_of(studies, table, Targets(), num_processes=3)


def test_studies_as_they_are(studies, table):
    """Validation sees all series of a study, unchanged."""
    batch = whole_batch(studies[:3], table)
    assert batch["series_mask"].sum(1).tolist() == [1, 2, 3]
    for number, study in enumerate(studies[:3]):
        for slot, row in enumerate(study.series):
            assert torch.equal(batch["pixel_values"][number, slot], torch.from_numpy(table.read(row.row)) / 255)
