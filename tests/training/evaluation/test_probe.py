"""The linear probe: finds what is linear in the features, nothing in noise, and its areas are scikit-learn's."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from selip.processing.findings import Finding, StructuredReport
from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.probe import (
    STRENGTHS,
    ProbeEvaluator,
    ProbeStudies,
    fold_of_splits,
    mean_of_series,
    patient_folds,
)
from selip.training.evaluation.probe_data import places
from selip.training.evaluation.probe_metrics import area_replicates

COUNTS = {"train": 200, "validation": 60, "test": 120}


def studies_of(counts, generator):
    """Labels "known" and "noise" at random, "rare" once a split; two studies a patient."""
    ids, patients, labels = [], [], []
    for name, count in counts.items():
        ids += [f"{name}-{number}" for number in range(count)]
        patients += [f"{name}-{number // 2}" for number in range(count)]
        mine = [frozenset(label for label in ("known", "noise") if generator.random() < 0.4) for _ in range(count)]
        mine[0] |= {"rare"}
        labels += mine
    return ProbeStudies(tuple(ids), tuple(patients), tuple(labels))


def features_of(studies, generator):
    """Sixteen features that hold the label "known" in one direction."""
    direction = generator.normal(size=16)
    return generator.normal(size=(len(studies.study_ids), 16)) + 2 * studies.has("known")[:, None] * direction


@pytest.fixture(scope="module")
def made():
    """An evaluator of three splits, and features."""
    generator = np.random.default_rng(0)
    studies = studies_of(COUNTS, generator)
    splits = [name for name, count in COUNTS.items() for _ in range(count)]
    return ProbeEvaluator(studies, [fold_of_splits(splits)], bootstrap_samples=40), features_of(studies, generator)


@pytest.fixture(scope="module")
def probed(made):
    """The evaluator, and its result."""
    evaluator, features = made
    return evaluator, evaluator.result(evaluator.table({"score": evaluator.linear_scores(features)[0]}))


def test_finds_what_is_there_and_nothing_in_noise(probed):
    """The label that moves the features is read out, the independent one is not, the rare one is left out."""
    evaluator, result = probed
    assert evaluator.labels == ("known", "noise")
    assert sum(evaluator.skipped.values()) == 1
    assert result.metrics["known/auroc"] > 0.95
    assert 0.35 < result.metrics["noise/auroc"] < 0.65
    both = (result.metrics["known/auroc"] + result.metrics["noise/auroc"]) / 2
    assert result.metrics["mean/auroc"] == pytest.approx(both)
    low, high = result.intervals["noise/auroc"]
    assert low < result.metrics["noise/auroc"] < high


def test_areas_follow_from_the_case_table(probed):
    """Points and replicates recomputed by scikit-learn, each patient weighted by how often it was drawn."""
    _, result = probed
    cases = result.cases
    resampling = PatientBootstrap(cases["patient_id"], num_samples=5, seed=1)
    replicates = area_replicates(cases, resampling)
    for column, label in enumerate(("known", "noise")):
        rows = cases["label"] == label
        truth, score = cases["positive"][rows], cases["score"][rows]
        assert result.metrics[f"{label}/auroc"] == pytest.approx(roc_auc_score(truth, score))
        for number in range(5):
            weight = resampling.counts[number][resampling.patient_of_row[rows]]
            expected = roc_auc_score(truth, score, sample_weight=weight)
            assert replicates[number, column] == pytest.approx(expected)


def test_scores_are_those_of_scikit_learn_at_the_strength_with_the_best_validation_area(made):
    """Scaler, classifiers, choice and scores by a loop over strengths and labels."""
    evaluator, features = made
    train, validation, test = (np.arange(380)[part] for part in (slice(0, 200), slice(200, 260), slice(260, None)))
    scaler = StandardScaler().fit(features[train])
    areas, scores = [], []
    for strength in STRENGTHS:
        fitted = [
            LogisticRegression(C=strength, max_iter=2000).fit(scaler.transform(features[train]), y[train])
            for y in evaluator.truth.T
        ]
        chosen_by, scored = (
            np.column_stack([each.decision_function(scaler.transform(features[rows])) for each in fitted])
            for rows in (validation, test)
        )
        areas.append(roc_auc_score(evaluator.truth[validation], chosen_by, average="macro"))
        scores.append(scored)
    got, strengths = evaluator.linear_scores(features)
    assert strengths == [STRENGTHS[int(np.argmax(areas))]]
    assert got == pytest.approx(scores[int(np.argmax(areas))])


def test_without_validation_studies_the_penalty_is_chosen_within_the_training_studies(made):
    """Folds of the choice keep patients together, and no study that is scored takes part."""
    whole = made[0].studies
    rows = [number for number in range(380) if not 200 <= number < 260]
    columns = (whole.study_ids, whole.patient_ids, whole.labels)
    studies = ProbeStudies(*(tuple(each[number] for number in rows) for each in columns))
    evaluator = ProbeEvaluator(studies, [fold_of_splits(["train"] * 200 + ["test"] * 120)])
    seen = []

    def scorer(train, other, strength):
        seen.append((set(train), set(other)))
        return np.full((len(other), 2), strength)  # every strength is as good

    assert evaluator.choose_strength(scorer, evaluator.folds[0]) == STRENGTHS[0], "the strongest penalty"
    assert len(seen) == 5 * len(STRENGTHS)
    patient = np.array(studies.patient_ids)
    for train, other in seen:
        assert max(train | other) < 200
        assert not set(patient[list(train)]) & set(patient[list(other)])
    assert set().union(*(other for _, other in seen)) == set(range(200))


def test_cross_validation_scores_each_study_once_and_keeps_patients_together(made):
    """And its area compares studies of one fold alone: pairs counted in a loop, with and without drawn patients."""
    evaluator, features = made
    folds = patient_folds(evaluator.studies.patient_ids)
    patient = np.array(evaluator.studies.patient_ids)
    for fold in folds:
        assert not set(patient[fold.train]) & set(patient[fold.test])
    crossed = ProbeEvaluator(evaluator.studies, folds, labels=("known",))
    assert sorted(crossed.scored) == list(range(380))
    cases = crossed.table({"score": crossed.linear_scores(features)[0]})
    assert crossed.result(cases).metrics["known/auroc"] > 0.95
    cases["score"] = np.random.default_rng(3).normal(size=380) + 10 * cases["fold"]
    resampling = PatientBootstrap(cases["patient_id"], num_samples=2, seed=0)
    replicates = area_replicates(cases, resampling)
    times = [np.ones(380), *(counts[resampling.patient_of_row] for counts in resampling.counts)]
    for found, weight in zip([crossed.result(cases).metrics["known/auroc"], *replicates[:, 0]], times, strict=True):
        right = pairs = 0.0
        for number in range(5):
            here = cases["fold"] == number
            yes, no = here & cases["positive"], here & ~cases["positive"]
            weights = weight[yes][:, None] * weight[no][None]
            right += (weights * (cases["score"][yes][:, None] > cases["score"][no][None])).sum()
            pairs += weights.sum()
        assert found == pytest.approx(right / pairs)


def test_bad_requests_say_what_is_wrong(made):
    """An unknown label, one of one kind or too few, a split without studies, too few patients, other features."""
    evaluator, features = made
    studies, folds = evaluator.studies, evaluator.folds
    with pytest.raises(ValueError, match=r"no study has 'knwon'; did you mean 'known'\?"):
        ProbeEvaluator(studies, folds, labels=("noise", "knwon"))
    with pytest.raises(ValueError, match=r"with fewer \(rare 3\)"):
        ProbeEvaluator(studies, folds, labels=("known", "rare"))
    one_kind = ProbeStudies(studies.study_ids, studies.patient_ids, (frozenset({"known"}),) * 380)
    with pytest.raises(ValueError, match=r"expected a label with at least 5 studies .* got 1 with"):
        ProbeEvaluator(one_kind, folds)
    with pytest.raises(ValueError, match=r"got 0 and 380; with one split only, cross-validate: --probe cv"):
        ProbeEvaluator(studies, [fold_of_splits(["test"] * 380)])
    with pytest.raises(ValueError, match="at least 5 patients for 5 folds, got 2"):
        patient_folds(["a", "b", "a"])
    with pytest.raises(ValueError, match="features of 380 studies, got 379"):
        evaluator.linear_scores(features[1:])


def test_ties_count_one_half():
    """Scores without information give one half, whatever is drawn; a draw of one kind only gives no area."""
    resampling = PatientBootstrap(np.array(["a", "b", "c", "d"]), num_samples=200, seed=0)
    areas = resampling.areas(np.zeros(4), np.array([True, False, True, False]), np.arange(4))
    assert set(areas[~np.isnan(areas)]) == {0.5}
    assert np.isnan(areas).any()


def test_study_features_are_the_mean_of_its_series():
    """Against a loop; a study without a series is refused."""
    embeds = np.arange(8.0).reshape(4, 2)
    got = mean_of_series(embeds, ["b", "a", "b", "a"], ["a", "b"])
    assert got == pytest.approx(np.array([(embeds[1] + embeds[3]) / 2, (embeds[0] + embeds[2]) / 2]))
    with pytest.raises(ValueError, match="every study"):
        mean_of_series(embeds, ["a"] * 4, ["a", "b"])


def test_places_are_those_of_abnormal_findings_that_are_there():
    """With their sides; what is denied, a status, or not known has none."""
    report = StructuredReport(
        normal=False,
        findings=[
            Finding(finding="acute infarct", site="thalamus", laterality="left"),
            Finding(finding="edema", site="thalamus", laterality="left"),
            Finding(finding="atrophy", site="brain"),
            Finding(finding="hemorrhage", site="pons", certainty="absent"),
        ],
    )
    assert places(report.model_dump_json()) == {"at left thalamus", "at brain"}
    assert places(StructuredReport(normal=True).model_dump_json()) == frozenset()
    assert places("") == frozenset()
