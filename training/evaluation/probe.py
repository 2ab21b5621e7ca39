"""Linear probe: what a linear classifier reads out of frozen study embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from .bootstrap import PatientBootstrap
from .case_metrics import CaseMetrics, Cases

# Inverse L2 strength, chosen on the validation split.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
MIN_PER_CLASS = 5


@dataclass(frozen=True)
class ProbeSplit:
    """The studies of one split.

    Attributes:
        study_ids: N ids.
        patient_ids: N ids.
        labels: The labels that each study has.
    """

    study_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    labels: tuple[frozenset[str], ...]

    def has(self, label: str) -> npt.NDArray[np.bool_]:
        """(N,) which studies have a label."""
        return np.array([label in each for each in self.labels], dtype=bool)


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of one evaluation: `metrics` and `intervals` by name, `cases` by column (a row is a study and label)."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    cases: dict[str, npt.NDArray[Any]]


class ProbeEvaluator:
    """Logistic regression on standardised features, one label at a time, fitted on the training split.

    One strength of the L2 penalty serves all labels, the one with the best mean area under the ROC curve on the
    validation split. Labels with fewer than 5 studies of either kind in the training or test split are left out and
    counted in `skipped`; those with one kind only in the validation split do not take part in the choice.

    Names of metrics: `mean/auroc` (over labels), `{label}/auroc`, `{label}/n_positive`. Intervals resample the
    patients of the test split; the classifier is not fitted anew.

    Args:
        train: Studies that the classifiers are fitted on.
        validation: Studies that choose the penalty.
        test: Studies that are scored.
        bootstrap_samples: Replicates for the intervals; 0 = points only.
        confidence: Share of replicates inside the interval.
        seed: Seed of the patient draws.

    Raises:
        ValueError: No label has enough studies.
    """

    primary_metric = "mean/auroc"
    greater_is_better = True

    def __init__(
        self,
        train: ProbeSplit,
        validation: ProbeSplit,
        test: ProbeSplit,
        *,
        bootstrap_samples: int = 0,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.train, self.validation, self.test = train, validation, test
        self.bootstrap_samples, self.confidence, self.seed = bootstrap_samples, confidence, seed
        known = sorted(frozenset().union(*train.labels, *test.labels))
        self.labels = tuple(label for label in known if all(_has_both(split.has(label)) for split in (train, test)))
        self.skipped = {f"label with fewer than {MIN_PER_CLASS} studies of a kind": len(known) - len(self.labels)}
        if not self.labels:
            raise ValueError(
                f"expected a label with at least {MIN_PER_CLASS} studies with and without it in training and test "
                f"split, got none among {len(known)} labels of {len(train.labels)} and {len(test.labels)} studies"
            )

    def get_config_dict(self) -> dict[str, Any]:
        """Settings for the result file and the model card."""
        return {
            "task": "probe",
            "classifier": "logistic regression on standardised frozen features",
            "strengths": list(STRENGTHS),
            "labels": list(self.labels),
            "interval": "patient-clustered percentile bootstrap of the test split",
            "bootstrap_samples": self.bootstrap_samples,
            "confidence": self.confidence,
            "seed": self.seed,
        }

    def evaluate(
        self, train: npt.NDArray[np.floating], validation: npt.NDArray[np.floating], test: npt.NDArray[np.floating]
    ) -> ProbeResult:
        """
        Args:
            train: (N, F) features of the training split, rows as in `train.study_ids`.
            validation: Features of the validation split.
            test: Features of the test split.

        Raises:
            ValueError: The number of rows differs from that of the split.
        """
        for split, features in ((self.train, train), (self.validation, validation), (self.test, test)):
            if len(features) != len(split.study_ids):
                raise ValueError(f"expected features of {len(split.study_ids)} studies, got {len(features)}")
        scaler = StandardScaler().fit(train)
        train, validation, test = (scaler.transform(each) for each in (train, validation, test))
        strength = self._choose_strength(train, validation)
        scores = self._scores(train, test, strength)
        positive = np.column_stack([self.test.has(label) for label in self.labels])
        count = len(self.test.study_ids)
        cases: dict[str, npt.NDArray[Any]] = {
            "study_id": np.repeat(np.array(self.test.study_ids, dtype=object), len(self.labels)),
            "patient_id": np.repeat(np.array(self.test.patient_ids, dtype=object), len(self.labels)),
            "label": np.tile(np.array(self.labels, dtype=object), count),
            "positive": positive.ravel(),
            "score": scores.ravel(),
        }
        resampling = None
        if self.bootstrap_samples:
            resampling = PatientBootstrap(cases["patient_id"], num_samples=self.bootstrap_samples, seed=self.seed)
        found = probe_case_metrics(cases, resampling)
        metrics = {**found.points, "penalty_strength": strength}
        return ProbeResult(metrics, found.intervals(self.confidence), cases)

    def _scores(
        self, train: npt.NDArray[np.floating], other: npt.NDArray[np.floating], strength: float
    ) -> npt.NDArray[np.float64]:
        """(N, K) logits of every label."""
        columns = []
        for label in self.labels:
            classifier = LogisticRegression(C=strength, max_iter=2000).fit(train, self.train.has(label))
            columns.append(classifier.decision_function(other))
        return np.column_stack(columns)

    def _choose_strength(self, train: npt.NDArray[np.floating], validation: npt.NDArray[np.floating]) -> float:
        """The strength with the best mean area on the validation split; the middle one where it has no say."""
        truth = {number: self.validation.has(label) for number, label in enumerate(self.labels)}
        usable = {number: each for number, each in truth.items() if each.any() and not each.all()}
        if not usable:
            return STRENGTHS[len(STRENGTHS) // 2]
        areas = []
        for strength in STRENGTHS:
            scores = self._scores(train, validation, strength)
            areas.append(np.mean([roc_auc_score(each, scores[:, number]) for number, each in usable.items()]))
        return STRENGTHS[int(np.argmax(areas))]


def probe_case_metrics(cases: Cases, resampling: PatientBootstrap | None) -> CaseMetrics:
    """Every metric of `ProbeEvaluator` from its case table alone.

    Args:
        cases: Case table of a `ProbeResult`.
        resampling: Draws of the patients of its rows; None: points only.
    """
    labels = list(dict.fromkeys(cases["label"]))
    areas = {label: _area(cases, label) for label in labels}
    points = {"mean/auroc": float(np.mean(list(areas.values())))}
    for label, area in areas.items():
        points[f"{label}/auroc"] = area
        points[f"{label}/n_positive"] = float(cases["positive"][cases["label"] == label].sum())
    if resampling is None:
        return CaseMetrics(points, {})
    replicates = area_replicates(cases, resampling)
    named = {f"{label}/auroc": replicates[:, number] for number, label in enumerate(labels)}
    usable = ~np.isnan(replicates)
    sums, counts = np.where(usable, replicates, 0).sum(axis=1), usable.sum(axis=1)
    mean = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return CaseMetrics(points, {"mean/auroc": mean, **named})


def area_replicates(cases: Cases, resampling: PatientBootstrap) -> npt.NDArray[np.float64]:
    """Area of every label in every replicate.

    Args:
        cases: Case table of a `ProbeResult`.
        resampling: Draws of the patients of its rows.

    Returns:
        (num_samples, K), labels in the order of their first row; NaN where a replicate drew one kind of study only.
    """
    columns = []
    for label in dict.fromkeys(cases["label"]):
        rows = np.flatnonzero(cases["label"] == label)
        columns.append(resampling.areas(cases["score"], cases["positive"], rows))
    return np.column_stack(columns)


def mean_area(scores: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> float:
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


def _area(cases: Cases, label: str) -> float:
    rows = cases["label"] == label
    return float(roc_auc_score(cases["positive"][rows], cases["score"][rows]))


def _has_both(positive: npt.NDArray[np.bool_]) -> bool:
    return min(int(positive.sum()), int((~positive).sum())) >= MIN_PER_CLASS


def mean_of_series(
    embeds: npt.NDArray[np.floating], study_of_series: Sequence[str], study_ids: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Mean of the embeddings of each study's series.

    Args:
        embeds: (K, E).
        study_of_series: K study ids.
        study_ids: N ids, the order of the result.

    Returns:
        (N, E).

    Raises:
        ValueError: A study has no series.
    """
    number_of = {study_id: number for number, study_id in enumerate(study_ids)}
    owner = np.array([number_of[study_id] for study_id in study_of_series], dtype=np.int64)
    counts = np.bincount(owner, minlength=len(study_ids))
    if (counts == 0).any():
        raise ValueError(f"expected an embedding for every study, got none for {int((counts == 0).sum())}")
    sums = np.zeros((len(study_ids), embeds.shape[1]))
    np.add.at(sums, owner, embeds)
    return sums / counts[:, None]
