"""The few-shot curve: who is drawn, what is fitted on them, and how the curve follows from the table of cases."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.few_shot import FewShotPlan, draw_per_class, draw_share, few_shot_scores
from selip.training.evaluation.probe import MIDDLE_STRENGTH, ProbeEvaluator, ProbeStudies, fold_of_splits
from selip.training.evaluation.probe_metrics import area_replicates, few_shot_columns, probe_case_metrics
from selip.training.evaluation.probe_report import left_out_from

PLAN = FewShotPlan(per_class=(1, 4, 16), shares=(0.01, 0.5, 1.0), draws=3)


@pytest.fixture(scope="module")
def curve():
    """160 training and 80 test studies; "common" shows in the features, "scarce" has 8 training patients."""
    generator = np.random.default_rng(0)
    ids = tuple(f"s{number}" for number in range(240))
    patients = tuple(f"p{number // 2}" for number in range(240))
    labels = tuple(
        frozenset(({"common"} if number % 3 == 0 else set()) | ({"scarce"} if number % 20 == 0 else set()))
        if number < 160
        else frozenset({name for name, rate in (("common", 0.5), ("scarce", 0.3)) if generator.random() < rate})
        for number in range(240)
    )
    studies = ProbeStudies(ids, patients, labels)
    features = generator.normal(size=(240, 6)) + 3 * studies.has("common")[:, None] * np.eye(6)[0]
    splits = ["train"] * 160 + ["test"] * 80
    evaluator = ProbeEvaluator(studies, [fold_of_splits(splits)], bootstrap_samples=30)
    return evaluator, features, few_shot_scores(evaluator, features, PLAN, seed=0)


def test_a_draw_has_k_of_each_kind_and_no_patient_twice():
    """Over many draws; a number that the patients do not give is refused, not filled up."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 2)
    positive = np.arange(24) % 5 == 0
    drawn = set()
    for _ in range(200):
        rows = draw_per_class(positive, patients, 4, generator)
        assert positive[rows].tolist() == [True] * 4 + [False] * 4
        assert len(set(patients[rows])) == 8
        drawn |= set(rows)
    assert drawn == set(range(24)), "every study can be drawn"
    assert draw_per_class(positive, patients, 6, generator) is None


def test_a_share_takes_whole_patients():
    """All studies of one in four patients; at least one patient."""
    patients = np.repeat(np.arange(20), 3)
    rows = draw_share(patients, 0.25, np.random.default_rng(0))
    assert len(rows) == 15
    assert len(set(patients[rows])) == 5
    assert len(draw_share(patients, 0.001, np.random.default_rng(0))) == 3


def test_all_studies_give_the_classifier_of_all_studies(curve):
    """A share of 100 % against scikit-learn at the fixed strength, once."""
    evaluator, features, columns = curve
    assert [name for name in columns if "100%" in name] == ["few_shot_share=100%_00"]
    scaled = StandardScaler().fit(features[:160]).transform(features)
    for number, label in enumerate(evaluator.labels):
        fitted = LogisticRegression(C=MIDDLE_STRENGTH, max_iter=2000).fit(scaled[:160], evaluator.truth[:160, number])
        expected = fitted.decision_function(scaled[160:])
        assert columns["few_shot_share=100%_00"][:, number] == pytest.approx(expected), label


def test_draws_differ_and_are_seeded(curve):
    """Same seed, same scores; another draw or seed gives others."""
    evaluator, features, columns = curve
    again = few_shot_scores(evaluator, features, PLAN, seed=0)
    other = few_shot_scores(evaluator, features, PLAN, seed=1)
    for name, scores in columns.items():
        assert np.array_equal(scores, again[name], equal_nan=True)
    assert not np.allclose(columns["few_shot_k=4_00"], columns["few_shot_k=4_01"])
    assert not np.allclose(columns["few_shot_k=4_00"], other["few_shot_k=4_00"])


def test_a_label_is_left_out_where_its_patients_end_and_chance_where_a_share_has_none(curve):
    """Eight patients give no sixteen; what stays is the mean over the others, and the same labels have a curve too."""
    evaluator, features, columns = curve
    cases = evaluator.table({"score": evaluator.linear_scores(features)[0], **columns})
    metrics = probe_case_metrics(cases, None).points
    assert [metrics[f"few_shot/k={k}/n_labels"] for k in (1, 4, 16)] == [2, 2, 1]
    assert left_out_from(evaluator.result(cases)) == {"scarce": 16}
    common = cases["label"] == "common"
    for k in (1, 4, 16):
        areas = [
            roc_auc_score(cases["positive"][common], cases[f"few_shot_k={k}_{draw:02d}"][common]) for draw in range(3)
        ]
        assert metrics[f"few_shot_common/k={k}/auroc"] == pytest.approx(np.mean(areas))
    assert metrics["few_shot/k=16/auroc"] == metrics["few_shot_common/k=16/auroc"]
    # one patient has no two kinds of both labels in each draw
    one_patient = np.stack([columns[f"few_shot_share=1%_{draw:02d}"] for draw in range(3)])
    flat = one_patient.std(axis=1) == 0
    assert flat.any()
    assert (one_patient.transpose(0, 2, 1)[flat] == 0).all()


def test_intervals_are_over_draws_and_patients(curve):
    """A replicate is the mean of drawn draws on drawn patients, in a loop; three draws differ more than one."""
    evaluator, features, columns = curve
    cases = evaluator.table({"score": evaluator.linear_scores(features)[0], **columns})
    resampling = PatientBootstrap(cases["patient_id"], num_samples=30, seed=0)
    found = probe_case_metrics(cases, resampling).replicates["few_shot/k=1/auroc"]
    areas = np.stack(
        [area_replicates(cases, resampling, name).mean(axis=1) for name in few_shot_columns(cases)["k=1"]], axis=1
    )
    chosen = np.random.default_rng(1).integers(3, size=(30, 3))
    expected = [np.mean([areas[row, draw] for draw in chosen[row]]) for row in range(30)]
    assert found == pytest.approx(expected)
