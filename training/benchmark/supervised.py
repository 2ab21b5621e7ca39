"""The ceiling that stands beside the arms: their network told true labels, of more studies, and trained longer.

What the arms learn from words it is told: each text is the set of its statements, each statement the labels it has,
read off the true findings. A small network on these labels takes the place of the text tower, so nothing is lost to a
report writer, a structurer or a tokenizer, and the series must also give every label to a linear head. Labels alone
make no ceiling: log-odds of independent labels ranked texts worse than the arms do (recall@5 of abnormal queries 0.38
against 0.56, on simulated studies), because nothing asks for the difference between two texts, or which word goes with
which.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from selip.modeling_selip.loss_selip import clip_loss, compared_pairs, scale_of
from selip.processing.laterality import swap_laterality
from selip.processing.rendering import TextItem

from ..data import DrawnStudy
from ..evaluation.embedding import SeriesEmbeddings, embed_with
from ..evaluation.series_source import BoxedSeries, NamedSeries, SeriesSource
from ..optimization import set_learning_rate
from ..prefetch import prefetch
from ..pretrain import PretrainRun
from .text_labels import TextLabels

# The ceiling is there to show what the network can see, not what a budget of studies and steps buys.
LONGER = 2
# The sum over some 150 labels is then about as large as the ranking when training starts.
LABEL_WEIGHT = 0.1
_WIDTH = 256
_BATCH = 32


def supervised_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over labels, mean over texts: a mean over labels would weaken each the more there are.

    Args:
        logits: (B, K) log-odds of the labels.
        targets: (B, K) 0 or 1, labels of the texts.

    Returns:
        Scalar.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(targets)


class StatementTower(nn.Module):
    """Texts as sets of statements, statements as labels, to unit vectors; their order does not matter."""

    def __init__(self, num_labels: int, embed_dim: int):
        super().__init__()
        self.of_statement = nn.Sequential(nn.Linear(num_labels, _WIDTH), nn.GELU(), nn.Linear(_WIDTH, embed_dim))

    def forward(self, statements: torch.Tensor, is_statement: torch.Tensor) -> torch.Tensor:
        """Labels (M, C, K) and which rows are statements, bool (M, C), to (M, E)."""
        return F.normalize((self.of_statement(statements) * is_statement[..., None]).sum(1), dim=-1)


def stack_statements(labels: TextLabels, items: Sequence[TextItem | None]) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels of the statements of M texts, padded: (M, C, K), and bool (M, C). None is a text without a statement."""
    told = [np.zeros((0, len(labels.names))) if item is None else labels.statements(item) for item in items]
    longest = max(1, *(len(statements) for statements in told))
    stacked = torch.zeros(len(told), longest, len(labels.names))
    is_statement = torch.zeros(len(told), longest, dtype=torch.bool)
    for row, statements in enumerate(told):
        stacked[row, : len(statements)] = torch.from_numpy(statements)
        is_statement[row, : len(statements)] = True
    return stacked, is_statement


def true_text(study: DrawnStudy, truth: Mapping[tuple[str, str], TextItem]) -> TextItem | None:
    """The true text of the (one) series of a drawn study, its sides exchanged where the volume is shown mirrored."""
    item = truth.get((study.study_id, study.series[0].sequence))
    if item is None or not study.changes[0].is_flipped:
        return item
    return swap_laterality(item)


class SupervisedNetwork:
    """Series tower, fusion and projection of a run beside a network on labels; an `Embedder`."""

    def __init__(
        self,
        run: PretrainRun,
        labels: TextLabels,
        truth: Mapping[tuple[str, str], TextItem],
        items: Mapping[str, TextItem],
    ):
        """Train on batches like those of an arm, for `LONGER` times its steps.

        Args:
            run: A run that has not taken a step; its network is trained in place.
            labels: What to predict.
            truth: True text of a series, by study and sequence; a series that shows nothing has none.
            items: Text item of every text that `embed_texts` may be asked for.
        """
        self.run, self.labels, self.truth, self.items = run, labels, truth, items
        self.model = run.bare_model
        torch.manual_seed(run.config.optimization.seed)
        projection = self.model.visual_projection
        self.head = nn.Linear(projection.in_features, len(labels.names))
        self.statement_tower = StatementTower(len(labels.names), projection.out_features)
        self._train()

    def _train(self) -> None:
        settings = self.run.config.optimization
        optimizer = self.run.optimizer.optimizer
        added = [*self.head.parameters(), *self.statement_tower.parameters()]
        optimizer.add_param_group({"params": added, "peak": settings.learning_rate_vision, "weight_decay": 0.0})
        self.model.train()
        schedule = replace(settings, steps=LONGER * settings.steps)
        batches = prefetch(self._batch, 0, schedule.steps, num_workers=0)
        for step, (inputs, items) in enumerate(tqdm(batches, total=schedule.steps, desc="supervised", unit="step")):
            self._loss(inputs, items).backward()
            nn.utils.clip_grad_norm_([*self.model.parameters(), *added], settings.max_grad_norm)
            set_learning_rate(optimizer, step, schedule)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.model.eval()

    def _batch(self, step: int) -> tuple[dict[str, torch.Tensor], list[TextItem | None]]:
        """Volumes of one batch and the true texts of their (one) series."""
        drawn = self.run.source.drawn(step)
        return self.run.source.images(drawn), [true_text(study, self.truth) for study in drawn]

    def _loss(self, inputs: Mapping[str, torch.Tensor], items: Sequence[TextItem | None]) -> torch.Tensor:
        statements, is_statement = stack_statements(self.labels, items)
        with self.run.accelerator.autocast():
            features = self._features(inputs["pixel_values"], inputs["sequence_ids"], inputs["patch_mask"])
            logits = self.head(features)
            series_embeds = self._project(features)
            text_embeds = self.statement_tower(statements, is_statement)
        compared = compared_pairs(torch.arange(len(items)), is_statement.any(-1))
        ranking = clip_loss(series_embeds, text_embeds, self.model.logit_scale, compared)
        return ranking + LABEL_WEIGHT * supervised_loss(logits.float(), statements.amax(1))

    def _features(
        self, pixel_values: torch.Tensor, sequence_ids: torch.Tensor, patch_mask: torch.Tensor
    ) -> torch.Tensor:
        """Studies of one series, (B, 1, X, Y, Z), to (B, H)."""
        tokens = self.model.vision_model(pixel_values[:, 0], sequence_ids[:, 0], patch_mask[:, 0]).pooler_output
        features: torch.Tensor = self.model.fusion(
            tokens[:, None], torch.ones_like(sequence_ids, dtype=torch.bool), sequence_ids
        )
        return features

    def _project(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.model.visual_projection(features), dim=-1)

    @torch.inference_mode()
    def _embed(self, series: Sequence[BoxedSeries]) -> npt.NDArray[np.float32]:
        volumes = torch.from_numpy(np.stack([each.volume for each in series]))[:, None]
        sequence_ids = torch.tensor([[each.sequence_id] for each in series])
        patch_mask = torch.from_numpy(np.stack([each.patch_mask for each in series]))[:, None]
        embeds: npt.NDArray[np.float32] = (
            self._project(self._features(volumes, sequence_ids, patch_mask)).float().numpy()
        )
        return embeds

    @property
    def scale(self) -> float:
        """See `Embedder`."""
        return float(scale_of(self.model.logit_scale.detach()))

    def embed_series(self, source: SeriesSource, names: Sequence[NamedSeries]) -> SeriesEmbeddings:
        """See `Embedder`."""
        return embed_with(self._embed, source, names, batch_size=_BATCH)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Embedder`."""
        embeds: npt.NDArray[np.float32] = torch.cat(list(self._embed_texts(texts))).float().numpy()
        return embeds

    def _embed_texts(self, texts: Sequence[str]) -> Iterator[torch.Tensor]:
        for start in range(0, len(texts), _BATCH):
            yield self.statement_tower(
                *stack_statements(self.labels, [self.items[t] for t in texts[start : start + _BATCH]])
            )
