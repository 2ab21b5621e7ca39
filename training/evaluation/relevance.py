"""How relevant one report is for another study's series: a rule that no training target uses.

Training targets compare rendered texts or signals; this rule looks at neither. A report is reduced to its set of
triples (finding term, site, laterality) of the findings that the sequence at hand can show; wording, signal, size,
shape, count, severity and order are ignored. For two sets A and B:

    pair(f, g)      = 2 [terms equal] + 1 [sites equal] + 2 [sites equal and sides equal]        0 ... 5
    M               = largest sum of pair(f, g) over one-to-one pairings of A and B
    agreement(A, B) = 2 M / (5 (|A| + |B|))                                                      0 ... 1, soft Dice

    grade 3  A = B (the same findings at the same places; two normal reports)
    grade 2  agreement >= 2/3     e.g. one of two findings, both exact; 2 of 3 exact
    grade 1  agreement >= 1/3     e.g. right term and site on the wrong side; right term elsewhere; 1 of 3 exact
    grade 0  otherwise; also a normal against an abnormal report

Thresholds are compared in whole numbers, so no rounding decides a grade. Sites are compared as names, without a
hierarchy. Grade 3 is a hit.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Triple = tuple[str, str, str]
FindingSet = tuple[Triple, ...]  # sorted, without duplicates; empty = normal

SAME_FINDINGS = 3
_FULL_PAIR = 5
# Up to this many findings on the smaller side all pairings are tried at once; real reports seldom exceed it.
_MAX_ENUMERATED = 4


def finding_set(triples: Sequence[Triple]) -> FindingSet:
    """Canonical form of a report's findings in one sequence: sorted, duplicates collapsed."""
    return tuple(sorted(set(triples)))


def relevance_grades(sets: Sequence[FindingSet]) -> npt.NDArray[np.int8]:
    """Grades 0 ... 3 between all pairs of finding sets by the rule of this module.

    Args:
        sets: U finding sets from `finding_set`.

    Returns:
        (U, U) symmetric, 3 on the diagonal.
    """
    count = len(sets)
    grades = np.zeros((count, count), dtype=np.int8)
    sizes = np.array([len(each) for each in sets], dtype=np.int64)
    triples = sorted({triple for each in sets for triple in each})
    number_of = {triple: number for number, triple in enumerate(triples)}
    pairs = _pair_scores(triples)
    for small in np.unique(sizes[sizes > 0]):
        rows = np.flatnonzero(sizes == small)
        row_triples = np.array([[number_of[t] for t in sets[int(i)]] for i in rows])  # (R, small)
        for large in np.unique(sizes[sizes >= small]):
            columns = np.flatnonzero(sizes == large)
            column_triples = np.array([[number_of[t] for t in sets[int(i)]] for i in columns])  # (C, large)
            matched = _best_matching(pairs, row_triples, column_triples)
            total = int(small + large)
            # agreement >= 2/3  <=>  3 M >= 5 (|A| + |B|);  >= 1/3  <=>  6 M >= 5 (|A| + |B|)
            block = (6 * matched >= _FULL_PAIR * total).astype(np.int8)
            block += (3 * matched >= _FULL_PAIR * total).astype(np.int8)
            grades[np.ix_(rows, columns)] = block
            grades[np.ix_(columns, rows)] = block.T
    number_of_set = {each: number for number, each in enumerate(dict.fromkeys(sets))}
    which = np.array([number_of_set[each] for each in sets], dtype=np.int64)
    grades[which[:, None] == which[None, :]] = SAME_FINDINGS
    return grades


def _pair_scores(triples: Sequence[Triple]) -> npt.NDArray[np.int64]:
    """pair(f, g) of the module's rule between all triples, (T, T)."""
    if not triples:
        return np.zeros((0, 0), dtype=np.int64)
    term, site, side = np.array(triples, dtype=object).T
    same_site = site[:, None] == site[None, :]
    same_side = same_site & (side[:, None] == side[None, :])
    same_term = term[:, None] == term[None, :]
    return (2 * same_term + same_site + 2 * same_side).astype(np.int64)


def _best_matching(
    pairs: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Largest pairing sum M between sets of `small` and of `large` >= `small` findings.

    Args:
        pairs: (T, T) pair scores.
        rows: (R, small) triple numbers of each set.
        columns: (C, large).

    Returns:
        (R, C).
    """
    small, large = rows.shape[1], columns.shape[1]
    best = np.zeros((len(rows), len(columns)), dtype=np.int64)
    if large <= _MAX_ENUMERATED:
        for chosen in permutations(range(large), small):
            total = sum(pairs[np.ix_(rows[:, i], columns[:, j])] for i, j in enumerate(chosen))
            np.maximum(best, total, out=best)
        return best
    for row, own in enumerate(rows):
        for column, other in enumerate(columns):
            scores = pairs[np.ix_(own, other)]
            if scores.any():
                left, right = linear_sum_assignment(scores, maximize=True)
                best[row, column] = scores[left, right].sum()
    return best
