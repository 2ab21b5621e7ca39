"""Batches of studies with what is to be learned of them.

As in pretraining, what a study shows in an epoch is drawn from (seed, epoch, study id) alone. All series of a study
are moved together, and its mask with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..augmentation import VolumeChange, draw_change, move_labels, whole_voxels
from ..config import AugmentationConfig
from ..data import DrawnStudy, drawing_generator, image_batch
from ..volumes import SeriesRow, VolumesTable
from .masks import BoxMasks

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class HeadStudy:
    """A study as fine-tuning sees it.

    Attributes:
        study_id: Its id.
        series: Its prepared series.
        label: (K,) 1, 0 or -100; the number of the class (), where it is exclusive; nothing of a segmentation, whose
            masks are read when they are needed.
    """

    study_id: str
    series: tuple[SeriesRow, ...]
    label: npt.NDArray[Any] | None = None


class Targets:
    """What a batch asks for: labels, or masks moved as their study was."""

    def __init__(self, masks: BoxMasks | None = None):
        self.masks = masks

    def __call__(self, studies: Sequence[HeadStudy], changes: Sequence[VolumeChange]) -> torch.Tensor:
        """(B, K) float32 or (B,) int64 labels, or (B, X, Y, Z) int64 masks."""
        if self.masks is None:
            return torch.from_numpy(np.stack([np.asarray(study.label) for study in studies]))
        moved = [
            move_labels(self.masks[study.study_id], change) for study, change in zip(studies, changes, strict=True)
        ]
        return torch.from_numpy(np.stack(moved))


class HeadBatches:
    """Batch number `step` of a run, for one process of several; every study once before any comes again."""

    def __init__(
        self,
        studies: Sequence[HeadStudy],
        table: VolumesTable,
        targets: Targets,
        augmentation: AugmentationConfig,
        *,
        batch_studies: int,
        max_series: int,
        seed: int,
        token_budget: int | None = None,
        process_index: int = 0,
        num_processes: int = 1,
    ):
        """
        Args:
            studies: Training studies.
            table: Where their volumes are.
            targets: What is asked for.
            augmentation: How volumes are changed.
            batch_studies: B, over all processes.
            max_series: Series of a study at most; of more, a random choice.
            seed: Of order, augmentation and choices.
            token_budget: Most patches of a series in `patch_mask`; None: all that show head.

        Raises:
            ValueError: There is no study, or the batch does not divide among the processes.
        """
        if not studies:
            raise ValueError("expected at least one training study, got none")
        if batch_studies % num_processes:
            raise ValueError(
                f"expected batch_studies to be a multiple of the {num_processes} processes, got {batch_studies}"
            )
        self.studies = sorted(studies, key=lambda study: study.study_id)
        self.table, self.targets, self.augmentation = table, targets, augmentation
        self.batch_studies, self.seed, self.token_budget = batch_studies, seed, token_budget
        self.slots = min(max_series, max(len(study.series) for study in studies))
        self.process_index, self.num_processes = process_index, num_processes
        self.spacing_mm = table.processor_config["spacing_mm"]

    def chosen(self, step: int) -> list[tuple[HeadStudy, int]]:
        """The studies of a step over all processes, each with the epoch that it is in."""
        count = len(self.studies)
        places = range(step * self.batch_studies, (step + 1) * self.batch_studies)
        epochs = sorted({place // count for place in places})
        orders = {epoch: np.random.default_rng([self.seed, epoch]).permutation(count) for epoch in epochs}
        return [(self.studies[orders[place // count][place % count]], place // count) for place in places]

    def batch(self, step: int) -> Batch:
        """Arguments of the model for the studies of this process, `labels` among them."""
        share = self.batch_studies // self.num_processes
        own = self.chosen(step)[self.process_index * share : (self.process_index + 1) * share]
        drawn = [self._draw(study, epoch) for study, epoch in own]
        images = image_batch(drawn, self.table, slots=self.slots, token_budget=self.token_budget)
        labels = self.targets([study for study, _ in own], [each.changes[0] for each in drawn])
        return {**images, "labels": labels}

    def _draw(self, study: HeadStudy, epoch: int) -> DrawnStudy:
        generator = drawing_generator(self.seed, epoch, study.study_id)
        is_flipped = bool(generator.random() < self.augmentation.flip_probability)
        chosen = generator.permutation(len(study.series))[: self.slots]
        series = tuple(study.series[place] for place in sorted(chosen))
        changes = [
            draw_change(
                self.augmentation, generator, spacing_mm=self.spacing_mm, sequence=row.sequence, is_flipped=is_flipped
            )
            for row in series
        ]
        shift = changes[0].shift
        if self.targets.masks is not None:
            shift = whole_voxels(shift)  # a mask cannot be moved by a part of a voxel
        together = tuple(replace(change, shift=shift) for change in changes)
        shown = tuple(
            0 if generator.random() < self.augmentation.drop_sequence_id else row.sequence_id for row in series
        )
        return DrawnStudy(study.study_id, series, together, shown, (), int(generator.integers(2**63)))


def whole_batch(studies: Sequence[HeadStudy], table: VolumesTable) -> Batch:
    """Studies as they are, with all their series: arguments of the model, without labels."""
    drawn = [
        DrawnStudy(
            study.study_id,
            study.series,
            tuple(VolumeChange() for _ in study.series),
            tuple(row.sequence_id for row in study.series),
            (),
            0,
        )
        for study in studies
    ]
    return image_batch(drawn, table, slots=max(len(study.series) for study in studies), token_budget=None)


def on_device(batch: Mapping[str, torch.Tensor], device: torch.device) -> Batch:
    """The same batch on a device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}
