"""`selip evaluate --task localization`: does the map of a lesion's text lie on that lesion?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from selip.processing.findings import Finding, StructuredReport, is_abnormal
from selip.processing.nifti_selip import VolumeError
from selip.processing.rendering import is_visible, series_text
from selip.processing.sources.schema import StudyRow

from ..finetuning.masks import mask_cell
from .case_metrics import Cases
from .controls import mapper
from .lesions import BoolArray, RememberedStudy, finding_of_label, head_of, lesions_on_box, map_on_box
from .localization import (
    SHARES,
    TOLERANCE_MM,
    area_of,
    best_share,
    distance_to,
    ideal_map,
    localization_case_metrics,
    marked_counts,
    pointing,
)
from .localization_figures import LocalizedExample, draw_localized, draw_shares_hit
from .provenance import is_simulated
from .segmentation import dice_of_counts
from .series_source import BoxedSeries
from .task import CONFIDENCE, EvaluationInputs, TaskOutcome, percent_with_interval

PRIMARY_METRIC = "all/hit"


@dataclass(frozen=True)
class _Lesion:
    """A lesion with a text for some of the series of its study."""

    label: int
    finding: Finding
    voxels: BoolArray


@dataclass(frozen=True)
class _Named:
    """A series with the texts that are asked of it, one a lesion; names as of `NamedSeries`."""

    study_id: str
    series_id: str
    sequence: str
    texts: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class _Scored:
    """A case: its row of the table (counts by share), Dice by share, and the text and the map for a picture."""

    row: dict[str, Any]
    dice_by_share: tuple[float, ...]
    text: str
    positions: npt.NDArray[np.float32]


def evaluate_localization(inputs: EvaluationInputs) -> TaskOutcome:
    """The map of every true lesion's text, on every series whose sequence can show it (scores as in localization.py).

    The text is that of the one finding, rendered for the sequence as anywhere. Which share of the head is marked for
    Dice is chosen on the validation studies, or on the test studies where validation is what is scored.

    Raises:
        ValueError: No study has such a mask and findings, or what is evaluated has no maps.
    """
    config = inputs.config
    reasons: Counter[str] = Counter()
    scored = list(_score_split(inputs, config.split, reasons))
    if not scored:
        raise ValueError(
            f"expected studies of split {config.split} with findings, and a mask named {config.mask!r} whose labels "
            f"are their numbers, got none ({dict(reasons)})"
        )
    chosen_on, share = _chosen_share(inputs)
    cases = _table(scored, SHARES.index(share))
    found = localization_case_metrics(cases, inputs.resampling(cases["patient_id"]))
    intervals = found.intervals(CONFIDENCE)
    n = {
        "patients": len(set(cases["patient_id"])),
        "studies": len(set(cases["study_id"])),
        "series": len(set(zip(cases["study_id"], cases["series_id"], strict=True))),
        "lesions": len(set(zip(cases["study_id"], cases["lesion"], strict=True))),
    }
    simulated = is_simulated(config.studies)

    def draw(out: Path) -> dict[str, str]:
        kind = " (simulated studies)" if simulated else ""
        bars, pictures = out.with_suffix(".hits.png"), out.with_suffix(".examples.png")
        draw_shares_hit(found.points, intervals, bars, title=f"Pointing game: does the map point at the lesion?{kind}")
        draw_localized(
            _examples(inputs, scored), pictures, title=f"Maps of the texts of lesions, drawn at random{kind}"
        )
        return {"hits": bars.name, "examples": pictures.name}

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
            "task": "localization",
            "mask": config.mask,
            "map": "what each position of the last feature map adds to the cosine of series and text",
            "text": "of the one finding, for the sequence of the series",
            "grid": "the study box, within the head",
            "tolerance_mm": TOLERANCE_MM,
            "share_marked": share,
            "share_chosen_on": chosen_on,
            **inputs.interval_settings,
        },
        summary=_summary(found.points, intervals, n, share, simulated=simulated),
        draw=draw,
    )


def _chosen_share(inputs: EvaluationInputs) -> tuple[str, float]:
    """Where the share of the head to mark was chosen, and the share."""
    split = "test" if inputs.config.split == "validation" else "validation"
    if len(inputs.splits[split]) == 0:
        return "nothing (the default)", best_share(np.zeros((0, len(SHARES))))
    dice = np.array([each.dice_by_share for each in _score_split(inputs, split, Counter())])
    return (split if len(dice) else "nothing (the default)"), best_share(dice)


def _score_split(inputs: EvaluationInputs, split: str, reasons: Counter[str]) -> Iterator[_Scored]:
    """Every case of a split, study by study; what has to be left out is counted."""
    source, processor = RememberedStudy(inputs.source(split)), inputs.image_processor
    rows = [row for row in inputs.rows(split) if row["series"]]
    asked = [_named_series(row, inputs.config.mask, reasons) for row in rows]
    names = [each for of_study in asked for each in of_study]
    texts = list(dict.fromkeys(text for each in names for text in each.texts))
    if not texts:
        return
    embedded = dict(zip(texts, inputs.embedder.embed_texts(texts), strict=True))
    queries = [np.stack([embedded[text] for text in each.texts]) for each in names]
    maps = mapper(inputs.embedder).map_series(source, names, queries)
    for row, of_study in tqdm(
        list(zip(rows, asked, strict=True)), desc=f"maps of {split}", unit="study", disable=None
    ):
        if not of_study:
            continue
        usable = source.usable(row)
        lesions, head = _study_on_box(row, usable, inputs, reasons)
        for name in of_study:
            of_series = next(maps)
            if isinstance(of_series, str) or name.series_id not in usable:
                reasons[of_series if isinstance(of_series, str) else "series that cannot be had"] += 1
                continue
            for label, text, positions in zip(name.labels, name.texts, of_series, strict=True):
                lesion = lesions.get(label)
                if lesion is None or head is None:
                    reasons["finding that the mask does not show"] += 1
                    continue
                if not lesion.voxels.any():
                    reasons["lesion outside of the box"] += 1
                    continue
                yield _case(name, lesion, head, text, positions, processor, row["patient_id"])


def _named_series(row: StudyRow, mask: str, reasons: Counter[str]) -> list[_Named]:
    """The series of a study that are asked for a lesion, with the texts; empty: there is nothing to ask."""
    if mask_cell(row, mask) is None or not row["reference_findings"]:
        reasons["study without a mask, or without true findings"] += 1
        return []
    report = StructuredReport.model_validate_json(row["reference_findings"])
    language = cast(Literal["en", "zh"], row["language"])
    numbered = [
        (label, finding)
        for label in range(1, len(report.findings) + 1)
        if (finding := finding_of_label(report, label)) is not None and is_abnormal(finding)
    ]
    named = []
    for series in row["series"]:
        shown = [(label, finding) for label, finding in numbered if is_visible(finding, series["sequence"])]
        items = [
            (label, item.text)
            for label, finding in shown
            if (item := series_text(StructuredReport(normal=False, findings=[finding]), series["sequence"], language))
        ]
        if items:
            labels, texts = zip(*items, strict=True)
            named.append(_Named(row["study_id"], series["series_id"], series["sequence"], texts, labels))
    return named


def _study_on_box(
    row: StudyRow, usable: Mapping[str, BoxedSeries], inputs: EvaluationInputs, reasons: Counter[str]
) -> tuple[dict[int, _Lesion], BoolArray | None]:
    """Lesions of a study by label, and its head; None: none is found."""
    if not usable:
        return {}, None
    processor, series = inputs.image_processor, list(usable.values())
    report = StructuredReport.model_validate_json(row["reference_findings"])
    try:
        head = head_of(series, processor)
    except VolumeError:
        reasons["study without a head"] += 1
        return {}, None
    voxels = lesions_on_box(mask_cell(row, inputs.config.mask), series[0].affine, processor, row["study_id"])
    found = {}
    for label, mask in voxels.items():
        finding = finding_of_label(report, label)
        if finding is None:
            reasons["label of a mask without a finding"] += 1
        else:
            found[label] = _Lesion(label, finding, mask)
    return found, head


def _case(
    name: _Named,
    lesion: _Lesion,
    head: BoolArray,
    text: str,
    positions: npt.NDArray[np.float32],
    processor: Any,
    patient_id: str,
) -> _Scored:
    values = map_on_box(positions, processor)
    ideal = map_on_box(ideal_map(lesion.voxels, positions.shape), processor)
    size = int(lesion.voxels.sum())
    distance_mm = distance_to(lesion.voxels, processor.spacing_mm)
    counts = marked_counts(values, lesion.voxels, head)
    row = {
        "study_id": name.study_id,
        "patient_id": patient_id,
        "series_id": name.series_id,
        "sequence": name.sequence,
        "lesion": lesion.label,
        "finding": lesion.finding.finding,
        "site": lesion.finding.site,
        "laterality": lesion.finding.laterality,
        "volume_ml": size * float(np.prod(processor.spacing_mm)) / 1000,
        **pointing(values, distance_mm, head),
        "auroc": area_of(values, lesion.voxels, head),
        "ideal_hit": pointing(ideal, distance_mm, head)["hit"],
        "voxels_true": size,
        "counts": counts,
        "ideal_counts": marked_counts(ideal, lesion.voxels, head),
    }
    dice = [float(dice_of_counts([shared], [size], [marked])[0]) for marked, shared in counts]
    return _Scored(row, tuple(dice), text, positions)


def _table(scored: Sequence[_Scored], share: int) -> Cases:
    """Columns of the table of cases, the counts those of one share."""
    columns: dict[str, list[Any]] = {}
    for each in scored:
        row = dict(each.row)
        row["voxels_marked"], row["voxels_shared"] = row.pop("counts")[share]
        row["ideal_marked"], row["ideal_shared"] = row.pop("ideal_counts")[share]
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {
        name: np.array(values, dtype=object if isinstance(values[0], str) else None)
        for name, values in columns.items()
    }


def _examples(inputs: EvaluationInputs, scored: Sequence[_Scored]) -> list[LocalizedExample]:
    """Cases drawn at random, one a patient: the series with the map of the lesion's text."""
    config, processor = inputs.config, inputs.image_processor
    source = RememberedStudy(inputs.source(config.split))
    rows = {row["study_id"]: row for row in inputs.rows(config.split)}
    first: dict[str, _Scored] = {}
    for place in np.random.default_rng(config.seed).permutation(len(scored)):
        first.setdefault(scored[place].row["patient_id"], scored[place])
    examples = []
    for each in list(first.values())[: config.num_figure_cases]:
        case, row = each.row, rows[each.row["study_id"]]
        usable = source.usable(row)
        series = usable[case["series_id"]]
        lesions = lesions_on_box(mask_cell(row, config.mask), series.affine, processor, case["study_id"])
        examples.append(
            LocalizedExample(
                volume=series.volume,
                values=map_on_box(each.positions, processor),
                head=head_of(list(usable.values()), processor),
                lesion=lesions[case["lesion"]],
                spacing_mm=tuple(processor.spacing_mm),
                title=f"{case['study_id']}  {case['sequence']}",
                text=each.text,
                is_hit=bool(case["hit"]),
                distance_mm=case["distance_mm"],
            )
        )
    return examples


def _summary(
    points: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    n: Mapping[str, int],
    share: float,
    *,
    simulated: bool,
) -> str:
    kind = ", simulated studies" if simulated else ""
    lines = [
        f"localization, {n['lesions']} lesions of {n['patients']} patients in {n['series']} series{kind}; percent, "
        "[95 % interval over patients]",
        f"{'map of the text of a lesion':<34}{'points at it':>22}{'chance':>8}{'ideal':>7}{'area':>22}"
        f"{f'Dice, {100 * share:g} % marked':>20}{'cases':>7}",
    ]
    for group in dict.fromkeys(name.rpartition("/")[0] for name in points):
        shown = [f"{group}/{name}" for name in ("hit", "auroc", "dice")]
        cells = [percent_with_interval(name, points, intervals) if name in points else "" for name in shown]
        chance, ideal = (f"{100 * points[f'{group}/{name}']:.1f}" for name in ("chance", "ideal_hit"))
        lines.append(
            f"{group:<34}{cells[0]:>22}{chance:>8}{ideal:>7}{cells[1]:>22}{cells[2]:>20}"
            f"{points[f'{group}/n_cases']:>7.0f}"
        )
    return "\n".join(lines)
