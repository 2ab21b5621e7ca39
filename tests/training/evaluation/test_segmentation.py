"""Scores of masks against SimpleITK, brute force and the rules of the challenges."""

import numpy as np
import pytest
import SimpleITK
from scipy import ndimage
from scipy.spatial.distance import cdist

from selip.training.evaluation.bootstrap import PatientBootstrap
from selip.training.evaluation.recomputation import recompute
from selip.training.evaluation.segmentation import (
    ONE_EMPTY_MM,
    case_scores,
    count_lesions,
    dice_of_counts,
    hd95_mm,
    lesion_f1_of_counts,
)

SPACING = (0.9, 1.1, 3.5)


def blobs(seed, shape=(21, 24, 12), threshold=0.55):
    """A mask of a few smooth blobs that leaves the edge of the volume free."""
    generator = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(generator.random(shape), 1.5)
    mask = field > np.quantile(field, 0.93)
    for axis in range(3):
        np.moveaxis(mask, axis, 0)[[0, -1]] = False
    return mask


def as_image(mask):
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8).transpose(2, 1, 0))  # (x, y, z) -> (z, y, x)
    image.SetSpacing(SPACING)
    return image


def distances_to(start, other):
    """Distances in mm from the border voxels of one mask to the border of another, by SimpleITK."""
    borders = [SimpleITK.LabelContour(as_image(mask), fullyConnected=False) for mask in (start, other)]
    to_other = SimpleITK.Abs(
        SimpleITK.SignedMaurerDistanceMap(borders[1], squaredDistance=False, useImageSpacing=True)
    )
    # the signed map is zero on the outline of the border's voxels, and negative within none of them
    inside = SimpleITK.GetArrayFromImage(borders[0]) > 0
    return SimpleITK.GetArrayFromImage(to_other)[inside]


@pytest.mark.parametrize("seed", range(4))
def test_dice_and_distance_are_those_of_simpleitk(seed):
    """Overlap by SimpleITK's filter; the 95th percentile of its border distances, the larger direction."""
    true, predicted = blobs(seed), blobs(seed + 10)
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(as_image(true), as_image(predicted))
    dice = dice_of_counts([(true & predicted).sum()], [true.sum()], [predicted.sum()])
    assert dice[0] == pytest.approx(overlap.GetDiceCoefficient())
    ends = [np.percentile(distances_to(*pair), 95) for pair in ((predicted, true), (true, predicted))]
    assert hd95_mm(predicted, true, SPACING) == pytest.approx(max(ends), rel=1e-5)


def test_distance_is_that_of_brute_force_at_the_edge_too():
    """All pairs of border voxels; a mask that reaches the edge of the volume has its border there."""
    true, predicted = np.zeros((9, 8, 7), bool), np.zeros((9, 8, 7), bool)
    true[:5, :4, :3], predicted[2:, 3:7, 1:] = True, True
    borders = []
    for mask in (predicted, true):
        padded = np.pad(mask, 1)
        inner = np.ones_like(padded)
        for axis in range(3):
            inner &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        borders.append(np.argwhere(padded & ~inner) * SPACING)
    pairs = cdist(*borders)
    expected = max(np.percentile(pairs.min(1), 95), np.percentile(pairs.min(0), 95))
    assert hd95_mm(predicted, true, SPACING) == pytest.approx(expected)
    assert hd95_mm(true, true, SPACING) == 0.0


def test_lesions_are_counted_by_hand():
    """Corners connect; a lesion is found by one voxel, and two true lesions may be found by one predicted one."""
    true, predicted = np.zeros((12, 6, 6), bool), np.zeros((12, 6, 6), bool)
    true[0, 0, 0] = true[1, 1, 1] = True  # one lesion by its corner
    true[4, 2, 2] = true[6, 2, 2] = True  # two
    true[10, 4, 4] = True  # missed
    predicted[1, 1, 1] = True
    predicted[4:7, 2, 2] = True  # touches two
    predicted[9, 0, 0] = predicted[9, 5, 0] = True  # two false ones
    assert count_lesions(predicted, true) == (4, 3, 2)
    assert lesion_f1_of_counts([4], [3], [2])[0] == pytest.approx(2 * 3 / (4 + 3 + 2))
    assert count_lesions(predicted, np.zeros_like(true)) == (0, 0, 4)


def case_table():
    """Studies: as good as can be; nothing marked; nothing there and nothing marked; nothing there, some marked."""
    return {
        "study_id": np.array(["a", "b", "c", "d"], dtype=object),
        "patient_id": np.array(["p", "q", "r", "r"], dtype=object),
        "voxels_true": np.array([10, 10, 0, 0]),
        "voxels_predicted": np.array([10, 0, 0, 5]),
        "voxels_shared": np.array([10, 0, 0, 0]),
        "voxel_ml": np.array([0.5, 0.5, 0.5, 0.1]),
        "hd95_mm": np.array([0.0, np.nan, np.nan, np.nan]),
        "lesions_true": np.array([2, 1, 0, 0]),
        "lesions_found": np.array([2, 0, 0, 0]),
        "lesions_false": np.array([0, 0, 0, 3]),
        "box_voxels_predicted": np.array([10, 6, 0, 0]),
        "box_voxels_shared": np.array([8, 6, 0, 0]),
    }


def test_empty_masks_score_as_in_the_challenges():
    """Both empty is right, one empty is wrong, and its distance is the constant of BraTS."""
    scores = case_scores(case_table())
    assert scores["dice"].tolist() == [1, 0, 1, 0]
    assert scores["lesion_f1"].tolist() == [1, 0, 1, 0]
    assert scores["hd95_mm"].tolist() == [0, ONE_EMPTY_MM, 0, ONE_EMPTY_MM]
    assert scores["volume_error_ml"].tolist() == [0, 5, 0, 0.5]
    assert np.isnan(hd95_mm(np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool), SPACING))


def test_metrics_follow_from_the_case_table():
    """Means over the studies with a lesion, over all, and how often nothing is marked where nothing is."""
    cases = case_table()
    found = recompute("segmentation", cases, PatientBootstrap(cases["patient_id"], num_samples=200, seed=0))
    assert found.points["dice"] == 0.5
    assert found.points["all/dice"] == 0.5
    assert found.points["box_dice"] == pytest.approx((0.8 + 0.75) / 2)
    assert found.points["all/hd95_mm"] == pytest.approx(2 * ONE_EMPTY_MM / 4)
    assert found.points["no_lesion/clean"] == 0.5
    assert set(found.replicates) == set(found.points)
    low, high = found.intervals(0.95)["dice"]
    assert low == 0.0
    assert high == 1.0
