"""Patient bootstrap against loops and an analytic interval."""

import numpy as np
import pytest

from selip.training.evaluation.bootstrap import PatientBootstrap, percentile_interval, weighted_median


def interval_of_mean(values, patients, *, num_samples=400, seed=0):
    """Interval of the plain mean of all rows."""
    rows, weights = np.arange(len(values)), np.ones(len(values))
    resampling = PatientBootstrap(patients, num_samples=num_samples, seed=seed)
    low, high = percentile_interval(resampling.means(np.asarray(values)[:, None], weights, rows))
    return float(low[0]), float(high[0])


def test_replicates_equal_loops_over_drawn_patients():
    """Each replicate is the weighted mean and median over the rows of the drawn patients, repeated as drawn."""
    generator = np.random.default_rng(0)
    patients = np.array(["a", "b", "b", "c", "d", "d", "d", "e"])
    values, weights = generator.integers(1, 9, (8, 2)).astype(float), np.array([1, 1, 1, 1, 1, 1, 1, 1.0])
    rows = np.array([0, 1, 2, 3, 5, 6])  # patient e is in another group only
    resampling = PatientBootstrap(patients, num_samples=60, seed=3)
    means, medians = resampling.means(values, weights, rows), resampling.medians(values[:, 0], weights, rows)
    names = np.unique(patients)
    for replicate, counts in enumerate(resampling.counts):
        repeats = dict(zip(names, counts, strict=True))
        drawn = [row for row in rows for _ in range(repeats[patients[row]])]
        if not drawn:
            assert np.isnan(means[replicate]).all()
            assert np.isnan(medians[replicate])
            continue
        assert means[replicate] == pytest.approx(values[drawn].mean(axis=0))
        assert medians[replicate] == pytest.approx(np.median(values[drawn, 0]))


def test_interval_of_independent_patients_is_the_analytic_one():
    """For one value a patient the interval is mean +- 1.96 sd / sqrt(n), within the noise of the replicates."""
    values = np.random.default_rng(1).normal(size=400)
    low, high = interval_of_mean(values, np.arange(400), num_samples=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_interval_covers_the_truth_as_often_as_it_says():
    """With a random effect of the patient, 95 % intervals hold the true mean in about 95 % of 300 data sets."""
    generator = np.random.default_rng(2)
    covered = 0
    for data_set in range(300):
        effects = generator.normal(size=60)
        patients = np.repeat(np.arange(60), generator.integers(1, 6, 60))
        values = effects[patients] + 0.5 * generator.normal(size=len(patients))
        low, high = interval_of_mean(values, patients, seed=data_set)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_series_of_one_patient_add_no_certainty():
    """Every value ten times in its patient: the interval stays; as if independent it would be sqrt(10) narrower."""
    values = np.random.default_rng(3).normal(size=50)
    single = interval_of_mean(values, np.arange(50))
    clustered = interval_of_mean(np.repeat(values, 10), np.repeat(np.arange(50), 10))
    careless = interval_of_mean(np.repeat(values, 10), np.arange(500))
    assert clustered == pytest.approx(single)
    ratio = (clustered[1] - clustered[0]) / (careless[1] - careless[0])
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_a_shared_query_is_drawn_with_its_patients():
    """A query split into two halves over two patients counts fully where both are drawn once, half where one is."""
    resampling = PatientBootstrap(["a", "b", "a"], num_samples=200, seed=0)
    values, weights = np.array([[1.0], [1.0], [0.0]]), np.array([0.5, 0.5, 1.0])
    means = resampling.means(values, weights, np.arange(3))[:, 0]
    a, b = resampling.counts.T
    assert means == pytest.approx((0.5 * a + 0.5 * b) / (1.5 * a + 0.5 * b))


def test_weighted_median_equals_the_median_of_repeated_values():
    """Whole weights mean repetition, also where a half is hit exactly or a value has weight zero."""
    generator = np.random.default_rng(4)
    for _ in range(200):
        values = generator.integers(1, 6, 7).astype(float)
        weights = generator.integers(0, 4, 7)
        weights[0] = max(weights[0], 1)
        assert weighted_median(values, weights.astype(float)) == np.median(np.repeat(values, weights))
    assert weighted_median(np.array([1.0, 2.0, 3.0]), np.array([1 / 3, 1 / 3, 2 / 3])) == 2.5


def test_same_seed_same_interval():
    """Deterministic by seed, and the seed matters."""
    values = np.random.default_rng(5).normal(size=30)
    assert interval_of_mean(values, np.arange(30), seed=7) == interval_of_mean(values, np.arange(30), seed=7)
    assert interval_of_mean(values, np.arange(30), seed=7) != interval_of_mean(values, np.arange(30), seed=8)


def test_wrong_use_is_refused():
    """Nothing to resample, no replicates, no share."""
    with pytest.raises(ValueError, match="at least one row"):
        PatientBootstrap([], num_samples=10, seed=0)
    with pytest.raises(ValueError, match="num_samples"):
        PatientBootstrap(["a"], num_samples=0, seed=0)
    with pytest.raises(ValueError, match="confidence"):
        percentile_interval(np.zeros((3, 1)), confidence=95)
