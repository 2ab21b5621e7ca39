"""Metrics of probes from the table of cases: areas of the linear probe, and of the columns beside it."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from .binary_metrics import areas_under_roc
from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases

FloatArray = npt.NDArray[np.float64]

# The column that the headline is of.
SCORE, ATTENTION = "score", "attention"
# What a column of a baseline, or of a draw of few labelled studies, starts with.
BASELINE, FEW_SHOT = "baseline_", "few_shot_"
# Starts the share of a study's nearest neighbours that have its category, the same for all labels.
NEIGHBOURS = "neighbours_"
_CHANCE = 0.5
# Draws of few-shot studies are drawn by a seed of their own, the same for all tables, so that two systems stay paired.
_DRAW_SEED = 1


def few_shot_column(setting: str, draw: int) -> str:
    """Name of the column of one draw, e.g. `few_shot_k=8_03`."""
    return f"{FEW_SHOT}{setting}_{draw:02d}"


def few_shot_columns(cases: Cases) -> dict[str, list[str]]:
    """Columns of the draws by setting, in the order of the table."""
    found: dict[str, list[str]] = {}
    for name in cases:
        if name.startswith(FEW_SHOT):
            found.setdefault(name.removeprefix(FEW_SHOT).rpartition("_")[0], []).append(name)
    return found


def probe_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Every metric of a probe from its case table alone.

    `mean/auroc` (over labels), `{label}/auroc`, `{label}/n_positive`; where the table has such columns
    `baseline/{name}/auroc` with `baseline/{name}/difference` (linear probe minus baseline), `attention/auroc` with
    `attention/difference` (attention minus linear probe), and `few_shot/{setting}/auroc`, the mean over draws and the
    labels that have enough studies (`n_labels`), with `few_shot_common/{setting}/auroc` over those labels that have
    enough for every number of studies a class; `map/{category}/purity`, the mean share of a study's nearest neighbours
    that have its category. Areas compare studies of one fold alone.

    Args:
        cases: Case table of a `ProbeResult`.
        resampling: Draws of the patients of its rows; None: points only.
    """
    labels = list(dict.fromkeys(cases["label"]))
    settings = few_shot_columns(cases)
    baselines = [name for name in cases if name.startswith(BASELINE)]
    beside = [*baselines, *([ATTENTION] if ATTENTION in cases else [])]
    columns = [SCORE, *beside, *(name for each in settings.values() for name in each)]
    points, replicates = _all_areas(cases, columns, resampling)
    found = _Found({}, {})
    found.add("mean/auroc", points[SCORE], replicates.get(SCORE))
    for number, label in enumerate(labels):
        found.points[f"{label}/auroc"] = float(points[SCORE][number])
        found.points[f"{label}/n_positive"] = float(cases["positive"][cases["label"] == label].sum())
        if resampling is not None:
            found.replicates[f"{label}/auroc"] = replicates[SCORE][:, number]
    for name in beside:
        title = f"baseline/{name.removeprefix(BASELINE)}" if name != ATTENTION else ATTENTION
        found.add(f"{title}/auroc", points[name], replicates.get(name))
        found.difference(title, sign=-1 if name == ATTENTION else 1)
    if baselines:
        found.points["baseline/chance/auroc"] = _CHANCE
        if resampling is not None:
            found.replicates["baseline/chance/auroc"] = np.full(len(resampling.counts), _CHANCE)
        found.difference("baseline/chance", sign=1)
    _add_few_shot(found, settings, points, replicates)
    rows = np.flatnonzero(cases["label"] == labels[0])  # one row a study
    for name in (each for each in cases if each.startswith(NEIGHBOURS)):
        title, shares = f"map/{name.removeprefix(NEIGHBOURS)}/purity", cases[name].astype(np.float64)
        found.points[title] = float(shares[rows].mean())
        if resampling is not None:
            found.replicates[title] = resampling.means(shares[:, None], np.ones(len(shares)), rows)[:, 0]
    return CaseMetrics(found.points, found.replicates)


class _Found:
    """Points and replicates by name while they are collected."""

    def __init__(self, points: dict[str, float], replicates: dict[str, FloatArray]):
        self.points, self.replicates = points, replicates

    def add(self, name: str, areas: FloatArray, replicates: FloatArray | None) -> None:
        """The mean over labels: of (K,) areas and (B, K) replicates."""
        self.points[name] = float(np.nanmean(areas))
        if replicates is not None:
            self.replicates[name] = _mean_over_labels(replicates)

    def difference(self, title: str, *, sign: int) -> None:
        """Linear probe minus `title` in the same draws of patients, or the other way round."""
        name, other = "mean/auroc", f"{title}/auroc"
        self.points[f"{title}/difference"] = sign * (self.points[name] - self.points[other])
        if name in self.replicates:
            self.replicates[f"{title}/difference"] = sign * (self.replicates[name] - self.replicates[other])


def _add_few_shot(
    found: _Found,
    settings: Mapping[str, Sequence[str]],
    points: Mapping[str, FloatArray],
    replicates: Mapping[str, FloatArray],
) -> None:
    """Means over draws and labels; a replicate draws patients and draws of studies."""
    asked = {setting: ~np.isnan(points[names[0]]) for setting, names in settings.items()}
    per_class = [each for setting, each in asked.items() if setting.startswith("k=")]
    common = np.logical_and.reduce(per_class) if per_class else np.zeros(0, dtype=bool)
    for setting, names in settings.items():
        groups = {"few_shot": asked[setting]}
        if setting.startswith("k=") and common.any():
            groups["few_shot_common"] = common
        for group, chosen in groups.items():
            title = f"{group}/{setting}"
            found.points[f"{title}/n_labels"] = float(chosen.sum())
            if not chosen.any():
                continue
            found.points[f"{title}/auroc"] = float(np.mean([points[name][chosen].mean() for name in names]))
            if replicates:
                means = np.column_stack([_mean_over_labels(replicates[name][:, chosen]) for name in names])
                found.replicates[f"{title}/auroc"] = _over_draws(means)


def _over_draws(means: FloatArray) -> FloatArray:
    """(B, D) mean areas by replicate and draw to (B,): a replicate takes D of the draws, with replacement."""
    chosen = np.random.default_rng(_DRAW_SEED).integers(means.shape[1], size=means.shape)
    averaged: FloatArray = np.take_along_axis(means, chosen, axis=1).mean(axis=1)
    return averaged


def _mean_over_labels(replicates: FloatArray) -> FloatArray:
    """(B, K) to (B,): labels without an area in a replicate take no part in its mean; NaN where none has one."""
    usable = ~np.isnan(replicates)
    sums, counts = np.where(usable, replicates, 0).sum(axis=1), usable.sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _all_areas(
    cases: Cases, columns: Sequence[str], resampling: PatientBootstrap | None
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Areas (K,) and replicates (B, K) by column; NaN for a label that a column does not ask for."""
    labels = list(dict.fromkeys(cases["label"]))
    points = {name: np.full(len(labels), np.nan) for name in columns}
    replicates = {}
    if resampling is not None:
        replicates = {name: np.full((len(resampling.counts), len(labels)), np.nan) for name in columns}
    for number, label in enumerate(labels):
        rows = np.flatnonzero(cases["label"] == label)
        folds = cases["fold"][rows] if "fold" in cases else np.zeros(len(rows))
        positive = cases["positive"][rows].astype(bool)
        weights = None
        if resampling is not None:
            weights = resampling.counts[:, resampling.patient_of_row[rows]].astype(np.float64)  # (B, rows)
        for name in columns:
            scores = cases[name][rows].astype(np.float64)
            if np.isnan(scores).any():
                continue
            points[name][number] = _areas(scores, positive, np.ones((1, len(rows))), folds)[0]
            if weights is not None:
                replicates[name][:, number] = _areas(scores, positive, weights, folds)
    return points, replicates


def _areas(
    scores: FloatArray, positive: npt.NDArray[np.bool_], weights: FloatArray, folds: npt.NDArray[np.generic]
) -> FloatArray:
    """Share of (positive, negative) pairs of one fold in the right order, (B,): scores of two folds do not compare."""
    if (folds == folds[0]).all():
        return areas_under_roc(scores, positive, weights)
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for fold in np.unique(folds):
        here = folds == fold
        number = weights[:, here & positive].sum(axis=1) * weights[:, here & ~positive].sum(axis=1)
        areas = areas_under_roc(scores[here], positive[here], weights[:, here])
        right += np.where(number > 0, areas * number, 0)
        pairs += number
    return np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def area_replicates(cases: Cases, resampling: PatientBootstrap, column: str = SCORE) -> FloatArray:
    """Area of every label in every replicate.

    Args:
        cases: Case table of a `ProbeResult`.
        resampling: Draws of the patients of its rows.
        column: Which probe.

    Returns:
        (num_samples, K), labels in the order of their first row; NaN where a replicate drew one kind of study only.
    """
    return _all_areas(cases, [column], resampling)[1][column]


def label_areas(cases: Cases, column: str) -> dict[str, float]:
    """Area of every label by one column; NaN where the column does not ask for it."""
    labels = list(dict.fromkeys(cases["label"]))
    areas = _all_areas(cases, [column], None)[0][column]
    return dict(zip(labels, areas.tolist(), strict=True))


def mean_area(scores: npt.NDArray[np.floating], truth: npt.NDArray[np.floating] | npt.NDArray[np.bool_]) -> float:
    """Mean area under the ROC curve over the labels that have both kinds of study.

    Args:
        scores: (N, K).
        truth: (N, K) 1, 0, or below 0 where it is not known.

    Raises:
        ValueError: No label has both kinds.
    """
    areas = []
    for k in range(truth.shape[1]):
        known = truth[:, k] >= 0
        if len(np.unique(truth[known, k])) == 2:
            areas.append(roc_auc_score(truth[known, k] == 1, scores[known, k]))
    if not areas:
        raise ValueError("expected a label with both kinds of study, got none")
    return float(np.mean(areas))
