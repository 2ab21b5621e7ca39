"""The recommended similarity of two texts: the best one-to-one assignment between what they state.

    matched(A, B)      = max over one-to-one assignments of  sum (w_a + w_b) agreement(a, b)
    contradicted(A, B) = sum of w_a over the statements of A that B denies + the same with A and B exchanged
    s(A, B)            = max(0, matched - contradicted) / (sum of w over A + sum of w over B)
    S(A, B)            = max(0, s - chance) / (1 - chance)

The weight w says how rare a finding at a site is in the training reports; `chance` is the mean of s over random texts
of two training studies (corpus_statistics.py). A text has S = 1 with itself. The agreement of two statements stands in
agreement.py. A normal text makes one statement, so it is like other normal texts and like no abnormal one: a normal
head is no wrong answer to another normal report.

The order of findings cannot matter: weights and agreements are rounded to multiples of 2^-16, of which float32 holds
sums up to 2^8 exactly.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse  # comes with scikit-learn

from .agreement import Matrix, agreement, contradictions
from .assignment import best_assignments
from .corpus_statistics import CorpusStatistics
from .rendering import TextItem
from .statements import Statement

CHANCE_TEXTS = 2048  # texts whose pairs tell the chance level: two million pairs
ROWS_PER_BLOCK = 1024
_GRID = np.float32(2**16)


def assignment_similarity(
    rows: Sequence[TextItem], columns: Sequence[TextItem], statistics: CorpusStatistics
) -> Matrix:
    """S of the module's formula between all texts.

    Args:
        rows: n texts.
        columns: m texts.
        statistics: of the training texts.

    Returns:
        (n, m) in [0, 1]; exchanging the arguments transposes it.
    """
    return _Comparison(rows, columns, statistics).similarity(slice(0, len(rows)))


def assignment_blocks(
    items: Sequence[TextItem], statistics: CorpusStatistics, rows_per_block: int = ROWS_PER_BLOCK
) -> Iterator[tuple[slice, Matrix]]:
    """The similarity of a whole data set with itself, some rows at a time: (rows, their similarity to all texts)."""
    comparison = _Comparison(items, items, statistics)
    for start in range(0, len(items), rows_per_block):
        rows = slice(start, min(start + rows_per_block, len(items)))
        yield rows, comparison.similarity(rows)


def measure_statistics(studies: Iterable[Sequence[TextItem]]) -> CorpusStatistics:
    """Statistics of a training corpus.

    Args:
        studies: the texts of each study, in an order that is always the same. Studies without texts do not count.
    """
    counts: Counter[tuple[str, str]] = Counter()
    speaking = [texts for texts in studies if texts]
    for texts in speaking:
        counts.update({(said.term, said.site) for item in texts for said in item.statements if not said.is_denied})
    statistics = CorpusStatistics(len(speaking), dict(counts))
    sample = draw_texts(speaking)
    if len(sample) < 2:
        return statistics
    similarity = assignment_similarity(sample, sample, statistics).astype(np.float64)
    others = similarity.sum() - similarity.trace()
    return replace(statistics, chance=float(others / (len(sample) * (len(sample) - 1))))


def draw_texts(studies: Iterable[Sequence[TextItem]]) -> list[TextItem]:
    """The texts whose pairs tell a chance level: one of each study at random (always the same ones), none twice.

    As in a batch: else pairs of the normal sentence would raise the level for all others. At most `CHANCE_TEXTS`.
    """
    speaking = [texts for texts in studies if texts]
    generator = np.random.default_rng(0)
    drawn = [
        speaking[place][generator.integers(len(speaking[place]))] for place in generator.permutation(len(speaking))
    ]
    return list({item.text: item for item in drawn}.values())[:CHANCE_TEXTS]


def limit_links(similarity: Matrix, limit: int) -> Matrix:
    """Keeps so many links that no text shares its target with more than `limit` others.

    The strongest link comes first, and a link is kept while both its texts have room; equal ones come in the order of
    the texts. To keep each row's largest entries instead would not stay symmetric, and would leave a text that is like
    many of them linked to all.

    Args:
        similarity: (P, P), symmetric, at least 0; the diagonal is no link and stays.
        limit: links of one text, at least 0.

    Returns:
        (P, P), symmetric, 0 where a link was given up.
    """
    links = similarity > 0
    np.fill_diagonal(links, False)
    if links.sum(axis=1).max(initial=0) <= limit:
        return similarity
    one, other = np.nonzero(np.triu(links))
    order = np.argsort(-similarity[one, other], kind="stable")
    room = [limit] * len(similarity)
    limited = np.diag(similarity.diagonal())
    for i, j in zip(one[order].tolist(), other[order].tolist(), strict=True):
        if room[i] and room[j]:
            room[i] -= 1
            room[j] -= 1
            limited[i, j] = limited[j, i] = similarity[i, j]
    return limited


class _Texts:
    """n texts as arrays: `says` (n, U) and `denies` (n, D), 0 or 1, over the different statements and denials."""

    def __init__(self, items: Sequence[TextItem], statistics: CorpusStatistics) -> None:
        self.said, self.says = _incidence([[s for s in item.statements if not s.is_denied] for item in items])
        self.denied, self.denies = _incidence([[s for s in item.statements if s.is_denied] for item in items])
        self.weights = _on_grid(np.array([statistics.weight(each) for each in self.said], dtype=np.float32))  # (U,)
        self.totals = self.says @ self.weights  # (n,)


class _Comparison:
    """All that the similarity of n texts (rows) and m texts (columns) is made of, but for the assignments."""

    def __init__(self, rows: Sequence[TextItem], columns: Sequence[TextItem], statistics: CorpusStatistics) -> None:
        self.rows = _Texts(rows, statistics)
        self.columns = self.rows if rows is columns else _Texts(columns, statistics)
        self.chance = np.float32(statistics.chance)
        self.values = agreement(self.rows.said, self.columns.said)  # (U, V)
        of_rows = np.repeat(self.rows.weights, np.diff(self.values.indptr))
        self.values.data = _on_grid((of_rows + self.columns.weights[self.values.indices]) * self.values.data)
        self.denied_by_columns = _denied_weights(self.columns, self.rows)  # (m, U)
        self.denied_by_rows = _denied_weights(self.rows, self.columns)  # (n, V)

    def similarity(self, part: slice) -> Matrix:
        """S of some of the rows, (part, m)."""
        says, totals = self.rows.says[part], self.rows.totals[part]
        matched = best_assignments(self.values, says, self.columns.says)
        of_both = np.repeat(totals, np.diff(matched.indptr)) + self.columns.totals[matched.indices]
        matched.data = np.maximum((matched.data / of_both - self.chance) / (1 - self.chance), 0)
        result = matched.toarray()
        # what is contradicted is subtracted where it is: almost nowhere
        contradicted = says @ self.denied_by_columns.T + self.denied_by_rows[part] @ self.columns.says.T
        one, other = sparse.coo_array(contradicted).coords
        loss = contradicted.data / (totals[one] + self.columns.totals[other]) / (1 - self.chance)
        result[one, other] = np.maximum(result[one, other] - loss, 0)
        return result


def _denied_weights(denying: _Texts, speaking: _Texts) -> sparse.csr_array:
    """Weights of the speaking texts' statements where a denying text denies them, (denying texts, statements)."""
    is_denied = (denying.denies @ contradictions(denying.denied, speaking.said)) > 0  # (m, D) @ (D, U) -> (m, U)
    return sparse.csr_array(is_denied.astype(np.float32) * speaking.weights[None, :])


def _incidence(sets: Sequence[Sequence[Statement]]) -> tuple[list[Statement], sparse.csr_array]:
    """The different statements, and which of them is in which set."""
    index: dict[Statement, int] = {}
    members = [sorted({index.setdefault(each, len(index)) for each in of_text}) for of_text in sets]
    indptr = np.cumsum([0, *(len(row) for row in members)])
    indices = np.array([number for row in members for number in row], dtype=np.int64)
    shape = (len(sets), len(index))
    return list(index), sparse.csr_array((np.ones(len(indices), dtype=np.float32), indices, indptr), shape=shape)


def _on_grid(values: Matrix) -> Matrix:
    return np.rint(values * _GRID) / _GRID
