"""How well a lesion mask agrees with the true one: overlap, distance in mm, volume, and lesion by lesion.

Definitions, with T the true voxels and P the predicted ones of one study, on the grid of the true mask:

    Dice             2 |T and P| / (|T| + |P|)
    HD95 in mm       the larger of two 95th percentiles: of the distances from the border of P to that of T, and back
                     (border: voxels of a mask with one of their 6 neighbours outside of it)
    volume error     | |P| - |T| | in ml
    lesion F1        2 found / (lesions of T + lesions of T found + lesions of P that touch none of T); a lesion is a
                     component of voxels that touch by face, edge or corner (26 neighbours), found if one voxel of P
                     is in it (the rule of ISLES'22: Hernandez Petzsche et al., Scientific Data 2022, and its code)

Empty masks, as the challenges do: nothing to find and nothing found is right (Dice 1, F1 1, distance 0; ISLES'22 code,
`empty_value`). If only one of the masks is empty, Dice and F1 are 0 and the distance is 374 mm (BraTS 2023: the
diagonal of its volumes, 240 x 240 x 155 voxels of 1 mm, rounded up).
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

ONE_EMPTY_MM = 374.0
"""Distance where one of two masks is empty."""
_ANY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)
_SCORES = ("dice", "hd95_mm", "volume_error_ml", "lesion_f1", "box_dice")


def dice_of_counts(shared: npt.ArrayLike, true: npt.ArrayLike, predicted: npt.ArrayLike) -> FloatArray:
    """Dice (N,) from numbers of voxels (N,): in both masks, in the true one, in the predicted one. Both empty: 1."""
    total = np.asarray(true, dtype=np.float64) + np.asarray(predicted, dtype=np.float64)
    return np.divide(2.0 * np.asarray(shared), total, out=np.ones_like(total), where=total > 0)


def hd95_mm(predicted: BoolArray, true: BoolArray, spacing_mm: npt.ArrayLike) -> float:
    """HD95 of two masks (x, y, z) of voxels of `spacing_mm`; NaN where one of them is empty.

    Raises:
        ValueError: The shapes differ.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"expected masks of one shape, got {predicted.shape} and {true.shape}")
    if not predicted.any() or not true.any():
        return float("nan")
    # nothing outside of both masks has a say; the margin makes voxels at the edge of the volume border voxels
    box = ndimage.find_objects((predicted | true).astype(np.int8))[0]
    borders = [_border(np.pad(mask[box], 1)) for mask in (predicted, true)]
    ends = []
    for start, other in (borders, borders[::-1]):
        distances = ndimage.distance_transform_edt(~other, sampling=np.asarray(spacing_mm, dtype=np.float64))
        ends.append(np.percentile(distances[start], 95))
    return float(max(ends))


def count_lesions(predicted: BoolArray, true: BoolArray) -> tuple[int, int, int]:
    """(true lesions, those of them that are found, predicted lesions that touch no true one) of two masks."""
    of_true, num_true = ndimage.label(true, structure=_ANY_NEIGHBOUR)
    of_predicted, num_predicted = ndimage.label(predicted, structure=_ANY_NEIGHBOUR)
    shared = predicted & true
    found = len(np.unique(of_true[shared]))
    touching = len(np.unique(of_predicted[shared]))
    return int(num_true), found, int(num_predicted) - touching


def lesion_f1_of_counts(true: npt.ArrayLike, found: npt.ArrayLike, false: npt.ArrayLike) -> FloatArray:
    """Lesion F1 (N,) from the counts (N,) of `count_lesions`. Nothing there and nothing marked: 1."""
    found = np.asarray(found, dtype=np.float64)
    total = np.asarray(true) + found + np.asarray(false)
    return np.divide(2.0 * found, total, out=np.ones_like(found), where=total > 0)


def case_scores(cases: Cases) -> dict[str, FloatArray]:
    """Scores of every study, (N,) by name, from the columns of the case table, empty masks by the rules above.

    Args:
        cases: Columns `voxels_true`, `voxels_predicted`, `voxels_shared`, `voxel_ml`, `hd95_mm` (NaN: one is empty),
            `lesions_true`, `lesions_found`, `lesions_false`, and of the true mask brought to the study box and back
            `box_voxels_predicted`, `box_voxels_shared`.
    """
    true, predicted = cases["voxels_true"], cases["voxels_predicted"]
    both_empty = (true == 0) & (predicted == 0)
    one_empty = np.where(both_empty, 0.0, ONE_EMPTY_MM)
    return {
        "dice": dice_of_counts(cases["voxels_shared"], true, predicted),
        "hd95_mm": np.where(np.isnan(cases["hd95_mm"]), one_empty, cases["hd95_mm"]),
        "volume_error_ml": np.abs(predicted - true) * cases["voxel_ml"],
        "lesion_f1": lesion_f1_of_counts(cases["lesions_true"], cases["lesions_found"], cases["lesions_false"]),
        "box_dice": dice_of_counts(cases["box_voxels_shared"], true, cases["box_voxels_predicted"]),
    }


def segmentation_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Means over studies, from the case table alone.

    Names: `dice`, `hd95_mm`, `volume_error_ml`, `lesion_f1` and `box_dice` over the studies with a lesion; `all/...`
    the same over all; `no_lesion/clean`, the share of the studies without one in which nothing is marked.

    Args:
        cases: As for `case_scores`, with `patient_id`.
        resampling: Draws of the patients of its rows; None: points only.
    """
    scores = case_scores(cases)
    columns = np.column_stack([scores[name] for name in _SCORES])
    has_lesion = np.asarray(cases["voxels_true"]) > 0
    clean = (np.asarray(cases["voxels_predicted"]) == 0).astype(np.float64)[:, None]
    groups: list[tuple[str, BoolArray, FloatArray, tuple[str, ...]]] = [
        ("", has_lesion, columns, _SCORES),
        ("all/", np.ones_like(has_lesion), columns, _SCORES),
        ("no_lesion/", ~has_lesion, clean, ("clean",)),
    ]
    points: dict[str, float] = {}
    replicates: dict[str, FloatArray] = {}
    for prefix, chosen, values, names in groups:
        rows = np.flatnonzero(chosen)
        if len(rows) == 0:
            continue
        points |= {f"{prefix}{name}": float(values[rows, k].mean()) for k, name in enumerate(names)}
        if resampling is not None:
            drawn = resampling.means(values, np.ones(len(values)), rows)
            replicates |= {f"{prefix}{name}": drawn[:, k] for k, name in enumerate(names)}
    return CaseMetrics(points, replicates)


def _border(mask: BoolArray) -> BoolArray:
    inside: BoolArray = ndimage.binary_erosion(mask)
    return mask & ~inside
