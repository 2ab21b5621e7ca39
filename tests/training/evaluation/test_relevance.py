"""The relevance rule against a table of cases and a brute-force matching."""

from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest

from selip.training.evaluation.relevance import finding_set, relevance_grades

INFARCT = ("acute infarct", "frontal lobe", "left")
MIRRORED = ("acute infarct", "frontal lobe", "right")
ELSEWHERE = ("acute infarct", "cerebellum", "left")
OTHER_TERM = ("mass", "frontal lobe", "left")
UNRELATED = ("meningioma", "falx", "midline")
LACUNE = ("lacune", "thalamus", "left")


def grade(first, second):
    """Grade between two sets of triples; the rule must be symmetric."""
    grades = relevance_grades([finding_set(first), finding_set(second)])
    assert grades[0, 1] == grades[1, 0]
    return int(grades[0, 1])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], 3),
        ([INFARCT], [INFARCT], 3),
        ([INFARCT, LACUNE], [LACUNE, INFARCT], 3),
        ([INFARCT, INFARCT], [INFARCT], 3),
        ([], [INFARCT], 0),
        ([INFARCT], [MIRRORED], 1),
        ([INFARCT], [ELSEWHERE], 1),
        ([INFARCT], [OTHER_TERM], 1),
        ([INFARCT], [("mass", "frontal lobe", "right")], 0),
        ([INFARCT], [UNRELATED], 0),
        ([INFARCT], [INFARCT, UNRELATED], 2),
        ([INFARCT, LACUNE], [INFARCT, UNRELATED], 1),
        ([INFARCT, LACUNE], [MIRRORED, LACUNE], 2),
        ([INFARCT, LACUNE, UNRELATED], [INFARCT], 1),
        ([INFARCT, LACUNE, UNRELATED], [INFARCT, LACUNE], 2),
    ],
)
def test_grades_of_the_documented_cases(first, second, expected):
    """The cases named in the module's description, and their neighbours."""
    assert grade(first, second) == expected


def brute_force(first, second):
    """The rule written out with fractions and all pairings."""
    if first == second:
        return 3
    if not first or not second:
        return 0
    small, large = sorted((first, second), key=len)

    def pair(f, g):
        return 2 * (f[0] == g[0]) + (f[1] == g[1]) + 2 * (f[1:] == g[1:])

    best = max(sum(map(pair, small, chosen)) for chosen in permutations(large, len(small)))
    agreement = Fraction(2 * best, 5 * (len(first) + len(second)))
    return 2 if agreement >= Fraction(2, 3) else 1 if agreement >= Fraction(1, 3) else 0


def test_grades_equal_brute_force_for_small_and_large_reports():
    """Up to four findings all pairings are enumerated, above that an assignment is solved: both are the rule."""
    generator = np.random.default_rng(0)
    triples = [(t, s, side) for t in "AB" for s in "xy" for side in ("left", "right")]
    sets = [
        finding_set([triples[i] for i in generator.choice(8, size=size, replace=False)])
        for size in (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7)
    ]
    grades = relevance_grades(sets)
    expected = [[brute_force(a, b) for b in sets] for a in sets]
    assert set(np.unique(grades)) == {0, 1, 2, 3}, "or some grade would not be tested"
    assert grades.tolist() == expected


def test_order_of_findings_and_of_reports_does_not_matter():
    """Permuting findings within reports changes nothing, permuting reports permutes the grades."""
    sets = [finding_set(c) for c in combinations((INFARCT, MIRRORED, LACUNE, UNRELATED), 2)]
    grades = relevance_grades(sets)
    assert finding_set([LACUNE, INFARCT]) == finding_set([INFARCT, LACUNE])
    order = np.array([3, 0, 5, 1, 4, 2])
    assert (relevance_grades([sets[i] for i in order]) == grades[np.ix_(order, order)]).all()
