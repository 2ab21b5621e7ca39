"""Arms against each other: means over seeds, and paired intervals over patients and seeds.

Every arm is trained once a seed and evaluated on the same test studies, so seeds and patients are crossed. A replicate
of the bootstrap draws patients (the same for all arms and seeds) and seeds (the same for all arms), and takes the mean
over the drawn seeds of the metric on the drawn patients; a difference of arms is taken within a replicate. With three
seeds the draw of seeds understates their variance by a third on average, so intervals are somewhat narrow where runs
of one arm differ much; the value of every seed is given beside them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation.bootstrap import PatientBootstrap, percentile_interval
from ..evaluation.metrics import recall_at_k
from ..evaluation.probe import area_replicates

Cases = Mapping[str, npt.NDArray[Any]]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A number that arms are compared by.

    Attributes:
        name: Its name in the result file of its task.
        title: Heading of its column.
        task: Which evaluation it comes from.
        replicates: Its value in every draw of patients, (num_samples,), from the case table.
    """

    name: str
    title: str
    task: str
    replicates: Callable[[Cases, PatientBootstrap], FloatArray]


def _recall(direction: str) -> Callable[[Cases, PatientBootstrap], FloatArray]:
    """Recall@5 within the sequence, queries of abnormal studies."""

    def replicates(cases: Cases, resampling: PatientBootstrap) -> FloatArray:
        rows = np.flatnonzero((cases["direction"] == direction) & ~cases["is_normal"].astype(bool))
        found = recall_at_k(cases["rank"], 5)[:, None]
        return resampling.means(found, cases["weight"].astype(np.float64), rows)[:, 0]

    return replicates


def _accuracy(kind: str) -> Callable[[Cases, PatientBootstrap], FloatArray]:
    """Right choices image to text, pairs of one kind or all."""

    def replicates(cases: Cases, resampling: PatientBootstrap) -> FloatArray:
        chosen = cases["direction"] == "image_to_text"
        rows = np.flatnonzero(chosen if kind == "all" else chosen & (cases["kind"] == kind))
        right = (cases["margin"] > 0).astype(np.float64)[:, None]
        return resampling.means(right, np.ones(len(right)), rows)[:, 0]

    return replicates


def _mean_area(cases: Cases, resampling: PatientBootstrap) -> FloatArray:
    return np.asarray(np.nanmean(area_replicates(cases, resampling), axis=1))


METRICS = (
    Metric(
        "within_sequence_abnormal/image_to_text/recall@5",
        "series to report, R@5",
        "retrieval",
        _recall("image_to_text"),
    ),
    Metric(
        "within_sequence_abnormal/text_to_image/recall@5",
        "report to series, R@5",
        "retrieval",
        _recall("text_to_image"),
    ),
    Metric("all/image_to_text/accuracy", "minimal pairs", "pairs", _accuracy("all")),
    Metric("side/image_to_text/accuracy", "pairs: side", "pairs", _accuracy("side")),
    Metric("signal/image_to_text/accuracy", "pairs: signal", "pairs", _accuracy("signal")),
    Metric("size/image_to_text/accuracy", "pairs: size", "pairs", _accuracy("size")),
    Metric("removed/image_to_text/accuracy", "pairs: removed", "pairs", _accuracy("removed")),
    Metric("mean/auroc", "linear probe, area", "probe", _mean_area),
)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    Attributes:
        value: Mean over seeds.
        low: Lower end.
        high: Upper end.
        by_seed: Value of every seed.
    """

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class ArmRuns:
    """The evaluations of one arm.

    Attributes:
        points: Metrics of the result file, by task and seed: `points[task][seed][name]`.
        cases: Case tables, by task and seed.
    """

    points: Mapping[str, tuple[Mapping[str, float], ...]]
    cases: Mapping[str, tuple[Cases, ...]]


def compare(
    arms: Mapping[str, ArmRuns], baseline: str, *, num_samples: int = 2000, seed: int = 0
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """
    Args:
        arms: Runs by arm, all with the same seeds on the same studies.
        baseline: The arm that others are compared with.
        num_samples: Replicates.
        seed: Seed of the draws.

    Returns:
        Values by arm and metric, and differences from the baseline by arm and metric (the baseline itself left out).

    Raises:
        ValueError: The arms were evaluated on different cases.
    """
    values: dict[str, dict[str, Estimate]] = {name: {} for name in arms}
    differences: dict[str, dict[str, Estimate]] = {name: {} for name in arms if name != baseline}
    for metric in METRICS:
        points = {
            name: np.array([each[metric.name] for each in runs.points[metric.task]]) for name, runs in arms.items()
        }
        drawn = {name: _hierarchical(metric, runs, num_samples, seed) for name, runs in arms.items()}
        _check_same_cases(metric, arms)
        for name in arms:
            values[name][metric.name] = _estimate(points[name], drawn[name])
            if name != baseline:
                difference = points[name] - points[baseline]
                differences[name][metric.name] = _estimate(difference, drawn[name] - drawn[baseline])
    return values, differences


def _hierarchical(metric: Metric, runs: ArmRuns, num_samples: int, seed: int) -> FloatArray:
    """(num_samples,) values of an arm over draws of patients and seeds."""
    by_seed = []
    for cases in runs.cases[metric.task]:
        resampling = PatientBootstrap(cases["patient_id"].astype(str), num_samples=num_samples, seed=seed)
        by_seed.append(metric.replicates(cases, resampling))
    table = np.stack(by_seed)  # (S, num_samples)
    chosen = np.random.default_rng([seed, 1]).integers(len(table), size=(len(table), num_samples))
    return np.take_along_axis(table, chosen, axis=0).mean(axis=0)


def _estimate(points: FloatArray, drawn: FloatArray) -> Estimate:
    low, high = percentile_interval(drawn[:, None])
    return Estimate(float(points.mean()), float(low[0]), float(high[0]), tuple(float(point) for point in points))


def _check_same_cases(metric: Metric, arms: Mapping[str, ArmRuns]) -> None:
    """A paired comparison needs the same patients in every run."""
    patients = {
        (len(cases["patient_id"]), hash(tuple(sorted(set(map(str, cases["patient_id"]))))))
        for runs in arms.values()
        for cases in runs.cases[metric.task]
    }
    if len(patients) != 1:
        raise ValueError(
            f"expected every run evaluated on the same {metric.task} cases, got {len(patients)} different"
        )
