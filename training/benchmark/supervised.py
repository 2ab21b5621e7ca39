"""The ceiling that stands beside the arms: their network on the same batches, told the labels and trained longer.

Its loss has two parts. Cross-entropy of every label makes log-odds of them. Those alone rank texts worse than the arms
do (R@5 of abnormal queries 0.36 against 0.61 on simulated studies): nothing asks for the difference between two texts.
So the right text must also have the largest likelihood in its batch, and the right series in turn.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from ..config import PretrainConfig
from ..evaluation.embedding import BoxedSeries
from ..optimization import set_learning_rate
from ..prefetch import prefetch
from ..pretrain import PretrainRun
from .text_labels import TextLabels

# The ceiling is there to show what the data hold, not what a budget of steps buys.
LONGER = 2


def supervised_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each label, and of the own text among those of the batch in both directions.

    Args:
        logits: (B, K) log-odds of the labels.
        targets: (B, K) 0 or 1, labels of the texts.

    Returns:
        Scalar.
    """
    # summed over labels: a mean would make the gradient of a label weaker the more there are
    of_labels = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(targets)
    # log p(text | series) up to what is the same for all texts, or for all series
    likelihood = logits @ targets.T - F.softplus(logits).sum(-1, keepdim=True)
    own = torch.arange(len(targets))
    return of_labels + F.cross_entropy(likelihood, own) + F.cross_entropy(likelihood.T, own)


class SupervisedNetwork:
    """Series tower and fusion of a run with a linear head on labels."""

    def __init__(self, run: PretrainRun, labels: TextLabels):
        """Train on the batches of an arm, for `LONGER` times its steps.

        Args:
            run: A run that has not taken a step; its network is trained in place.
            labels: What to predict.
        """
        self.run, self.labels = run, labels
        self.model = run.bare_model
        torch.manual_seed(run.config.optimization.seed)
        self.head = nn.Linear(self.model.visual_projection.in_features, len(labels.names))
        self._train(run.config)

    def _train(self, config: PretrainConfig) -> None:
        settings = config.optimization
        optimizer = self.run.optimizer.optimizer
        optimizer.add_param_group(
            {"params": list(self.head.parameters()), "peak": settings.learning_rate_vision, "weight_decay": 0.0}
        )
        self.model.train()
        schedule = replace(settings, steps=LONGER * settings.steps)
        batches = prefetch(self._batch, 0, schedule.steps, num_workers=0)
        for step, (inputs, targets) in enumerate(tqdm(batches, total=schedule.steps, desc="supervised", unit="step")):
            with self.run.accelerator.autocast():
                logits = self._logits(inputs["pixel_values"], inputs["sequence_ids"], inputs["patch_mask"])
            supervised_loss(logits.float(), targets).backward()
            parameters = [*self.model.parameters(), *self.head.parameters()]
            nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            set_learning_rate(optimizer, step, schedule)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.model.eval()

    def _batch(self, step: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Volumes of one batch and the labels of the texts of their (one) series."""
        drawn = self.run.source.drawn(step)
        items = [study.texts[0].item for study in drawn]
        none = np.zeros(len(self.labels.names), dtype=np.float32)
        targets = np.stack([none if item is None else self.labels(item) for item in items])
        return self.run.source.images(drawn), torch.from_numpy(targets)

    def _logits(
        self, pixel_values: torch.Tensor, sequence_ids: torch.Tensor, patch_mask: torch.Tensor
    ) -> torch.Tensor:
        """Studies of one series, (B, 1, X, Y, Z), to (B, K)."""
        tokens = self.model.vision_model(pixel_values[:, 0], sequence_ids[:, 0], patch_mask[:, 0]).pooler_output
        present = torch.ones_like(sequence_ids, dtype=torch.bool)
        return self.head(self.model.fusion(tokens[:, None], present, sequence_ids))

    @torch.inference_mode()
    def __call__(self, series: Sequence[BoxedSeries]) -> npt.NDArray[np.float32]:
        """(n, K) log-odds."""
        volumes = torch.from_numpy(np.stack([each.volume for each in series]))[:, None]
        sequence_ids = torch.tensor([[each.sequence_id] for each in series])
        patch_mask = torch.from_numpy(np.stack([each.patch_mask for each in series]))[:, None]
        logits: npt.NDArray[np.float32] = self._logits(volumes, sequence_ids, patch_mask).float().numpy()
        return logits
