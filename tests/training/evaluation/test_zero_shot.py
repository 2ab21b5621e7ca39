"""Zero-shot scores: answers that are known by construction, metrics recomputed from the table of cases."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from selip.training.evaluation import zero_shot
from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.recomputation import recompute
from selip.training.evaluation.zero_shot import LabelledStudies, ZeroShotEvaluator
from selip.training.evaluation.zero_shot_metrics import zero_shot_case_metrics
from selip.training.evaluation.zero_shot_protocol import SideTemplates, ZeroShotLabel, ZeroShotProtocol

NAMES = ("mass", "cyst", "edema")
SCALE = 12.0


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    """p values are at least 1 / 200."""
    monkeypatch.setattr(zero_shot, "NUM_PERMUTATIONS", 199)


def protocol_of(rule="margin", choices=None):
    """Three labels, two templates; sides of the first label."""
    labels = [ZeroShotLabel(name, (name, f"large {name}"), (f"no {name}",)) for name in NAMES]
    labels[0] = replace(labels[0], findings=("mass",))
    sides = SideTemplates(("left {finding}",), ("right {finding}",))
    templates = ("There is {finding}.", "{place} shows {finding}.")
    return ZeroShotProtocol("test", 1, "en", "made up", rule, templates, tuple(labels), sides, choices)


def studies_of(count=60, *, exclusive=False):
    """Two studies a patient; every second study with a mass has it on one side."""
    generator = np.random.default_rng(0)
    if exclusive:
        labels = [frozenset({NAMES[number % 3]}) for number in range(count)]
    else:
        labels = [frozenset(name for name in NAMES if generator.random() < 0.4) for _ in range(count)]
    sides = [{"mass": ("left", "right")[n % 2]} if "mass" in each else {} for n, each in enumerate(labels)]
    ids = tuple(f"s{number}" for number in range(count))
    return LabelledStudies(ids, tuple(f"p{number // 2}" for number in range(count)), tuple(labels), tuple(sides))


def text_vectors(texts):
    """ "X" along the axis of X, "no X" against it; the last axis holds the side (left +, right -)."""
    rows = np.zeros((len(texts), len(NAMES) + 1))
    for row, text in zip(rows, texts, strict=True):
        for axis, name in enumerate(NAMES):
            row[axis] = (name in text) * (-1 if "no " in text else 1)
        row[-1] = 2 * ("left" in text) - 2 * ("right" in text)
    return rows


def study_vectors(studies, *, sign=1.0, noise=0.0):
    """+ along the axis of what a study has, - along those of what it has not, and its side."""
    rows = np.array([[1.0 if name in each else -1.0 for name in NAMES] + [0.0] for each in studies.labels])
    for row, side in zip(rows, studies.sides, strict=True):
        row[-1] = {"left": 1.0, "right": -1.0}.get(side.get("mass", ""), 0.0)
    return sign * rows + noise * np.random.default_rng(1).normal(size=rows.shape)


def evaluated(studies, protocol, *, bootstrap_samples=0, **changes):
    evaluator = ZeroShotEvaluator(protocol, studies, bootstrap_samples=bootstrap_samples)
    return evaluator, evaluator.evaluate(study_vectors(studies, **changes), text_vectors(evaluator.texts), SCALE)


@pytest.mark.parametrize(("sign", "expected"), [(1, 1), (-1, 0)])
def test_right_and_reversed_answers_are_told_apart(sign, expected):
    """All right gives 1 everywhere, the same with the sign turned gives 0: polarity is seen, not only separation."""
    _, result = evaluated(studies_of(), protocol_of(), sign=sign, bootstrap_samples=30)
    for name in ("auroc", "balanced_accuracy", "polarity_present", "polarity_absent", "polarity"):
        for label in ("macro", *NAMES):
            assert result.metrics[f"{label}/{name}"] == expected, (label, name)
            assert result.intervals[f"{label}/{name}"] == (expected, expected)
    assert result.metrics["mass/laterality"] == result.metrics["all/laterality"] == expected
    assert all(result.metrics[f"{name}/p"] == 1 / 200 for name in NAMES), "both far from one half"
    assert all(result.metrics[f"{name}/p_holm"] == pytest.approx(3 / 200) for name in NAMES)
    assert result.metrics["templates/auroc_sd"] == 0


def test_a_model_that_hears_no_negation_has_no_polarity():
    """ "no X" embedded as "X": all margins are ties, which are wrong, and the area is one half."""
    evaluator = ZeroShotEvaluator(protocol_of(), studies_of())
    deaf = text_vectors([text.replace("no ", "") for text in evaluator.texts])
    metrics = evaluator.evaluate(study_vectors(studies_of(), noise=0.3), deaf, SCALE).metrics
    assert metrics["macro/auroc"] == 0.5
    assert metrics["macro/polarity"] == 0
    assert metrics["mass/p"] == 1


def test_margins_are_cosines_with_ensembles():
    """Against loops: mean of unit prompts within a template, mean of unit templates, unit again."""
    studies, protocol = studies_of(), protocol_of()
    evaluator, result = evaluated(studies, protocol, noise=0.7)

    def unit(vector):
        return vector / np.linalg.norm(vector)

    def template(label, polarity, number):
        prompts = protocol.prompts(label, polarity)[number]
        return unit(np.mean([unit(vector) for vector in text_vectors(prompts)], axis=0))

    vectors = [unit(row) for row in study_vectors(studies, noise=0.7)]
    row = 0
    for vector in vectors:
        for label in evaluator.labels:
            single = [vector @ (template(label, "positive", t) - template(label, "negative", t)) for t in (0, 1)]
            whole = [unit(sum(template(label, each, t) for t in (0, 1))) for each in ("positive", "negative")]
            margin = vector @ (whole[0] - whole[1])
            assert result.cases["margin"][row] == pytest.approx(margin, abs=1e-6)
            assert result.cases["polarity_margin"][row] == result.cases["margin"][row]
            assert result.cases["probability"][row] == pytest.approx(1 / (1 + np.exp(-SCALE * margin)), abs=1e-5)
            assert [result.cases[f"template_0{t}"][row] for t in (0, 1)] == pytest.approx(single, abs=1e-6)
            row += 1
    assert row == len(result.cases["margin"])


def test_metrics_follow_from_the_case_table():
    """By scikit-learn and by hand, points and one replicate; the comparison of systems gets the same numbers."""
    studies = studies_of()
    _, result = evaluated(studies, protocol_of(), noise=1.2, bootstrap_samples=20)
    cases = result.cases
    drawn = PatientBootstrap(cases["patient_id"], num_samples=20, seed=0)
    found = zero_shot_case_metrics(cases, drawn)
    areas, replicate = [], []
    for name in NAMES:
        rows = cases["label"] == name
        truth, margin = cases["positive"][rows].astype(bool), cases["margin"][rows]
        areas.append(roc_auc_score(truth, margin))
        weight = drawn.counts[3][drawn.patient_of_row[rows]]
        replicate.append(roc_auc_score(truth, margin, sample_weight=weight))
        assert found.points[f"{name}/auroc"] == pytest.approx(areas[-1])
        assert found.points[f"{name}/auprc"] == pytest.approx(average_precision_score(truth, margin))
        assert found.points[f"{name}/balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, margin > 0))
        assert found.points[f"{name}/polarity_present"] == pytest.approx((margin[truth] > 0).mean())
        assert found.points[f"{name}/n_positive"] == truth.sum() == sum(name in each for each in studies.labels)
        assert found.points[f"{name}/prevalence"] == pytest.approx(truth.mean())
        templates = [roc_auc_score(truth, cases[f"template_0{t}"][rows]) for t in (0, 1)]
        assert found.points[f"{name}/template_sd"] == pytest.approx(np.std(templates))
    assert found.points["macro/auroc"] == pytest.approx(np.mean(areas))
    assert found.replicates["macro/auroc"][3] == pytest.approx(np.mean(replicate))
    low, high = result.intervals["macro/auroc"]
    assert (low, high) == pytest.approx(tuple(np.quantile(found.replicates["macro/auroc"], [0.025, 0.975])))
    assert low < result.metrics["macro/auroc"] < high
    assert not [name for name in result.intervals if name.endswith("/ece")]
    again = recompute("zero_shot", cases).points
    assert {**again, **{key: result.metrics[key] for key in result.metrics if "/p" in key}} == result.metrics


def test_sides_are_judged_on_one_sided_studies_alone():
    """A model that takes all for left is right on the left ones."""
    studies = studies_of()
    evaluator = ZeroShotEvaluator(protocol_of(), studies)
    vectors = study_vectors(studies)
    vectors[:, -1] = 1.0
    result = evaluator.evaluate(vectors, text_vectors(evaluator.texts), SCALE)
    left = [each["mass"] == "left" for each in studies.sides if "mass" in each]
    assert result.metrics["mass/laterality"] == pytest.approx(np.mean(left))
    assert result.metrics["mass/n_sided"] == result.metrics["all/n_sided"] == len(left)
    assert "cyst/laterality" not in result.metrics


def test_labels_compete_by_softmax():
    """Probabilities are those of a softmax over the labels, choices are told apart by the largest."""
    choices = {"all three": NAMES, "two": ("mass", "edema")}
    studies = studies_of(exclusive=True)
    _, result = evaluated(studies, protocol_of("softmax", choices), noise=1.5, bootstrap_samples=20)
    margins, probabilities, polarity = (
        result.cases[name].reshape(-1, 3) for name in ("margin", "probability", "polarity_margin")
    )
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(60))
    vectors = study_vectors(studies, noise=1.5)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors[:, :3]  # positive prompts lie on the axes
    assert probabilities == pytest.approx(softmax(SCALE * cosines, axis=1), abs=1e-5)
    assert polarity == pytest.approx(2 * cosines, abs=1e-5)
    truth = np.arange(60) % 3
    recalls = [(cosines[truth == label].argmax(axis=1) == label).mean() for label in range(3)]
    assert result.metrics["choice/all three/balanced_accuracy"] == pytest.approx(np.mean(recalls))
    recalls = [
        (cosines[truth == label][:, [0, 2]].argmax(axis=1) == number).mean() for number, label in enumerate((0, 2))
    ]
    assert result.metrics["choice/two/balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert result.metrics["choice/two/n"] == 40
    low, high = result.intervals["choice/two/balanced_accuracy"]
    assert low <= result.metrics["choice/two/balanced_accuracy"] <= high
    assert (margins > 0).sum() <= 60, "at most one label is more likely than all others together"


def test_studies_that_cannot_be_told_apart_are_left_out():
    """With the rule softmax: those of no label, of two, and of a label with too few."""
    studies = studies_of(40, exclusive=True)
    labels = [frozenset(), frozenset({"mass", "cyst"}), *studies.labels[2:]]
    rare = [each if each != {"edema"} or n < 12 else frozenset({"mass"}) for n, each in enumerate(labels)]
    evaluator, result = evaluated(replace(studies, labels=tuple(rare)), protocol_of("softmax"), noise=0.5)
    assert [label.name for label in evaluator.labels] == ["mass", "cyst"]
    kept = [n for n, each in enumerate(rare) if each in ({"mass"}, {"cyst"})]
    assert evaluator.studies.study_ids == tuple(f"s{n}" for n in kept)
    assert evaluator.skipped == {
        "label with fewer than 5 studies of a kind": 1,
        "study without exactly one of the labels": 40 - len(kept),
    }
    assert set(result.cases["study_id"]) == set(evaluator.studies.study_ids)


def test_labels_with_too_few_studies_are_left_out_and_counted():
    """One kind only, or four of a kind; where none is left, there is nothing to evaluate."""
    studies = studies_of(30)
    labels = tuple(
        frozenset({"mass"} | ({"cyst"} if n < 4 else set()) | ({"edema"} if n % 2 else set())) for n in range(30)
    )
    evaluator, result = evaluated(replace(studies, labels=labels), protocol_of())
    assert [label.name for label in evaluator.labels] == ["edema"]
    assert evaluator.left_out == ("mass", "cyst")
    assert sum(evaluator.skipped.values()) == 2
    assert set(result.cases["label"]) == {"edema"}
    assert not any("large mass" in text for text in evaluator.texts)
    with pytest.raises(ValueError, match="at least 5 studies"):
        ZeroShotEvaluator(protocol_of(), studies.select(np.arange(8)))


def test_wrong_embeddings_are_refused():
    """Rows that do not fit, another width, a scale that is none."""
    studies = studies_of()
    evaluator = ZeroShotEvaluator(protocol_of(), studies)
    vectors, texts = study_vectors(studies), text_vectors(evaluator.texts)
    with pytest.raises(ValueError, match="expected 60 study and"):
        evaluator.evaluate(vectors[1:], texts, SCALE)
    with pytest.raises(ValueError, match="of one width"):
        evaluator.evaluate(vectors, np.hstack([texts, texts]), SCALE)
    with pytest.raises(ValueError, match="scale above 0"):
        evaluator.evaluate(vectors, texts, 0.0)
