"""From a score to a probability: one sigmoid a label, fitted on studies that are scored nowhere else.

Platt scaling (Platt, Advances in Large Margin Classifiers 1999): p = 1 / (1 + exp(-(slope * score + intercept))) by
maximum likelihood, with his targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2) in the place of 1 and 0, which keep the slope
finite where the score divides the studies without a mistake.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from ..evaluation.case_metrics import Cases
from ..evaluation.result_file import read_cases, read_result_file

FloatArray = npt.NDArray[np.float64]

# A sigmoid has two parameters; with fewer patients of a kind its place and slope are guesses.
MIN_PATIENTS_OF_A_KIND = 10
SPLIT = "validation"
_SCORE_COLUMN = {"zero_shot": "margin", "classification": "score"}
# Why a label or study has a score and no probability.
NOT_ASKED, NOT_FITTED, FITTED_ON_IT = (
    "no calibration given",
    "label left out of the calibration, for too few studies of a kind",
    "study that the calibration was fitted on",
)
TOO_FEW = f"fewer than {MIN_PATIENTS_OF_A_KIND} patients with or without the label in the calibration"
NOT_RISING = "score does not rise with the label in the calibration"


@dataclass(frozen=True)
class Sigmoid:
    """The way from a score to a probability."""

    slope: float
    intercept: float

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Probabilities of scores, both (N,)."""
        probabilities: FloatArray = expit(self.slope * scores + self.intercept)
        return probabilities


@dataclass(frozen=True)
class Calibration:
    """Sigmoids of labels.

    Attributes:
        sigmoids: By label.
        refused: Why other labels have none.
        study_ids: The studies that they were fitted on.
        studies_fingerprint: Of the studies table that these are from.
        info: What they were fitted on, for the metadata of whatever uses them.
    """

    sigmoids: dict[str, Sigmoid]
    refused: dict[str, str]
    study_ids: frozenset[str]
    studies_fingerprint: str
    info: dict[str, Any]


def fit_sigmoid(scores: FloatArray, positive: npt.NDArray[np.bool_]) -> Sigmoid:
    """Platt's sigmoid of scores (N,) whose truth (N,) is known.

    Raises:
        ValueError: All scores are one, or there is one kind of study only.
    """
    spread = float(scores.std())
    if spread == 0 or positive.all() or not positive.any():
        raise ValueError("expected scores that differ, of studies with and without the label")
    scaled = (scores - scores.mean()) / spread  # cosines differ by hundredths, which the solver takes for nothing
    count = int(positive.sum())
    target = np.where(positive, (count + 1) / (count + 2), 1 / (len(positive) - count + 2))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    # a target between 0 and 1 is a case of each kind with the weights of both
    model.fit(
        np.concatenate([scaled, scaled])[:, None],
        np.repeat([1, 0], len(scaled)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    slope = float(model.coef_[0, 0]) / spread
    return Sigmoid(slope, float(model.intercept_[0]) - slope * float(scores.mean()))


def fit_calibration(cases: Cases, score_column: str) -> tuple[dict[str, Sigmoid], dict[str, str], dict[str, Any]]:
    """Sigmoids by label, why others have none, and the numbers of studies by label.

    A label is refused with fewer than 10 patients of whom a study has it, or of whom one lacks it; and where the slope
    is not above 0, because a probability that falls as the score rises would turn the model's answer around.

    Args:
        cases: Columns `label`, `positive`, `patient_id` and the score, one row a study and label.
        score_column: Name of the score.
    """
    sigmoids: dict[str, Sigmoid] = {}
    refused: dict[str, str] = {}
    counts: dict[str, Any] = {}
    for label in dict.fromkeys(cases["label"]):
        rows = cases["label"] == label
        scores, positive = cases[score_column][rows].astype(np.float64), cases["positive"][rows].astype(bool)
        patients = cases["patient_id"][rows].astype(str)
        counts[str(label)] = {"with": int(positive.sum()), "without": int((~positive).sum())}
        kinds = (len(set(patients[positive])), len(set(patients[~positive])))
        if min(kinds) < MIN_PATIENTS_OF_A_KIND:
            refused[str(label)] = TOO_FEW
            continue
        sigmoid = fit_sigmoid(scores, positive) if scores.std() > 0 else Sigmoid(0.0, 0.0)
        if sigmoid.slope > 0:
            sigmoids[str(label)] = sigmoid
        else:
            refused[str(label)] = NOT_RISING
    return sigmoids, refused, counts


def read_calibration(
    path: Path, *, task: str, checkpoint_sha256: str, labels: Sequence[str], settings: dict[str, Any]
) -> Calibration:
    """Fit the sigmoids on the cases of a result file.

    Args:
        path: Result of `selip evaluate --split validation`.
        task: zero_shot or classification.
        checkpoint_sha256: The checkpoint that is to be calibrated.
        labels: The labels that are asked for.
        settings: Settings that the result must share, e.g. the fingerprint of the protocol.

    Raises:
        FileNotFoundError: The result or its table of cases is not there.
        ValueError: It is of another checkpoint, task, protocol or split, or of a control.
    """
    record = read_result_file(path)
    expected = {"task": task, "checkpoint": checkpoint_sha256, "split": SPLIT, "control": "none", **settings}
    given = record.get("settings", {})
    found = {**given, "task": record.get("task"), "checkpoint": record.get("checkpoint", {}).get("sha256")}
    for name, value in expected.items():
        if found.get(name) != value:
            raise ValueError(
                f"expected a result with {name} {value} to calibrate on, got {found.get(name)} in {path.name}; make "
                f"one with `selip evaluate --task {task} --split {SPLIT}` of this checkpoint"
            )
    if given.get("rule") == "softmax" and given.get("labels") != list(labels):
        raise ValueError(
            f"expected a result of the same labels to calibrate on, because labels compete (rule softmax); "
            f"{path.name} has {', '.join(given.get('labels', []))}: evaluate and predict with these in --labels"
        )
    cases = read_cases(path)
    sigmoids, refused, counts = fit_calibration(cases, _SCORE_COLUMN[task])
    info = {
        "method": "Platt scaling, one sigmoid a label",
        "result": path.name,
        "split": SPLIT,
        "sequences": given.get("sequences", "all"),
        "patients": len(set(cases["patient_id"])),
        "studies": len(set(cases["study_id"])),
        "simulated": bool(record.get("simulated")),
        "studies_fingerprint": record["data"]["studies_fingerprint"],
        "rule": f"at least {MIN_PATIENTS_OF_A_KIND} patients with and without the label, and a slope above 0",
        "labels": {
            label: {**counts[label], "slope": each.slope, "intercept": each.intercept}
            for label, each in sigmoids.items()
        },
        "refused": {label: {**counts[label], "reason": reason} for label, reason in refused.items()},
    }
    ids = frozenset(map(str, cases["study_id"]))
    return Calibration(sigmoids, refused, ids, record["data"]["studies_fingerprint"], info)


def probability_of(
    calibration: Calibration | None, label: str, scores: FloatArray, fitted_on: npt.NDArray[np.bool_]
) -> tuple[list[float | None], list[str | None]]:
    """Probability of every study for a label, or why there is none.

    Args:
        calibration: None: none was given.
        label: The label.
        scores: (N,).
        fitted_on: (N,) studies that the calibration was fitted on, which it is too sure of.
    """
    if calibration is None:
        return [None] * len(scores), [NOT_ASKED] * len(scores)
    if label not in calibration.sigmoids:
        return [None] * len(scores), [calibration.refused.get(label, NOT_FITTED)] * len(scores)
    values = calibration.sigmoids[label](scores)
    return (
        [None if own else float(value) for value, own in zip(values, fitted_on, strict=True)],
        [FITTED_ON_IT if own else None for own in fitted_on],
    )
