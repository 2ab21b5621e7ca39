"""Metrics of a yes-or-no question: pure NumPy functions of scores, truth and weights.

Letters: B sets of weights, N cases. `weights` (B, N) says how often each case counts: one row of ones for the value
itself, one row a replicate of a bootstrap. A larger score speaks for yes. Everything is computed for all B at once;
a row of weights without a yes or without a no gives NaN where the metric needs both.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from tqdm import tqdm

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

CALIBRATION_BINS = 10
"""Bins of equal width of probabilities, of the calibration error and its picture."""

# Differences of shares that are rounding.
_EPSILON = 1e-12


def areas_under_roc(scores: FloatArray, positive: BoolArray, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order; ties count one half.

    Args:
        scores: (N,).
        positive: (N,).
        weights: (B, N).

    Returns:
        (B,).
    """
    yes, no = _by_score(scores, positive, weights)
    below = no.cumsum(axis=1) - no
    return _ratio((yes * (below + no / 2)).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))


def average_precisions(scores: FloatArray, positive: BoolArray, weights: FloatArray) -> FloatArray:
    """Area under the precision-recall curve as a step function (average precision), (B,); arguments as above.

    Cases of one score come at once. Chance gives the share of positives.
    """
    yes, no = (each[:, ::-1] for each in _by_score(scores, positive, weights))  # best score first
    found, wrong = yes.cumsum(axis=1), no.cumsum(axis=1)
    precision = np.divide(found, found + wrong, out=np.zeros_like(found), where=found + wrong > 0)
    return _ratio((yes * precision).sum(axis=1), yes.sum(axis=1))


def balanced_accuracies(scores: FloatArray, positive: BoolArray, weights: FloatArray) -> FloatArray:
    """Mean of sensitivity and specificity where a score above 0 means yes, (B,); arguments as above."""
    said = scores > 0
    sensitivity = _ratio(weights @ (said & positive), weights @ positive)
    specificity = _ratio(weights @ (~said & ~positive), weights @ ~positive)
    return (sensitivity + specificity) / 2


def sensitivities_at_specificity(
    scores: FloatArray, positive: BoolArray, weights: FloatArray, specificity: float
) -> FloatArray:
    """Best sensitivity (B,) of a threshold that keeps at least this specificity; arguments as above."""
    false_alarms, found = roc_points(scores, positive, weights)
    with np.errstate(invalid="ignore"):
        best = np.where(false_alarms <= 1 - specificity + _EPSILON, found, 0.0).max(axis=1)
    return np.where(np.isnan(false_alarms).any(axis=1), np.nan, best)


def roc_points(scores: FloatArray, positive: BoolArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The ROC curve from (0, 0) to (1, 1): shares of false alarms and sensitivities, each (B, G + 1).

    G is the number of distinct scores; arguments as above. NaN where there is no positive or no negative.
    """
    yes, no = (each[:, ::-1] for each in _by_score(scores, positive, weights))  # best score first
    start = np.zeros((len(weights), 1))
    shares = [
        np.concatenate([start, _ratio(each.cumsum(axis=1), each.sum(axis=1, keepdims=True))], axis=1)
        for each in (no, yes)
    ]
    undefined = np.isnan(shares[0]).any(axis=1) | np.isnan(shares[1]).any(axis=1)
    false_alarms, found = (np.where(undefined[:, None], np.nan, each) for each in shares)
    return false_alarms, found


def brier_scores(probabilities: FloatArray, positive: BoolArray, weights: FloatArray) -> FloatArray:
    """Mean squared difference of probability and truth (Brier 1950), (B,); 0.25 for always one half."""
    return _ratio(weights @ (probabilities - positive) ** 2, weights.sum(axis=1))


def calibration_errors(
    probabilities: FloatArray, positive: BoolArray, weights: FloatArray, bins: int = CALIBRATION_BINS
) -> FloatArray:
    """Expected calibration error (Naeini et al. 2015), (B,); arguments as above.

    Mean over cases of |share of yes - mean probability| in the case's one of some equal-width bins.
    """
    members = bin_of(probabilities, bins)[:, None] == np.arange(bins)  # (N, bins)
    said = weights @ (members * probabilities[:, None])
    true = weights @ (members * positive[:, None])
    return _ratio(np.abs(said - true).sum(axis=1), weights.sum(axis=1))


def bin_of(probabilities: FloatArray, bins: int) -> npt.NDArray[np.int64]:
    """Number of the equal-width bin of each probability, the last one closed: (N,)."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def permutation_p_values(
    scores: FloatArray,
    positive: BoolArray,
    patient_ids: npt.ArrayLike,
    *,
    num_samples: int,
    seed: int,
) -> FloatArray:
    """Chance of an area as far from one half, on either side, if scores had nothing to do with patients.

    Truth is dealt out anew among patients with equally many cases, whole patients at once, so cases of one patient
    stay together; Mann-Whitney's test would take them as independent. A patient with a number of cases of its own
    keeps its truth, which makes the test careful, never bold.

    Args:
        scores: (N, K) of K questions.
        positive: (N, K); each column has both.
        patient_ids: (N,).
        num_samples: Number of deals; the smallest value that can come out is 1 / (num_samples + 1).
        seed: Seed of the deals, the same for all questions.

    Returns:
        (K,) in (0, 1].
    """
    ranks = rankdata(scores, axis=0)
    truth = positive.astype(np.float64)
    number_yes, number_no = truth.sum(axis=0), (1 - truth).sum(axis=0)
    middle = number_yes * (len(ranks) + 1) / 2  # sum of ranks at an area of one half
    observed = np.abs((ranks * truth).sum(axis=0) - middle)
    margin = _EPSILON * number_yes * np.maximum(number_no, 1) + 1e-9
    generator = np.random.default_rng(seed)
    blocks = patients_by_size(patient_ids)
    extreme = np.ones(ranks.shape[1])
    for _ in tqdm(range(num_samples), desc="permutations", disable=None, leave=False, delay=2):
        dealt = np.empty_like(truth)
        for block in blocks:
            dealt[block] = truth[block[generator.permutation(len(block))]]
        extreme += np.abs((ranks * dealt).sum(axis=0) - middle) >= observed - margin
    return extreme / (num_samples + 1)


def holm(p_values: FloatArray) -> FloatArray:
    """P values adjusted for their number, step down (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    steps = (len(p_values) - np.arange(len(p_values))) * p_values[order]
    adjusted = np.empty_like(p_values, dtype=np.float64)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def patients_by_size(patient_ids: npt.ArrayLike) -> list[npt.NDArray[np.int64]]:
    """Cases (patients, cases of one) of the patients that have one number of cases, one array a number."""
    _, patient = np.unique(np.asarray(patient_ids), return_inverse=True)
    sizes = np.bincount(patient)
    order = np.argsort(patient, kind="stable")  # cases, those of one patient side by side
    starts = np.cumsum(sizes) - sizes
    return [order[starts[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes)]


def _by_score(scores: FloatArray, positive: BoolArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weight of the positives and of the negatives at each distinct score, ascending: two arrays (B, G)."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ordered = weights[:, order]
    yes = np.add.reduceat(ordered * positive[order], starts, axis=1)
    return yes, np.add.reduceat(ordered * ~positive[order], starts, axis=1)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """above / below, NaN where below is 0."""
    below = np.broadcast_to(below, above.shape)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
