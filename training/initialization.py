"""What a model measures on the training volumes before its first step."""

from collections.abc import Sequence

import numpy as np
import torch

from selip.modeling_selip.modeling_selip import SelipModel
from selip.modeling_selip.population_selip import pool_input

from .data import Study
from .volumes import SeriesRow, VolumesTable

VOLUMES_PER_SEQUENCE = 384


def fit_population(model: SelipModel, table: VolumesTable, studies: Sequence[Study]) -> None:
    """Mean and spread of every sequence of the training volumes, for a model with `input_norm="population"`. In place.

    A sequence with a single volume stays unknown to the population. Other models are left as they are.

    Args:
        model: a `SelipModel` before its first step.
        studies: training studies; the first volumes of each sequence in their order are the sample.
    """
    population = model.vision_model.population
    if population is None:
        return
    sample: dict[int, list[SeriesRow]] = {}
    for study in studies:
        for series in study.series:
            rows = sample.setdefault(series.sequence_id, [])
            if series.sequence_id != 0 and len(rows) < VOLUMES_PER_SEQUENCE:
                rows.append(series)
    for sequence_id, rows in sorted(sample.items()):
        if len(rows) > 1:
            pooled = [_pooled(model, table.read(series.row)) for series in rows]
            population.fit(sequence_id, torch.stack(pooled))


def _pooled(model: SelipModel, volume: np.ndarray) -> torch.Tensor:
    """One stored volume, uint8 (X, Y, Z), as the population sees it: float32 (X', Y', Z')."""
    return pool_input(torch.from_numpy(volume.astype(np.float32) / 255)[None], model.vision_model.config)[0]
