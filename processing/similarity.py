"""How similar two texts are: the soft targets of similarity-enhanced contrastive learning (SeLIP, arXiv 2503.19801).

The released metric is a baseline with known weaknesses: it compares clauses, so long texts get weak links, and it
gives half the credit to the same lesion on the wrong side.
"""

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse  # comes with scikit-learn

from .rendering import Clause, Language, TextItem

LOCATION_WEIGHT = 0.5  # w1 of method.md 1.4; the signal class has w2 = 1 - w1

# Signal classes in the order in which they are looked for. Chinese: the released list. English: our own (method.md
# 1.8).
SIGNAL_TAGS = {
    "en": ("hyperintense", "hypointense", "isointense", "restricted diffusion", "enhancing", "mixed-signal"),
    "zh": ("高信号", "低信号", "长信号", "短信号", "等信号"),
}
_WORD = re.compile(r"[a-z0-9]+")


def released_similarity(
    items: Sequence[TextItem],
    language: Language,
    columns: Sequence[TextItem] | None = None,
    own_column: np.ndarray | None = None,
) -> np.ndarray:
    """Similarity of texts in the form SeLIP released (method.md 1.4).

    The mean over all pairs of clauses of (location and signal class match) x (Dice of character sets, in English of
    word sets). A text is 1 with itself; a normal text is 0 with every other one. `test_similarity.py` compares it with
    nested loops. Time and memory grow with the unique clauses of the rows times those of the columns: for a whole data
    set, give a few hundred rows at a time and all texts as columns.

    Args:
        items: the n texts of the rows.
        columns: the m texts of the columns; None compares `items` with themselves.
        own_column: for each row the index of the column that is the same text, or -1, as in a batch whose columns were
            gathered from all processes. Only with `columns`.

    Returns:
        (n, m) float32 in [0, 1].

    Raises:
        ValueError: for an unknown language, or an `own_column` of the wrong length or range or without `columns`.
    """
    if language not in SIGNAL_TAGS:
        raise ValueError(f"expected a language among {', '.join(SIGNAL_TAGS)}, got {language!r}")
    own = _own_columns(len(items), columns, own_column)
    row_counts, row_clauses = _clause_counts(items)
    if columns is None:
        column_counts, column_clauses, columns = row_counts, row_clauses, items
    else:
        column_counts, column_clauses = _clause_counts(columns)
    scores = _clause_scores(row_clauses, column_clauses, language)
    half = row_counts @ scores  # (n, U) @ (U, V) -> (n, V)
    similarity = np.minimum((column_counts @ half.T).T, 1.0)  # (m, V) @ (V, n) -> (n, m)
    similarity[[item.normal for item in items], :] = 0.0
    similarity[:, [item.normal for item in columns]] = 0.0
    rows = np.flatnonzero(own >= 0)
    similarity[rows, own[rows]] = 1.0
    return similarity.astype(np.float32)


def _own_columns(n: int, columns: Sequence[TextItem] | None, own_column: np.ndarray | None) -> np.ndarray:
    if columns is None:
        if own_column is not None:
            raise ValueError("expected own_column only together with columns")
        return np.arange(n)
    if own_column is None:
        return np.full(n, -1)
    own = np.asarray(own_column)
    if (
        own.shape != (n,)
        or not np.issubdtype(own.dtype, np.integer)
        or (n and not -1 <= own.min() <= own.max() < len(columns))
    ):
        raise ValueError(
            f"expected own_column to hold {n} integers from -1 to {len(columns) - 1}, got shape {own.shape}"
        )
    return own


def _clause_counts(items: Sequence[TextItem]) -> tuple[sparse.csr_array, list[Clause]]:
    """Share of each unique clause in each text, (n, U), rows sum to 1 (0 without clauses); and the clauses."""
    index: dict[Clause, int] = {}
    ids = [[index.setdefault(clause, len(index)) for clause in item.clauses] for item in items]
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    indices = np.fromiter((i for row in ids for i in row), dtype=np.int64, count=int(lengths.sum()))
    shares = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    counts = sparse.csr_array((shares, indices, indptr), shape=(len(items), len(index)))
    counts.sum_duplicates()
    return counts, list(index)


def _clause_scores(rows: list[Clause], columns: list[Clause], language: Language) -> np.ndarray:
    """Score of each clause with each clause, (U, V) float64: semantic match times Dice of the mark sets."""
    locations = _equal([c.location for c in rows], [c.location for c in columns])
    tags = _equal([_tag(c, language) for c in rows], [_tag(c, language) for c in columns])
    semantic = LOCATION_WEIGHT * locations + (1.0 - LOCATION_WEIGHT) * tags
    index: dict[str, int] = {}
    left = _incidence([_marks(c, language) for c in rows], index)
    right = _incidence([_marks(c, language) for c in columns], index)
    left = sparse.csr_array((left.data, left.indices, left.indptr), shape=(len(rows), len(index)))
    sizes = left.sum(axis=1)[:, None] + right.sum(axis=1)[None, :]
    shared = (left @ right.T).toarray()
    return semantic * (2.0 * shared / np.maximum(sizes, 1.0))


def _equal(left: list[str], right: list[str]) -> np.ndarray:
    ids: dict[str, int] = {}
    a = np.array([ids.setdefault(word, len(ids)) for word in left], dtype=np.int64)
    b = np.array([ids.setdefault(word, len(ids)) for word in right], dtype=np.int64)
    return (a[:, None] == b[None, :]).astype(np.float64)


def _incidence(sets: list[frozenset[str]], index: dict[str, int]) -> sparse.csr_array:
    """Which mark is in which set, (sets, marks) of 0 and 1; extends `index` by the marks not seen before."""
    ids = [[index.setdefault(mark, len(index)) for mark in sorted(marks)] for marks in sets]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    indices = np.array([i for row in ids for i in row], dtype=np.int64)
    return sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(len(sets), len(index)))


def _tag(clause: Clause, language: Language) -> str:
    return next((tag for tag in SIGNAL_TAGS[language] if tag in clause.description), clause.description)


def _marks(clause: Clause, language: Language) -> frozenset[str]:
    """What Dice is computed on: the characters of location and description, in English their words."""
    if language == "zh":
        return frozenset(clause.location + clause.description)
    return frozenset(_WORD.findall(f"{clause.location} {clause.description}".lower()))
