"""The attention probe: the linear one where queries are zero, better where one series of several shows a label."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from selip.training.evaluation.attention_probe import (
    AttentionProbe,
    SeriesSets,
    attention_scores,
    fit_attention,
    series_sets,
)
from selip.training.evaluation.probe import ProbeEvaluator, ProbeStudies, fold_of_splits


@pytest.fixture(scope="module")
def marked():
    """300 studies of 1 to 5 series; feature 0 says which series shows the label, feature 1 whether it does."""
    generator = np.random.default_rng(0)
    labels = generator.random(300) < 0.5
    embeds, owners = [], []
    for study, positive in enumerate(labels):
        count = generator.integers(1, 6)
        series = generator.normal(size=(count, 8))
        series[:, 0] = -2
        series[generator.integers(count), :2] = (3, 1.5 if positive else -1.5)
        series[series[:, 0] < 0, 1] *= 4  # the others shout about nothing
        embeds.append(series)
        owners += [f"s{study}"] * count
    ids = tuple(f"s{number}" for number in range(300))
    studies = ProbeStudies(ids, ids, tuple(frozenset({"mass"} if each else ()) for each in labels))
    evaluator = ProbeEvaluator(studies, [fold_of_splits(["train"] * 150 + ["validation"] * 50 + ["test"] * 100)])
    return evaluator, np.concatenate(embeds), owners


def test_series_stand_by_study_whatever_their_order():
    """Against a loop."""
    embeds = np.arange(10.0).reshape(5, 2)
    sets = series_sets(embeds, ["b", "a", "b", "c", "b"], ["a", "b", "c"])
    assert sets.is_series.tolist() == [[True, False, False], [True, True, True], [True, False, False]]
    assert sets.embeds[1].tolist() == embeds[[0, 2, 4]].tolist()
    assert (sets.embeds[~sets.is_series] == 0).all()


def test_pooling_is_a_softmax_over_the_series_that_are_there():
    """Formula written out in numpy for one study; padding changes nothing."""
    generator = torch.Generator().manual_seed(0)
    probe = AttentionProbe(3, 4)
    for parameter in probe.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x = np.random.default_rng(0).normal(size=(2, 4))
    padded = torch.from_numpy(np.concatenate([x, np.full((2, 4), 7.0)])[None])
    got = probe(padded, torch.tensor([[True, True, False, False]])).detach().numpy()[0]
    q, w, b = (each.detach().numpy() for each in (probe.query, probe.weight, probe.bias))
    for k in range(3):
        attention = np.exp(x @ q[k] / 2)
        attention /= attention.sum()
        assert got[k] == pytest.approx(w[k] @ (attention @ x) + b[k])


def test_without_queries_it_is_the_logistic_regression_of_means():
    """Series of a study that are all alike leave queries nothing to do: scores are scikit-learn's."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(80, 5))
    truth = np.column_stack([x[:, 0] + generator.normal(size=80) > 0, x[:, 1] > 0.5])
    sets = SeriesSets(np.repeat(x[:, None], 3, axis=1), np.ones((80, 3), dtype=bool))
    probe = fit_attention(sets, truth, 0.1, max_iterations=200)
    got = probe(torch.from_numpy(sets.embeds), torch.from_numpy(sets.is_series)).detach().numpy()
    for k in range(2):
        expected = LogisticRegression(C=0.1, max_iter=2000, tol=1e-8).fit(x, truth[:, k]).decision_function(x)
        assert got[:, k] == pytest.approx(expected, abs=1e-3)
    assert probe.query.abs().max() < 1e-6


def test_finds_the_series_that_shows_a_label(marked):
    """Where others drown it in the mean; twice the same, and the global seed is left alone."""
    evaluator, embeds, owners = marked
    sets = series_sets(embeds, owners, evaluator.studies.study_ids)
    means = sets.embeds.sum(1) / sets.is_series.sum(1, keepdims=True)
    truth = evaluator.truth[evaluator.scored, 0]
    before = torch.get_rng_state()
    scores, _ = attention_scores(evaluator, sets)
    assert torch.equal(before, torch.get_rng_state())
    linear, _ = evaluator.linear_scores(means)
    assert roc_auc_score(truth, scores[:, 0]) > roc_auc_score(truth, linear[:, 0]) + 0.1
    assert attention_scores(evaluator, sets)[0].tolist() == scores.tolist()
