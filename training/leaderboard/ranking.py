"""Ranks of systems from paired differences.

Two systems are told apart where the bootstrap interval of their difference leaves 0 out after Holm's correction over
all pairs of one table. The p value of a pair is twice the smaller share of draws on either side of 0 (each share with
one draw more, Davison and Hinkley 1997, eq. 4.11). The rank of a system is one more than the number of systems that
are told apart from it and better. So systems that nobody beats share the first rank, and equal systems always share
one. Being told apart is not transitive: where A and B, and B and C are too close but A beats C, A and B are first and
C is second, behind A alone. So a system whose value is less certain may stand before one with a slightly higher value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ..evaluation.binary_metrics import holm
from ..evaluation.bootstrap import percentile_interval

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Two systems.

    Attributes:
        first: The one.
        second: The other.
        value: first - second.
        low: Lower end of its 95 % interval, not corrected.
        high: Upper end.
        p: Two-sided, of one pair.
        p_holm: Corrected for all pairs.
    """

    first: str
    second: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Ranking:
    """Ranks and what they follow from.

    Attributes:
        ranks: By system, 1 = nobody is better.
        behind: By system, the systems that are told apart from it and better.
        differences: Of all pairs.
    """

    ranks: Mapping[str, int]
    behind: Mapping[str, tuple[str, ...]]
    differences: tuple[Difference, ...]


def draws_needed(systems: int, alpha: float) -> int:
    """Draws with which the smallest p value of a pair survives the correction over all pairs twice over."""
    pairs = systems * (systems - 1) // 2
    return math.ceil(4 * pairs / alpha)


def rank(
    values: Mapping[str, float],
    replicates: Mapping[str, FloatArray],
    *,
    alpha: float = 0.05,
    greater_is_better: bool = True,
) -> Ranking:
    """Rank systems by one metric.

    Args:
        values: The metric by system.
        replicates: (num_samples,) by system, the same draws of patients for all; NaN where it is not defined.
        alpha: Family-wise error.
        greater_is_better: Direction of the metric.
    """
    names = sorted(values)
    pairs = list(combinations(names, 2))
    drawn = [replicates[first] - replicates[second] for first, second in pairs]
    p_values = np.array([two_sided_p(each) for each in drawn])
    corrected = holm(p_values) if len(pairs) else p_values
    differences = []
    behind: dict[str, list[str]] = {name: [] for name in names}
    for (first, second), each, p, p_holm in zip(pairs, drawn, p_values, corrected, strict=True):
        low, high = percentile_interval(each[:, None])
        value = values[first] - values[second]
        differences.append(Difference(first, second, value, float(low[0]), float(high[0]), float(p), float(p_holm)))
        if p_holm < alpha and value != 0:
            is_first_better = (value > 0) == greater_is_better
            behind[second if is_first_better else first].append(first if is_first_better else second)
    ranks = {name: 1 + len(each) for name, each in behind.items()}
    return Ranking(ranks, {name: tuple(each) for name, each in behind.items()}, tuple(differences))


def two_sided_p(differences: FloatArray) -> float:
    """Twice the smaller share of draws on either side of 0, draws of exactly 0 on both; 1 where there is none.

    Args:
        differences: (B,) differences of two systems, one a draw; NaN where a draw has none.
    """
    drawn = differences[~np.isnan(differences)]
    if len(drawn) == 0:
        return 1.0
    smaller = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(drawn) + 1))


def order(values: Mapping[str, float], ranks: Mapping[str, int], *, greater_is_better: bool = True) -> Sequence[str]:
    """Systems by rank, then by value, then by name."""
    sign = -1 if greater_is_better else 1
    return sorted(values, key=lambda name: (ranks[name], sign * values[name], name))
