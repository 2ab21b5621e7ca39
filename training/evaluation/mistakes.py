"""How wrong each case of an evaluation is, so that whoever looks at them starts with the worst."""

import numpy as np
import numpy.typing as npt

from .case_metrics import Cases
from .segmentation import case_scores

FloatArray = npt.NDArray[np.float64]


def label_mistakes(cases: Cases, score: str) -> FloatArray:
    """Share of the studies of the other kind that a study stands on the wrong side of, label by label (N,).

    For a study that has the label those without it that score higher, for one that lacks it those with it that score
    lower; ties count one half. The mean over the studies of either kind is 1 less the area under the ROC curve. NaN
    where a label has one kind of study only.

    Args:
        cases: Columns `label`, `positive` and the score.
        score: Name of the score.
    """
    mistakes = np.full(len(cases["label"]), np.nan)
    for label in dict.fromkeys(cases["label"]):
        rows = np.flatnonzero(cases["label"] == label)
        positive, scores = cases["positive"][rows].astype(bool), cases[score][rows].astype(np.float64)
        for kind in (True, False):
            others = np.sort(scores[positive != kind])
            if len(others) == 0:
                continue
            own = scores[positive == kind]
            below = np.searchsorted(others, own, "left")
            tied = np.searchsorted(others, own, "right") - below
            before = below + tied / 2
            wrong = len(others) - before if kind else before
            mistakes[rows[positive == kind]] = wrong / len(others)
    return mistakes


def rank_mistakes(cases: Cases) -> FloatArray:
    """Share of the wrong candidates that are ranked before the first right one (N,), from 0 (found at once) to 1."""
    wrong = np.asarray(cases["n_candidates"] - cases["n_hits"], dtype=np.float64)
    found: FloatArray = np.divide(cases["rank"] - 1, wrong, out=np.zeros_like(wrong), where=wrong > 0)
    return found


def choice_mistakes(cases: Cases) -> FloatArray:
    """By how much a cosine prefers the wrong text or series (N,); below 0 where the choice is right."""
    return -np.asarray(cases["margin"], dtype=np.float64)


def overlap_mistakes(cases: Cases) -> FloatArray:
    """1 less Dice (N,)."""
    return 1 - case_scores(cases)["dice"]
