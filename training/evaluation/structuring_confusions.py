"""What a structurer takes for what: a cause for each miss and each extra, and the fields in which pairs differ."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from selip.processing.findings import Finding

from .structuring_score import Pair, level_of

# Of findings that match but for these; two or more of them are "several".
_ATTRIBUTES = ("finding", "site", "laterality", "certainty")
_WORD_FIELDS = ("severity", "acuity", "change", "count")
_NO_COUPLE = 100.0
_NO_OVERLAP = 0.5  # less than an attribute that differs
MAX_EXAMPLES = 8


@dataclass(frozen=True)
class Fault:
    """One thing that is not as in the gold findings.

    Attributes:
        cause: Of an unpaired finding: finding, site, laterality or certainty, if a miss and an extra are the same but
            for that; several, if they differ in more; doubled, missed, extra otherwise. Of a pair: the field.
        gold: What gold says there; "" for nothing.
        predicted: What the prediction says there; "" for nothing.
        gold_index: Position of the gold finding, None for an extra.
        predicted_index: Position of the predicted finding, None for a miss.
        is_of_pair: The findings match, and differ in a field.
    """

    cause: str
    gold: str
    predicted: str
    gold_index: int | None
    predicted_index: int | None
    is_of_pair: bool = False


def find_faults(
    gold: Sequence[Finding], predicted: Sequence[Finding], pairs: Sequence[Pair], text: str
) -> list[Fault]:
    """All faults of one report: misses and extras, coupled where one was taken for the other, and fields of pairs.

    A miss and an extra are coupled if they are of one term, or of one level of certainty and about the same words of
    the text; the couples that differ least, over the whole report.

    Args:
        gold: Gold findings.
        predicted: Predicted findings.
        pairs: Which match, from `match_findings`.
        text: The report, in which the quotes stand.
    """
    missed = [n for n in range(len(gold)) if n not in {pair.gold for pair in pairs}]
    extra = [n for n in range(len(predicted)) if n not in {pair.predicted for pair in pairs}]
    faults = []
    coupled: set[tuple[str, int]] = set()
    for row, column in _couples([gold[n] for n in missed], [predicted[n] for n in extra], text):
        one, other = missed[row], extra[column]
        coupled |= {("gold", one), ("predicted", other)}
        faults.append(_taken_for(gold[one], predicted[other], one, other))
    faults += [Fault("missed", _name(gold[n]), "", n, None) for n in missed if ("gold", n) not in coupled]
    matched = [gold[pair.gold] for pair in pairs]
    for n in extra:
        if ("predicted", n) not in coupled:
            is_double = any(not _differing(one, predicted[n]) for one in matched)
            faults.append(Fault("doubled" if is_double else "extra", "", _name(predicted[n]), None, n))
    for pair in pairs:
        faults += _field_faults(gold[pair.gold], predicted[pair.predicted], pair)
    return faults


def confusion_table(faults: Iterable[tuple[str, Fault]]) -> list[dict[str, Any]]:
    """Faults of many reports, counted: most frequent first.

    Args:
        faults: Report id and fault.

    Returns:
        Rows `cause`, `is_of_pair`, `gold`, `predicted`, `n`, and `reports`: ids of up to `MAX_EXAMPLES` of them.
    """
    counts: Counter[tuple[bool, str, str, str]] = Counter()
    reports: dict[tuple[bool, str, str, str], list[str]] = defaultdict(list)
    for name, fault in faults:
        key = (fault.is_of_pair, fault.cause, fault.gold, fault.predicted)
        counts[key] += 1
        if name not in reports[key] and len(reports[key]) < MAX_EXAMPLES:
            reports[key].append(name)
    return [
        {"cause": key[1], "is_of_pair": key[0], "gold": key[2], "predicted": key[3], "n": n, "reports": reports[key]}
        for key, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _couples(missed: Sequence[Finding], extra: Sequence[Finding], text: str) -> list[tuple[int, int]]:
    if not missed or not extra:
        return []
    costs = np.array([[_cost(one, other, text) for other in extra] for one in missed])
    rows, columns = linear_sum_assignment(costs)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if costs[r, c] < _NO_COUPLE]


def _cost(gold: Finding, predicted: Finding, text: str) -> float:
    overlap = _overlap(gold.quote, predicted.quote, text)
    same_level = level_of(gold) == level_of(predicted)
    if gold.finding != predicted.finding and not (overlap and same_level):
        return _NO_COUPLE
    return len(_differing(gold, predicted)) + (0.0 if overlap else _NO_OVERLAP)


def _overlap(one: str, other: str, text: str) -> bool:
    """Whether two quotes have words of the text in common, by where each is found first."""
    starts = text.find(one), text.find(other)
    if not one or not other or min(starts) < 0:
        return False
    return max(starts) < min(starts[0] + len(one), starts[1] + len(other))


def _differing(gold: Finding, predicted: Finding) -> list[str]:
    return [name for name in _ATTRIBUTES if _attribute(gold, name) != _attribute(predicted, name)]


def _attribute(finding: Finding, name: str) -> str:
    return level_of(finding) if name == "certainty" else str(getattr(finding, name))


def _taken_for(gold: Finding, predicted: Finding, gold_index: int, predicted_index: int) -> Fault:
    names = _differing(gold, predicted)
    one, other = (", ".join(_attribute(finding, name) for name in names) for finding in (gold, predicted))
    return Fault(names[0] if len(names) == 1 else "several", one, other, gold_index, predicted_index)


def _field_faults(gold: Finding, predicted: Finding, pair: Pair) -> list[Fault]:
    differences = [
        (name, str(getattr(gold, name)), str(getattr(predicted, name)))
        for name in (*_WORD_FIELDS, "site", "certainty")
        if getattr(gold, name) != getattr(predicted, name)
    ]
    if gold.size_mm != predicted.size_mm:
        differences.append(("size_mm", _number(gold.size_mm), _number(predicted.size_mm)))
    for name, one, other in (
        ("signals", _signal_words(gold), _signal_words(predicted)),
        ("morphology", set(gold.morphology), set(predicted.morphology)),
    ):
        differences += [(name, word, "") for word in sorted(one - other)]
        differences += [(name, "", word) for word in sorted(other - one)]
    return [Fault(name, one, other, pair.gold, pair.predicted, is_of_pair=True) for name, one, other in differences]


def _signal_words(finding: Finding) -> set[str]:
    return {f"{signal.sequence} {signal.signal}" for signal in finding.signals}


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _name(finding: Finding) -> str:
    level = level_of(finding)
    return finding.finding if level == "present" else f"{finding.finding} ({level})"
