"""Metrics of a yes-or-no question against scikit-learn, loops and sums by hand, for the value and for replicates."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    roc_auc_score,
    roc_curve,
)

from selip.training.evaluation.binary_metrics import (
    areas_under_roc,
    average_precisions,
    balanced_accuracies,
    brier_scores,
    calibration_errors,
    holm,
    permutation_p_values,
    roc_points,
    sensitivities_at_specificity,
)

COUNT = 120


@pytest.fixture(scope="module")
def cases():
    """Scores with ties, truth, and weights: ones, then draws with repetition."""
    generator = np.random.default_rng(0)
    positive = generator.random(COUNT) < 0.3
    scores = np.round(generator.normal(size=COUNT) + 0.8 * positive, 1)
    drawn = generator.multinomial(COUNT, np.full(COUNT, 1 / COUNT), size=6)
    return scores, positive, np.vstack([np.ones(COUNT), drawn]).astype(float)


def best_sensitivity(truth, scores, weight):
    alarms, found, _ = roc_curve(truth, scores, sample_weight=weight, drop_intermediate=False)
    return max(f for a, f in zip(alarms, found, strict=True) if a <= 0.1 + 1e-9)


REFERENCES = {
    areas_under_roc: lambda y, s, w: roc_auc_score(y, s, sample_weight=w),
    average_precisions: lambda y, s, w: average_precision_score(y, s, sample_weight=w),
    balanced_accuracies: lambda y, s, w: balanced_accuracy_score(y, s > 0, sample_weight=w),
}


@pytest.mark.parametrize("metric", REFERENCES, ids=lambda metric: metric.__name__)
def test_scores_are_judged_as_scikit_learn_does(cases, metric):
    """Value and every replicate, ties and repeated cases included."""
    scores, positive, weights = cases
    expected = [REFERENCES[metric](positive, scores, weight) for weight in weights]
    assert metric(scores, positive, weights) == pytest.approx(np.array(expected))


def test_sensitivity_is_the_best_of_all_thresholds(cases):
    """Against scikit-learn's ROC curve; the curve itself runs from corner to corner."""
    scores, positive, weights = cases
    expected = [best_sensitivity(positive, scores, weight) for weight in weights]
    assert sensitivities_at_specificity(scores, positive, weights, 0.9) == pytest.approx(np.array(expected))
    alarms, found = roc_points(scores, positive, weights)
    assert (alarms[:, 0], found[:, 0]) == (pytest.approx(0), pytest.approx(0))
    assert (alarms[:, -1], found[:, -1]) == (pytest.approx(1), pytest.approx(1))
    assert np.trapezoid(found[1], alarms[1]) == pytest.approx(
        roc_auc_score(positive, scores, sample_weight=weights[1])
    )


def test_probabilities_are_judged_by_hand(cases):
    """Brier score against scikit-learn, calibration error against a loop over bins and cases."""
    scores, positive, weights = cases
    probabilities = 1 / (1 + np.exp(-scores))
    probabilities[:2] = 0.0, 1.0
    briers = [brier_score_loss(positive, probabilities, sample_weight=weight) for weight in weights]
    assert brier_scores(probabilities, positive, weights) == pytest.approx(np.array(briers))
    for weight, got in zip(weights, calibration_errors(probabilities, positive, weights), strict=True):
        error = 0.0
        for number in range(10):
            low, high = number / 10, (number + 1) / 10
            members = [
                i for i in range(COUNT) if low <= probabilities[i] < high or (number == 9 and probabilities[i] == 1)
            ]
            mass = sum(weight[i] for i in members)
            if mass:
                said = sum(weight[i] * probabilities[i] for i in members) / mass
                true = sum(weight[i] * positive[i] for i in members) / mass
                error += mass / weight.sum() * abs(said - true)
        assert got == pytest.approx(error)


def test_one_kind_only_has_no_value():
    """A draw without positives, or without negatives, gives NaN and no warning."""
    scores, positive = np.array([0.1, 0.2, 0.3]), np.array([True, False, False])
    weights = np.array([[0.0, 1, 2], [2, 0, 0], [1, 1, 1]])
    for metric in (areas_under_roc, balanced_accuracies):
        assert np.isnan(metric(scores, positive, weights)).tolist() == [True, True, False]
    assert np.isnan(sensitivities_at_specificity(scores, positive, weights, 0.9)).tolist() == [True, True, False]


def test_p_value_is_the_share_of_all_deals():
    """Six patients of one study: against every one of the 720 orders; the same for a mirrored score."""
    scores = np.array([[0.1], [0.7], [0.3], [0.9], [0.8], [0.2]])
    positive = np.array([[False], [True], [False], [True], [False], [False]])
    distance = abs(roc_auc_score(positive[:, 0], scores[:, 0]) - 0.5)
    deals = [abs(roc_auc_score(positive[list(order), 0], scores[:, 0]) - 0.5) for order in permutations(range(6))]
    exact = np.mean([each >= distance - 1e-9 for each in deals])
    got = permutation_p_values(scores, positive, list("abcdef"), num_samples=4000, seed=0)
    assert got[0] == pytest.approx(exact, abs=0.03)
    assert permutation_p_values(-scores, positive, list("abcdef"), num_samples=4000, seed=0) == pytest.approx(got)


def test_p_value_of_independent_studies_is_that_of_mann_whitney():
    """One study a patient: close to the rank test; what separates all is at the floor."""
    generator = np.random.default_rng(1)
    positive = generator.random((80, 3)) < 0.4
    scores = generator.normal(size=(80, 3)) + positive * np.array([0.0, 0.45, 9.0])
    got = permutation_p_values(scores, positive, np.arange(80), num_samples=1999, seed=0)
    for column in range(2):
        chosen = positive[:, column]
        expected = mannwhitneyu(scores[chosen, column], scores[~chosen, column]).pvalue
        assert got[column] == pytest.approx(expected, abs=0.04)
    assert got[2] == 1 / 2000


def test_studies_of_one_patient_are_not_independent():
    """Every study told ten times over by the same patient gives the p value of the patients, not a smaller one."""
    generator = np.random.default_rng(2)
    positive = (np.arange(16) % 2 == 0)[:, None]
    scores = generator.normal(size=(16, 1)) + positive
    alone = permutation_p_values(scores, positive, np.arange(16), num_samples=999, seed=0)
    told = [np.repeat(each, 10, axis=0) for each in (scores, positive, np.arange(16))]
    assert permutation_p_values(*told, num_samples=999, seed=0) == pytest.approx(alone)
    assert mannwhitneyu(told[0][told[1]], told[0][~told[1]]).pvalue < alone[0] / 10


def test_holm_by_hand():
    """Smallest times 4, next times 3 ..., never falling, never above 1."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx(np.array([0.03, 0.06, 0.06, 0.02]))
    assert holm(np.array([0.5, 0.9])) == pytest.approx(np.array([1.0, 1.0]))
