"""How similar two texts are: the soft targets of similarity-enhanced contrastive learning (SeLIP, arXiv 2503.19801).

The released metric is a baseline with known weaknesses: it compares clauses, so long texts get weak links, and it
gives half the credit to the same lesion on the wrong side.
"""

import re
from collections.abc import Callable, Iterator, Sequence

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
ROWS_PER_BLOCK = 256
_CLAUSES_AT_ONCE = 256  # rows of intermediate matrices, so that these stay small
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
    set see [`released_blocks`].

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
    own = _own_columns(len(items), columns, own_column)
    row_texts = _Texts(items)
    column_texts = row_texts if columns is None else _Texts(columns)
    scores = _clause_scores(row_texts.clauses, column_texts.clauses, language)
    similarity = _similarity(row_texts, column_texts, scores, slice(0, len(items)))
    rows = np.flatnonzero(own >= 0)
    similarity[rows, own[rows]] = 1.0
    return similarity


def released_blocks(
    items: Sequence[TextItem], language: Language, rows_per_block: int = ROWS_PER_BLOCK
) -> Iterator[tuple[slice, np.ndarray]]:
    """The similarity of a whole data set with itself, some rows at a time: (rows, their similarity to all texts).

    Holds the scores of all pairs of unique clauses, 8 bytes each, and a block.
    """
    texts = _Texts(items)
    scores = _clause_scores(texts.clauses, texts.clauses, language)
    for start in range(0, len(items), rows_per_block):
        rows = slice(start, min(start + rows_per_block, len(items)))
        similarity = _similarity(texts, texts, scores, rows)
        np.fill_diagonal(similarity[:, rows], 1.0)
        yield rows, similarity


class _Texts:
    """n texts as arrays.

    Attributes:
        clauses: the U different clauses.
        shares: (n, U), share of each clause in each text; rows sum to 1, or to 0 without clauses.
        normal: (n,), whether it is the text of a normal study.
    """

    def __init__(self, items: Sequence[TextItem]) -> None:
        index: dict[Clause, int] = {}
        ids = [[index.setdefault(clause, len(index)) for clause in item.clauses] for item in items]
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        indices = np.fromiter((i for row in ids for i in row), dtype=np.int64, count=int(lengths.sum()))
        shares = np.repeat(1.0 / np.maximum(lengths, 1), lengths)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        self.clauses = list(index)
        self.shares = sparse.csr_array((shares, indices, indptr), shape=(len(items), len(index)))
        self.shares.sum_duplicates()
        self.normal = np.array([item.normal for item in items], dtype=bool)


def _similarity(rows: _Texts, columns: _Texts, scores: np.ndarray, part: slice) -> np.ndarray:
    """Similarity of some of the rows with all columns, float32 (part, m), with no regard to which texts are one.

    Sums are float64, so that the order of texts and clauses does not show in the float32 result.
    """
    shares = rows.shares[part]
    used = np.unique(shares.indices)
    half = shares[:, used] @ scores[used]  # (n, U) @ (U, V) -> (n, V)
    product = columns.shares @ np.ascontiguousarray(half.T)  # (m, V) @ (V, n) -> (m, n)
    similarity = np.empty(product.shape[::-1], dtype=np.float32)
    np.minimum(product.T, 1.0, out=similarity)
    similarity[rows.normal[part], :] = 0.0
    similarity[:, columns.normal] = 0.0
    return similarity


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


def _clause_scores(rows: list[Clause], columns: list[Clause], language: Language) -> np.ndarray:
    """Score of each clause with each clause, float64 (U, V): semantic match times Dice of the mark sets."""
    if language not in SIGNAL_TAGS:
        raise ValueError(f"expected a language among {', '.join(SIGNAL_TAGS)}, got {language!r}")
    index: dict[str, int] = {}
    row_marks = [[index.setdefault(mark, len(index)) for mark in _marks(c, language)] for c in rows]
    column_marks = [[index.setdefault(mark, len(index)) for mark in _marks(c, language)] for c in columns]
    left, right = _incidence(row_marks, len(index)), _incidence(column_marks, len(index))
    same_location = _same([c.location for c in rows], [c.location for c in columns])
    same_tag = _same([_tag(c, language) for c in rows], [_tag(c, language) for c in columns])
    sizes = right.sum(axis=1)[None, :]
    scores = np.empty((len(rows), len(columns)))
    for start in range(0, len(rows), _CLAUSES_AT_ONCE):
        part = slice(start, start + _CLAUSES_AT_ONCE)
        # whole numbers, exact in float32; dense, because the commonest marks are in half of all clauses
        shared = left[part] @ right.T
        dice = 2.0 * shared / np.maximum(left[part].sum(axis=1, dtype=np.float64)[:, None] + sizes, 1.0)
        scores[part] = LOCATION_WEIGHT * same_location(part) + (1.0 - LOCATION_WEIGHT) * same_tag(part)
        scores[part] *= dice
    return scores


def _same(left: list[str], right: list[str]) -> Callable[[slice], np.ndarray]:
    """A function that says for some of the left words which of the right ones are the same, bool (part, V)."""
    ids: dict[str, int] = {}
    a = np.array([ids.setdefault(word, len(ids)) for word in left], dtype=np.int64)
    b = np.array([ids.setdefault(word, len(ids)) for word in right], dtype=np.int64)
    return lambda part: a[part, None] == b[None, :]


def _incidence(sets: list[list[int]], size: int) -> np.ndarray:
    """Which number is in which set, float32 (sets, size) of 0 and 1."""
    incidence = np.zeros((len(sets), size), dtype=np.float32)
    for place, numbers in enumerate(sets):
        incidence[place, numbers] = 1.0
    return incidence


def _tag(clause: Clause, language: Language) -> str:
    return next((tag for tag in SIGNAL_TAGS[language] if tag in clause.description), clause.description)


def _marks(clause: Clause, language: Language) -> frozenset[str]:
    """What Dice is computed on: the characters of location and description, in English their words."""
    if language == "zh":
        return frozenset(clause.location + clause.description)
    return frozenset(_WORD.findall(f"{clause.location} {clause.description}".lower()))
