"""Percentile bootstrap with patients as the unit, vectorised over replicates.

Series and studies of one patient are not independent, so whole patients are drawn with replacement. One draw of
patients serves every metric, which keeps differences between metrics paired.

A row is one query, or one share of it: a text that several patients have in common appears once for each of them with
a weight that sums to one, so it is drawn in proportion to those patients.
"""

import numpy as np
import numpy.typing as npt

from .binary_metrics import areas_under_roc

FloatArray = npt.NDArray[np.float64]

# Bounds the (replicates, rows) block that is held at once: 4 million float64 are 32 MB.
_BLOCK_VALUES = 4_000_000


class PatientBootstrap:
    """Draws of patients, shared by all metrics of one evaluation.

    Args:
        patient_ids: (R,) patient of each row; rows of one patient are drawn together.
        num_samples: Number of replicates >= 1.
        seed: Same seed, same patients in the same order of rows: same intervals.

    Raises:
        ValueError: No rows, or fewer than one replicate.
    """

    def __init__(self, patient_ids: npt.ArrayLike, *, num_samples: int, seed: int) -> None:
        patients, self.patient_of_row = np.unique(np.asarray(patient_ids), return_inverse=True)
        if len(patients) == 0:
            raise ValueError("expected at least one row to resample, got none")
        if num_samples < 1:
            raise ValueError(f"expected num_samples >= 1, got {num_samples}")
        self.num_patients = len(patients)
        generator = np.random.default_rng(seed)
        probabilities = np.full(self.num_patients, 1.0 / self.num_patients)
        # How often each patient is drawn in each replicate.
        self.counts = generator.multinomial(self.num_patients, probabilities, size=num_samples)  # (num_samples, P)

    def means(self, values: FloatArray, weights: FloatArray, rows: npt.NDArray[np.integer]) -> FloatArray:
        """Weighted mean of each column in each replicate.

        Args:
            values: (R, K) values of all rows.
            weights: (R,) positive share of each row.
            rows: Indices of the rows that this metric is about.

        Returns:
            (num_samples, K); NaN where a replicate drew no patient of these rows.
        """
        patient = self.patient_of_row[rows]
        weight_sums = np.bincount(patient, weights=weights[rows], minlength=self.num_patients)
        value_sums = np.zeros((self.num_patients, values.shape[1]))
        np.add.at(value_sums, patient, values[rows] * weights[rows, None])
        total = self.counts @ weight_sums
        sums = self.counts @ value_sums
        return np.divide(sums, total[:, None], out=np.full(sums.shape, np.nan), where=total[:, None] > 0)

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum of each column over the drawn rows in each replicate: (R, K) to (num_samples, K)."""
        of_patients = np.zeros((self.num_patients, values.shape[1]))
        np.add.at(of_patients, self.patient_of_row, values)
        return self.counts @ of_patients

    def medians(self, values: FloatArray, weights: FloatArray, rows: npt.NDArray[np.integer]) -> FloatArray:
        """Weighted median (see `weighted_median`) in each replicate, (num_samples,)."""
        order = rows[np.argsort(values[rows], kind="stable")]
        ordered = values[order]
        patient, weight = self.patient_of_row[order], weights[order]
        block = max(1, _BLOCK_VALUES // max(1, len(order)))
        parts = [
            _medians_of_sorted(ordered, self.counts[start : start + block][:, patient] * weight)
            for start in range(0, len(self.counts), block)
        ]
        return np.concatenate(parts)

    def areas(self, scores: FloatArray, positive: npt.NDArray[np.bool_], rows: npt.NDArray[np.integer]) -> FloatArray:
        """Area under the ROC curve in each replicate: the share of (positive, negative) pairs in the right order.

        Args:
            scores: (R,) of all rows; ties count one half.
            positive: (R,) of all rows.
            rows: Indices of the rows that this metric is about.

        Returns:
            (num_samples,); NaN where a replicate drew rows of one kind only.
        """
        weights = self.counts[:, self.patient_of_row[rows]].astype(np.float64)  # (num_samples, rows)
        return areas_under_roc(scores[rows], positive[rows], weights)


def weighted_median(values: FloatArray, weights: FloatArray) -> float:
    """Median of values that count `weights` times; the mean of the two middle values where the half is hit exactly.

    Args:
        values: (R,).
        weights: (R,), not negative; NaN comes out where all are zero.
    """
    order = np.argsort(values, kind="stable")
    return float(_medians_of_sorted(values[order], weights[order][None])[0])


def _medians_of_sorted(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Medians for rows of weights (B, R) over ascending values (R,); NaN where a row of weights is all zero."""
    cumulative = weights.cumsum(axis=1)
    half = cumulative[:, -1:] / 2
    # Sums of shares such as 1/3 must not miss the exact half by rounding.
    margin = 1e-9 * np.maximum(half, 1.0)
    lower = (cumulative < half - margin).sum(axis=1)
    upper = (cumulative <= half + margin).sum(axis=1)
    last = values.size - 1
    middle = (values[np.minimum(lower, last)] + values[np.minimum(upper, last)]) / 2
    return np.where(half[:, 0] > 0, middle, np.nan)


def percentile_interval(replicates: FloatArray, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end of the central `confidence` share of replicates (num_samples, K), NaN replicates left out.

    Returns:
        Two arrays (K,); NaN where no replicate is left.

    Raises:
        ValueError: `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected 0 < confidence < 1, got {confidence}")
    tail = (1 - confidence) / 2
    usable = ~np.isnan(replicates).all(axis=0)
    ends = np.full((2, replicates.shape[1]), np.nan)
    if usable.any():
        ends[:, usable] = np.nanquantile(replicates[:, usable], [tail, 1 - tail], axis=0)
    return ends[0], ends[1]
