"""`selip evaluate --task detection`: boxes of lesions, by the maps of a text checkpoint or by a segmentation head."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from selip.processing.findings import StructuredReport, is_abnormal
from selip.processing.nifti_selip import VolumeError
from selip.processing.rendering import NORMAL_SENTENCE, series_text
from selip.processing.sources.schema import StudyRow

from ..finetuning.masks import mask_cell
from .case_metrics import Cases
from .controls import mapper
from .detection import (
    BOX,
    FALSE_PER_STUDY,
    LESION,
    OVERLAPS,
    STUDY,
    average_precision,
    boxes_of,
    case_columns,
    detection_case_metrics,
    match_cases,
)
from .detection_figures import draw_detection
from .heads import HeadInputs, boxed_studies
from .lesions import (
    BoolArray,
    RememberedStudy,
    components,
    finding_of_label,
    head_of,
    highest_share,
    lesions_on_box,
    map_on_box,
)
from .provenance import is_simulated
from .segmentation_task import lesion_probability
from .series_source import BoxedSeries, StudySeries, series_of
from .task import CONFIDENCE, EvaluationInputs, StudyInputs, TaskOutcome, percent_with_interval

PRIMARY_METRIC = "all/ap@0.1"
SHARES = (0.002, 0.005, 0.01, 0.02)
"""Shares of the head that boxes of a map may come from; which one is chosen on other studies."""
PROBABILITIES = (0.1, 0.3, 0.5)
"""Probabilities of a lesion from which boxes of a head may come; which one is chosen on other studies."""


@dataclass(frozen=True)
class _Volume:
    """What speaks for a lesion at every voxel of the box of a study, and its series there."""

    row: StudyRow
    series: list[BoxedSeries]
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Detector:
    """How boxes are made.

    Attributes:
        volumes: Of a split, study by study; what cannot be had is counted.
        levels: What a volume may be cut at.
        default: The one of them where there are no studies to choose on.
        cut: Marks a volume (values, series, level).
        settings: What it is, for the result file.
    """

    volumes: Callable[[str, Counter[str]], Iterator[_Volume]]
    levels: tuple[float, ...]
    default: float
    cut: Callable[[npt.NDArray[np.float32], BoolArray, float], BoolArray]
    settings: Mapping[str, Any]


def evaluate_map_detection(inputs: EvaluationInputs) -> TaskOutcome:
    """Boxes from the maps of a text checkpoint, which is told of no lesion: where a head does not look normal.

    The value of a position is what it takes from the cosine with the sentence of a normal study, in the words of the
    sequence, and the mean over the series of the study. Boxes are the connected parts of the highest share of the
    head, their score the mean value.

    Raises:
        ValueError: No study has a lesion in a mask of that name, or what is evaluated has no maps.
    """

    def volumes(split: str, reasons: Counter[str]) -> Iterator[_Volume]:
        return _abnormality(inputs, split, reasons)

    settings = {
        "boxes": "connected parts of the highest share of the head",
        "value": "what a position takes from the cosine with the normal sentence, mean over the series",
        "level": "share of the head",
    }
    return _evaluate(inputs, _Detector(volumes, SHARES, 0.01, highest_share, settings))


def evaluate_head_detection(inputs: HeadInputs) -> TaskOutcome:
    """Boxes from the probability of a lesion by a checkpoint of `selip finetune`: its connected parts above a level.

    The score of a box is the mean probability within its part.

    Raises:
        ValueError: No study has a lesion in a mask of that name.
    """

    def volumes(split: str, reasons: Counter[str]) -> Iterator[_Volume]:
        for row, series in boxed_studies(inputs, split, reasons):
            yield _Volume(row, series, lesion_probability(inputs.model, series))

    def above(values: npt.NDArray[np.float32], head: BoolArray, level: float) -> BoolArray:
        return values >= level

    settings = {
        "boxes": "connected parts of the lesion above a probability",
        "value": "probability of a lesion",
        "level": "probability",
    }
    return _evaluate(inputs, _Detector(volumes, PROBABILITIES, 0.5, above, settings))


def _evaluate(inputs: StudyInputs, detector: _Detector) -> TaskOutcome:
    """Make boxes of a split, choose where to cut on another one, and score them (detection.py)."""
    config = inputs.config
    reasons: Counter[str] = Counter()
    by_level = _boxes_of_split(inputs, detector, config.split, reasons)
    if not any((cases["kind"] == LESION).any() for cases in by_level.values()):
        raise ValueError(
            f"expected studies of split {config.split} with a lesion in a mask named {config.mask!r}, got none "
            f"({dict(reasons)})"
        )
    chosen_on, level = _chosen_level(inputs, detector)
    cases = by_level[level]
    found = detection_case_metrics(cases, inputs.resampling(cases["patient_id"]))
    intervals = found.intervals(CONFIDENCE)
    with_lesion = set(cases["study_id"][cases["kind"] == LESION])
    n = {
        "patients": len(set(cases["patient_id"])),
        "studies": int((cases["kind"] == STUDY).sum()),
        "with a lesion": len(with_lesion),
        "lesions": int((cases["kind"] == LESION).sum()),
        "boxes": int((cases["kind"] == BOX).sum()),
    }
    simulated = is_simulated(config.studies)

    def draw(out: Path) -> dict[str, str]:
        path = out.with_suffix(".curves.png")
        kind = " (simulated studies)" if simulated else ""
        draw_detection(cases, found.points, intervals, path, title=f"Boxes of lesions{kind}")
        return {"curves": path.name}

    return TaskOutcome(
        primary_metric=PRIMARY_METRIC,
        greater_is_better=True,
        metrics=found.points,
        intervals=intervals,
        cases=cases,
        n=n,
        skipped=dict(reasons),
        references={"masks": n["studies"]},
        settings={
            "task": "detection",
            "mask": config.mask,
            **detector.settings,
            "cut_at": level,
            "cut_chosen_on": chosen_on,
            "score": "mean value within a box's part",
            "true boxes": "connected parts of each label of the mask on the study box",
            "overlap": "intersection over union of boxes in mm, along the axes of the study box",
            **inputs.interval_settings,
        },
        summary=_summary(found.points, intervals, n, simulated=simulated),
        draw=draw,
    )


def _chosen_level(inputs: StudyInputs, detector: _Detector) -> tuple[str, float]:
    """Where it was chosen where to cut, and the level: the best average precision at the lowest overlap."""
    split = "test" if inputs.config.split == "validation" else "validation"
    tables = {}
    if len(inputs.splits[split]):
        tables = _boxes_of_split(inputs, detector, split, Counter())
    precision = {}
    for level, cases in tables.items():
        lesions = float((cases["kind"] == LESION).sum())
        scores = cases["score"][cases["kind"] == BOX]
        is_true, _ = match_cases(cases, OVERLAPS[0])
        area = average_precision(scores, is_true, np.ones((1, len(scores))), np.array([lesions]))
        precision[level] = float(area[0])
    usable = {level: value for level, value in precision.items() if not np.isnan(value)}
    if not usable:
        return "nothing (the default)", detector.default
    return split, max(usable, key=lambda level: usable[level])


def _boxes_of_split(inputs: StudyInputs, detector: _Detector, split: str, reasons: Counter[str]) -> dict[float, Cases]:
    """Tables of boxes by level; one forward pass serves all levels."""
    rows: dict[float, list[dict[str, Any]]] = {level: [] for level in detector.levels}
    for volume in detector.volumes(split, reasons):
        true = _true_rows(volume, inputs, reasons)
        if true is None:
            continue
        try:
            head = head_of(volume.series, inputs.image_processor)
        except VolumeError:
            reasons["study without a head"] += 1
            continue
        for level, table in rows.items():
            table += true
            table += _said_rows(volume, detector.cut(volume.values, head, level), inputs.image_processor)
    return {level: case_columns(table) for level, table in rows.items()}


def _true_rows(volume: _Volume, inputs: StudyInputs, reasons: Counter[str]) -> list[dict[str, Any]] | None:
    """The row of a study and those of its true boxes; None where nobody knows its lesions."""
    row, processor = volume.row, inputs.image_processor
    report = None
    if row["reference_findings"]:
        report = StructuredReport.model_validate_json(row["reference_findings"])
    about = {"study_id": row["study_id"], "patient_id": row["patient_id"]}
    rows: list[dict[str, Any]] = [{**about, "kind": STUDY}]
    cell = mask_cell(row, inputs.config.mask)
    if cell is None:
        if report is not None and not any(map(is_abnormal, report.findings)):
            return rows
        reasons["study without a mask"] += 1
        return None
    for label, lesion in lesions_on_box(cell, volume.series[0].affine, processor, row["study_id"]).items():
        finding = None if report is None else finding_of_label(report, label)
        for number, box in enumerate(boxes_of(lesion, processor.spacing_mm)):
            name = "" if finding is None else finding.finding
            rows.append({**about, "kind": LESION, "number": 1000 * label + number, "finding": name, "box": box})
    return rows


def _said_rows(volume: _Volume, marked: BoolArray, processor: Any) -> list[dict[str, Any]]:
    """The boxes of the connected parts of what is marked, with the mean value within each."""
    parts = components(marked)
    return [
        {
            "study_id": volume.row["study_id"],
            "patient_id": volume.row["patient_id"],
            "kind": BOX,
            "number": number,
            "score": float(volume.values[where][part].mean()),
            "box": box,
        }
        for number, ((where, part), box) in enumerate(zip(parts, boxes_of(marked, processor.spacing_mm), strict=True))
    ]


def _abnormality(inputs: EvaluationInputs, split: str, reasons: Counter[str]) -> Iterator[_Volume]:
    """How little each position of the studies of a split looks normal, mean over the series."""
    source = RememberedStudy(inputs.source(split))
    rows = [row for row in inputs.rows(split) if row["series"]]
    names = series_of(rows)
    language = {row["study_id"]: row["language"] for row in rows}
    told = [_normal_text(name, language[name.study_id]) for name in names]
    texts = list(dict.fromkeys(told))
    embedded = dict(zip(texts, inputs.embedder.embed_texts(texts), strict=True))
    maps = mapper(inputs.embedder).map_series(source, names, [embedded[text][None] for text in told])
    for row in tqdm(rows, desc=f"maps of {split}", unit="study", disable=None):
        usable = source.usable(row)
        of_series = [next(maps) for _ in row["series"]]
        reasons.update(each for each in of_series if isinstance(each, str))
        found = [each[0] for each in of_series if not isinstance(each, str)]
        if not found or not usable:
            reasons["study without a usable series"] += 1
            continue
        values = map_on_box(-np.mean(found, axis=0), inputs.image_processor)
        yield _Volume(row, list(usable.values()), values)


def _normal_text(name: StudySeries, language: str) -> str:
    item = series_text(StructuredReport(normal=True), name.sequence, cast(Literal["en", "zh"], language))
    return NORMAL_SENTENCE[language] if item is None else item.text


def _summary(
    points: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    n: Mapping[str, int],
    *,
    simulated: bool,
) -> str:
    kind = ", simulated studies" if simulated else ""
    lines = [
        f"detection, {n['lesions']} lesions in {n['with a lesion']} of {n['studies']} studies of {n['patients']} "
        f"patients{kind}, {n['boxes']} boxes; percent, [95 % interval over patients]"
    ]
    shown: Sequence[tuple[str, str]] = [
        *((f"all/ap@{level:g}", f"average precision, overlap {level:g}") for level in OVERLAPS),
        ("all/map", "their mean"),
        *((f"all/sensitivity@{k:g}", f"found, {k:g} false boxes a study") for k in FALSE_PER_STUDY),
    ]
    lines += [f"{words:<36}{percent_with_interval(name, points, intervals):>22}" for name, words in shown]
    findings = [name.split("/")[1] for name in points if name.endswith("/n_lesions") and name.startswith("finding/")]
    for name in sorted(findings, key=lambda name: -points[f"finding/{name}/n_lesions"]):
        value = percent_with_interval(f"finding/{name}/found", points, intervals)
        lines.append(f"{f'{name}, 1 false box':<36}{value:>22}{points[f'finding/{name}/n_lesions']:>7.0f}")
    return "\n".join(lines)
