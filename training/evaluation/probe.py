"""Linear probe: what a linear classifier reads out of frozen study embeddings.

Every probe, whatever its features, is fitted on the same training studies and scored on the same studies, with a
penalty chosen in the same way, so that differences between features are paired.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from ..configuration import nearest
from .bootstrap import PatientBootstrap
from .case_metrics import Cases
from .probe_metrics import mean_area, probe_case_metrics

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
# (n_other, K) scores of the rows `other` by classifiers fitted on the rows `train`: of (train, other, strength).
Scorer = Callable[[IntArray, IntArray, float], FloatArray]

# Inverse L2 strength, chosen by other studies than those that are scored.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
MIDDLE_STRENGTH = STRENGTHS[len(STRENGTHS) // 2]
MIN_PER_CLASS = 5
NUM_FOLDS = 5


@dataclass(frozen=True)
class ProbeStudies:
    """The studies that take part, learnt from or scored.

    Attributes:
        study_ids: N ids.
        patient_ids: N ids.
        labels: The labels that each study has.
    """

    study_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    labels: tuple[frozenset[str], ...]

    def has(self, label: str) -> BoolArray:
        """(N,) which studies have a label."""
        return np.array([label in each for each in self.labels], dtype=bool)


@dataclass(frozen=True)
class ProbeFold:
    """Rows of the studies that are learnt from, that choose the penalty (or none), and that are scored."""

    train: IntArray
    validation: IntArray
    test: IntArray


def fold_of_splits(splits: Sequence[str]) -> ProbeFold:
    """The one fold of a data set with splits.

    Args:
        splits: Split of each study: train, validation or test.
    """
    names = np.asarray(splits)
    return ProbeFold(*(np.flatnonzero(names == name) for name in ("train", "validation", "test")))


def patient_folds(patient_ids: Sequence[str], count: int = NUM_FOLDS) -> tuple[ProbeFold, ...]:
    """Folds of cross-validation; all studies of a patient are in one of them, and each study is scored once.

    Args:
        patient_ids: Patient of each study.
        count: Number of folds.

    Raises:
        ValueError: There are fewer patients than folds.
    """
    if len(set(patient_ids)) < count:
        raise ValueError(f"expected at least {count} patients for {count} folds, got {len(set(patient_ids))}")
    rows = np.arange(len(patient_ids))
    found = GroupKFold(count).split(rows, groups=np.asarray(patient_ids))
    return tuple(ProbeFold(train, np.zeros(0, dtype=np.int64), test) for train, test in found)


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of one evaluation: `metrics` and `intervals` by name, `cases` by column (a row is a study and label)."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    cases: dict[str, npt.NDArray[Any]]


class ProbeEvaluator:
    """Logistic regression on standardised features, one label at a time, fitted on the training studies of a fold.

    One strength of the L2 penalty serves all labels: the one with the best mean area under the ROC curve on the
    validation studies of the fold or, where it has none, over a cross-validation of its training studies that keeps
    patients together. Labels with fewer than 5 studies of either kind, to learn from or to score, are left out and
    counted in `skipped`; those with one kind only in the validation studies do not take part in the choice.

    Names of metrics: see `probe_case_metrics`. Intervals resample the patients that are scored; the classifier is not
    fitted anew.

    Args:
        studies: N studies.
        folds: Which of them are learnt from and scored; no study is scored twice.
        labels: Labels that are asked for; none: all that the studies have.
        bootstrap_samples: Replicates for the intervals; 0 = points only.
        confidence: Share of replicates inside the interval.
        seed: Seed of the patient draws.

    Raises:
        ValueError: No studies to learn from or to score, a label asked for is unknown or has too few studies, or no
            label has enough.
    """

    primary_metric = "mean/auroc"
    greater_is_better = True

    def __init__(
        self,
        studies: ProbeStudies,
        folds: Sequence[ProbeFold],
        *,
        labels: Sequence[str] = (),
        bootstrap_samples: int = 0,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.studies, self.folds = studies, tuple(folds)
        self.bootstrap_samples, self.confidence, self.seed = bootstrap_samples, confidence, seed
        self.scored = np.concatenate([fold.test for fold in self.folds])
        smallest = min(len(fold.train) for fold in self.folds)
        if not smallest or not len(self.scored):
            raise ValueError(
                f"expected studies to learn from and to score, got {smallest} and {len(self.scored)}; with one split "
                "only, cross-validate: --probe cv"
            )
        known = check_labels(studies.labels, labels)
        asked = sorted(set(labels) or known)
        self.labels = tuple(label for label in asked if self._has_enough(studies.has(label)))
        lacking = [label for label in asked if label not in self.labels]
        self.skipped = {f"label with fewer than {MIN_PER_CLASS} studies of a kind": len(lacking)}
        if not self.labels or (labels and lacking):
            named = f" ({', '.join(f'{each} {int(studies.has(each).sum())}' for each in lacking)})" if labels else ""
            raise ValueError(
                f"expected {'labels' if labels else 'a label'} with at least {MIN_PER_CLASS} studies with and without "
                f"it to learn from and to score, got {len(lacking)} with fewer{named} among {len(asked)} labels of "
                f"{len(studies.study_ids)} studies"
            )
        self.truth = np.column_stack([studies.has(label) for label in self.labels])

    def _has_enough(self, positive: BoolArray) -> bool:
        learnt = all(_has_both(positive[fold.train], MIN_PER_CLASS) for fold in self.folds)
        comparable = any(_has_both(positive[fold.test], 1) for fold in self.folds)
        return learnt and comparable and _has_both(positive[self.scored], MIN_PER_CLASS)

    def get_config_dict(self) -> dict[str, Any]:
        """Settings for the result file and the model card."""
        return {
            "task": "probe",
            "classifier": "logistic regression on standardised frozen features",
            "strengths": list(STRENGTHS),
            "folds": len(self.folds),
            "labels": list(self.labels),
            "interval": "patient-clustered percentile bootstrap of the studies that are scored",
            "bootstrap_samples": self.bootstrap_samples,
            "confidence": self.confidence,
            "seed": self.seed,
        }

    def linear_scores(self, features: npt.NDArray[np.floating]) -> tuple[FloatArray, list[float]]:
        """Log-odds of the scored studies by linear probes, and the strength that each fold chose.

        Args:
            features: (N, F), rows as in `studies`; columns that are constant are no use and do no harm.

        Returns:
            (n_scored, K), rows as in `scored`, and one strength a fold.

        Raises:
            ValueError: The number of rows differs from that of the studies.
        """
        scores, strengths = [], []
        for fold in self.folds:
            scaled = self.scaled(features, fold)

            def scorer(train: IntArray, other: IntArray, strength: float, scaled: FloatArray = scaled) -> FloatArray:
                columns = [label_scores(scaled[train], y[train], scaled[other], strength) for y in self.truth.T]
                return np.column_stack(columns)

            strengths.append(self.choose_strength(scorer, fold))
            scores.append(scorer(fold.train, fold.test, strengths[-1]))
        return np.concatenate(scores), strengths

    def scaled(self, features: npt.NDArray[np.floating], fold: ProbeFold) -> FloatArray:
        """(N, F) features, standardised by the training studies of a fold."""
        if len(features) != len(self.studies.study_ids):
            raise ValueError(f"expected features of {len(self.studies.study_ids)} studies, got {len(features)}")
        scaled: FloatArray = StandardScaler().fit(features[fold.train]).transform(features)
        return scaled

    def choose_strength(self, scorer: Scorer, fold: ProbeFold) -> float:
        """The strength with the best mean area on studies that are not scored, the least of several."""
        inner = [(fold.train, fold.validation)]
        if not _has_any(self.truth[fold.validation]):
            patients = [self.studies.patient_ids[row] for row in fold.train]
            if len(set(patients)) < NUM_FOLDS:
                return MIDDLE_STRENGTH
            inner = [(fold.train[each.train], fold.train[each.test]) for each in patient_folds(patients)]
        usable = [(train, other) for train, other in inner if _has_any(self.truth[other])]
        if not usable:
            return MIDDLE_STRENGTH
        areas = [
            np.mean([mean_area(scorer(train, other, strength), self.truth[other]) for train, other in usable])
            for strength in STRENGTHS
        ]
        return STRENGTHS[int(np.argmax(areas))]

    def table(self, columns: Mapping[str, FloatArray]) -> dict[str, npt.NDArray[Any]]:
        """The table of cases: a row is a study and label, a column what one probe says.

        Args:
            columns: (n_scored, K) by name, rows as in `scored`; `score` is the probe that the headline is of. NaN:
                the label is not asked for in this column.
        """
        count = len(self.labels)
        folds = np.concatenate([np.full(len(fold.test), number) for number, fold in enumerate(self.folds)])
        return {
            "study_id": np.repeat(np.array(self.studies.study_ids, dtype=object)[self.scored], count),
            "patient_id": np.repeat(np.array(self.studies.patient_ids, dtype=object)[self.scored], count),
            "label": np.tile(np.array(self.labels, dtype=object), len(self.scored)),
            "fold": np.repeat(folds, count),
            "positive": self.truth[self.scored].ravel(),
            **{name: values.ravel() for name, values in columns.items()},
        }

    def result(self, cases: Cases) -> ProbeResult:
        """Metrics and intervals of a table of cases."""
        resampling = None
        if self.bootstrap_samples:
            resampling = PatientBootstrap(cases["patient_id"], num_samples=self.bootstrap_samples, seed=self.seed)
        found = probe_case_metrics(cases, resampling)
        return ProbeResult(found.points, found.intervals(self.confidence), dict(cases))


def check_labels(labels_of_studies: Iterable[frozenset[str]], asked: Sequence[str]) -> frozenset[str]:
    """The labels that some studies have.

    Raises:
        ValueError: No study has a label that is asked for.
    """
    known = frozenset().union(*labels_of_studies)
    unknown = [label for label in asked if label not in known]
    if unknown:
        raise ValueError(
            f"expected labels that a study has, no study has {', '.join(map(repr, unknown))}"
            f"{nearest(unknown[0], sorted(known))}"
        )
    return known


def label_scores(train: FloatArray, positive: BoolArray, other: FloatArray, strength: float) -> FloatArray:
    """(n,) log-odds of other studies by logistic regression; all 0 where the training studies are of one kind."""
    if positive.all() or not positive.any():
        return np.zeros(len(other))
    scores: FloatArray = LogisticRegression(C=strength, max_iter=2000).fit(train, positive).decision_function(other)
    return scores


def _has_both(positive: BoolArray, least: int) -> bool:
    return min(int(positive.sum()), int((~positive).sum())) >= least


def _has_any(truth: BoolArray) -> bool:
    """Whether a label has both kinds of study."""
    return len(truth) > 0 and bool((truth.any(0) & ~truth.all(0)).any())


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
