"""Zero-shot classification: is a study nearer to "X" than to "no X", asked label by label, by a protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

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
from .metrics import unit_rows_of_both
from .probe import MIN_PER_CLASS
from .zero_shot_protocol import ZeroShotLabel, ZeroShotProtocol
from .zero_shot_scores import ZeroShotScorer

FloatArray = npt.NDArray[np.float64]

SPECIFICITY = 0.9
NUM_PERMUTATIONS = 9_999
# Resampling makes bins emptier and the error larger, so the percentiles of its replicates are no interval of it.
_WITHOUT_INTERVAL = ("/ece",)


@dataclass(frozen=True)
class LabelledStudies:
    """Studies with what is true of them.

    Attributes:
        study_ids: N ids.
        patient_ids: N ids.
        labels: The labels that each study has.
        sides: For each study, the side of the findings that are on one side only, by label.
    """

    study_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    labels: tuple[frozenset[str], ...]
    sides: tuple[Mapping[str, str], ...]

    def has(self, label: str) -> npt.NDArray[np.bool_]:
        """(N,) which studies have a label."""
        return np.array([label in each for each in self.labels], dtype=bool)

    def select(self, rows: npt.NDArray[np.int64]) -> "LabelledStudies":
        """Some of them, in this order."""
        columns = (self.study_ids, self.patient_ids, self.labels, self.sides)
        return LabelledStudies(*(tuple(column[int(row)] for row in rows) for column in columns))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ZeroShotResult:
    """Outcome of one evaluation: `metrics` and `intervals` by name, `cases` by column (a row is a study and label)."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    cases: dict[str, npt.NDArray[Any]]


class ZeroShotEvaluator:
    """Scores every study for every label of a protocol by the cosines of its embedding with those of prompts.

    The embedding of a template is the mean of those of its prompts, that of a label's polarity the mean over its
    templates; all of unit length before and after. The margin of a study and label follows from the protocol's rule,
    its probability is sigmoid(scale * margin): for `margin`, the softmax over "X" and "no X"; for `softmax`, the
    softmax over all labels.

    Labels with fewer than 5 studies of either kind are left out and counted in `skipped`; so are, with the rule
    softmax, studies that have not exactly one of the labels.

    Names of metrics: `macro/NAME`, the mean over labels, and `{label}/NAME`, of
    - auroc, auprc (chance: `prevalence`), balanced_accuracy and at which sensitivity (margin above 0 says yes),
      sensitivity_at_90_specificity, brier, ece (10 bins of equal width);
    - polarity_present, the share of studies with the label that are nearer to "X" than to "no X"; polarity_absent,
      the share of those without it that are nearer to "no X"; polarity, the mean of both;
    - template_sd: spread of the area over single templates; also `templates/{number}/auroc`, `templates/auroc_min`,
      `templates/auroc_max`, `templates/auroc_sd` of the mean over labels;
    - laterality, of studies with the label's finding on one side only, the share that are nearer to the words for
      that side; `all/laterality` over all labels; `n_sided` their number;
    - p and p_holm (labels only): area against one half, whole patients permuted, and adjusted for the labels;
    - n_positive, n_negative;
    - `choice/{name}/balanced_accuracy`, `choice/{name}/n`: studies of one of some labels, told apart by the largest
      margin (rule softmax).
    Intervals resample patients; ece and spreads have none.

    Args:
        protocol: What is asked.
        studies: Studies with their labels.
        bootstrap_samples: Replicates for the intervals; 0 = points only.
        confidence: Share of replicates inside the interval.
        seed: Seed of the patient draws and permutations.

    Raises:
        ValueError: No label has enough studies.
    """

    primary_metric = "macro/auroc"
    greater_is_better = True

    def __init__(
        self,
        protocol: ZeroShotProtocol,
        studies: LabelledStudies,
        *,
        bootstrap_samples: int = 0,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.protocol = protocol
        self.bootstrap_samples, self.confidence, self.seed = bootstrap_samples, confidence, seed
        self.labels, self._rows = _usable(protocol, studies)
        self.num_given = len(studies.study_ids)
        self.studies = studies.select(self._rows)
        self.left_out = tuple(each.name for each in protocol.labels if each not in self.labels)
        self.skipped = {f"label with fewer than {MIN_PER_CLASS} studies of a kind": len(self.left_out)}
        if protocol.rule == "softmax":
            self.skipped["study without exactly one of the labels"] = self.num_given - len(self._rows)
        self._scorer = ZeroShotScorer(protocol, self.labels)
        self.texts = self._scorer.texts

    def get_config_dict(self) -> dict[str, Any]:
        """Settings for the result file and the model card."""
        return {
            "task": "zero_shot",
            "protocol": self.protocol.name,
            "protocol_version": self.protocol.version,
            "protocol_sha256": self.protocol.fingerprint,
            "protocol_source": self.protocol.source,
            "rule": self.protocol.rule,
            "language": self.protocol.language,
            "labels": [label.name for label in self.labels],
            "labels_left_out": list(self.left_out),
            "templates": list(self.protocol.templates),
            "prompts": len(self.texts),
            "study": "mean of its series' embeddings, each embedded alone, of unit length before and after",
            "probability": "sigmoid(scale * margin), scale of the checkpoint",
            "p": f"area against 0.5, two-sided, {NUM_PERMUTATIONS} permutations of whole patients; Holm over labels",
            "interval": "patient-clustered percentile bootstrap",
            "bootstrap_samples": self.bootstrap_samples,
            "confidence": self.confidence,
            "seed": self.seed,
        }

    def evaluate(self, study_embeds: npt.ArrayLike, text_embeds: npt.ArrayLike, scale: float) -> ZeroShotResult:
        """
        Args:
            study_embeds: (N, E) of all studies given.
            text_embeds: (M, E) of `texts`.
            scale: What a cosine is multiplied by, above 0.

        Raises:
            ValueError: Shapes do not fit, values are not finite, or the scale is not above 0.
        """
        studies, texts = unit_rows_of_both(
            study_embeds, text_embeds, counts=(self.num_given, len(self.texts)), images_are="study"
        )
        if not scale > 0:
            raise ValueError(f"expected a scale above 0, got {scale}")
        cases = self._cases(studies[self._rows].astype(np.float64), texts.astype(np.float64), scale)
        resampling = None
        if self.bootstrap_samples:
            resampling = PatientBootstrap(cases["patient_id"], num_samples=self.bootstrap_samples, seed=self.seed)
        found = zero_shot_case_metrics(cases, resampling)
        metrics = {**found.points, **label_p_values(cases, num_samples=NUM_PERMUTATIONS, seed=self.seed)}
        return ZeroShotResult(metrics, found.intervals(self.confidence), cases)

    def _cases(self, studies: FloatArray, texts: FloatArray, scale: float) -> dict[str, npt.NDArray[Any]]:
        """One row a study and label, those of one study side by side."""
        scores = self._scorer.score(studies, texts, scale)
        margins = scores.margins
        count, names = len(studies), [label.name for label in self.labels]
        columns: dict[str, npt.NDArray[Any]] = {
            "study_id": np.repeat(np.array(self.studies.study_ids, dtype=object), len(names)),
            "patient_id": np.repeat(np.array(self.studies.patient_ids, dtype=object), len(names)),
            "label": np.tile(np.array(names, dtype=object), count),
            "positive": np.column_stack([self.studies.has(name) for name in names]).ravel(),
            "margin": margins[..., 0].ravel(),
            "probability": expit(scale * margins[..., 0]).ravel(),
            "polarity_margin": scores.polarity_margins.ravel(),
            "choices": np.tile(np.array([self._choices_of(name) for name in names], dtype=object), count),
            **self._side_columns(scores.left_margins),
        }
        for number in range(len(self.protocol.templates)):
            columns[template_column(number)] = margins[..., 1 + number].ravel()
        return columns

    def _choices_of(self, label: str) -> str:
        """The choices that a label takes part in, and can: all their labels are here."""
        names = {each.name for each in self.labels}
        choices = self.protocol.choices or {}
        return ",".join(name for name, members in choices.items() if label in members and names >= set(members))

    def _side_columns(self, left_margins: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """The side of a study's findings of a label, and how much nearer the words for it are than the other's."""
        sides = np.array(
            [[study.get(label.name, "") for label in self.labels] for study in self.studies.sides], dtype=object
        )
        signs = np.select([sides == "left", sides == "right"], [1.0, -1.0], np.nan)
        return {"side": sides.ravel(), "side_margin": (left_margins * signs).ravel()}


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


def _usable(
    protocol: ZeroShotProtocol, studies: LabelledStudies
) -> tuple[tuple[ZeroShotLabel, ...], npt.NDArray[np.int64]]:
    """Labels with enough studies, and the rows of the studies that take part."""
    truth = np.column_stack([studies.has(label.name) for label in protocol.labels])
    rows = np.arange(len(truth))
    if protocol.rule == "softmax":
        rows = np.flatnonzero(truth.sum(axis=1) == 1)
    counts = truth[rows].sum(axis=0)
    enough = np.minimum(counts, len(rows) - counts) >= MIN_PER_CLASS
    if protocol.rule == "softmax":
        # A label that is left out competes no more, so its studies have nothing to be told from.
        enough = counts >= MIN_PER_CLASS
        rows = rows[truth[rows][:, enough].any(axis=1)]
        enough &= enough.sum() > 1
    if not enough.any():
        raise ValueError(
            f"expected a label of the protocol {protocol.name} with at least {MIN_PER_CLASS} studies with and without "
            f"it, got none among {len(protocol.labels)} labels of {len(truth)} studies"
        )
    return tuple(label for label, is_kept in zip(protocol.labels, enough, strict=True) if is_kept), rows


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
