"""What a model takes from the training data before its first step: its population, and the scale of its outputs.

Heads look much alike. Fresh towers map all of them, and all texts, to nearly one direction; the contrastive gradient
is then next to nothing and a run can stay there. As in data-dependent initialisation (Salimans and Kingma 2016,
section 4), a sample of the training data sets scale and shift so that every output has mean 0 and variance 1.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from selip.modeling_selip.modeling_selip import SelipModel, SelipStudyModel
from selip.modeling_selip.population_selip import pool_input

from .data import Study
from .volumes import SeriesRow, VolumesTable

# enough for the mean and spread of a voxel
POPULATION_PER_SEQUENCE = 384
# enough for those of an output
VOLUMES_PER_SEQUENCE = 48
TEXTS = 512
# an output that hardly varies is not blown up by more than this, relative to the typical one
SMALLEST_SHARE = 0.05


@torch.no_grad()
def initialise_from_data(
    model: SelipModel,
    tokenizer: PreTrainedTokenizerBase,
    table: VolumesTable,
    studies: Sequence[Study],
    texts: Sequence[str],
    max_text_tokens: int,
) -> None:
    """Measures the population of each sequence, then standardises series tokens and projected texts. In place.

    Args:
        model: a `SelipModel` before its first step.
        studies: training studies; the first series of each sequence in their order are the sample.
        texts: training texts; an even sample of them is taken.
    """
    rows = rows_by_sequence(series for study in studies for series in study.series)
    model.eval()
    initialise_images(model, table, rows)
    _standardise_texts(model, tokenizer, texts, max_text_tokens)
    model.train()


def rows_by_sequence(series: Iterable[SeriesRow]) -> dict[int, list[int]]:
    """Rows of the volumes table by sequence, in the order in which they come."""
    rows: dict[int, list[int]] = {}
    for each in series:
        rows.setdefault(each.sequence_id, []).append(each.row)
    return dict(sorted(rows.items()))


@torch.no_grad()
def initialise_images(model: SelipStudyModel, table: VolumesTable, rows: Mapping[int, list[int]]) -> None:
    """Measures the population of each sequence; with a fusion, also standardises its series tokens. In place.

    Args:
        model: a model of studies before its first step, in evaluation mode.
        table: where the volumes are.
        rows: training volumes by sequence, of which the first are the sample.
    """
    _fit_population(model, table, rows)
    if hasattr(model, "fusion"):
        _standardise_series_tokens(model, table, rows)


def _fit_population(model: SelipStudyModel, table: VolumesTable, rows: Mapping[int, list[int]]) -> None:
    """For a model with `input_norm="population"`. A sequence with a single volume stays unknown to it."""
    vision = model.vision_model
    if vision.population is None:
        return
    for sequence_id, of_sequence in rows.items():
        if sequence_id != 0 and len(of_sequence) > 1:
            sample = of_sequence[:POPULATION_PER_SEQUENCE]
            # pooled one by one: the sample at full resolution may not fit into memory
            pooled = [pool_input(_read(table, [row]), vision.config) for row in sample]
            vision.population.fit(sequence_id, torch.cat(pooled))


def _standardise_series_tokens(model: SelipStudyModel, table: VolumesTable, rows: Mapping[int, list[int]]) -> None:
    """Sets scale and shift of the tokens of every sequence, so that they have mean 0 and variance 1."""
    tokens = {number: _series_tokens(model, table, number, sample) for number, sample in rows.items()}
    # 0, the unknown sequence, and sequences that the training data lacks start from all there are
    everything = torch.cat(list(tokens.values()))
    for number in range(model.vision_model.config.num_sequences):
        mean, scale = _mean_and_scale(tokens.get(number, everything))
        model.fusion.sequence_scale.weight[number] = scale
        model.fusion.sequence_shift.weight[number] = -mean * scale


def _standardise_texts(
    model: SelipModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_text_tokens: int
) -> None:
    """Sets the text projection, so that its outputs have mean 0 and variance 1."""
    unique = sorted(set(texts))
    sample = unique[:: max(1, len(unique) // TEXTS)]
    encoded = tokenizer(sample, padding=True, truncation=True, max_length=max_text_tokens, return_tensors="pt")
    mean, scale = _mean_and_scale(model.project_text(encoded["input_ids"], encoded["attention_mask"]))
    model.text_projection.weight.mul_(scale[:, None])
    model.text_projection.bias.copy_((model.text_projection.bias - mean) * scale)


def _series_tokens(model: SelipStudyModel, table: VolumesTable, sequence_id: int, rows: list[int]) -> torch.Tensor:
    """Tokens (n, H) of stored volumes of one sequence."""
    batches, sample = [], rows[:VOLUMES_PER_SEQUENCE]
    for start in range(0, len(sample), 16):
        some = sample[start : start + 16]
        ids, patch_mask = torch.full((len(some),), sequence_id), torch.from_numpy(table.head_patches(some))
        batches.append(model.vision_model(_read(table, some), ids, patch_mask).pooler_output)
    return torch.cat(batches)


def _read(table: VolumesTable, rows: Sequence[int]) -> torch.Tensor:
    """Stored volumes as the model takes them, float32 (n, X, Y, Z)."""
    return torch.from_numpy(np.stack([table.read(row) for row in rows]).astype(np.float32) / 255)


def _mean_and_scale(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and inverse standard deviation of each column of (n, d)."""
    spread = values.std(dim=0, correction=0)
    return values.mean(dim=0), 1 / spread.clamp(min=SMALLEST_SHARE * spread.median().item() + 1e-6)
