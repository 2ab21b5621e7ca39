"""How far two readers agree on the findings of the same reports.

Neither reader is the truth, so every score is the mean of both directions: the one as gold and the other as predicted,
and the other way round. Then finding F1 is of the same kind as that of a structurer, and says what it can be compared
with. Kappa (Cohen 1960) is agreement beyond chance: of `normal` over reports, of a field over matched findings, where
the pairs of each direction count one half.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selip.processing.annotation.gold import GoldReport, gold_row
from selip.processing.findings import Finding

from .bootstrap import PatientBootstrap, percentile_interval
from .structuring_confusions import Fault, find_faults
from .structuring_metrics import score_reports
from .structuring_score import Pair, match_findings, report_tallies

KAPPA_FIELDS = ("site", "certainty", "severity", "acuity", "change", "count")
# Say nothing of two readers: the mean of both directions is F1 again, and gold is always valid and quoted verbatim.
_LEFT_OUT = ("/precision", "/recall", "valid/share", "quotes/verbatim", "normal/accuracy")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReadTwice:
    """A report that both readers have read: their findings, which of them match, and where they differ."""

    first: GoldReport
    second: GoldReport
    pairs: list[Pair]
    faults: list[Fault]

    @property
    def is_agreed(self) -> bool:
        """Whether the readers differ in nothing."""
        return not self.faults and self.first.report.normal == self.second.report.normal


@dataclass(frozen=True)
class ReaderAgreement:
    """Scores and their intervals, numbers by term, and the reports."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    by_term: list[dict[str, Any]]
    reports: list[ReadTwice]


def compare(
    first: Sequence[GoldReport], second: Sequence[GoldReport], *, bootstrap_samples: int, seed: int
) -> ReaderAgreement:
    """Compare two readers on the reports that both have read.

    Args:
        first: Reports of one reader.
        second: Reports of the other.
        bootstrap_samples: Draws of patients behind each interval; 0: no intervals.
        seed: Seed of the draws.

    Returns:
        Metrics `GROUP/f1`, `FIELD/agreement`, `FIELD/agreement_where_stated` and numbers of cases as of a structurer
        (`score_reports`), `FIELD/kappa` for each of `KAPPA_FIELDS`, `normal/kappa` and `normal/agreement`. NaN where
        there is nothing to agree on: kappa is not defined where both readers use one value only.

    Raises:
        ValueError: No report is read by both, or one has another text for the other reader.
    """
    reports = _read_by_both(first, second)
    patients = [one.first.patient_id for one in reports]
    tallies = [_mean_tallies(one.first, one.second) for one in reports]
    metrics, intervals = score_reports(tallies, patients, bootstrap_samples=bootstrap_samples, seed=seed)
    metrics = {name: value for name, value in metrics.items() if not name.endswith(_LEFT_OUT)}
    intervals = {name: ends for name, ends in intervals.items() if not name.endswith(_LEFT_OUT)}
    draws = PatientBootstrap(patients, num_samples=bootstrap_samples, seed=seed) if bootstrap_samples else None
    values = {"normal": [[(1.0, str(one.first.report.normal), str(one.second.report.normal))] for one in reports]}
    values |= {name: [_values(one, name) for one in reports] for name in KAPPA_FIELDS}
    for name, of_reports in values.items():
        confusion = _confusion(of_reports)  # (R, K, K)
        metrics[f"{name}/kappa"] = float(cohen_kappa(confusion.sum(axis=0)))
        if draws is not None and not np.isnan(metrics[f"{name}/kappa"]):
            drawn = draws.sums(confusion.reshape(len(confusion), -1)).reshape(-1, *confusion.shape[1:])
            low, high = percentile_interval(cohen_kappa(drawn)[:, None])
            intervals[f"{name}/kappa"] = (float(low[0]), float(high[0]))
    same = [one.first.report.normal == one.second.report.normal for one in reports]
    metrics["normal/agreement"] = float(np.mean(same))
    return ReaderAgreement(metrics, intervals, _by_term(reports), reports)


def cohen_kappa(confusion: FloatArray) -> FloatArray:
    """Cohen's kappa of confusion matrices (..., K, K): (observed - chance) / (1 - chance) agreement.

    Returns:
        (...); NaN where a matrix is empty or chance agreement is 1.
    """
    total = confusion.sum(axis=(-2, -1))
    observed = np.trace(confusion, axis1=-2, axis2=-1)
    chance = (confusion.sum(axis=-1) * confusion.sum(axis=-2)).sum(axis=-1)
    above, below = observed * total - chance, total**2 - chance
    # Half pairs are exact in floating point, so a chance agreement of 1 is too.
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def adjudication_rows(agreement: ReaderAgreement) -> list[dict[str, Any]]:
    """Reports on which the readers differ, most differences first: rows for `selip annotate export`.

    The findings that a row brings along are those of the first reader; `differences` lists what the second has else.
    """
    differing = sorted((one for one in agreement.reports if not one.is_agreed), key=lambda one: -len(one.faults))
    return [
        gold_row(
            one.first,
            normal=[one.first.report.normal, one.second.report.normal],
            differences=[{"what": f.cause, "first": f.gold, "second": f.predicted} for f in one.faults],
        )
        for one in differing
    ]


def agreed_rows(agreement: ReaderAgreement) -> list[dict[str, Any]]:
    """Reports on which the readers agree in everything, as gold findings."""
    return [gold_row(one.first) for one in agreement.reports if one.is_agreed]


def _read_by_both(first: Sequence[GoldReport], second: Sequence[GoldReport]) -> list[ReadTwice]:
    others = {one.id: one for one in second}
    both = [(one, others[one.id]) for one in first if one.id in others]
    if not both:
        raise ValueError("expected reports that both readers have read, got none: no id is in both files")
    for one, other in both:
        if one.whole_text != other.whole_text:
            raise ValueError(f"expected one text of report {one.id}, but the readers have read different ones")
    reports = []
    for one, other in both:
        pairs = match_findings(one.report.findings, other.report.findings)
        faults = find_faults(one.report.findings, other.report.findings, pairs, one.whole_text)
        reports.append(ReadTwice(one, other, pairs, faults))
    return reports


def _mean_tallies(one: GoldReport, other: GoldReport) -> dict[str, float]:
    forward = report_tallies(one.report, other.report, one.whole_text)
    backward = report_tallies(other.report, one.report, one.whole_text)
    return {name: (value + backward[name]) / 2 for name, value in forward.items()}


def _pairs_of_both_directions(one: ReadTwice) -> list[tuple[Finding, Finding]]:
    """Matched findings, of the first reader and of the second, once for each direction in which they match."""
    first, second = one.first.report.findings, one.second.report.findings
    back = match_findings(second, first)
    return [(first[a], second[b]) for a, b in one.pairs] + [(first[b], second[a]) for a, b in back]


def _values(one: ReadTwice, field: str) -> list[tuple[float, str, str]]:
    """Weight and values of a field in each pair."""
    return [(0.5, str(getattr(a, field)), str(getattr(b, field))) for a, b in _pairs_of_both_directions(one)]


def _confusion(of_reports: Sequence[Sequence[tuple[float, str, str]]]) -> FloatArray:
    """Weights of pairs of values by report: (R, K, K) over the K values that occur, first reader in the rows."""
    names = sorted({value for pairs in of_reports for _, *values in pairs for value in values})
    index = {name: number for number, name in enumerate(names)}
    confusion = np.zeros((len(of_reports), len(names), len(names)))
    for number, pairs in enumerate(of_reports):
        for weight, one, other in pairs:
            confusion[number, index[one], index[other]] += weight
    return confusion


def _by_term(reports: Sequence[ReadTwice]) -> list[dict[str, Any]]:
    """How often each reader states each term, how often both do, and F1: most frequent terms first."""
    counts: dict[str, Counter[str]] = {"first": Counter(), "second": Counter(), "both": Counter()}
    for one in reports:
        counts["first"].update(finding.finding for finding in one.first.report.findings)
        counts["second"].update(finding.finding for finding in one.second.report.findings)
        counts["both"].update(finding.finding for finding, _ in _pairs_of_both_directions(one))
    rows: list[dict[str, Any]] = []
    for term in counts["first"].keys() | counts["second"].keys():
        total = counts["first"][term] + counts["second"][term]
        numbers: Mapping[str, int] = {name: counts[name][term] for name in ("first", "second")}
        rows.append({"term": term, **numbers, "both": counts["both"][term] / 2, "f1": counts["both"][term] / total})
    return sorted(rows, key=lambda row: (-row["first"] - row["second"], row["term"]))
