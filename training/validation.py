"""Retrieval on the validation split while training: which step is the best checkpoint."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from selip.modeling_selip.modeling_selip import SelipModel

from .data import Study, StudyTexts
from .evaluation.metrics import retrieval_metrics
from .volumes import VolumesTable

PRIMARY_METRIC = "mean_reciprocal_rank"


class ValidationSet:
    """Every validation series with a text, against the unique texts of its sequence.

    The texts come from the findings table, as in training: true findings are for `selip evaluate` alone.
    """

    def __init__(
        self,
        studies: Sequence[Study],
        texts: StudyTexts,
        table: VolumesTable,
        tokenizer: PreTrainedTokenizerBase,
        max_text_tokens: int,
    ):
        rows = [(row, texts.of_series(study, row.sequence)) for study in studies for row in study.series]
        self.table = table
        self.series = [row for row, item in rows if item is not None]
        said = [(row.sequence, item.text) for row, item in rows if item is not None]
        candidates = sorted(set(said))
        self.candidate_sequences = np.array([sequence for sequence, _ in candidates])
        self.series_sequences = np.array([sequence for sequence, _ in said])
        self.is_hit = np.array([[own == candidate for candidate in candidates] for own in said], dtype=bool)
        if not candidates:
            raise ValueError("expected validation studies with texts, got none; ingest with a larger validation share")
        self.encoded = tokenizer(
            [text for _, text in candidates],
            padding=True,
            truncation=True,
            max_length=max_text_tokens,
            return_tensors="pt",
        )

    @torch.no_grad()
    def __call__(self, model: SelipModel, batch_size: int = 64) -> dict[str, float]:
        """Within-sequence retrieval metrics of a model; the primary one is the mean of both directions."""
        device = model.logit_scale.device
        model.eval()
        embeds = []
        for start in range(0, len(self.series), batch_size):
            rows = self.series[start : start + batch_size]
            volumes = np.stack([self.table.read(row.row) for row in rows]).astype(np.float32) / 255
            output: Any = model.get_image_features(  # a tuple only with return_dict=False
                # (N, X, Y, Z) -> (N, 1, X, Y, Z): studies of one series
                torch.from_numpy(volumes)[:, None].to(device),
                sequence_ids=torch.tensor([[row.sequence_id] for row in rows], device=device),
                patch_mask=torch.from_numpy(self.table.head_patches([row.row for row in rows]))[:, None].to(device),
            )
            embeds.append(output.pooler_output.float().cpu().numpy())
        text_output: Any = model.get_text_features(
            self.encoded["input_ids"].to(device), self.encoded["attention_mask"].to(device)
        )
        model.train()
        metrics = retrieval_metrics(
            np.concatenate(embeds),
            text_output.pooler_output.float().cpu().numpy(),
            self.is_hit,
            self.series_sequences,
            self.candidate_sequences,
        )
        both = [metrics[f"{direction}/{PRIMARY_METRIC}"] for direction in ("image_to_text", "text_to_image")]
        return {**metrics, PRIMARY_METRIC: sum(both) / 2}
