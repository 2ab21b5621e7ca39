"""`selip evaluate --task segmentation`: the masks of a fine-tuned checkpoint, on the grid of the true masks."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.processing.nifti_selip import VolumeError, read_volume
from selip.processing.sources.schema import StudyRow

from ..finetuning.masks import mask_cell
from .case_metrics import Cases
from .heads import HeadInputs, boxed_studies, head_logits
from .provenance import is_simulated
from .segmentation import case_scores, count_lesions, hd95_mm, segmentation_case_metrics
from .segmentation_figures import SegmentedStudy, cases_from_worst_to_best, draw_dice, draw_overlays
from .series_source import BoxedSeries, SeriesSource
from .task import CONFIDENCE, TaskOutcome, percent_with_interval

PRIMARY_METRIC = "dice"
# Which series of a study lies under the masks: of those that are there, the first of these.
_SHOWN_SEQUENCES = ("FLAIR", "T2w", "T1c", "DWI", "T1w")
THRESHOLD = 0.5
"""Probability from which a voxel is lesion."""


def evaluate_segmentation(inputs: HeadInputs) -> TaskOutcome:
    """Dice, HD95, volume error and lesion F1 of every study with a mask (metrics as in segmentation.py).

    The probability of a lesion is computed on the study box in one piece, brought to the grid of the true mask, and
    cut at 0.5 there. `box_dice` is what that way leaves of the true mask itself: no model of this box does better.

    Raises:
        ValueError: No study has a mask of that name, or none has a lesion in it.
    """
    config = inputs.config
    reasons: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for row, series in boxed_studies(inputs, config.split, reasons):
        cell = mask_cell(row, config.mask)
        if cell is None:
            reasons["study without a mask"] += 1
            continue
        rows.append(_case(inputs, row, series, cell))
    if not any(each["voxels_true"] for each in rows):
        raise ValueError(
            f"expected studies of split {config.split} with a lesion in a mask named {config.mask!r}, got none among "
            f"{len(rows)} with such a mask ({dict(reasons)})"
        )
    cases = {
        name: np.array([each[name] for each in rows], dtype=object if isinstance(rows[0][name], str) else None)
        for name in rows[0]
    }
    found = segmentation_case_metrics(cases, inputs.resampling(cases["patient_id"]))
    intervals = found.intervals(CONFIDENCE)
    n = {
        "patients": len(set(cases["patient_id"])),
        "studies": len(rows),
        "with a lesion": int((cases["voxels_true"] > 0).sum()),
    }
    return TaskOutcome(
        primary_metric=PRIMARY_METRIC,
        greater_is_better=True,
        metrics=found.points,
        intervals=intervals,
        cases=cases,
        n=n,
        skipped=dict(reasons),
        references={"masks": len(rows)},
        settings={
            "task": "segmentation",
            "mask": config.mask,
            "input": "all series of a study, the whole study box at once",
            "grid": "that of the true mask",
            "threshold": THRESHOLD,
            "empty masks": "both empty: Dice and F1 1, HD95 0; one empty: Dice and F1 0, HD95 374 mm",
            "lesions": "components of 26 neighbours; found by one shared voxel",
            **inputs.interval_settings,
        },
        summary=segmentation_table(found.points, intervals, n, is_simulated(config.studies)),
        draw=partial(_draw, inputs, cases),
    )


def lesion_probability(model: Any, series: list[BoxedSeries]) -> npt.NDArray[np.float32]:
    """Probability (X, Y, Z) on the box of a study that a voxel is not background."""
    probability: npt.NDArray[np.float32] = 1 - head_logits(model, [series]).softmax(1)[0, 0].numpy()
    return probability


def _case(inputs: HeadInputs, row: StudyRow, series: list[BoxedSeries], cell: Any) -> dict[str, Any]:
    processor, study_id, affine = inputs.image_processor, row["study_id"], series[0].affine
    try:
        values, mask_affine = read_volume(
            cell, where=f"mask of {study_id}", max_voxels=processor.max_voxels, allow_constant=True
        )
        on_box = processor.mask_to_box(cell, affine)
    except VolumeError as error:
        raise ValueError(f"expected a readable mask of study {study_id}, got {error}; repair or remove it") from error
    true, spacing_mm = values > 0, np.linalg.norm(mask_affine[:3, :3], axis=0)
    grid = (values, mask_affine)
    native = processor.to_native(lesion_probability(inputs.model, series), affine, like=grid)
    predicted = np.asarray(native.dataobj) >= THRESHOLD
    box_mask = np.asarray(processor.to_native(on_box, affine, like=grid).dataobj) > 0
    lesions_true, lesions_found, lesions_false = count_lesions(predicted, true)
    return {
        "study_id": study_id,
        "patient_id": row["patient_id"],
        "voxels_true": int(true.sum()),
        "voxels_predicted": int(predicted.sum()),
        "voxels_shared": int((true & predicted).sum()),
        "voxel_ml": float(np.prod(spacing_mm)) / 1000,
        "hd95_mm": hd95_mm(predicted, true, spacing_mm),
        "lesions_true": lesions_true,
        "lesions_found": lesions_found,
        "lesions_false": lesions_false,
        "box_voxels_predicted": int(box_mask.sum()),
        "box_voxels_shared": int((true & box_mask).sum()),
    }


def _draw(inputs: HeadInputs, cases: Cases, out: Path) -> dict[str, str]:
    """Draw the overlays and the spread of Dice; returns their file names by kind."""
    config = inputs.config
    simulated = " (simulated studies)" if is_simulated(config.studies) else ""
    pictures = {"dice": out.with_suffix(".dice.png"), "overlays": out.with_suffix(".overlays.png")}
    draw_dice(cases, pictures["dice"], title=f"Dice by study{simulated}")
    dice = case_scores(cases)["dice"]
    chosen = {
        str(cases["study_id"][k]): float(dice[k]) for k in cases_from_worst_to_best(cases, config.num_figure_cases)
    }
    rows = {row["study_id"]: row for row in inputs.rows(config.split) if row["study_id"] in chosen}
    source = inputs.source(config.split)
    studies = [_segmented(inputs, source, rows[name], score) for name, score in chosen.items()]
    draw_overlays(studies, pictures["overlays"], title=f"From the worst to the best Dice{simulated}")
    return {kind: path.name for kind, path in pictures.items()}


def _segmented(inputs: HeadInputs, source: SeriesSource, row: StudyRow, dice: float) -> SegmentedStudy:
    """A study with both masks on its box, on the series that shows most lesions."""
    found = source.study(row["study_id"], [each["series_id"] for each in row["series"]])
    series = {name: each for name, each in found.items() if isinstance(each, BoxedSeries)}
    sequences = {each["series_id"]: each["sequence"] for each in row["series"]}
    place = {sequence: number for number, sequence in enumerate(_SHOWN_SEQUENCES)}
    name = min(series, key=lambda each: place.get(sequences[each], len(place)))
    affine = series[name].affine
    return SegmentedStudy(
        volume=series[name].volume,
        spacing_mm=tuple(np.linalg.norm(affine[:3, :3], axis=0)),
        true=inputs.image_processor.mask_to_box(mask_cell(row, inputs.config.mask), affine),
        predicted=lesion_probability(inputs.model, list(series.values())) >= THRESHOLD,
        title=f"{row['study_id']}, Dice {100 * dice:.0f} %, on {sequences[name]}",
    )


def segmentation_table(
    points: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], n: Mapping[str, int], simulated: bool
) -> str:
    """The main numbers as a few lines of text."""
    kind = ", simulated studies" if simulated else ""
    lines = [
        f"segmentation, {n['studies']} studies of {n['patients']} patients{kind}, {n['with a lesion']} with a lesion; "
        "[95 % interval over patients]",
        f"{'Dice (%)':<44}{percent_with_interval('dice', points, intervals):>22}",
        f"{'Dice of the true mask through the box (%)':<44}{percent_with_interval('box_dice', points, intervals):>22}",
        f"{'lesion F1 (%)':<44}{percent_with_interval('lesion_f1', points, intervals):>22}",
    ]
    in_units = (("hd95_mm", "HD95 (mm; 374 where nothing is marked)"), ("volume_error_ml", "volume error (ml)"))
    for name, shown in in_units:
        ends = intervals.get(name)
        between = "" if ends is None else f" [{ends[0]:.1f}, {ends[1]:.1f}]"
        lines.append(f"{shown:<44}{f'{points[name]:.1f}{between}':>22}")
    if "no_lesion/clean" in points:
        value = percent_with_interval("no_lesion/clean", points, intervals)
        lines.append(f"{'nothing marked where nothing is (%)':<44}{value:>22}")
    return "\n".join(lines)
