"""Pictures of a segmentation: which studies, and both masks where they are."""

import numpy as np
import pytest
from PIL import Image

from selip.training.evaluation.segmentation import case_scores
from selip.training.evaluation.segmentation_figures import (
    SegmentedStudy,
    cases_from_worst_to_best,
    draw_dice,
    draw_overlays,
)


def mask_cases(count):
    """Studies whose Dice rises with a shuffled number; the last has no lesion."""
    shared = np.random.default_rng(0).permutation(count - 1).astype(float)
    true = np.array([*[float(count)] * (count - 1), 0.0])
    cases = {"voxels_true": true, "voxels_predicted": true, "voxels_shared": np.array([*shared, 0.0])}
    cases |= {"voxel_ml": np.full(count, 0.01), "hd95_mm": np.zeros(count)}
    cases |= {f"lesions_{name}": np.ones(count) for name in ("true", "found", "false")}
    return cases | {f"box_voxels_{name}": true for name in ("predicted", "shared")}


@pytest.mark.parametrize(("count", "shown"), [(6, 5), (5, 5), (3, 3), (2, 1), (1, 1), (90, 20)])
def test_studies_go_from_worst_to_best_by_way_of_the_median(count, shown):
    """Evenly spaced by Dice among those with a lesion; one alone is the median."""
    cases = mask_cases(21)
    rows = cases_from_worst_to_best(cases, count)
    dice = case_scores(cases)["dice"]
    ordered = np.sort(dice[:20])
    assert len(rows) == shown
    assert (np.diff(dice[rows]) > 0).all()
    assert ordered[9] in dice[rows]
    if shown > 1:
        assert (dice[rows][0], dice[rows][-1]) == (ordered[0], ordered[-1])


def near(pixels, colour, tolerance):
    return (np.abs(pixels.astype(int) - colour).max(axis=-1) <= tolerance).sum()


def test_overlay_shows_the_true_outline_and_the_prediction(tmp_path):
    """Cyan where something is true, orange where something is marked, neither in a study without."""
    volume = np.zeros((20, 24, 16), dtype=np.float32)
    volume[3:17, 3:21, 1:15] = 0.1
    volume[13:16, 15:20, 1:15] = 1.0
    none, ball = np.zeros(volume.shape, dtype=bool), np.zeros(volume.shape, dtype=bool)
    ball[6:12, 6:12, 6:10] = True
    counts = {}
    for name, true, predicted in (("none", none, none), ("true", ball, none), ("marked", none, ball)):
        study = SegmentedStudy(volume, (1.0, 1.0, 3.0), true, predicted, "study, Dice 0 %")
        draw_overlays([study], tmp_path / f"{name}.png", title="t")
        # without the legend below
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))[:-60]
        counts[name] = (near(pixels, (0x35, 0xD0, 0xE8), 60), near(pixels, (0xA0, 0x68, 0x30), 60))
    outlined, filled = (np.array([counts[name][place] for name in ("none", "true", "marked")]) for place in (0, 1))
    assert outlined[0] == 0
    assert outlined[1] > 100
    assert abs(filled[1] - filled[0]) < 20, "an outline fills nothing; the letters of the sides have a like colour"
    assert filled[2] - filled[0] > 1000
    with pytest.raises(ValueError, match="at least one study"):
        draw_overlays([], tmp_path / "x.png", title="t")


def test_picture_of_dice_is_written_whole(tmp_path):
    """A PNG and nothing beside it."""
    draw_dice(mask_cases(21), tmp_path / "dice.png", title="t")
    assert (tmp_path / "dice.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["dice.png"]
