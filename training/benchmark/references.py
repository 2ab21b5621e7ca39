"""The floor that stands beside the arms, and how a classifier of labels becomes an embedder.

Floor: statistics of a volume's intensities, which know nothing of place. The ceiling is in supervised.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from selip.processing.findings import StructuredReport
from selip.processing.rendering import TextItem, series_text, study_text

from ..evaluation.embedding import SeriesEmbeddings, embed_with
from ..evaluation.series_source import BoxedSeries, NamedSeries, SeriesSource
from ..evaluation.volume_statistics import volume_statistics
from ..pretrain import PretrainRun
from .text_labels import TextLabels, labels_of_texts, likelihood_of_series

_BATCH = 32


@dataclass(frozen=True)
class LabelEmbedder:
    """A classifier of labels as an `Embedder`.

    Attributes:
        labels: The vocabulary.
        items: Text item of every text it may be asked for.
        logits: Log-odds (n, K) of boxed series.
    """

    labels: TextLabels
    items: Mapping[str, TextItem]
    logits: Callable[[Sequence[BoxedSeries]], npt.NDArray[np.floating]]

    @property
    def scale(self) -> float:
        """See `Embedder`: log-odds are scaled already."""
        return 1.0

    def embed_series(self, source: SeriesSource, names: Sequence[NamedSeries]) -> SeriesEmbeddings:
        """See `Embedder`."""
        return embed_with(lambda series: likelihood_of_series(self.logits(series)), source, names, batch_size=_BATCH)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Embedder`."""
        return labels_of_texts(self.labels, self.items, texts)


def true_texts(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], TextItem]:
    """The true text of the series of some studies that show anything, by study and sequence.

    Args:
        rows: Rows of the studies table, with reference findings.
    """
    texts = {}
    for row in rows:
        report = StructuredReport.model_validate_json(row["reference_findings"])
        for series in row["series"]:
            item = series_text(report, series["sequence"], row["language"])
            if item is not None:
                texts[row["study_id"], series["sequence"]] = item
    return texts


def true_study_texts(rows: Iterable[Mapping[str, Any]]) -> list[TextItem]:
    """The true texts of whole studies, as `true_texts` of their series."""
    reports = ((StructuredReport.model_validate_json(row["reference_findings"]), row["language"]) for row in rows)
    texts = (study_text(report, language) for report, language in reports)
    return [item for item in texts if item is not None]


class StatisticsClassifier:
    """Logistic regression of every label on the statistics of a volume, one set of classifiers a sequence."""

    def __init__(self, run: PretrainRun, labels: TextLabels):
        """Fit on the training series of a run.

        Args:
            run: Names the studies and their texts.
            labels: What to predict.
        """
        rows: dict[int, list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]]] = {}
        for study in run.train_studies:
            for series in study.series:
                item = run.source.texts.of_series(study, series.sequence)
                if item is not None:
                    volume = run.table.read(series.row).astype(np.float32) / 255
                    rows.setdefault(series.sequence_id, []).append((volume_statistics(volume), labels(item)))
        self._count = len(labels.names)
        self._fitted = {number: _fit(*map(np.stack, zip(*pairs, strict=True))) for number, pairs in rows.items()}

    def __call__(self, series: Sequence[BoxedSeries]) -> npt.NDArray[np.float64]:
        """(n, K) log-odds; 0 for a sequence that training did not have."""
        logits = np.zeros((len(series), self._count))
        for row, each in enumerate(series):
            if each.sequence_id in self._fitted:
                scaler, weights, bias = self._fitted[each.sequence_id]
                logits[row] = scaler.transform(volume_statistics(each.volume)[None])[0] @ weights + bias
        return logits


def _fit(
    features: npt.NDArray[np.float64], targets: npt.NDArray[np.float32]
) -> tuple[StandardScaler, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Scaler, weights (F, K) and biases (K,); a label that all or none have keeps its smoothed frequency."""
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    share = (targets.sum(axis=0) + 0.5) / (len(targets) + 1)
    weights, bias = np.zeros((features.shape[1], targets.shape[1])), np.log(share / (1 - share))
    for number in np.flatnonzero((targets.min(axis=0) == 0) & (targets.max(axis=0) == 1)):
        classifier = LogisticRegression(C=0.1, max_iter=1000).fit(scaled, targets[:, number])
        weights[:, number], bias[number] = classifier.coef_[0], classifier.intercept_[0]
    return scaler, weights, bias
