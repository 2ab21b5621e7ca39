"""Texts as labels, so that classifiers can be asked what contrastive models are asked: which text belongs to a series.

A classifier that gives every label a probability ranks texts by how likely their labels are,

    log p(text | series) = sum_k  y_k log p_k + (1 - y_k) log(1 - p_k)  =  y . a + c,   a_k = log(p_k / (1 - p_k))

with y the labels of the text and c the same for all texts. `likelihood_of_series` and `labels_of_texts` make vectors
of a, c and y, of equal lengths, whose cosine grows with this likelihood, so classifiers and embeddings go through one
evaluation.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from selip.processing.rendering import TextItem
from selip.processing.statements import Statement

MIN_COUNT = 5
MAX_LOGIT = 12.0
NORMAL = "normal"


class TextLabels:
    """Labels of texts: what they state, its site, side and both, its signals and details, and `normal`.

    Args:
        items: Training texts; a label that fewer than 5 of them have is left out.

    Attributes:
        names: K labels.
    """

    def __init__(self, items: Iterable[TextItem]):
        counts = Counter(label for item in items for label in _labels(item))
        self.names = tuple(sorted(label for label, count in counts.items() if count >= MIN_COUNT))
        self._number = {name: number for number, name in enumerate(self.names)}
        if not self.names:
            raise ValueError(f"expected labels that at least {MIN_COUNT} training texts have, got none")

    def __call__(self, item: TextItem) -> npt.NDArray[np.float32]:
        """(K,) 1 where the text has the label."""
        return self._found(_labels(item))

    def statements(self, item: TextItem) -> npt.NDArray[np.float32]:
        """(C, K) 1 where the statement has the label; the sentence of a normal study is one statement."""
        return np.stack([self._found(labels) for labels in _labels_of_statements(item)])

    def _found(self, labels: Iterable[str]) -> npt.NDArray[np.float32]:
        found = np.zeros(len(self.names), dtype=np.float32)
        found[[self._number[label] for label in labels if label in self._number]] = 1
        return found


def _labels(item: TextItem) -> set[str]:
    return set().union(*_labels_of_statements(item))


def _labels_of_statements(item: TextItem) -> list[set[str]]:
    return [_labels_of(statement) for statement in item.statements if not statement.is_denied]


def _labels_of(statement: Statement) -> set[str]:
    labels = {statement.term, *statement.details, *(" ".join(pair) for pair in statement.signals)}
    if statement.term != NORMAL:
        labels |= {f"at {statement.site}"}
        if statement.laterality != "none":
            labels |= {statement.laterality, f"at {statement.laterality} {statement.site}"}
    return labels


def labels_of_texts(
    labels: TextLabels, items: Mapping[str, TextItem], texts: Iterable[str]
) -> npt.NDArray[np.float32]:
    """Vectors of texts, see the module.

    Args:
        labels: The vocabulary.
        items: Text item of every text.
        texts: M texts.

    Returns:
        (M, K + 3), of equal lengths.
    """
    found = np.stack([labels(items[text]) for text in texts])  # (M, K)
    # one more than the longest text can have, so that the last column is never negative
    rest = np.sqrt(len(labels.names) + 1 - found.sum(axis=1, keepdims=True))
    one, zero = np.ones((len(found), 1), dtype=np.float32), np.zeros((len(found), 1), dtype=np.float32)
    return np.concatenate([found, one, zero, rest.astype(np.float32)], axis=1)


def likelihood_of_series(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Vectors of series, see the module.

    Args:
        logits: (N, K) log-odds of the labels; cut to -12 ... 12.

    Returns:
        (N, K + 3), of one length for a given K.
    """
    logits = np.clip(np.asarray(logits, dtype=np.float64), -MAX_LOGIT, MAX_LOGIT)
    count = logits.shape[1]
    constant = -np.logaddexp(0, logits).sum(axis=1, keepdims=True)  # sum of log(1 - p)
    told = np.concatenate([logits, constant], axis=1)
    longest = count * MAX_LOGIT**2 + (count * np.logaddexp(0, MAX_LOGIT)) ** 2
    rest = np.sqrt(longest + 1 - (told**2).sum(axis=1, keepdims=True))
    return np.concatenate([told, rest, np.zeros((len(logits), 1))], axis=1).astype(np.float32)
