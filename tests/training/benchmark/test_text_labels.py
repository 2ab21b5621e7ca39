"""Texts as labels: cosines order texts as their likelihood does, written out."""

import numpy as np
import pytest

from selip.processing.findings import StructuredReport
from selip.processing.rendering import series_text
from selip.training.benchmark.text_labels import TextLabels, labels_of_texts, likelihood_of_series

SITES = ("frontal lobe", "thalamus", "insula")


def item(number):
    """A FLAIR text with one or two findings; every seventh is normal."""
    if number % 7 == 0:
        return series_text(StructuredReport(normal=True), "FLAIR", "en")
    findings = [
        {
            "finding": ("mass", "cyst")[number % 2],
            "site": SITES[(number + place) % 3],
            "laterality": ("left", "right")[(number // 2) % 2],
            "signals": [{"sequence": "FLAIR", "signal": ("hyper", "hypo")[number % 2]}],
        }
        for place in range(1 + number % 2)
    ]
    return series_text(StructuredReport(normal=False, findings=findings), "FLAIR", "en")


ITEMS = [item(number) for number in range(60)]


def test_labels_are_terms_places_sides_signals_and_normal():
    """What at least five texts state; the normal sentence is one label."""
    labels = TextLabels(ITEMS)
    assert {"normal", "at left thalamus", "at thalamus", "left", "mass", "cyst", "FLAIR hyper"} <= set(labels.names)
    assert labels(item(0)).sum() == 1
    vector = labels(item(2))
    assert {name for name, on in zip(labels.names, vector, strict=True) if on} == {
        "at insula",
        "at right insula",
        "right",
        "FLAIR hyper",
        "mass",
    }
    with pytest.raises(ValueError, match="at least 5"):
        TextLabels(ITEMS[1:3])


def test_cosines_order_texts_and_series_by_likelihood():
    """Against the sum of logarithms over labels, in both directions; all vectors of a kind have one length."""
    labels = TextLabels(ITEMS)
    by_text = {each.text: each for each in ITEMS}
    texts = sorted(by_text)
    logits = np.random.default_rng(0).normal(scale=3, size=(9, len(labels.names)))
    series, candidates = likelihood_of_series(logits), labels_of_texts(labels, by_text, texts)
    assert np.linalg.norm(series, axis=1) == pytest.approx(np.linalg.norm(series[0]), rel=1e-5)
    assert np.linalg.norm(candidates, axis=1) == pytest.approx(np.linalg.norm(candidates[0]), rel=1e-5)
    probability = 1 / (1 + np.exp(-logits))
    said = np.stack([labels(by_text[text]) for text in texts])
    likelihood = np.log(probability) @ said.T + np.log(1 - probability) @ (1 - said).T
    products = series.astype(np.float64) @ candidates.T.astype(np.float64)
    assert products == pytest.approx(likelihood, abs=1e-2)
