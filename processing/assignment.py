"""Best one-to-one assignments between small sets, for all pairs of sets at once, from sparse values.

Most pairs of sets have no pair of members that is worth anything, and most others have one, which is then the best
assignment: a sparse product gives both. Only where two or more pairs of members compete is there something to choose.
Such pairs of sets are grouped by their sizes, so that dynamic programming over the subsets of the smaller set treats a
whole group as arrays. This is exact; its cost grows with 2^(smaller size), so pairs of two large sets are solved one
by one.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import sparse  # comes with scikit-learn
from scipy.optimize import linear_sum_assignment

MAX_ENUMERATED = 6  # members of the smaller set up to which its subsets are enumerated
_AT_ONCE = 2**14  # pairs of sets in one array: 64 kB stay in a core's cache

Vector = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Value = Callable[[int, int], Vector]


def best_assignments(values: sparse.csr_array, rows: sparse.csr_array, columns: sparse.csr_array) -> sparse.csr_array:
    """Largest sum of values over one-to-one assignments of members of two sets, for all pairs of sets.

    Args:
        values: (U, V) float32, not below 0: what assigning member u of a row's set to member v of a column's is worth.
        rows: (n, U) of 0 and 1, which members are in each of n sets.
        columns: (m, V).

    Returns:
        (n, m) float32, with entries only where something is worth more than 0.
    """
    used, local = np.unique(rows.indices, return_inverse=True)
    values = values[used]
    rows = sparse.csr_array((rows.data, local, rows.indptr), shape=(rows.shape[0], len(used)))
    marked = values.astype(np.complex64)
    marked.data += np.complex64(1j)  # the real part sums the values, the imaginary part counts them
    sums = rows @ marked @ columns.T  # (n, U) @ (U, V) @ (V, m) -> (n, m)
    best = sums.data.real.copy()
    choice = np.flatnonzero(sums.data.imag > 1)
    row_of = np.repeat(np.arange(sums.shape[0]), np.diff(sums.indptr))
    best[choice] = _chosen(values, rows, columns, row_of[choice], sums.indices[choice])
    return sparse.csr_array((best, sums.indices, sums.indptr), shape=sums.shape)


def _chosen(
    values: sparse.csr_array,
    rows: sparse.csr_array,
    columns: sparse.csr_array,
    row_sets: Indices,
    column_sets: Indices,
) -> Vector:
    """Best assignments of k pairs of a row's and a column's set, (k,)."""
    table = values.toarray()  # entries are looked up at random, which a sparse array is slow at
    row_sizes, column_sizes = np.diff(rows.indptr)[row_sets], np.diff(columns.indptr)[column_sets]
    best = np.empty(len(row_sets), dtype=np.float32)
    for size in np.unique(row_sizes):
        of_size = np.flatnonzero(row_sizes == size)
        for other_size in np.unique(column_sizes[of_size]):
            group = of_size[column_sizes[of_size] == other_size]
            for start in range(0, len(group), _AT_ONCE):
                part = group[start : start + _AT_ONCE]
                members = rows.indices[rows.indptr[row_sets[part], None] + np.arange(size)]  # (part, size)
                others = columns.indices[columns.indptr[column_sets[part], None] + np.arange(other_size)]
                best[part] = _best(table, members, others)
    return best


def _best(table: npt.NDArray[np.float32], members: Indices, others: Indices) -> Vector:
    """Best assignments of k pairs of sets of the same sizes: members (k, size) to others (k, other_size)."""
    size, other_size = members.shape[1], others.shape[1]
    if min(size, other_size) > MAX_ENUMERATED:
        return _one_by_one(table[members[:, :, None], others[:, None, :]])
    if size <= other_size:
        return _over_subsets(lambda one, other: table[members[:, one], others[:, other]], size, other_size)
    return _over_subsets(lambda one, other: table[members[:, other], others[:, one]], other_size, size)


def _over_subsets(value: Value, smaller: int, larger: int) -> Vector:
    """Members of the larger set one after the other, each assigned to a member of the smaller set or to none.

    `best[taken]` is the best sum in which only members of the subset `taken` (bits) are assigned so far. Subsets are
    updated from the fullest down, so that each step reads sums from before it.
    """
    best: list[Vector] = []
    for place in range(larger):
        gains = [value(member, place) for member in range(smaller)]
        if not best:
            best = [np.zeros_like(gains[0]) for _ in range(2**smaller)]
        for taken in range(2**smaller - 1, 0, -1):
            for member in range(smaller):
                rest = taken & ~(1 << member)
                if rest != taken:
                    np.maximum(best[taken], best[rest] + gains[member] if rest else gains[member], out=best[taken])
    return best[-1]


def _one_by_one(worth: npt.NDArray[np.float32]) -> Vector:
    """The Hungarian method for each of k pairs of sets, (k, size, other_size) -> (k,)."""
    return np.array([each[linear_sum_assignment(each, maximize=True)].sum() for each in worth], dtype=np.float32)
