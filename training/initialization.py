"""Data-dependent start of the two projections, so that the first steps see differences between studies.

Heads look much alike. Fresh towers map all of them, and all texts, to nearly one direction; the contrastive gradient
is then next to nothing and a run can stay there. As in data-dependent initialisation (Salimans and Kingma 2016,
section 4), a sample of the training data sets scale and shift so that every output has mean 0 and variance 1.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from selip.modeling_selip.modeling_selip import SelipModel

from .data import Study
from .volumes import VolumesTable

VOLUMES_PER_SEQUENCE = 48
TEXTS = 512
# an output that hardly varies is not blown up by more than this, relative to the typical one
SMALLEST_SHARE = 0.05


@torch.no_grad()
def standardise_outputs(
    model: SelipModel,
    tokenizer: PreTrainedTokenizerBase,
    table: VolumesTable,
    studies: Sequence[Study],
    texts: Sequence[str],
    max_text_tokens: int,
) -> None:
    """Sets scale and shift of series tokens per sequence, and the text projection, from training data. In place.

    Args:
        model: a `SelipModel` before its first step.
        studies: training studies; the first series of each sequence in their order are the sample.
        texts: training texts; an even sample of them is taken.
    """
    model.eval()
    rows: dict[int, list[int]] = {}
    for study in studies:
        for series in study.series:
            sample = rows.setdefault(series.sequence_id, [])
            if len(sample) < VOLUMES_PER_SEQUENCE:
                sample.append(series.row)
    tokens = {number: _series_tokens(model, table, sample) for number, sample in sorted(rows.items())}
    # 0, the unknown sequence, and sequences that the training data lacks start from all there are
    everything = torch.cat(list(tokens.values()))
    for number in range(model.config.num_sequences):
        mean, scale = _mean_and_scale(tokens.get(number, everything))
        model.fusion.sequence_scale.weight[number] = scale
        model.fusion.sequence_shift.weight[number] = -mean * scale

    unique = sorted(set(texts))
    sampled_texts = unique[:: max(1, len(unique) // TEXTS)]
    encoded = tokenizer(sampled_texts, padding=True, truncation=True, max_length=max_text_tokens, return_tensors="pt")
    mean, scale = _mean_and_scale(model.project_text(encoded["input_ids"], encoded["attention_mask"]))
    model.text_projection.weight.mul_(scale[:, None])
    model.text_projection.bias.copy_((model.text_projection.bias - mean) * scale)
    model.train()


def _series_tokens(model: SelipModel, table: VolumesTable, rows: list[int]) -> torch.Tensor:
    """Tokens (n, H) of stored volumes."""
    batches = []
    for start in range(0, len(rows), 16):
        volumes = np.stack([table.read(row) for row in rows[start : start + 16]]).astype(np.float32) / 255
        batches.append(model.vision_model(torch.from_numpy(volumes)).pooler_output)
    return torch.cat(batches)


def _mean_and_scale(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and inverse standard deviation of each column of (n, d)."""
    spread = values.std(dim=0, correction=0)
    return values.mean(dim=0), 1 / spread.clamp(min=SMALLEST_SHARE * spread.median().item() + 1e-6)
