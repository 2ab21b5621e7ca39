"""What a text says, in canonical terms: the form in which the recommended similarity compares texts.

A statement is a finding as one text tells it: with the signals of that text's sequence alone, with sizes and counts as
classes, without words of the report. Two findings that a text tells in the same words are one statement.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .findings import Finding
from .vocabulary import load_terms

SMALL_BELOW_MM = 10.0
LARGE_FROM_MM = 30.0

# Series whose exact kind is unknown are read as the plain kind; a series of unknown sequence is spoken of as "MRI".
READ_AS = {"T1w-contrast-unknown": "T1w", "DWI-b-unknown": "DWI", "unknown": "unknown"}
_NO_SIZE_CLASS = {"midline shift"}  # its size is a distance
_SIGNAL_IN_TERM = {
    "restricted diffusion": "restricted",
    "abnormal enhancement": "enhancing",
    "meningeal enhancement": "enhancing",
}
_AGE_IN_TERM = {
    "acute abnormality": "acute",
    "acute infarct": "acute",
    "subacute infarct": "subacute",
    "chronic infarct": "chronic",
    "lacune": "chronic",
    "encephalomalacia": "chronic",
}
_OTHER_SIDE = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Statement:
    """One finding as a text tells it, or as its report denies it.

    Attributes:
        term: finding term; "normal" for the sentence of a normal study.
        site: site term.
        laterality: left, right, bilateral, midline or none.
        sequence: sequence of the text; None where it speaks of the whole study.
        signals: (sequence, signal) pairs that the text tells.
        details: what else it tells: certainty, count, severity, acuity, size class, morphology.
        is_denied: the report says that it is not there; the text itself is silent about it.
    """

    term: str
    site: str
    laterality: str = "none"
    sequence: str | None = None
    signals: frozenset[tuple[str, str]] = frozenset()
    details: frozenset[str] = frozenset()
    is_denied: bool = False

    def mirrored(self) -> "Statement":
        """The statement about the mirror image, left and right exchanged."""
        return replace(self, laterality=_OTHER_SIDE.get(self.laterality, self.laterality))

    def contradicts(self, other: "Statement") -> bool:
        """Whether this denies what `other` says is there: the same term, at a site within the denied one, not on the
        other side alone."""
        return (
            self.is_denied
            and not other.is_denied
            and self.term == other.term
            and load_terms().is_within(other.site, self.site)
            and _OTHER_SIDE.get(self.laterality) != other.laterality
        )


def statement(finding: Finding, sequence: str | None) -> Statement:
    """The statement of a text of this sequence, or of the whole study (None), about a present finding."""
    column = None if sequence is None else column_of(sequence)
    told = told_signals(finding)
    details = {told_count(finding), finding.severity, told_acuity(finding), *shapes_of(finding)}
    if finding.certainty != "present":
        details.add(finding.certainty)
    return Statement(
        term=finding.finding,
        site=finding.site,
        laterality=finding.laterality,
        sequence=column,
        signals=frozenset(pair for pair in told if column is None or pair[0] == column),
        details=frozenset(details - {"none"}),
    )


def normal_statement(sequence: str | None) -> Statement:
    """The one statement of a normal study's text."""
    return Statement("normal", "brain", sequence=None if sequence is None else column_of(sequence))


def denials(denied: Iterable[Finding], present: Iterable[Finding]) -> tuple[Statement, ...]:
    """What a report denies, each once and sorted, but for the denials to which its own findings are an exception.

    "No hemorrhage" beside a hemorrhage in the thalamus means no other one, so it contradicts nobody's.

    Args:
        denied: findings of certainty `absent`.
        present: all findings of the same report that are there.
    """
    there = [statement(finding, None) for finding in present]
    places = sorted({(f.finding, f.site, f.laterality) for f in denied})
    made = (Statement(*place, is_denied=True) for place in places)
    return tuple(each for each in made if not any(map(each.contradicts, there)))


def column_of(sequence: str) -> str:
    """The column of the visibility table that a series of this sequence is read by, or "unknown"."""
    return READ_AS.get(sequence, sequence)


def told_signals(finding: Finding) -> list[tuple[str, str]]:
    """(sequence, signal) pairs that a text has words for: not those that say nothing, or repeat the term."""
    redundant = ("none", _SIGNAL_IN_TERM.get(finding.finding))
    return [(s.sequence, s.signal) for s in finding.signals if s.signal not in redundant]


def told_count(finding: Finding) -> str:
    """few, multiple or none: one lesion is no word, more than one in numbers are several."""
    if isinstance(finding.count, int):
        return "multiple" if finding.count > 1 else "none"
    return finding.count


def told_acuity(finding: Finding) -> str:
    """Acuity, "none" where the term itself says it."""
    return "none" if finding.acuity == _AGE_IN_TERM.get(finding.finding) else finding.acuity


def shapes_of(finding: Finding) -> list[str]:
    """Morphology in canonical order, with the size class in place of stated size words where a size is known."""
    shapes = {m for m in finding.morphology if m not in ("mild", "marked")}  # grades of enhancement, not shapes
    if finding.size_mm is not None and finding.finding not in _NO_SIZE_CLASS:
        shapes -= {"small", "large"}
        if finding.size_mm < SMALL_BELOW_MM:
            shapes.add("small")
        elif finding.size_mm >= LARGE_FROM_MM:
            shapes.add("large")
    size = [word for word in ("small", "large") if word in shapes]
    return size + [m for m in load_terms().morphology if m in shapes and m not in size]
