"""Minimal pairs: a model that knows what differs is right, one that does not is at chance, ties are wrong."""

import json

import numpy as np
import pytest

from selip.training.evaluation.gallery import build_gallery
from selip.training.evaluation.pairs import PairsEvaluator, StudyPair, read_pairs

SIGNALS = [{"sequence": "FLAIR", "signal": "hyper"}, {"sequence": "T1w", "signal": "hypo"}]
LEFT = {"finding": "mass", "site": "frontal lobe", "laterality": "left", "signals": SIGNALS}
RIGHT = {**LEFT, "laterality": "right"}
BRIGHT_ON_T1 = {**LEFT, "signals": [SIGNALS[0], {"sequence": "T1w", "signal": "hyper"}]}


def study(name, findings, patient):
    """A study of a FLAIR and a T1w series, without voxels."""
    return {
        "study_id": name,
        "patient_id": patient,
        "language": "en",
        "series": [{"series_id": sequence, "sequence": sequence} for sequence in ("FLAIR", "T1w")],
        "reference_findings": json.dumps({"normal": not findings, "findings": findings, "impression": []}),
    }


@pytest.fixture(scope="module")
def gallery():
    """Two pairs: one differs in the side (both sequences), one in the signal on T1w."""
    rows = [study("a", [LEFT], "p"), study("a2", [RIGHT], "p2"), study("b", [LEFT], "q")]
    return build_gallery([*rows, study("b2", [BRIGHT_ON_T1], "q2")])


PAIRS = (StudyPair("a", "a2", "side"), StudyPair("b", "b2", "signal"))


def one_hot_of_texts(gallery):
    """Embeddings that name the own text exactly."""
    texts = np.eye(len(gallery.texts), dtype=np.float32)
    return texts[[image.text for image in gallery.images]], texts


def test_only_sequences_that_show_the_difference_give_choices(gallery):
    """The side differs in both sequences, the signal in T1w alone: two studies x (2 + 1) sequences."""
    result = PairsEvaluator(gallery, PAIRS).evaluate(*one_hot_of_texts(gallery))
    assert result.metrics["side/image_to_text/n_choices"] == 4
    assert result.metrics["signal/image_to_text/n_choices"] == 2
    assert set(result.cases["sequence"][result.cases["kind"] == "signal"]) == {"T1w"}


def test_exact_embeddings_are_right_and_exchanged_ones_wrong(gallery):
    """Own text: 1. Partner's text in place of the own: 0. One embedding for all: ties, 0."""
    images, texts = one_hot_of_texts(gallery)
    evaluator = PairsEvaluator(gallery, PAIRS, bootstrap_samples=20)
    right = evaluator.evaluate(images, texts)
    assert all(value == 1 for name, value in right.metrics.items() if name.endswith("accuracy"))
    number = {image.study_id + image.sequence: place for place, image in enumerate(gallery.images)}
    partner = {"a": "a2", "a2": "a", "b": "b2", "b2": "b"}
    swapped = images[[number[partner[image.study_id] + image.sequence] for image in gallery.images]]
    wrong = evaluator.evaluate(swapped, texts)
    differing = [name for name in wrong.metrics if name.startswith("side") and name.endswith("accuracy")]
    assert all(wrong.metrics[name] == 0 for name in differing)
    tied = evaluator.evaluate(np.ones_like(images), texts)
    assert tied.metrics["all/image_to_text/accuracy"] == 0
    assert right.intervals["all/image_to_text/accuracy"] == (1, 1)


def test_a_model_that_sees_no_difference_is_at_chance(gallery):
    """Equal image embeddings within a pair: whatever text it prefers, it is right for exactly one of the two."""
    generator = np.random.default_rng(0)
    of_pair = {image.study_id[0]: generator.normal(size=8) for image in gallery.images}
    images = np.array([of_pair[image.study_id[0]] for image in gallery.images])
    texts = generator.normal(size=(len(gallery.texts), 8))
    metrics = PairsEvaluator(gallery, PAIRS).evaluate(images, texts).metrics
    assert metrics["side/image_to_text/accuracy"] == 0.5
    assert metrics["signal/image_to_text/accuracy"] == 0.5


def test_both_studies_of_a_pair_are_one_patient(gallery):
    """They share an anatomy, so the bootstrap draws them together, under the first study's patient."""
    cases = PairsEvaluator(gallery, PAIRS).evaluate(*one_hot_of_texts(gallery)).cases
    assert set(cases["patient_id"]) == {"p", "q"}


def test_pairs_without_a_choice_are_refused(gallery):
    """Unknown studies are counted; nothing left is an error that says so."""
    evaluator = PairsEvaluator(gallery, [*PAIRS, StudyPair("a", "nobody", "side")])
    assert sum(evaluator.skipped.values()) == 1
    assert evaluator.num_pairs == 2
    with pytest.raises(ValueError, match="different texts"):
        PairsEvaluator(gallery, [StudyPair("a", "b", "side")])


def test_table_of_pairs_needs_its_columns(tmp_path):
    """A table without `change` is refused by name; further columns are ignored."""
    table = tmp_path / "pairs.tsv"
    table.write_text("original\tpartner\tsplit\tchange\na\ta2\ttest\tside\n")
    assert read_pairs(table) == [PAIRS[0]]
    table.write_text("original\tpartner\na\ta2\n")
    with pytest.raises(ValueError, match="change missing"):
        read_pairs(table)
