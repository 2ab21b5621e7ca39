"""Platt's sigmoid against that of scikit-learn, and what it is refused for."""

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from selip.training.evaluation.result_file import write_cases
from selip.training.prediction.calibration import (
    FITTED_ON_IT,
    NOT_ASKED,
    NOT_FITTED,
    NOT_RISING,
    TOO_FEW,
    fit_calibration,
    fit_sigmoid,
    probability_of,
    read_calibration,
)


class _ScoresThemselves(ClassifierMixin, BaseEstimator):
    """A classifier whose decision is its only feature."""

    def fit(self, features, truth):
        self.classes_ = np.unique(truth)
        return self

    def decision_function(self, features):
        return features[:, 0]

    def predict(self, features):
        return self.classes_[(features[:, 0] > 0).astype(int)]


def by_scikit_learn(scores, positive):
    """Probabilities of the scores by `CalibratedClassifierCV`, fitted on all of them."""
    features = scores[:, None]
    frozen = FrozenEstimator(_ScoresThemselves().fit(features, positive))
    return CalibratedClassifierCV(frozen, method="sigmoid", cv=2, ensemble=False).fit(features, positive)


@pytest.mark.parametrize(("scale", "shift"), [(0.03, 0.8), (1.0, 0.0), (40.0, -300.0)])
def test_sigmoid_is_that_of_scikit_learn(scale, shift):
    """Same probabilities whatever the size of the scores: cosines of hundredths, logits, hundreds."""
    generator = np.random.default_rng(0)
    raw = generator.normal(size=400)
    positive = generator.random(400) < expit(1.5 * raw - 2)
    scores = scale * raw + shift
    # scikit-learn's optimiser stops early at very small scores, so it gets them at their natural size
    reference = by_scikit_learn(raw, positive).predict_proba(raw[:, None])[:, 1]
    assert fit_sigmoid(scores, positive)(scores) == pytest.approx(reference, abs=2e-4)


def test_sigmoid_of_divided_studies_is_finite():
    """Where the score divides the studies without a mistake, Platt's targets keep the probabilities off 0 and 1."""
    scores = np.concatenate([np.linspace(-2, -1, 30), np.linspace(1, 2, 10)])
    positive = scores > 0
    said = fit_sigmoid(scores, positive)(scores)
    assert said == pytest.approx(by_scikit_learn(scores, positive).predict_proba(scores[:, None])[:, 1], abs=2e-3)
    assert 0 < said.min() < 0.1
    assert 0.8 < said.max() < 1
    with pytest.raises(ValueError, match="with and without"):
        fit_sigmoid(scores, np.ones(40, dtype=bool))


def label_cases(label, positives, negatives, patients=None, sign=1.0):
    """Cases of one label whose score follows the truth, or runs against it."""
    generator = np.random.default_rng(len(label))
    count = positives + negatives
    positive = np.arange(count) < positives
    return {
        "study_id": np.array([f"s{n}" for n in range(count)], dtype=object),
        "patient_id": np.array([f"p{n % (patients or count)}" for n in range(count)], dtype=object),
        "label": np.array([label] * count, dtype=object),
        "positive": positive,
        "score": sign * positive + generator.normal(size=count),
    }


def joined(*tables):
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def test_labels_are_refused_with_few_patients_or_a_falling_score():
    """10 patients of either kind are needed, not studies; a score that falls with the label gives no probability."""
    cases = joined(
        label_cases("enough", 10, 30),
        label_cases("few with", 9, 30),
        label_cases("few without", 30, 9),
        label_cases("few patients", 20, 40, patients=8),
        label_cases("reversed", 15, 40, sign=-2.0),
    )
    sigmoids, refused, counts = fit_calibration(cases, "score")
    assert list(sigmoids) == ["enough"]
    few = dict.fromkeys(("few with", "few without", "few patients"), TOO_FEW)
    assert refused == few | {"reversed": NOT_RISING}
    assert counts["few with"] == {"with": 9, "without": 30}


@pytest.fixture
def validation_result(tmp_path):
    """Writes a result of the validation split with its cases; of changes to its settings."""

    def write(**changes):
        path = tmp_path / "validation.json"
        record = {
            "task": "classification",
            "checkpoint": {"sha256": "abc"},
            "settings": {"split": "validation", "control": "none", "sequences": "all"},
            "data": {"studies_fingerprint": "table"},
            "simulated": True,
            "command": "selip evaluate",
        }
        for name, value in changes.items():
            part = record["settings"] if name in ("split", "control") else record
            part[name] = value
        path.write_text(json.dumps(record), encoding="utf-8")
        cases = joined(label_cases("mass", 12, 30), label_cases("cyst", 3, 39))
        write_cases({name: values.tolist() for name, values in cases.items()}, tmp_path / "validation.cases.parquet")
        return path

    return write


def read(path):
    return read_calibration(
        path, task="classification", checkpoint_sha256="abc", labels=("mass", "cyst", "edema"), settings={}
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "test"}, "split validation .* got test"),
        ({"split": "train"}, "split validation .* got train"),
        ({"control": "shuffled_images"}, "control none"),
        ({"task": "probe"}, "task classification"),
        ({"checkpoint": {"sha256": "other"}}, "checkpoint abc"),
    ],
)
def test_results_of_anything_else_are_refused(validation_result, changes, said):
    """Never the split that is reported, nor that which was learnt from, nor another checkpoint, task or a control."""
    with pytest.raises(ValueError, match=said):
        read(validation_result(**changes))


def test_probabilities_or_why_there_are_none(validation_result, tmp_path):
    """Each score has a probability or a reason; studies of the calibration itself have none."""
    found = read(validation_result())
    assert (found.info["labels"]["mass"]["with"], found.info["simulated"]) == (12, True)
    scores, own = np.array([-1.0, 2.0]), np.array([False, True])
    sigmoid = found.sigmoids["mass"]
    assert probability_of(found, "mass", scores, own) == (
        [pytest.approx(float(sigmoid(scores)[0])), None],
        [None, FITTED_ON_IT],
    )
    assert probability_of(found, "cyst", scores, own) == ([None, None], [TOO_FEW] * 2)
    assert probability_of(found, "edema", scores, own) == ([None, None], [NOT_FITTED] * 2)
    assert probability_of(None, "mass", scores, own) == ([None, None], [NOT_ASKED] * 2)
    (tmp_path / "validation.cases.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="table of cases"):
        read(tmp_path / "validation.json")


def test_rule_softmax_needs_the_same_labels(validation_result):
    """Labels that compete give other scores among others, so their calibration is refused."""
    path = validation_result()
    record = json.loads(path.read_text(encoding="utf-8"))
    record["settings"] |= {"rule": "softmax", "labels": ["mass", "cyst"]}
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match="labels compete"):
        read(path)
