"""Scores of a structurer over many reports, with intervals, from the tallies of each report."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .bootstrap import PatientBootstrap, percentile_interval
from .structuring_score import FIELDS, GROUPS

Tallies = Mapping[str, float]

_GROUP_NAMES = {"all": "finding"}
# Of these there are as many cases as pairs, so they have no score of their own where the field is stated.
_ALWAYS_STATED = ("site",)


class Ratio(NamedTuple):
    """A score as a ratio of sums over reports: tallies that are added, above and below the line."""

    above: tuple[str, ...]
    below: tuple[str, ...]


def ratios() -> dict[str, Ratio]:
    """All scores by name.

    `GROUP/f1`, `GROUP/precision`, `GROUP/recall` for the groups finding (all of them), present, hedged, absent,
    without_normal; `FIELD/agreement` over matched pairs and `FIELD/agreement_where_stated`, where gold or prediction
    states the field: set F1 of signals (pairs of sequence and signal), of sequences and of morphology, the share of
    equal values of the others; `normal/accuracy`, `valid/share` over reports; `quotes/verbatim` over predictions.
    """
    found: dict[str, Ratio] = {}
    for group in GROUPS:
        name = _GROUP_NAMES.get(group, group)
        matched = f"matched/{group}"
        found[f"{name}/f1"] = Ratio((matched, matched), (f"gold/{group}", f"predicted/{group}"))
        found[f"{name}/precision"] = Ratio((matched,), (f"predicted/{group}",))
        found[f"{name}/recall"] = Ratio((matched,), (f"gold/{group}",))
    for field in FIELDS:
        found[f"{field}/agreement"] = Ratio((f"agree/{field}",), ("matched/all",))
        if field not in _ALWAYS_STATED:
            found[f"{field}/agreement_where_stated"] = Ratio((f"agree_stated/{field}",), (f"stated/{field}",))
    found["normal/accuracy"] = Ratio(("is_normal_right",), ("reports",))
    found["valid/share"] = Ratio(("is_valid",), ("reports",))
    found["quotes/verbatim"] = Ratio(("quotes_verbatim",), ("predicted/all",))
    return found


def score_reports(
    tallies: Sequence[Tallies], patient_ids: Sequence[str], *, bootstrap_samples: int, seed: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Scores over reports, and their 95 % intervals over patients.

    Args:
        tallies: Of each report, from `report_tallies`, R >= 1.
        patient_ids: Of each report; those of one patient are drawn together.
        bootstrap_samples: Draws behind each interval; 0: no intervals.
        seed: Seed of the draws.

    Returns:
        Scores by the names of `ratios`, NaN where there is no case (no hedged finding, say), with the numbers of cases
        `GROUP/n_gold`, `GROUP/n_predicted`, `FIELD/n` and `FIELD/n_where_stated`; and the ends of the intervals.
    """
    columns = {name: np.array([one[name] for one in tallies], dtype=np.float64) for name in tallies[0]}
    draws = PatientBootstrap(patient_ids, num_samples=bootstrap_samples, seed=seed) if bootstrap_samples else None
    metrics = _numbers_of_cases(columns)
    intervals = {}
    for name, ratio in ratios().items():
        above = np.sum([columns[column] for column in ratio.above], axis=0)
        below = np.sum([columns[column] for column in ratio.below], axis=0)
        metrics[name] = float(above.sum() / below.sum()) if below.sum() else float("nan")
        if draws is not None and below.sum():
            rows = np.flatnonzero(below)
            values = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
            low, high = percentile_interval(draws.means(values[:, None], below, rows))
            intervals[name] = (float(low[0]), float(high[0]))
    return metrics, intervals


def _numbers_of_cases(columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    numbers = {}
    for group in GROUPS:
        for side in ("gold", "predicted"):
            numbers[f"{_GROUP_NAMES.get(group, group)}/n_{side}"] = float(columns[f"{side}/{group}"].sum())
    for field in FIELDS:
        numbers[f"{field}/n"] = float(columns["matched/all"].sum())
        numbers[f"{field}/n_where_stated"] = float(columns[f"stated/{field}"].sum())
    return numbers
