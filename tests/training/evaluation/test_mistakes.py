"""How wrong each case is, against a count of pairs and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selip.training.evaluation.mistakes import choice_mistakes, label_mistakes, overlap_mistakes, rank_mistakes
from selip.training.evaluation.recomputation import case_mistakes


def test_label_mistakes_count_the_studies_on_the_wrong_side():
    """Pair by pair within the label, ties one half; the mean over either kind is 1 less the area under the curve."""
    generator = np.random.default_rng(0)
    cases = {
        "label": np.repeat(np.array(["a", "b"], dtype=object), 40),
        "positive": generator.random(80) < 0.3,
        "score": generator.integers(0, 8, 80).astype(float),
    }
    mistakes = label_mistakes(cases, "score")
    for label in ("a", "b"):
        rows = np.flatnonzero(cases["label"] == label)
        for row in rows:
            others = [k for k in rows if cases["positive"][k] != cases["positive"][row]]
            sign = 1 if cases["positive"][row] else -1
            wrong = [np.sign(sign * (cases["score"][k] - cases["score"][row])) / 2 + 0.5 for k in others]
            assert mistakes[row] == pytest.approx(np.mean(wrong))
        area = roc_auc_score(cases["positive"][rows], cases["score"][rows])
        for kind in (True, False):
            assert mistakes[rows][cases["positive"][rows] == kind].mean() == pytest.approx(1 - area)


def test_label_with_one_kind_of_study_has_no_mistakes():
    """Nothing to stand on the wrong side of."""
    cases = {"label": np.array(["a", "a"]), "positive": np.array([True, True]), "score": np.array([1.0, 2.0])}
    assert np.isnan(label_mistakes(cases, "score")).all()


def test_other_mistakes_by_hand():
    """Ranks from first to last of the wrong candidates, margins turned around, 1 less Dice."""
    ranks = {
        "rank": np.array([1, 6, 11, 1]),
        "n_candidates": np.array([12, 12, 12, 2]),
        "n_hits": np.array([2, 2, 2, 2]),
    }
    assert rank_mistakes(ranks) == pytest.approx([0, 0.5, 1, 0])
    assert choice_mistakes({"margin": np.array([0.5, -0.25])}) == pytest.approx([-0.5, 0.25])
    masks = {name: np.array([10.0, 0.0]) for name in ("voxels_true", "voxels_predicted")}
    masks |= {"voxels_shared": np.array([4.0, 0.0]), "voxel_ml": np.ones(2), "hd95_mm": np.zeros(2)}
    masks |= {f"lesions_{name}": np.zeros(2) for name in ("true", "found", "false")}
    masks |= {f"box_voxels_{name}": np.zeros(2) for name in ("predicted", "shared")}
    assert overlap_mistakes(masks) == pytest.approx([0.6, 0])
    assert case_mistakes("segmentation", masks) == pytest.approx([0.6, 0])
    assert case_mistakes("a task that nobody knows", masks) is None
