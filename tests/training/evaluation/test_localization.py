"""Scores of maps against brute force, and their means against hand computation."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, roc_auc_score

from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.lesions import components, highest_share, highest_voxel
from selip.training.evaluation.localization import (
    DEFAULT_SHARE,
    SHARES,
    TOLERANCE_MM,
    area_of,
    best_share,
    distance_to,
    ideal_map,
    marked_counts,
    pointing,
)
from selip.training.evaluation.recomputation import case_keys, recompute

SPACING = (4.0, 3.0, 7.0)
SHAPE = (14, 16, 8)


def scene(seed):
    """A map of noise, a lesion of a few voxels, and a head that leaves the edge of the box free."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=SHAPE)
    head = np.zeros(SHAPE, bool)
    head[2:-2, 1:-3, 1:-1] = True
    lesion = np.zeros(SHAPE, bool)
    low = generator.integers((2, 2, 1), (10, 10, 5))
    lesion[tuple(slice(at, at + 3) for at in low)] = True
    return values, lesion & head, head


def distances(lesion):
    """Distance in mm of every voxel to the nearest one of the lesion, all pairs."""
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) * np.array(SPACING)
    return np.linalg.norm(places[..., None, :] - places[lesion], axis=-1).min(-1)


@pytest.mark.parametrize("seed", range(6))
def test_pointing_and_its_chance_are_those_of_brute_force(seed):
    """All pairs of voxels; chance is how often a voxel drawn from the head would count."""
    values, lesion, head = scene(seed)
    values[0, 0, 0] = 100.0  # outside of the head, where no map may point
    expected = distances(lesion)
    assert distance_to(lesion, SPACING) == pytest.approx(expected)
    found = pointing(values, distance_to(lesion, SPACING), head)
    inside = [tuple(place) for place in np.argwhere(head)]
    highest = max(inside, key=lambda place: values[place])
    assert highest_voxel(values, head) == highest
    assert found["distance_mm"] == pytest.approx(expected[highest])
    assert found["hit"] == float(expected[highest] <= TOLERANCE_MM)
    assert found["chance"] == pytest.approx(np.mean([expected[place] <= TOLERANCE_MM for place in inside]))


def test_chance_is_how_often_a_random_map_points_at_the_lesion():
    """Over maps of noise the share of hits is the chance that is told."""
    _, lesion, head = scene(0)
    distance = distance_to(lesion, SPACING)
    generator = np.random.default_rng(1)
    found = [pointing(generator.normal(size=SHAPE), distance, head) for _ in range(3000)]
    chance = found[0]["chance"]
    assert 0.02 < chance < 0.5
    assert np.mean([each["hit"] for each in found]) == pytest.approx(chance, abs=4 * (chance / 3000) ** 0.5)


@pytest.mark.parametrize("seed", range(4))
def test_area_and_overlap_are_those_of_sklearn(seed):
    """Area by roc_auc_score; of the highest share of the head, IoU by jaccard_score through the table of cases."""
    values, lesion, head = scene(seed)
    assert area_of(values, lesion, head) == pytest.approx(roc_auc_score(lesion[head], values[head]))
    counts = marked_counts(values, lesion, head)
    for share, (marked, shared) in zip(SHARES, counts, strict=True):
        chosen = highest_share(values, head, share)
        assert (int(chosen.sum()), int((chosen & lesion).sum())) == (marked, shared)
        # NumPy's quantile lies between two voxels: one more or less is marked than the share
        assert abs(marked - share * head.sum()) <= 1
        assert values[chosen].min() >= values[head & ~chosen].max()
    marked, shared = counts[-1]
    case = {**cases(1), "voxels_true": np.array([lesion.sum()])}
    case |= {"voxels_marked": np.array([marked]), "voxels_shared": np.array([shared])}
    expected = jaccard_score(lesion.ravel(), highest_share(values, head, SHARES[-1]).ravel())
    assert recompute("localization", case).points["all/iou"] == pytest.approx(expected)


def test_area_of_a_lesion_beyond_the_head_is_not_a_number():
    """No voxel of the lesion in the head: nothing to compare, and the mean leaves it out."""
    values, lesion, head = scene(2)
    assert np.isnan(area_of(values, np.zeros_like(lesion), head))
    case = {**cases(3), "auroc": np.array([0.5, np.nan, 0.9])}
    assert recompute("localization", case).points["all/auroc"] == pytest.approx(0.7)


def test_ideal_map_is_the_mean_of_each_block():
    """The share of the lesion in every position, also where positions do not divide the box evenly."""
    _, lesion, _ = scene(3)
    found = ideal_map(lesion, (7, 4, 4))
    expected = lesion.reshape(7, 2, 4, 4, 4, 2).mean(axis=(1, 3, 5))
    assert found == pytest.approx(expected)
    assert ideal_map(lesion, (5, 6, 3)).shape == (5, 6, 3)


def test_share_is_the_best_on_other_cases():
    """The column with the highest mean; the default where there is nothing to choose on."""
    dice = np.zeros((3, len(SHARES)))
    dice[:, 4] = (0.2, 0.0, 0.4)
    dice[:, 1] = (0.5, 0.0, 0.0)
    assert best_share(dice) == SHARES[4]
    assert best_share(dice[:0]) == DEFAULT_SHARE


def test_components_touch_by_corner():
    """Two voxels at a corner are one part, and the part within the box of another is not its own."""
    mask = np.zeros((6, 6, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    mask[4, :, 0] = mask[:, 4, 2] = True
    found = components(mask)
    assert len(found) == 3
    assert sorted(part.sum() for _, part in found) == [2, 6, 6]


def cases(count):
    """Cases of patients with two each: every other one points at its lesion."""
    number = np.arange(count)
    return {
        "study_id": np.array([f"s{each // 2}" for each in number], dtype=object),
        "series_id": np.array([f"x{each}" for each in number], dtype=object),
        "patient_id": np.array([f"p{each // 2}" for each in number], dtype=object),
        "lesion": np.ones(count, dtype=int),
        "finding": np.array(["mass" if each % 3 else "cyst" for each in number], dtype=object),
        "sequence": np.array(["FLAIR" if each % 2 else "T1w" for each in number], dtype=object),
        "hit": (number % 2).astype(float),
        "chance": np.full(count, 0.1),
        "distance_mm": np.where(number % 2, 0.0, 40.0),
        "auroc": np.full(count, 0.8),
        "voxels_true": np.full(count, 10),
        "voxels_marked": np.full(count, 30),
        "voxels_shared": np.where(number % 2, 10, 0),
        "ideal_hit": np.ones(count),
        "ideal_marked": np.full(count, 30),
        "ideal_shared": np.full(count, 10),
    }


def test_metrics_follow_from_the_case_table():
    """Means over all cases, over those of a finding and of a sequence; intervals draw patients."""
    table = cases(12)
    found = recompute("localization", table, PatientBootstrap(table["patient_id"], num_samples=100, seed=0))
    assert found.points["all/hit"] == 0.5
    assert found.points["sequence/FLAIR/hit"] == 1.0
    assert found.points["sequence/T1w/distance_mm"] == 40.0
    assert found.points["all/above_chance"] == pytest.approx(0.4)
    assert found.points["sequence/FLAIR/dice"] == pytest.approx(2 * 10 / 40)
    assert found.points["sequence/FLAIR/iou"] == pytest.approx(10 / 30)
    assert found.points["finding/cyst/n_cases"] == 4
    # every patient has one hit of two, so whoever is drawn the mean is the same
    assert found.intervals(0.95)["all/hit"] == (0.5, 0.5)
    assert len(set(case_keys("localization", table))) == 12
