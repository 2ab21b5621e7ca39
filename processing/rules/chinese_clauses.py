"""Clauses of a Chinese sentence: the marks between two stops, and the findings among them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .chinese_marks import Predicate
from .chinese_places import Place
from .mentions import Mark, Mention

# Kinds of marks that `Clause.of` knows by one name.
FINDING, SIGNAL, ATTRIBUTE = "any finding", "any signal", "any attribute"
_GROUPS = {
    **dict.fromkeys(("findings", "predicates", "clear"), FINDING),
    **dict.fromkeys(("signal", "relaxation", "bare"), SIGNAL),
    **dict.fromkeys(("morphology", "severity", "acuity", "count", "size", "change"), ATTRIBUTE),
}
_JOINERS = frozenset("、及和与以内区处的段侧均各")


@dataclass
class Clause:
    """Marks between two stops, with the stops around them ("" at the ends of the sentence)."""

    marks: list[Mark]
    start: int
    stop: int
    opener: str
    closer: str

    def __post_init__(self) -> None:
        self._by_kind: dict[str, list[Mark]] = {}
        for mark in self.marks:
            self._by_kind.setdefault(mark.kind, []).append(mark)
            if mark.kind in _GROUPS:
                self._by_kind.setdefault(_GROUPS[mark.kind], []).append(mark)

    def of(self, kind: str) -> list[Mark]:
        """Marks of a kind, or of a group of kinds, in the order of the text."""
        return self._by_kind.get(kind, [])

    def has(self, *kinds: str) -> bool:
        """Whether there is a mark of one of some kinds."""
        return not self._by_kind.keys().isdisjoint(kinds)

    def with_marks(self, marks: list[Mark]) -> "Clause":
        """The clause with other marks."""
        return Clause(marks, self.start, self.stop, self.opener, self.closer)

    def without_places(self) -> "Clause":
        """The clause without its sites and sides."""
        return self.with_marks([m for m in self.marks if m.kind not in ("sites", "lobes", "laterality")])


@dataclass
class Item:
    """A finding of a clause at characters [first, stop), and the mentions it turned out to be."""

    mark: Mark
    term: str
    places: list[Place]
    certainty: str = "present"
    mentions: list[Mention] = field(default_factory=list)


def split_clauses(marks: list[Mark], length: int) -> Iterator[Clause]:
    """Parts between punctuation and words such as 但, without what tells history or advice."""
    inside: list[Mark] = []
    start, opener = 0, ""
    for mark in (*marks, Mark("stop", "", length, length)):
        if mark.kind == "stop" or mark.kind == "boundary":
            if inside:
                yield Clause(inside, start, mark.first, opener, str(mark.value))
            inside, start, opener = [], mark.stop, str(mark.value)
        elif mark.kind == "history":
            inside = []
        elif mark.first < start:  # another meaning of a word that ended the clause before
            continue
        elif not inside or inside[-1].kind != "advice":  # what follows advice is advice
            inside.append(mark)


def with_enhancing_nouns(clause: Clause) -> Clause:
    """Read 明显强化结节 as a nodule that enhances, markedly."""
    nouns = {m.first for m in clause.of("findings")}
    words = {
        m.first: m.stop
        for m in clause.of("predicates")
        if m.stop in nouns and isinstance(m.value, Predicate) and m.value.terms.get("any") == "abnormal enhancement"
    }
    if not words:
        return clause
    marks = []
    for mark in clause.marks:
        if mark.kind == "predicates" and mark.first in words:
            mark = Mark("signal", ("enhancing",), mark.first, mark.stop)
        elif mark.kind == "severity" and mark.stop in words:
            mark = Mark("morphology", "mild" if mark.value == "mild" else "marked", mark.first, mark.stop)
        marks.append(mark)
    return clause.with_marks(marks)


def distinct_findings(clause: Clause) -> list[Mark]:
    """Findings of a clause; a noun that only repeats the one before it (出血灶, 脱髓鞘病灶) is left out."""
    kept: list[Mark] = []
    for mark in clause.of(FINDING):
        before = kept[-1] if kept else None
        if before is not None and before.stop == mark.first:
            if mark.value == "signal abnormality" and before.value != "normal":
                kept[-1] = Mark(before.kind, before.value, before.first, mark.stop)
                continue
            if mark.value == "mass" and before.kind == "findings":  # 胶质瘤复发
                continue
            if mark.value == "postoperative change":
                kept.pop()
        kept.append(mark)
    return kept


def unread_characters(clause: Clause, text: str) -> int:
    """How many characters of a clause no mark covers, those that join the items of a list not counted."""
    covered = {i for m in clause.marks for i in range(m.first, m.stop)}
    return sum(text[i] not in _JOINERS for i in range(clause.start, clause.stop) if i not in covered)
