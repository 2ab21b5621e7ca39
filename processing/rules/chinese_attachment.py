"""What belongs to what in a Chinese clause: signals with their sequences, sizes, shapes, grades, changes."""

import re
from collections.abc import Callable
from functools import cache

from ..vocabulary import load_lexicon
from .mentions import AS_SIGNAL, Mark, Mention

Owners = Callable[[Mark], list[Mention]]
_DISTANCE = re.compile(r"(?:距|层厚|间隔|层距|深度)[^,]{0,8}$")
_OF_SIGNAL = re.compile(r"(?:信号|强化)(?:程度|强度)?(?:较前)?(?:明显|稍|略|有所)?$")
_NOT_SEEN_BEFORE = re.compile(r"(?:前片|旧片|原片|老片|前次|上次)[^,]*(?:未见|未显示|无)")


def add_signals(marks: list[Mark], sequences: list[Mark], owners: Owners, text: str) -> None:
    """Pair signal words with the sequences before them and hand the pairs to their findings.

    Args:
        marks: of the clause.
        sequences: named in the clause, or just before it.
        owners: the mentions that a mark belongs to.
        text: the sentence.
    """
    for mark in marks:
        if mark.kind == "relaxation":
            _add(owners(mark), set(mark.value))
    words = sorted([*sequences, *(m for m in marks if m.kind in ("signal", "bare", "level"))], key=lambda m: m.first)
    group: list[Mark] = []
    is_told = True
    for word in words:
        if word.kind == "sequences":
            if is_told:
                group, is_told = [], False
            group.append(word)
        elif (
            word.kind == "signal" and len(group) == len(word.value) > 1 and "分别" in text[group[-1].stop : word.first]
        ):
            is_told = True
            for sequence, value in zip(group, word.value, strict=True):
                _add(owners(word), {(str(sequence.value), str(value))})
        elif word.kind != "level" or group or "信号" in text[word.first : word.stop]:
            is_told = True
            _add_word(word, group, owners, text)
    if not is_told:
        for mark in group:
            if mark.value not in ("T1c", "MRA"):  # contrast alone says nothing, an angiogram is for the whole sentence
                _add(owners(mark), {(str(mark.value), "none")})


def _add_word(word: Mark, group: list[Mark], owners: Owners, text: str) -> None:
    mentions = owners(word)
    if word.value == ("enhancing",):
        _add(mentions, {("T1c", "enhancing")})
        return
    names = [str(m.value) for m in group if m.value != "T1c"] or ["any"]
    _add(mentions, {(name, str(value)) for name in names for value in word.value})
    if "不均" in text[word.first : word.stop] and word.value != ("mixed",):
        for mention in mentions:
            mention.morphology.add("heterogeneous")


def _add(mentions: list[Mention], pairs: set[tuple[str, str]]) -> None:
    """Add signals; what says less (no sequence, no signal) gives way to what says more."""
    for mention in mentions:
        told = mention.signals | pairs
        explicit = {word for sequence, word in told if sequence != "any"}
        named = {sequence for sequence, word in told if word != "none"}
        mention.signals = {
            (s, w) for s, w in told if (s != "any" or w not in explicit) and (w != "none" or s not in named)
        }


def add_attribute(mention: Mention, term: str, mark: Mark, text: str, start: int) -> None:
    """Add shape, grade, age, count, size or change to a mention; what is told first stands.

    Args:
        mention: the finding.
        term: what the mark is said of, the finding or its enhancement.
        mark: of one of these kinds.
        text: the sentence.
        start: where the clause of the mark starts.
    """
    if mark.kind == "morphology":
        mention.morphology.add(str(mark.value))
    elif mark.kind == "size":
        if mention.size_mm is None and not _DISTANCE.search(text[start : mark.first]):
            mention.size_mm = mark.value
    elif mark.kind == "severity" and term in (*AS_SIGNAL, "signal abnormality", "meningeal enhancement"):
        grade = {"mild": "mild", "severe": "marked"}.get(str(mark.value))  # of enhancement, not of the lesion
        if term.endswith("enhancement") and grade is not None:
            mention.morphology.add(grade)
    elif getattr(mention, mark.kind) == "none":
        setattr(mention, mark.kind, mark.value)


@cache
def _trends() -> re.Pattern[str]:
    table = load_lexicon("zh").extra["trends"]
    named = [f"(?P<{name}>{'|'.join(sorted(words, key=len, reverse=True))})" for name, words in table.items()]
    return re.compile("|".join(named))


def trend_of(clause: str) -> str | None:
    """How a finding has changed by a clause that compares, None where it does not say or speaks of the signal."""
    if _NOT_SEEN_BEFORE.search(clause):
        return "new"
    for found in _trends().finditer(clause):
        if not _OF_SIGNAL.search(clause[: found.start()]):
            return str(found.lastgroup)
    return None
