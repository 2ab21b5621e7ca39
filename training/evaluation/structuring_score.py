"""How far predicted findings agree with gold findings: pairs within a report, and counts of what agrees.

The definition is that of the annotation guide of the gold findings. A predicted finding matches a gold one of the same
term, side and level of certainty (`probable` and `possible` are one level, hedged) at the same site or at its direct
parent; a more precise site than the gold one does not match. Exact sites are paired first, then parents; between
candidates the one whose other fields agree best. Each finding is paired once at most.

Everything is counted by report, as sums and numbers of cases, so that any score over reports is a ratio of sums, and
reports can be drawn with replacement for its interval.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from selip.processing.findings import Finding, StructuredReport
from selip.processing.vocabulary import load_terms

LEVELS = ("present", "hedged", "absent")
# Groups of findings that are scored apart; "all" are all of them.
GROUPS = ("all", *LEVELS, "without_normal")

SIZE_TOLERANCE_MM = 1.0
SIZE_TOLERANCE = 0.05  # of the gold size, where that is more

T = TypeVar("T")


class Pair(NamedTuple):
    """Positions of a gold finding and of the predicted finding that matches it."""

    gold: int
    predicted: int


@dataclass(frozen=True)
class FindingScores:
    """Numbers of matched, gold and predicted findings, over one report or many, and their ratios."""

    matched: int
    gold: int
    predicted: int

    @property
    def precision(self) -> float:
        """Share of predicted findings that match, 0 where nothing is predicted."""
        return self.matched / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of gold findings that are matched, 0 where there are none."""
        return self.matched / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 1 where there is nothing to find and nothing was found."""
        return 2 * self.matched / (self.gold + self.predicted) if self.gold + self.predicted else 1.0


class Field(NamedTuple):
    """How a field of matched findings is compared: agreement in [0, 1], and whether a finding states the field."""

    agree: Callable[[Finding, Finding], float]  # of a gold and a predicted finding, in this order
    is_stated: Callable[[Finding], bool]


def level_of(finding: Finding) -> str:
    """Level of certainty, one of `LEVELS`."""
    return "hedged" if finding.certainty in ("probable", "possible") else finding.certainty


def set_f1(gold: set[T], predicted: set[T]) -> float:
    """F1 of two sets; 1 where both are empty."""
    return 1.0 if not gold and not predicted else 2 * len(gold & predicted) / (len(gold) + len(predicted))


def _signals(finding: Finding) -> set[tuple[str, str]]:
    return {(signal.sequence, signal.signal) for signal in finding.signals}


def _sequences(finding: Finding) -> set[str]:
    return {signal.sequence for signal in finding.signals}


def _same_size(gold: Finding, predicted: Finding) -> bool:
    if gold.size_mm is None or predicted.size_mm is None:
        return gold.size_mm is predicted.size_mm
    return abs(gold.size_mm - predicted.size_mm) <= max(SIZE_TOLERANCE_MM, SIZE_TOLERANCE * gold.size_mm)


def _word_field(name: str) -> Field:
    return Field(
        lambda gold, predicted: float(getattr(gold, name) == getattr(predicted, name)),
        lambda finding: getattr(finding, name) != "none",
    )


# Compared over matched pairs. The site counts as stated in all, so its two scores are one.
FIELDS: dict[str, Field] = {
    "signals": Field(lambda gold, predicted: set_f1(_signals(gold), _signals(predicted)), lambda f: bool(f.signals)),
    "sequences": Field(
        lambda gold, predicted: set_f1(_sequences(gold), _sequences(predicted)), lambda f: bool(f.signals)
    ),
    "morphology": Field(
        lambda gold, predicted: set_f1(set(gold.morphology), set(predicted.morphology)), lambda f: bool(f.morphology)
    ),
    "size_mm": Field(lambda gold, predicted: float(_same_size(gold, predicted)), lambda f: f.size_mm is not None),
    "severity": _word_field("severity"),
    "acuity": _word_field("acuity"),
    "change": _word_field("change"),
    "count": _word_field("count"),
    "certainty": Field(
        lambda gold, predicted: float(gold.certainty == predicted.certainty), lambda f: level_of(f) == "hedged"
    ),
    "site": Field(lambda gold, predicted: float(gold.site == predicted.site), lambda f: True),
}


def match_findings(gold: Sequence[Finding], predicted: Sequence[Finding]) -> list[Pair]:
    """Pair the findings of one report, one to one; the positions that occur in no pair are misses and extras.

    As many pairs are made as can be: in the first step every pairing within one key is as large as any other, in the
    second (`_pair_with_parents`) a pairing is enlarged until it cannot be.
    """
    by_place: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
    for number, finding in enumerate(predicted):
        by_place[*_key(finding), finding.site].append(number)
    ranked = sorted(
        (-_closeness(finding, predicted[other]), number, other)
        for number, finding in enumerate(gold)
        for other in by_place.get((*_key(finding), finding.site), ())
    )
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, number, other in ranked:
        if number not in partner and other not in taken:
            partner[number] = other
            taken.add(other)
    options: dict[int, list[int]] = {}
    for number, finding in enumerate(gold):
        parent = load_terms().sites[finding.site].parent
        if number not in partner and parent is not None:
            free = [other for other in by_place.get((*_key(finding), parent), ()) if other not in taken]
            options[number] = [n for _, n in sorted((-_closeness(finding, predicted[other]), other) for other in free)]
    partner |= _pair_with_parents(options)
    return [Pair(number, other) for number, other in sorted(partner.items())]


def finding_f1(golds: Iterable[StructuredReport], predictions: Iterable[StructuredReport | None]) -> FindingScores:
    """Micro scores over reports.

    Args:
        golds: Gold reports.
        predictions: One for each of them, in order; None where the structurer gave no valid report.

    Raises:
        ValueError: There are more of the one than of the other.
    """
    matched = n_gold = n_predicted = 0
    for gold, prediction in zip(golds, predictions, strict=True):
        found = [] if prediction is None else prediction.findings
        matched += len(match_findings(gold.findings, found))
        n_gold += len(gold.findings)
        n_predicted += len(found)
    return FindingScores(matched, n_gold, n_predicted)


def report_tallies(gold: StructuredReport, prediction: StructuredReport | None, text: str) -> dict[str, float]:
    """Counts and sums of one report, from which every score over many is computed.

    Args:
        gold: Gold findings.
        prediction: Predicted findings; None where the structurer gave no valid report.
        text: The report, in which quotes are looked for.

    Returns:
        `matched/GROUP`, `gold/GROUP`, `predicted/GROUP` for each of `GROUPS`; over matched pairs `agree/FIELD`,
        and `stated/FIELD`, `agree_stated/FIELD` where gold or prediction states the field, for each of `FIELDS`;
        `is_valid`, `is_normal_right` (0 or 1); `quotes_verbatim`; `reports`, which is 1.
    """
    found = [] if prediction is None else prediction.findings
    pairs = match_findings(gold.findings, found)
    paired = [(gold.findings[pair.gold], found[pair.predicted]) for pair in pairs]
    tallies: dict[str, float] = {}
    for group in GROUPS:
        for name, findings in (("matched", [one for one, _ in paired]), ("gold", gold.findings), ("predicted", found)):
            tallies[f"{name}/{group}"] = float(sum(_is_in(finding, group) for finding in findings))
    for name, field in FIELDS.items():
        agree = [field.agree(one, other) for one, other in paired]
        stated = [field.is_stated(one) or field.is_stated(other) for one, other in paired]
        tallies[f"agree/{name}"] = float(sum(agree))
        tallies[f"stated/{name}"] = float(sum(stated))
        tallies[f"agree_stated/{name}"] = float(
            sum(value for value, counts in zip(agree, stated, strict=True) if counts)
        )
    tallies["reports"] = 1.0
    tallies["is_valid"] = float(prediction is not None)
    tallies["is_normal_right"] = float(prediction is not None and prediction.normal == gold.normal)
    tallies["quotes_verbatim"] = float(sum(bool(finding.quote) and finding.quote in text for finding in found))
    return tallies


def _key(finding: Finding) -> tuple[str, str, str]:
    return finding.finding, finding.laterality, level_of(finding)


def _closeness(gold: Finding, predicted: Finding) -> float:
    """Agreement of the fields that no match asks for; signals count most."""
    words = sum(FIELDS[name].agree(gold, predicted) for name in ("severity", "acuity", "change"))
    return (
        2 * FIELDS["signals"].agree(gold, predicted)
        + FIELDS["size_mm"].agree(gold, predicted)
        + FIELDS["certainty"].agree(gold, predicted)
        + words / 2
    )


def _pair_with_parents(options: dict[int, list[int]]) -> dict[int, int]:
    """A largest pairing of gold with predicted findings, each with its options in order: augmenting paths."""
    owner: dict[int, int] = {}

    def is_placed(number: int, tried: set[int]) -> bool:
        for other in options[number]:
            if other in tried:
                continue
            tried.add(other)
            if other not in owner or is_placed(owner[other], tried):
                owner[other] = number
                return True
        return False

    for number in options:
        is_placed(number, set())
    return {number: other for other, number in owner.items()}


def _is_in(finding: Finding, group: str) -> bool:
    if group == "without_normal":
        return finding.finding != "normal"
    return group in ("all", level_of(finding))
