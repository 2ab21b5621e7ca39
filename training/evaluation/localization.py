"""How well the map of a text lies on the lesion that the text tells of. Pure functions of maps and masks.

All on the study box, within the head. A case is one series and one lesion that its sequence can show.

    pointing game    the highest voxel of the map lies in the lesion, or within TOLERANCE_MM of it (Zhang et al.,
                     International Journal of Computer Vision 2018, who allow 15 pixels); its chance is the share of
                     the head's voxels that would count
    distance         from that voxel to the lesion, in mm
    area             under the ROC curve of the map's values, voxels of the lesion against the rest of the head
    Dice, IoU        of the lesion and the head's highest voxels of the map, as many as a fixed share of the head
    ideal            the same of the lesion itself once it is averaged over the positions of the map: no map of such
                     positions can be expected to do better
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import ndimage

from .binary_metrics import areas_under_roc
from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases
from .lesions import BoolArray, FloatArray, highest_voxel
from .segmentation import dice_of_counts

TOLERANCE_MM = 10.0
"""Half a position of the `tiny` study box: a map can hardly say more exactly where it is highest."""
SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Shares of the head that may be marked for Dice; which one is chosen on other studies than those that are scored."""
DEFAULT_SHARE = 0.02
"""Where there are no other studies to choose on."""
_SCORES = ("hit", "chance", "above_chance", "auroc", "dice", "iou", "ideal_hit", "ideal_dice", "distance_mm")


def distance_to(lesion: BoolArray, spacing_mm: Sequence[float]) -> npt.NDArray[np.float64]:
    """Distance of every voxel to a lesion (X, Y, Z) that is not empty, in mm; 0 within it."""
    distance: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~lesion, sampling=tuple(spacing_mm))
    return distance


def pointing(values: FloatArray, distance_mm: FloatArray, head: BoolArray) -> dict[str, float]:
    """Where a map points: `hit` (0 or 1), its `chance`, and `distance_mm` to the lesion.

    Args:
        values: (X, Y, Z), the map on the box; of several highest voxels the first counts.
        distance_mm: (X, Y, Z), of `distance_to`.
        head: bool (X, Y, Z), not empty.
    """
    near = distance_mm[head] <= TOLERANCE_MM
    distance = float(distance_mm[highest_voxel(values, head)])
    return {"hit": float(distance <= TOLERANCE_MM), "chance": float(near.mean()), "distance_mm": distance}


def area_of(values: FloatArray, lesion: BoolArray, head: BoolArray) -> float:
    """Area under the ROC curve of the head's voxels; NaN where none, or all, of them are lesion.

    Args:
        values: (X, Y, Z), a map on the study box.
        lesion: (X, Y, Z) true voxels.
        head: (X, Y, Z) voxels that count.
    """
    inside = values[head].astype(np.float64)
    return float(areas_under_roc(inside, lesion[head], np.ones((1, len(inside))))[0])


def marked_counts(values: FloatArray, lesion: BoolArray, head: BoolArray) -> list[tuple[int, int]]:
    """For each of SHARES the voxels that are marked, and those of them in the lesion: the head's highest share.

    All that tie with the last voxel are marked. Arguments as of `area_of`.
    """
    inside, true = values[head], lesion[head]
    marked = [inside >= limit for limit in np.quantile(inside, 1 - np.array(SHARES))]
    return [(int(each.sum()), int((each & true).sum())) for each in marked]


def ideal_map(lesion: BoolArray, grid: Sequence[int]) -> npt.NDArray[np.float32]:
    """The share of each position of a grid that lies in the lesion.

    Args:
        lesion: (X, Y, Z).
        grid: (gx, gy, gz), the shape of the result.
    """
    x, y, z = grid
    share = F.adaptive_avg_pool3d(torch.from_numpy(lesion.astype(np.float32))[None], (x, y, z))[0]
    values: npt.NDArray[np.float32] = share.numpy()
    return values


def best_share(dice_by_share: npt.NDArray[np.float64]) -> float:
    """The one of SHARES with the highest mean Dice, given (cases, shares); the default where there is no case."""
    if len(dice_by_share) == 0:
        return DEFAULT_SHARE
    return SHARES[int(dice_by_share.mean(axis=0).argmax())]


def localization_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Means over cases, from the case table alone.

    Names: `all/...`, `finding/NAME/...` and `sequence/NAME/...` of `hit`, `chance`, `above_chance` (hit less chance),
    `auroc`, `dice`, `iou`, `ideal_hit`, `ideal_dice`, `distance_mm`, and `.../n_cases`.

    Args:
        cases: Columns `hit`, `chance`, `distance_mm`, `auroc`, `voxels_true`, `voxels_marked`, `voxels_shared`,
            `ideal_hit`, `ideal_marked`, `ideal_shared`, `finding`, `sequence`, `patient_id`.
        resampling: Draws of the patients of its rows; None: points only.
    """
    scores = _scores(cases)
    groups = {"all": np.ones(len(scores), dtype=bool)}
    for column in ("finding", "sequence"):
        groups |= {f"{column}/{name}": cases[column] == name for name in sorted(set(cases[column]))}
    points: dict[str, float] = {}
    replicates: dict[str, npt.NDArray[np.float64]] = {}
    for group, chosen in groups.items():
        points[f"{group}/n_cases"] = float(chosen.sum())
        for place, name in enumerate(_SCORES):
            values = scores[:, place : place + 1]
            rows = np.flatnonzero(chosen & ~np.isnan(values[:, 0]))
            if len(rows) == 0:
                continue
            points[f"{group}/{name}"] = float(values[rows].mean())
            if resampling is not None:
                replicates[f"{group}/{name}"] = resampling.means(values, np.ones(len(values)), rows)[:, 0]
    return CaseMetrics(points, replicates)


def _scores(cases: Cases) -> npt.NDArray[np.float64]:
    """(N, scores), NaN where a case has none."""
    dice = dice_of_counts(cases["voxels_shared"], cases["voxels_true"], cases["voxels_marked"])
    ideal = dice_of_counts(cases["ideal_shared"], cases["voxels_true"], cases["ideal_marked"])
    columns = {
        **{name: np.asarray(cases[name], dtype=np.float64) for name in ("hit", "chance", "auroc", "distance_mm")},
        "above_chance": np.asarray(cases["hit"] - cases["chance"], dtype=np.float64),
        "dice": dice,
        "iou": dice / (2 - dice),
        "ideal_hit": np.asarray(cases["ideal_hit"], dtype=np.float64),
        "ideal_dice": ideal,
    }
    return np.column_stack([columns[name] for name in _SCORES])
