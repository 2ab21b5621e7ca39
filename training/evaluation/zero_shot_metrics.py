"""Metrics of a zero-shot classification from its table of cases alone; names as of `ZeroShotEvaluator`."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from .binary_metrics import (
    CALIBRATION_BINS,
    areas_under_roc,
    average_precisions,
    balanced_accuracies,
    brier_scores,
    calibration_errors,
    holm,
    permutation_p_values,
    sensitivities_at_specificity,
)
from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases
from .probe import MIN_PER_CLASS

FloatArray = npt.NDArray[np.float64]

SPECIFICITY = 0.9
# Resampling makes bins emptier and the error larger, so the percentiles of its replicates are no interval of it.
_WITHOUT_INTERVAL = ("/ece",)


def template_column(number: int) -> str:
    """Column of the margins by one template alone."""
    return f"template_{number:02d}"


def zero_shot_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Every metric of `ZeroShotEvaluator` but the p values from its case table alone.

    Args:
        cases: Case table of a `ZeroShotResult`.
        resampling: Draws of the patients of its rows; None: points only.
    """
    labels = list(dict.fromkeys(cases["label"]))
    rows_of = {label: np.flatnonzero(cases["label"] == label) for label in labels}
    found = CaseMetrics({}, {})
    for label, rows in rows_of.items():
        for name, values in _label_metrics(cases, rows, np.ones((1, len(rows)))).items():
            found.points[f"{label}/{name}"] = float(values[0])
        if resampling is not None:
            drawn = resampling.counts[:, resampling.patient_of_row[rows]].astype(np.float64)
            for name, values in _label_metrics(cases, rows, drawn).items():
                found.replicates[f"{label}/{name}"] = values
    for name in [key.rpartition("/")[2] for key in found.points if key.startswith(f"{labels[0]}/")]:
        found.points[f"macro/{name}"] = _mean([found.points[f"{label}/{name}"] for label in labels])
        if resampling is not None:
            of_labels = np.column_stack([found.replicates[f"{label}/{name}"] for label in labels])
            found.replicates[f"macro/{name}"] = np.nanmean(of_labels, axis=1)
    for key in [key for key in found.replicates if key.endswith(_WITHOUT_INTERVAL)]:
        del found.replicates[key]
    for label in labels:
        positive = cases["positive"][rows_of[label]]
        found.points[f"{label}/n_positive"] = float(positive.sum())
        found.points[f"{label}/n_negative"] = float((~positive).sum())
        found.points[f"{label}/prevalence"] = float(positive.mean())
    found.points["macro/prevalence"] = _mean([found.points[f"{label}/prevalence"] for label in labels])
    _add_laterality(found, cases, resampling, rows_of)
    _add_templates(found, cases, rows_of)
    _add_choices(found, cases, resampling)
    return found


def label_p_values(cases: Cases, *, num_samples: int, seed: int) -> dict[str, float]:
    """`{label}/p` and `{label}/p_holm` from a case table.

    Args:
        cases: Case table of a `ZeroShotResult`.
        num_samples: Number of permutations.
        seed: Their seed.
    """
    labels = list(dict.fromkeys(cases["label"]))
    # rows of one study stand side by side, labels in one order
    scores, positive = (cases[name].reshape(-1, len(labels)) for name in ("margin", "positive"))
    patients = cases["patient_id"][:: len(labels)].astype(str)
    p_values = permutation_p_values(scores, positive, patients, num_samples=num_samples, seed=seed)
    adjusted = holm(p_values)
    values = {f"{label}/p": float(value) for label, value in zip(labels, p_values, strict=True)}
    return values | {f"{label}/p_holm": float(value) for label, value in zip(labels, adjusted, strict=True)}


def _label_metrics(cases: Cases, rows: npt.NDArray[np.int64], weights: FloatArray) -> dict[str, FloatArray]:
    """Metrics of one label, each (B,)."""
    scores, probabilities, positive = (cases[name][rows] for name in ("margin", "probability", "positive"))
    return {
        "auroc": areas_under_roc(scores, positive, weights),
        "auprc": average_precisions(scores, positive, weights),
        "balanced_accuracy": balanced_accuracies(scores, positive, weights),
        "sensitivity_at_90_specificity": sensitivities_at_specificity(scores, positive, weights, SPECIFICITY),
        "brier": brier_scores(probabilities, positive, weights),
        "ece": calibration_errors(probabilities, positive, weights, CALIBRATION_BINS),
        **_polarity(cases["polarity_margin"][rows], positive, weights),
    }


def _polarity(margins: FloatArray, positive: npt.NDArray[np.bool_], weights: FloatArray) -> dict[str, FloatArray]:
    """Shares of studies that are nearer to what is true of them, (B,); a tie is wrong."""
    with np.errstate(invalid="ignore", divide="ignore"):
        present = weights @ (positive & (margins > 0)) / (weights @ positive)
        absent = weights @ (~positive & (margins < 0)) / (weights @ ~positive)
    return {"polarity_present": present, "polarity_absent": absent, "polarity": (present + absent) / 2}


def _add_laterality(
    found: CaseMetrics, cases: Cases, resampling: PatientBootstrap | None, rows_of: Mapping[str, npt.NDArray[np.int64]]
) -> None:
    sided = ~np.isnan(cases["side_margin"])
    values = (cases["side_margin"] > 0).astype(np.float64)[:, None]
    for label, rows in {"all": np.arange(len(sided)), **rows_of}.items():
        rows = rows[sided[rows]]
        if len(rows) < MIN_PER_CLASS:
            continue
        found.points[f"{label}/laterality"] = float(values[rows].mean())
        found.points[f"{label}/n_sided"] = float(len(rows))
        if resampling is not None:
            found.replicates[f"{label}/laterality"] = resampling.means(values, np.ones(len(values)), rows)[:, 0]


def _add_templates(found: CaseMetrics, cases: Cases, rows_of: Mapping[str, npt.NDArray[np.int64]]) -> None:
    names = sorted(name for name in cases if name.startswith("template_"))
    areas = np.array(
        [
            [
                areas_under_roc(cases[name][rows], cases["positive"][rows], np.ones((1, len(rows))))[0]
                for rows in rows_of.values()
            ]
            for name in names
        ]
    )  # (T, K)
    macro = areas.mean(axis=1)
    for number, value in enumerate(macro):
        found.points[f"templates/{number:02d}/auroc"] = float(value)
    found.points["templates/auroc_min"] = float(macro.min())
    found.points["templates/auroc_max"] = float(macro.max())
    found.points["templates/auroc_sd"] = float(macro.std())
    for label, spread in zip(rows_of, areas.std(axis=0), strict=True):
        found.points[f"{label}/template_sd"] = float(spread)
    found.points["macro/template_sd"] = float(areas.std(axis=0).mean())


def _add_choices(found: CaseMetrics, cases: Cases, resampling: PatientBootstrap | None) -> None:
    """Balanced accuracy of telling the labels of a choice apart by their margins."""
    groups = [frozenset(filter(None, each.split(","))) for each in cases["choices"]]
    for name in dict.fromkeys(name for each in cases["choices"] for name in each.split(",") if name):
        inside = np.flatnonzero(np.array([name in each for each in groups]))
        labels = list(dict.fromkeys(cases["label"][inside]))
        rows = inside.reshape(-1, len(labels))  # (studies, labels)
        rows = rows[cases["positive"][rows].sum(axis=1) == 1]
        truth = cases["positive"][rows].argmax(axis=1)
        right = (cases["margin"][rows].argmax(axis=1) == truth).astype(np.float64)
        recall = partial(_balanced, right=right, truth=truth, count=len(labels))
        found.points[f"choice/{name}/balanced_accuracy"] = float(recall(np.ones((1, len(rows))))[0])
        found.points[f"choice/{name}/n"] = float(len(rows))
        if resampling is not None:
            weights = resampling.counts[:, resampling.patient_of_row[rows[:, 0]]].astype(np.float64)
            found.replicates[f"choice/{name}/balanced_accuracy"] = recall(weights)


def _balanced(weights: FloatArray, *, right: FloatArray, truth: npt.NDArray[np.int64], count: int) -> FloatArray:
    """Mean over classes of the share of right answers, (B,); NaN where a class was not drawn."""
    members = (truth[:, None] == np.arange(count)).astype(np.float64)  # (studies, classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        recalls: FloatArray = (weights @ (members * right[:, None])) / (weights @ members)
    return np.asarray(recalls.mean(axis=1))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
