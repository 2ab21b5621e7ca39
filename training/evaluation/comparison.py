"""Systems against each other: means over seeds, and paired intervals over patients and seeds.

Every system is evaluated on the same cases; where each was trained once a seed, seeds and patients are crossed. A
replicate of the bootstrap draws patients (the same for all systems and seeds) and seeds (the same for all systems),
and takes the mean over the drawn seeds of the metric on the drawn patients; a difference of systems is taken within a
replicate. With three seeds the draw of seeds understates their variance by a third on average, so intervals are
somewhat narrow where runs of one system differ much; the value of every seed is given beside them. With one seed the
interval says nothing of what another training would have given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bootstrap import PatientBootstrap, percentile_interval
from .case_metrics import CaseMetrics, Cases
from .recomputation import case_keys, recompute

FloatArray = npt.NDArray[np.float64]
NUM_SAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    Attributes:
        value: Mean over seeds.
        low: Lower end; NaN for a count.
        high: Upper end; NaN for a count.
        by_seed: Value of every seed.
    """

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        values: By system and metric.
        differences: From the baseline, by system and metric; the baseline itself is left out.
    """

    values: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]


def compare(
    task: str,
    systems: Mapping[str, Sequence[Cases]],
    baseline: str,
    *,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Every metric of a task for every system, and their differences from one of them.

    Args:
        task: Name of the task, which knows its metrics.
        systems: Case tables of one seed each, by system; the same cases in all of them.
        baseline: The system that others are compared with.
        num_samples: Replicates.
        seed: Seed of the draws.

    Raises:
        ValueError: The systems were evaluated on different cases, or not with equally many seeds.
    """
    check_same_cases(task, systems)
    drawn = {name: _replicated(task, runs, num_samples, seed) for name, runs in systems.items()}
    reference = drawn[baseline]
    values = {
        name: {metric: estimate(own.points[metric], own.replicates.get(metric)) for metric in own.points}
        for name, own in drawn.items()
    }
    differences = {
        name: {
            metric: estimate(
                own.points[metric] - reference.points[metric],
                own.replicates[metric] - reference.replicates[metric],
            )
            for metric in own.replicates
            if metric in reference.replicates
        }
        for name, own in drawn.items()
        if name != baseline
    }
    return Comparison(values, differences)


class Replicated:
    """A system: its points (S,), and its replicates (num_samples,) over draws of patients and seeds, by metric.

    Args:
        runs: What every seed gives, replicates of the same draws of patients.
        num_samples: Replicates.
        seed: Seed of the draws of seeds; systems with equally many seeds draw the same ones.
    """

    def __init__(self, runs: Sequence[CaseMetrics], num_samples: int, seed: int):
        # a label that one seed has no score of would be compared on different things
        names = [name for name in runs[0].points if all(name in each.points for each in runs)]
        self.points = {name: np.array([each.points[name] for each in runs]) for name in names}
        chosen = np.random.default_rng([seed, 1]).integers(len(runs), size=(len(runs), num_samples))
        self.replicates = {
            name: np.take_along_axis(np.stack([each.replicates[name] for each in runs]), chosen, axis=0).mean(axis=0)
            for name in names
            if name in runs[0].replicates
        }


def _replicated(task: str, runs: Sequence[Cases], num_samples: int, seed: int) -> Replicated:
    found = []
    for cases in runs:
        resampling = PatientBootstrap(cases["patient_id"].astype(str), num_samples=num_samples, seed=seed)
        found.append(recompute(task, cases, resampling))
    return Replicated(found, num_samples, seed)


def estimate(points: FloatArray, drawn: FloatArray | None) -> Estimate:
    """Mean over seeds with the 95 % interval of its replicates, NaN without any."""
    low, high = np.array([np.nan]), np.array([np.nan])
    if drawn is not None:
        low, high = percentile_interval(drawn[:, None])
    return Estimate(float(points.mean()), float(low[0]), float(high[0]), tuple(float(point) for point in points))


def check_same_cases(task: str, systems: Mapping[str, Sequence[Cases]]) -> None:
    """A paired comparison needs the same cases in every run.

    Raises:
        ValueError: They differ, or the numbers of runs do.
    """
    counts = {name: len(runs) for name, runs in systems.items()}
    if len(set(counts.values())) != 1:
        described = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise ValueError(f"expected equally many results of every system, got {described}")
    expected: list[tuple[str, ...]] | None = None
    for name, runs in systems.items():
        for cases in runs:
            keys = case_keys(task, cases)
            if expected is None:
                expected = keys
            if keys != expected:
                missing, added = set(expected) - set(keys), set(keys) - set(expected)
                raise ValueError(
                    f"expected every result on the same {task} cases, got {len(expected)} cases in the first and "
                    f"{len(keys)} in one of {name} ({len(missing)} missing, {len(added)} more); evaluate both on the "
                    "same studies, and look at `skipped` in the result files"
                )
