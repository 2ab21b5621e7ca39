"""How far two statements agree: a product of factors in [0, 1], one for each thing that can differ.

    agreement = term x site x side x signal x details

A product, so that statements which share nothing but a place, or nothing but a term, agree in nothing: there are many
of them, and together they would take most of a soft target. The constants are ordered, not fitted: other words cost
least, another signal or another sequence more, the wrong side most.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse  # comes with scikit-learn

from .statements import Statement
from .vocabulary import load_terms

SAME_FAMILY = 0.5  # terms of one family, e.g. glioma and mass
UNSPECIFIC = 0.25  # a term that names no cause, e.g. signal abnormality, and one that does
SITE_STEP = 0.5  # for each step in the site tree: parent 0.5, sibling 0.25
OPPOSITE_SIDE = 0.2
PARTLY_SAME_SIDE = 0.6  # one is bilateral, in the midline, or not stated
OPPOSED_SIGNAL = 0.5  # no signal word in common, in the sequences of which both tell
SIGNAL_OF_ONE = 0.9  # one or both tell signals, but none of the same sequence
OTHER_SEQUENCE = 0.5  # each is of one sequence, and not of the same
OTHER_DETAILS = 0.9  # no word of certainty, number, grade, age, size or shape in common

Matrix = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Place = tuple[str, str]  # finding term and site
SignalState = tuple[str | None, frozenset[tuple[str, str]]]  # sequence of the text, signals that it tells
Key = TypeVar("Key", bound=Hashable)


def agreement(rows: Sequence[Statement], columns: Sequence[Statement]) -> sparse.csr_array:
    """Agreement of present statements; sparse, because most pairs share neither family nor site.

    Args:
        rows: U statements.
        columns: V statements.

    Returns:
        (U, V) float32 in [0, 1]; 1 for equal statements. Exchanging the arguments transposes it.
    """
    result, pairs = _pairs_of_places(_place_agreement, rows, columns)
    result.data *= _of_pairs(_side_agreement, rows, columns, pairs, key=lambda s: s.laterality)
    result.data *= _of_pairs(_signal_agreement, rows, columns, pairs, key=lambda s: (s.sequence, s.signals))
    result.data *= _of_pairs(_detail_agreement, rows, columns, pairs, key=lambda s: s.details)
    return result


def contradictions(denied: Sequence[Statement], present: Sequence[Statement]) -> sparse.csr_array:
    """Which denials deny which present statements: `Statement.contradicts` for all pairs.

    Returns:
        (D, U) float32 of 0 and 1.
    """
    result, pairs = _pairs_of_places(_place_denial, denied, present)
    sides = _of_pairs(_side_agreement, denied, present, pairs, key=lambda s: s.laterality)
    result.data[sides == np.float32(OPPOSITE_SIDE)] = 0.0
    result.eliminate_zeros()
    return result


def _pairs_of_places(
    score: Callable[[list[Place], list[Place]], Matrix], rows: Sequence[Statement], columns: Sequence[Statement]
) -> tuple[sparse.csr_array, tuple[Indices, Indices]]:
    """A score of (term, site) for all pairs in which it is not 0: as (U, V), and rows and columns of these pairs."""
    row_codes, row_places = _coded([(s.term, s.site) for s in rows])
    column_codes, column_places = _coded([(s.term, s.site) for s in columns])
    ones = np.ones(len(columns), dtype=np.float32)
    shape = (len(column_places), len(columns))
    members = sparse.csr_array((ones, (column_codes, np.arange(len(columns)))), shape=shape)
    scores = sparse.csr_array(score(row_places, column_places).reshape(len(row_places), len(column_places)))
    result = (scores @ members)[row_codes]  # (R, C) @ (C, V) -> (R, V) -> (U, V)
    return result, (np.repeat(np.arange(len(rows)), np.diff(result.indptr)), result.indices)


def _of_pairs(
    score: Callable[[list[Key], list[Key]], Matrix],
    rows: Sequence[Statement],
    columns: Sequence[Statement],
    pairs: tuple[Indices, Indices],
    *,
    key: Callable[[Statement], Key],
) -> Matrix:
    """A score for some pairs of a row and a column, computed once for each pair of different keys. (pairs,)"""
    row_codes, row_keys = _coded([key(said) for said in rows])
    column_codes, column_keys = _coded([key(said) for said in columns])
    table = score(row_keys, column_keys).ravel()
    return table[row_codes[pairs[0]] * len(column_keys) + column_codes[pairs[1]]]


def _coded(keys: Sequence[Key]) -> tuple[Indices, list[Key]]:
    """The different keys, and for each position which of them stands there."""
    index: dict[Key, int] = {}
    codes = np.array([index.setdefault(key, len(index)) for key in keys], dtype=np.intp)
    return codes, list(index)


def _place_agreement(rows: list[Place], columns: list[Place]) -> Matrix:
    (row_terms, row_sites), (column_terms, column_sites) = _numbers(rows), _numbers(columns)
    return _term_table()[np.ix_(row_terms, column_terms)] * _site_table()[np.ix_(row_sites, column_sites)]


def _place_denial(denied: list[Place], present: list[Place]) -> Matrix:
    """1 where the term is the denied one and its site lies within the denied site."""
    (denied_terms, denied_sites), (terms, sites) = _numbers(denied), _numbers(present)
    same_term = denied_terms[:, None] == terms[None, :]
    return (same_term & _within_table()[np.ix_(sites, denied_sites)].T).astype(np.float32)


def _numbers(places: list[Place]) -> tuple[Indices, Indices]:
    """Numbers of terms and sites in their canonical order."""
    terms, sites = ({name: n for n, name in enumerate(of)} for of in (load_terms().findings, load_terms().sites))
    return (
        np.array([terms[term] for term, _ in places], dtype=np.intp),
        np.array([sites[site] for _, site in places], dtype=np.intp),
    )


@cache
def _term_table() -> Matrix:
    """Factor of all pairs of finding terms, in canonical order."""

    def factor(one: str, other: str) -> float:
        families = {terms[one].family, terms[other].family}
        if one == other:
            return 1.0
        if None in families:  # a status, "normal", is like nothing else
            return 0.0
        if len(families) == 1:
            return SAME_FAMILY
        return UNSPECIFIC if "unspecific" in families else 0.0

    terms = load_terms().findings
    return np.array([[factor(one, other) for other in terms] for one in terms], dtype=np.float32)


@cache
def _site_table() -> Matrix:
    """Factor of all pairs of sites, in canonical order.

    `SITE_STEP` to the power of the steps between them in the site tree; 0 where the way leads over a root, because
    that two sites both lie in the brain says nothing.
    """

    def path_to_root(site: str) -> list[str]:
        parent = sites[site].parent
        return [site] if parent is None else [site, *path_to_root(parent)]

    def factor(one: list[str], other: list[str]) -> float:
        common = next((site for site in one if site in other), None)
        if common is None:
            return 0.0
        up, down = one.index(common), other.index(common)
        is_over_root = sites[common].parent is None and up > 0 and down > 0
        return 0.0 if is_over_root else SITE_STEP ** (up + down)

    sites = load_terms().sites
    paths = [path_to_root(site) for site in sites]
    return np.array([[factor(one, other) for other in paths] for one in paths], dtype=np.float32)


@cache
def _within_table() -> npt.NDArray[np.bool_]:
    """Whether the site of the row lies within that of the column, in canonical order."""
    terms = load_terms()
    return np.array([[terms.is_within(one, other) for other in terms.sites] for one in terms.sites], dtype=bool)


def _side_agreement(rows: list[str], columns: list[str]) -> Matrix:
    def factor(one: str, other: str) -> float:
        if one == other:
            return 1.0
        return OPPOSITE_SIDE if {one, other} == {"left", "right"} else PARTLY_SAME_SIDE

    return np.array([[factor(one, other) for other in columns] for one in rows], dtype=np.float32)


def _signal_agreement(rows: list[SignalState], columns: list[SignalState]) -> Matrix:
    """Overlap of the signal words in the sequences of which both tell; another sequence costs in any case."""
    words, other_words = _counts([signals for _, signals in rows], [signals for _, signals in columns])
    told, other_told = _counts(
        [[sequence for sequence, _ in signals] for _, signals in rows],
        [[sequence for sequence, _ in signals] for _, signals in columns],
    )
    shared = words @ other_words.T
    of_rows = told @ (other_told > 0).T  # words of the row in sequences of which the column tells, too
    of_columns = (told > 0) @ other_told.T
    overlap = shared / np.maximum(of_rows + of_columns - shared, 1.0)
    result = np.where(of_rows > 0, 1.0 - (1.0 - OPPOSED_SIGNAL) * (1.0 - overlap), SIGNAL_OF_ONE)
    result[np.ix_(~words.any(axis=1), ~other_words.any(axis=1))] = 1.0
    names, other_names = (np.array([name or "" for name, _ in of], dtype=np.str_) for of in (rows, columns))
    differ = (names[:, None] != other_names) & (names[:, None] != "") & (other_names != "")
    return np.where(differ, OTHER_SEQUENCE * result, result).astype(np.float32)


def _detail_agreement(rows: list[frozenset[str]], columns: list[frozenset[str]]) -> Matrix:
    """Dice overlap of the detail words, put between `OTHER_DETAILS` and 1."""
    words, other_words = _counts(rows, columns)
    total = words.sum(axis=1)[:, None] + other_words.sum(axis=1)[None, :]
    dice = np.where(total > 0, 2.0 * (words @ other_words.T) / np.maximum(total, 1.0), 1.0)
    return (1.0 - (1.0 - OTHER_DETAILS) * (1.0 - dice)).astype(np.float32)


def _counts(rows: Sequence[Iterable[Hashable]], columns: Sequence[Iterable[Hashable]]) -> tuple[Matrix, Matrix]:
    """How often each word is in each collection, (U, W) and (V, W) over the words of both."""
    index: dict[Hashable, int] = {}
    numbers = [[[index.setdefault(word, len(index)) for word in words] for words in of] for of in (rows, columns)]
    counts = [np.zeros((len(of), len(index)), dtype=np.float32) for of in numbers]
    for of, array in zip(numbers, counts, strict=True):
        for place, row in enumerate(of):
            np.add.at(array[place], row, 1.0)
    return counts[0], counts[1]
