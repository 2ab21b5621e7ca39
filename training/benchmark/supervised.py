"""The ceiling that stands beside the arms: their network, trained as long on the same batches, but told the labels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from ..config import PretrainConfig
from ..evaluation.embedding import BoxedSeries
from ..optimization import set_learning_rate
from ..prefetch import prefetch
from ..pretrain import PretrainRun
from .text_labels import TextLabels


class SupervisedNetwork:
    """Series tower and fusion of a run with a linear head on labels, trained by cross-entropy."""

    def __init__(self, run: PretrainRun, labels: TextLabels):
        """Train for as many steps, on the same batches, as an arm.

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
        batches = prefetch(self._batch, 0, settings.steps, num_workers=0)
        for step, (inputs, targets) in enumerate(tqdm(batches, total=settings.steps, desc="supervised", unit="step")):
            with self.run.accelerator.autocast():
                logits = self._logits(inputs["pixel_values"], inputs["sequence_ids"])
            # summed over labels: a mean would make the gradient of a label weaker the more there are
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum") / len(
                targets
            )
            loss.backward()
            parameters = [*self.model.parameters(), *self.head.parameters()]
            nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
            set_learning_rate(optimizer, step, settings)
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

    def _logits(self, pixel_values: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
        """Studies of one series, (B, 1, X, Y, Z), to (B, K)."""
        tokens = self.model.vision_model(pixel_values[:, 0], sequence_ids[:, 0]).pooler_output
        present = torch.ones_like(sequence_ids, dtype=torch.bool)
        return self.head(self.model.fusion(tokens[:, None], present, sequence_ids))

    @torch.inference_mode()
    def __call__(self, series: Sequence[BoxedSeries]) -> npt.NDArray[np.float32]:
        """(n, K) log-odds."""
        volumes = torch.from_numpy(np.stack([each.volume for each in series]))[:, None]
        sequence_ids = torch.tensor([[each.sequence_id] for each in series])
        logits: npt.NDArray[np.float32] = self._logits(volumes, sequence_ids).float().numpy()
        return logits
