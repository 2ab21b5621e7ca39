"""The linear probe: finds what is linear in the features, nothing in noise, and its areas are scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selip.processing.findings import Finding, StructuredReport
from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.probe import ProbeEvaluator, ProbeSplit, area_replicates, mean_of_series
from selip.training.evaluation.probe_task import places


def split(name, count, generator):
    """A split with the labels "known" and "noise" at random, and "rare" once; two studies a patient."""
    labels = [frozenset(label for label in ("known", "noise") if generator.random() < 0.4) for _ in range(count)]
    labels[0] |= {"rare"}
    ids = tuple(f"{name}-{number}" for number in range(count))
    return ProbeSplit(ids, tuple(f"{name}-{number // 2}" for number in range(count)), tuple(labels))


@pytest.fixture(scope="module")
def probed():
    """An evaluator, and features that hold the label "known" in one direction."""
    generator = np.random.default_rng(0)
    splits = [split(name, count, generator) for name, count in (("train", 200), ("validation", 60), ("test", 120))]
    direction = generator.normal(size=16)
    features = [
        generator.normal(size=(len(s.study_ids), 16)) + 2 * s.has("known")[:, None] * direction for s in splits
    ]
    evaluator = ProbeEvaluator(*splits, bootstrap_samples=40)
    return evaluator, evaluator.evaluate(*features)


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


def test_too_few_studies_are_refused():
    """No label with five studies of both kinds."""
    tiny = ProbeSplit(("1", "2"), ("1", "2"), (frozenset({"x"}), frozenset()))
    with pytest.raises(ValueError, match="at least 5 studies"):
        ProbeEvaluator(tiny, tiny, tiny)


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
