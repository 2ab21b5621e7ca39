"""Boxes of lesions against true boxes: average precision and sensitivity, from a table of boxes alone.

Boxes are axis-aligned in the study box, in mm. At a level of overlap (intersection over union of two boxes) the boxes
of a study are taken from the highest score down; each finds the true box that it overlaps most among those that reach
the level and are not found yet, else it is false. Then, over all studies (and draws of patients):

    average precision   area under precision against recall, precision at a recall the best at that recall or beyond
                        (all points: Everingham et al., International Journal of Computer Vision 2010;88:303-338, as
                        revised for VOC 2010); boxes of one score come at once. With one class, lesion, it is the mAP
    sensitivity at k    share of true boxes found where k false boxes come on a study (free-response ROC: Chakraborty,
                        Medical Physics 1989;16:561-568), at the lowest level of overlap

A study without a lesion has false boxes only, and counts among the studies.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases
from .lesions import BoolArray, components

FloatArray = npt.NDArray[np.float64]

OVERLAPS = (0.1, 0.3, 0.5)
"""Levels of intersection over union; two cubes of one size that are shifted by half their side have 1/3."""
FALSE_PER_STUDY = (0.5, 1.0, 2.0, 4.0)
FINDING_FALSE_PER_STUDY = 1.0
"""Where the share that is found is told by finding."""
CORNERS = ("x0_mm", "y0_mm", "z0_mm", "x1_mm", "y1_mm", "z1_mm")
STUDY, LESION, BOX = "study", "lesion", "box"
"""Kinds of a row: one a study (so that those without a box are in the table), a true box, a box that was said."""


def boxes_of(mask: BoolArray, spacing_mm: Sequence[float]) -> FloatArray:
    """Boxes (n, 6) of the connected parts of a mask, low then high corner in mm from the corner of the study box."""
    step = np.asarray(spacing_mm, dtype=np.float64)
    boxes = [
        np.concatenate([[axis.start for axis in box] * step, [axis.stop for axis in box] * step])
        for box, _ in components(mask)
    ]
    return np.array(boxes).reshape(-1, 6)


def overlaps(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """Intersection over union of boxes (n, 6) with others (m, 6): (n, m)."""
    low = np.maximum(boxes[:, None, :3], others[None, :, :3])
    high = np.minimum(boxes[:, None, 3:], others[None, :, 3:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    volumes = [(each[:, 3:] - each[:, :3]).prod(axis=1) for each in (boxes, others)]
    together = volumes[0][:, None] + volumes[1][None, :] - shared
    return np.divide(shared, together, out=np.zeros_like(shared), where=together > 0)


def match(overlap: FloatArray, scores: FloatArray, level: float) -> npt.NDArray[np.int64]:
    """The true box that each box of a study finds, -1: none.

    Args:
        overlap: (n, m) of n boxes with m true ones.
        scores: (n,); of equal ones the first comes first.
        level: Least overlap.
    """
    found = np.full(len(scores), -1)
    free = np.ones(overlap.shape[1], dtype=bool)
    for box in np.argsort(-scores, kind="stable"):
        candidates = np.where(free & (overlap[box] >= level), overlap[box], -1.0)
        if candidates.size and candidates.max() > 0:
            found[box] = candidates.argmax()
            free[found[box]] = False
    return found


def average_precision(scores: FloatArray, is_true: BoolArray, weights: FloatArray, lesions: FloatArray) -> FloatArray:
    """Area under the interpolated curve of precision and recall, in each of B draws.

    Args:
        scores: (N,) of all boxes.
        is_true: (N,) which of them found a lesion.
        weights: (B, N), how often the study of each counts.
        lesions: (B,), number of true boxes.

    Returns:
        (B,); NaN where there is no lesion, 0 where there is no box.
    """
    found, wrong = _cumulated(scores, is_true, weights)
    precision = np.divide(found, found + wrong, out=np.zeros_like(found), where=found + wrong > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gained = np.diff(found, axis=1, prepend=0.0)
    area = (gained * envelope).sum(axis=1)
    return np.divide(area, lesions, out=np.full(len(area), np.nan), where=lesions > 0)


def froc(
    scores: FloatArray, is_true: BoolArray, weights: FloatArray, lesions: FloatArray, studies: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """False boxes a study and sensitivity at every score, each (B, G), from the highest; arguments as above.

    Args:
        studies: (B,), number of studies.
    """
    found, wrong = _cumulated(scores, is_true, weights)
    return wrong / studies[:, None], np.divide(
        found, lesions[:, None], out=np.full(found.shape, np.nan), where=lesions[:, None] > 0
    )


def detection_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Every metric from the table of boxes.

    Names: `all/ap@0.1`, `all/ap@0.3`, `all/ap@0.5`, `all/map` (their mean), `all/sensitivity@1` and so on (the number
    is that of false boxes a study), `finding/NAME/found` (share of its boxes found at the score that leaves one false
    box a study), with `all/n_lesions`, `all/n_boxes`, `finding/NAME/n_lesions`.

    Args:
        cases: Columns `kind`, `study_id`, `patient_id`, `score`, `finding` and the corners.
        resampling: Draws of the patients of its rows; None: points only.
    """
    kind = cases["kind"]
    rows = {name: np.flatnonzero(kind == name) for name in (STUDY, LESION, BOX)}
    lowest, *_ = OVERLAPS
    matched = {level: match_cases(cases, level) for level in OVERLAPS}
    scores = np.asarray(cases["score"], dtype=np.float64)[rows[BOX]]
    limit = _score_at(scores, matched[lowest][0], len(rows[STUDY]), FINDING_FALSE_PER_STUDY)
    found = matched[lowest][1] >= limit
    findings = np.asarray(cases["finding"])[rows[LESION]]

    def values(counts: FloatArray) -> dict[str, FloatArray]:
        """Metrics (B,) where rows count (B, rows) times."""
        of = {name: counts[:, chosen] for name, chosen in rows.items()}
        lesions, studies = of[LESION].sum(axis=1), of[STUDY].sum(axis=1)
        result = {
            f"all/ap@{level:g}": average_precision(scores, is_true, of[BOX], lesions)
            for level, (is_true, _) in matched.items()
        }
        result["all/map"] = np.mean(list(result.values()), axis=0)
        wrong, sensitivity = froc(scores, matched[lowest][0], of[BOX], lesions, studies)
        for number in FALSE_PER_STUDY:
            result[f"all/sensitivity@{number:g}"] = _best_within(wrong, sensitivity, number, lesions)
        for name in sorted(set(findings)):
            own = of[LESION][:, findings == name]
            total = own.sum(axis=1)
            hits = own @ found[findings == name].astype(np.float64)
            result[f"finding/{name or 'unnamed'}/found"] = np.divide(
                hits, total, out=np.full(len(total), np.nan), where=total > 0
            )
        return result

    points = {name: float(value[0]) for name, value in values(np.ones((1, len(kind)))).items()}
    points |= {"all/n_lesions": float(len(rows[LESION])), "all/n_boxes": float(len(rows[BOX]))}
    points |= {f"finding/{name or 'unnamed'}/n_lesions": float((findings == name).sum()) for name in set(findings)}
    replicates: dict[str, FloatArray] = {}
    if resampling is not None:
        replicates = values(resampling.counts[:, resampling.patient_of_row].astype(np.float64))
    return CaseMetrics(points, replicates)


def match_cases(cases: Cases, level: float) -> tuple[BoolArray, FloatArray]:
    """Matches of a whole table, study by study.

    Returns:
        Which boxes found a lesion (N boxes); and of each true box the score it was found with, -inf: it was not.
    """
    kind, study = np.asarray(cases["kind"]), np.asarray(cases["study_id"])
    corners = np.column_stack([np.asarray(cases[name], dtype=np.float64) for name in CORNERS])
    boxes, lesions = np.flatnonzero(kind == BOX), np.flatnonzero(kind == LESION)
    scores = np.asarray(cases["score"], dtype=np.float64)[boxes]
    is_true, found_with = np.zeros(len(boxes), dtype=bool), np.full(len(lesions), -np.inf)
    for name in set(study[boxes]) & set(study[lesions]):
        own, true = np.flatnonzero(study[boxes] == name), np.flatnonzero(study[lesions] == name)
        which = match(overlaps(corners[boxes[own]], corners[lesions[true]]), scores[own], level)
        hit = which >= 0
        is_true[own[hit]] = True
        found_with[true[which[hit]]] = scores[own[hit]]
    return is_true, found_with


def case_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """The table of rows with `kind`, `study_id`, `patient_id` and, as the kind has them, `number`, `finding`, `score`
    and `box` (6,); what a kind lacks is -1, empty or NaN.
    """
    nothing = np.full(6, np.nan)
    corners = np.array([row.get("box", nothing) for row in rows], dtype=np.float64).reshape(-1, 6)
    words = {name: np.array([row.get(name, "") for row in rows], dtype=object) for name in _WORDS}
    return {
        **words,
        "number": np.array([row.get("number", -1) for row in rows]),
        "score": np.array([row.get("score", np.nan) for row in rows], dtype=np.float64),
        **{name: corners[:, place] for place, name in enumerate(CORNERS)},
    }


_WORDS = ("study_id", "patient_id", "kind", "finding")


def _cumulated(scores: FloatArray, is_true: BoolArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Boxes that found a lesion and others, down to each distinct score from the highest: two arrays (B, G)."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.inf))
    ordered = weights[:, order]
    found, wrong = (ordered * each for each in (is_true[order], ~is_true[order]))
    return found.cumsum(axis=1)[:, ends], wrong.cumsum(axis=1)[:, ends]


def _best_within(wrong: FloatArray, sensitivity: FloatArray, number: float, lesions: FloatArray) -> FloatArray:
    """Best sensitivity (B,) with at most that many false boxes a study; 0 where the first box is too many."""
    best = np.where(wrong <= number, sensitivity, 0.0).max(axis=1, initial=0.0)
    return np.where(lesions > 0, best, np.nan)


def _score_at(scores: FloatArray, is_true: BoolArray, studies: int, number: float) -> float:
    """The lowest score down to which at most that many false boxes come on a study; inf: there is none."""
    wrong, _ = froc(scores, is_true, np.ones((1, len(scores))), np.ones(1), np.array([float(studies)]))
    distinct = np.unique(scores)[::-1]
    within = distinct[wrong[0] <= number]
    return float(within.min()) if within.size else float("inf")
