"""Tables of a leaderboard: a task on all its cases and on parts of them, with the metrics that are shown of each.

retrieval   abnormal series, all, normal ones, one sequence, one finding, one site; whole studies
pairs       all choices, what differs, one sequence
probe       all labels, what a study shows, where it shows it, one label
zero_shot   all labels, one label

The first column of a table ranks. A part with too few patients to resample is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..evaluation.binary_metrics import areas_under_roc, average_precisions
from ..evaluation.bootstrap import PatientBootstrap
from ..evaluation.case_metrics import CaseMetrics, Cases
from ..evaluation.gallery import STUDY
from ..evaluation.retrieval import case_values
from .references import Reference, RetrievalReference

FloatArray = npt.NDArray[np.float64]
MIN_PATIENTS = 10
MIN_QUERIES = 20
MIN_PER_CLASS = 5
_PLACE = "at "  # labels of places, see probe_task.places


@dataclass(frozen=True)
class Column:
    """A metric that is shown, larger is better, in percent.

    Attributes:
        id: Name in files.
        title: Heading.
    """

    id: str
    title: str


@dataclass(frozen=True)
class Subset:
    """A part of the cases of a task.

    Attributes:
        id: Name in files.
        title: Heading.
        group: Kind of part it is, e.g. "sequence".
        rows: Its cases.
        count: What they are, in words.
        patients: Their patients.
        yardsticks: What no system needs a volume for, by name.
    """

    id: str
    title: str
    group: str
    rows: npt.NDArray[np.int64]
    count: str
    patients: int
    yardsticks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskTables:
    """How a task is shown.

    Attributes:
        title: Heading.
        columns: Metrics; the first one ranks.
        subsets: Parts, the one that ranks the task first.
        metrics: Values `{subset}/{column}` of one run, from its table of cases and draws of patients.
    """

    title: str
    columns: tuple[Column, ...]
    subsets: tuple[Subset, ...]
    metrics: Callable[[Cases, PatientBootstrap], CaseMetrics]


def tables_of(task: str, reference: Reference, cases: Cases) -> TaskTables:
    """How a task is shown; `cases` are those of any run, since scores decide nothing here."""
    if task == "retrieval":
        assert isinstance(reference, RetrievalReference), "a retrieval has galleries"
        return _retrieval(reference, cases)
    if task == "pairs":
        return _pairs(cases)
    return _labels(task, cases)


# -- retrieval --------------------------------------------------------------------------------------------------------
_RETRIEVAL_COLUMNS = {
    Column("series_to_report_recall@5", "series to report, R@5"): ("image_to_text", "recall@5"),
    Column("report_to_series_recall@5", "report to series, R@5"): ("text_to_image", "recall@5"),
    Column("series_to_report_recall@1", "series to report, R@1"): ("image_to_text", "recall@1"),
    Column("series_to_report_ndcg@10", "series to report, nDCG@10"): ("image_to_text", "ndcg@10"),
}


def _retrieval(reference: RetrievalReference, cases: Cases) -> TaskTables:
    findings = {(image.study_id, image.series_id): image.findings for image in reference.images}
    of_rows = [findings[key] for key in zip(cases["study_id"], cases["series_id"], strict=True)]
    is_study, is_normal = cases["sequence"] == STUDY, cases["is_normal"].astype(bool)
    masks: list[tuple[str, str, str, npt.NDArray[np.bool_]]] = [
        # first, since a fixed order that puts the normal report first does well on the others
        ("abnormal", "abnormal series", "", ~is_study & ~is_normal),
        ("all", "all series", "", ~is_study),
        ("normal", "normal series", "", ~is_study & is_normal),
        ("studies", "whole studies", "", is_study),
        ("studies-abnormal", "abnormal whole studies", "", is_study & ~is_normal),
    ]
    for name in sorted(set(cases["sequence"]) - {STUDY}):
        masks.append((f"sequence:{name}", name, "sequence", cases["sequence"] == name))
    for place, group in ((0, "finding"), (1, "site")):
        names = sorted({triple[place] for each in of_rows for triple in each})
        for name in names:
            has = np.array([any(triple[place] == name for triple in each) for each in of_rows], dtype=bool)
            masks.append((f"{group}:{name}", name, group, ~is_study & has))
    values = case_values(cases, "within")
    subsets = []
    for id_, title, group, mask in masks:
        asked = np.flatnonzero(mask & (cases["direction"] == "image_to_text"))
        patients = len(set(cases["patient_id"][asked]))
        if len(asked) < MIN_QUERIES or patients < MIN_PATIENTS:
            continue
        yardsticks = {name: float(values[f"{name}_recall@5"][asked].mean()) for name in ("chance", "blind")}
        what = "studies" if id_.startswith("studies") else "series"
        subsets.append(Subset(id_, title, group, np.flatnonzero(mask), f"{len(asked)} {what}", patients, yardsticks))

    def metrics(run: Cases, resampling: PatientBootstrap) -> CaseMetrics:
        of_case = case_values(run, "within")
        found = CaseMetrics({}, {})
        for subset in subsets:
            for column, (direction, name) in _RETRIEVAL_COLUMNS.items():
                rows = subset.rows[run["direction"][subset.rows] == direction]
                if len(rows):
                    _add_mean(found, f"{subset.id}/{column.id}", of_case[name], run["weight"], rows, resampling)
        return found

    return TaskTables("Retrieval", tuple(_RETRIEVAL_COLUMNS), tuple(subsets), metrics)


# -- minimal pairs ----------------------------------------------------------------------------------------------------
_PAIRS_COLUMNS = {
    Column("series_to_report_accuracy", "series to report, right choices"): "image_to_text",
    Column("report_to_series_accuracy", "report to series, right choices"): "text_to_image",
}


def _pairs(cases: Cases) -> TaskTables:
    masks = [("all", "all choices", "", np.ones(len(cases["kind"]), dtype=bool))]
    for group, title in (("kind", "what differs"), ("sequence", "sequence")):
        for name in sorted(set(cases[group])):
            masks.append((f"{group}:{name}", name, title, cases[group] == name))
    subsets = [
        Subset(id_, title, group, np.flatnonzero(mask), f"{int(mask.sum())} choices", patients, {"chance": 0.5})
        for id_, title, group, mask in masks
        if (patients := len(set(cases["patient_id"][mask]))) >= MIN_PATIENTS
    ]

    def metrics(run: Cases, resampling: PatientBootstrap) -> CaseMetrics:
        right, ones = (run["margin"] > 0).astype(np.float64), np.ones(len(run["margin"]))
        found = CaseMetrics({}, {})
        for subset in subsets:
            for column, direction in _PAIRS_COLUMNS.items():
                rows = subset.rows[run["direction"][subset.rows] == direction]
                if len(rows):
                    _add_mean(found, f"{subset.id}/{column.id}", right, ones, rows, resampling)
        return found

    return TaskTables("Minimal pairs", tuple(_PAIRS_COLUMNS), tuple(subsets), metrics)


# -- labels of studies ------------------------------------------------------------------------------------------------
_LABEL_COLUMNS = (
    Column("auroc", "area under ROC"),
    Column("auprc", "average precision"),
)


def _labels(task: str, cases: Cases) -> TaskTables:
    rows_of = {label: np.flatnonzero(cases["label"] == label) for label in dict.fromkeys(cases["label"])}
    groups: list[tuple[str, str, str, Sequence[str]]] = [("all", "all labels", "", list(rows_of))]
    places = [label for label in rows_of if label.startswith(_PLACE)]
    if places and len(places) < len(rows_of):
        groups.append(("what", "what it shows", "", [label for label in rows_of if label not in places]))
        groups.append(("where", "where it shows it", "", places))
    groups += [(f"label:{label}", label, "label", [label]) for label in sorted(rows_of)]
    subsets, labels_of = [], {}
    for id_, title, group, labels in groups:
        rows = np.concatenate([rows_of[label] for label in labels])
        patients, positive = len(set(cases["patient_id"][rows])), int(cases["positive"][rows].sum())
        if patients < MIN_PATIENTS or min(positive, len(rows) - positive) < MIN_PER_CLASS:
            continue
        count = f"{len(labels)} labels" if len(labels) > 1 else f"{positive} of {len(rows)} studies have it"
        share = float(np.mean([cases["positive"][rows_of[label]].mean() for label in labels]))
        yardsticks = {"chance, area": 0.5, "chance, precision": share}
        subsets.append(Subset(id_, title, group, rows, count, patients, yardsticks))
        labels_of[id_] = labels
    score = "score" if task == "probe" else "margin"

    def metrics(run: Cases, resampling: PatientBootstrap) -> CaseMetrics:
        found = CaseMetrics({}, {})
        functions = {"auroc": areas_under_roc, "auprc": average_precisions}
        points: dict[str, dict[str, float]] = {name: {} for name in functions}
        drawn: dict[str, dict[str, FloatArray]] = {name: {} for name in functions}
        for label, rows in rows_of.items():
            weights = resampling.counts[:, resampling.patient_of_row[rows]].astype(np.float64)  # (num_samples, rows)
            for name, function in functions.items():
                scores, positive = run[score][rows], run["positive"][rows].astype(bool)
                points[name][label] = float(function(scores, positive, np.ones((1, len(rows))))[0])
                drawn[name][label] = function(scores, positive, weights)
        for subset in subsets:
            for name in functions:
                key, labels = f"{subset.id}/{name}", labels_of[subset.id]
                found.points[key] = float(np.mean([points[name][label] for label in labels]))
                found.replicates[key] = _mean_of_known(np.stack([drawn[name][label] for label in labels]))
        return found

    title = "Linear probe" if task == "probe" else "Zero-shot"
    return TaskTables(title, _LABEL_COLUMNS, tuple(subsets), metrics)


def _add_mean(
    found: CaseMetrics,
    name: str,
    values: FloatArray,
    weights: FloatArray,
    rows: npt.NDArray[np.int64],
    resampling: PatientBootstrap,
) -> None:
    found.points[name] = float(np.average(values[rows], weights=weights[rows]))
    found.replicates[name] = resampling.means(values[:, None], weights, rows)[:, 0]


def _mean_of_known(values: FloatArray) -> FloatArray:
    """Mean over rows (K, B) of what is no NaN; NaN where all are."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
