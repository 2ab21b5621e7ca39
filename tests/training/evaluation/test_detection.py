"""Boxes and average precision against brute force and numbers worked out by hand."""

import itertools

import numpy as np
import pytest

from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.comparison import compare
from selip.training.evaluation.detection import (
    BOX,
    LESION,
    OVERLAPS,
    STUDY,
    average_precision,
    boxes_of,
    case_columns,
    match,
    overlaps,
)
from selip.training.evaluation.recomputation import case_keys, recompute


def cube(x, side=10.0, y=0.0):
    return [x, y, 0.0, x + side, y + side, side]


def row(study, kind, **values):
    return {"study_id": study, "patient_id": f"patient of {study[0]}", "kind": kind, **values}


def lesion(study, box, number=1, finding="mass"):
    return row(study, LESION, box=box, number=number, finding=finding)


def said(study, box, score, number=0):
    return row(study, BOX, box=box, score=score, number=number)


def test_boxes_are_those_of_the_parts_in_mm():
    """Low corner of the first voxel to high corner of the last one, each part on its own."""
    mask = np.zeros((8, 6, 5), bool)
    mask[1:3, 2:5, 0] = mask[3, 5, 1] = True  # joined by a corner
    mask[7, 0, 4] = True
    assert boxes_of(mask, (2.0, 3.0, 5.0)).tolist() == [[2, 6, 0, 8, 18, 10], [14, 0, 20, 16, 3, 25]]
    assert boxes_of(np.zeros_like(mask), (2.0, 3.0, 5.0)).shape == (0, 6)


@pytest.mark.parametrize("seed", range(5))
def test_overlap_is_that_of_counted_voxels(seed):
    """Boxes of whole voxels: shared voxels over voxels in either."""
    generator = np.random.default_rng(seed)
    masks, boxes = [], []
    for _ in range(4):
        low = generator.integers(0, 6, 3)
        high = low + generator.integers(1, 5, 3)
        mask = np.zeros((12, 12, 12), bool)
        mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = True
        masks.append(mask)
        boxes.append([*low, *high])
    found = overlaps(np.array(boxes, dtype=float), np.array(boxes, dtype=float))
    for i, j in itertools.product(range(4), repeat=2):
        assert found[i, j] == pytest.approx((masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum())


def test_boxes_are_matched_from_the_highest_score_down():
    """The best box takes what it overlaps most, a second box on one lesion is false, and a free lesion is next."""
    overlap = np.array([[0.6, 0.5], [0.9, 0.0], [0.4, 0.35]])
    assert match(overlap, np.array([0.9, 0.8, 0.7]), 0.3).tolist() == [0, -1, 1]
    assert match(overlap, np.array([0.7, 0.9, 0.8]), 0.3).tolist() == [-1, 0, 1]
    assert match(np.zeros((2, 0)), np.array([1.0, 2.0]), 0.1).tolist() == [-1, -1]
    assert match(np.zeros((1, 3)), np.array([1.0]), 0.0).tolist() == [-1], "boxes that share nothing never match"


def precision_by_hand(scores, is_true, lesions):
    """Area under the best precision at each recall or beyond, by the definition: one threshold after another."""
    curve = []
    for limit in sorted(set(scores), reverse=True):
        kept = [hit for score, hit in zip(scores, is_true, strict=True) if score >= limit]
        curve.append((sum(kept) / lesions, sum(kept) / len(kept)))
    area, before = 0.0, 0.0
    for place, (recall, _) in enumerate(curve):
        area += (recall - before) * max(precision for _, precision in curve[place:])
        before = recall
    return area


def test_average_precision_of_a_worked_example():
    """Right, wrong, right, wrong, right of four lesions: (1 + 2/3 + 3/5) / 4."""
    found = average_precision(
        np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        np.array([True, False, True, False, True]),
        np.ones((1, 5)),
        np.array([4.0]),
    )
    assert found[0] == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


@pytest.mark.parametrize("seed", range(8))
def test_average_precision_is_that_of_the_definition(seed):
    """With ties; a box that counts twice is two boxes, one that counts nothing is none."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, 15) / 5
    is_true = generator.random(15) < 0.4
    weights = generator.integers(0, 3, (4, 15)).astype(float)
    lesions = (weights * is_true).sum(axis=1) + 3
    found = average_precision(scores, is_true, weights, lesions)
    for draw in range(4):
        times = weights[draw].astype(int)
        expected = precision_by_hand(np.repeat(scores, times), np.repeat(is_true, times), lesions[draw])
        assert found[draw] == pytest.approx(expected)


def test_nothing_said_and_nothing_there():
    """No box is an average precision of 0; no lesion has none."""
    nothing = np.zeros(0)
    assert average_precision(nothing, nothing.astype(bool), np.zeros((1, 0)), np.array([3.0])).tolist() == [0.0]
    assert np.isnan(average_precision(nothing, nothing.astype(bool), np.zeros((1, 0)), np.array([0.0]))[0])
    table = case_columns([row("a", STUDY), row("b", STUDY), lesion("a", cube(0))])
    points = recompute("detection", table).points
    assert points["all/ap@0.1"] == points["all/sensitivity@4"] == points["finding/mass/found"] == 0.0


def small_table():
    """Study a: two lesions, one found exactly, one by a shifted box; b: nothing there, one box; c: missed."""
    return case_columns(
        [
            row("a", STUDY),
            lesion("a", cube(0)),
            lesion("a", cube(100), number=2, finding="cyst"),
            said("a", cube(0), 0.9),
            said("a", cube(105), 0.6, number=1),  # shares half of two equal cubes: 1/3
            row("b", STUDY),
            said("b", cube(50), 0.8),
            row("c", STUDY),
            lesion("c", cube(0)),
            said("c", cube(60), 0.3),
        ]
    )


def test_metrics_of_a_table_by_hand():
    """Average precision at each overlap, what is found at a number of false boxes, also of a study without lesion."""
    points = recompute("detection", small_table()).points
    both = (1 + 2 / 3) / 3  # right, wrong (0.8 in b), right (0.6), of three lesions
    assert points["all/ap@0.1"] == pytest.approx(both)
    assert points["all/ap@0.3"] == pytest.approx(both)
    assert points["all/ap@0.5"] == pytest.approx(1 / 3)
    assert points["all/map"] == pytest.approx((both + both + 1 / 3) / 3)
    # down to 0.6 there is one false box on three studies, down to 0.3 two
    assert points["all/sensitivity@0.5"] == pytest.approx(2 / 3)
    assert points["finding/mass/found"] == pytest.approx(1 / 2)
    assert points["finding/cyst/found"] == 1.0
    assert points["all/n_lesions"] == 3
    assert points["all/n_boxes"] == 4
    assert OVERLAPS[-1] == 0.5


def test_a_draw_of_patients_is_a_table_of_these_studies():
    """Metrics with weights equal metrics of the table in which drawn studies are repeated under names of their own."""
    table = small_table()
    resampling = PatientBootstrap(table["patient_id"], num_samples=40, seed=3)
    found = recompute("detection", table, resampling)
    patients = sorted(set(table["patient_id"]))
    for draw in range(40):
        parts = []
        for patient, times in zip(patients, resampling.counts[draw], strict=True):
            own = {name: column[table["patient_id"] == patient] for name, column in table.items()}
            parts += [{**own, "study_id": own["study_id"] + f"-{copy}"} for copy in range(times)]
        drawn = {name: np.concatenate([part[name] for part in parts]) for name in table}
        expected = recompute("detection", drawn).points
        for name in ("all/ap@0.1", "all/ap@0.5", "all/map", "all/sensitivity@0.5", "all/sensitivity@2"):
            assert found.replicates[name][draw] == pytest.approx(expected[name], nan_ok=True)


def test_systems_that_say_other_boxes_are_compared_on_the_same_lesions():
    """Cases are studies and lesions; boxes are the answer. Another lesion is another case."""
    first, second = small_table(), case_columns([row("a", STUDY), row("b", STUDY), row("c", STUDY)])
    silent = {name: np.concatenate([second[name], first[name][first["kind"] == LESION]]) for name in first}
    assert case_keys("detection", first) == case_keys("detection", silent)
    found = compare("detection", {"first": [first], "second": [silent]}, "second", num_samples=50)
    assert found.differences["first"]["all/ap@0.5"].value == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="on the same detection cases"):
        compare("detection", {"first": [first], "second": [second]}, "second", num_samples=50)
