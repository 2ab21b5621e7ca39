"""Zero-shot classification: is a study nearer to "X" than to "no X", asked label by label, by a protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from .bootstrap import PatientBootstrap
from .metrics import unit_rows_of_both
from .probe import MIN_PER_CLASS
from .zero_shot_metrics import label_p_values, template_column, zero_shot_case_metrics
from .zero_shot_protocol import ZeroShotLabel, ZeroShotProtocol
from .zero_shot_scores import ZeroShotScorer

FloatArray = npt.NDArray[np.float64]

NUM_PERMUTATIONS = 9_999


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
