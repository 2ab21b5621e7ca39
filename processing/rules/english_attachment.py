"""What belongs to what in an English sentence: signals with their sequences, sizes, attributes."""

import re

from .english_lists import LIST_WORDS, grouped, owner_of
from .matching import Token
from .mentions import AGED, Mark, Mention

_BY = r"(?:\s*(?:cm|mm)?\s*(?:x|\u00d7|by)\s*(\d+(?:\.\d+)?))?"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)" + _BY + _BY + r"[\s-]*(mm|cm|millimet|centimet)", re.IGNORECASE)
_DIGIT = re.compile("[0-9]")
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6}
_ATTRIBUTES = frozenset(("severity", "acuity", "change", "morphology", "count"))
_ONE = dict.fromkeys(("a", "an", "single", "solitary", "one"), 1)
_PLURALS = ("lesions", "foci", "infarcts", "masses", "nodules", "cysts", "spaces", "hyperintensities", "areas")


def attach_signals(marks: list[Mark], tokens: list[Token], carriers: list[Mention]) -> None:
    """Pair signal words with sequences and hand the pairs to their finding."""
    signals = [m for m in marks if m.kind == "signals"]
    sequences = [m for m in marks if m.kind == "sequences"]
    if signals and not any(c.certainty == "absent" for c in carriers):
        # "does not enhance" gives no enhancement; "no high signal" is a finding of its own, which keeps its signal
        denials = [m.stop for m in marks if m.kind == "certainty" and m.value == "absent"]
        signals = [m for m in signals if not any(0 <= m.first - stop <= 2 for stop in denials)]
    taken: set[int] = set()
    for group in _sequence_groups(sequences, signals, marks, tokens):
        signal = _signal_of(group, signals, tokens)
        if {m.value for m in group} == {"T1c"}:  # a contrast agent alone says nothing of the lesion
            signal = next((s for s in signals if s.value == "enhancing"), signal)
            if signal is None:
                continue
        if signal is not None:
            taken.add(id(signal))
        owner = owner_of(signal or group[0], tokens, carriers)
        if owner is not None:
            value = signal.value if signal is not None else "none"
            owner.signals |= {(sequence.value, value) for sequence in group}
    for signal in signals:
        owner = owner_of(signal, tokens, carriers)
        if id(signal) in taken or owner is None or _is_denied_later(signal, owner, marks):
            continue
        sequence = {"enhancing": "T1c", "restricted": "DWI"}.get(signal.value, "any")
        owner.signals.add((sequence, signal.value))
    for mention in carriers:
        explicit = {word for sequence, word in mention.signals if sequence != "any"}
        named = {sequence for sequence, word in mention.signals if word != "none"}
        mention.signals = {
            (sequence, word)
            for sequence, word in mention.signals
            if (sequence != "any" or word not in explicit) and (word != "none" or sequence not in named)
        }


def _is_denied_later(signal: Mark, owner: Mention, marks: list[Mark]) -> bool:
    """Whether a signal stands before the denial of a finding ("it enhances without a focal lesion")."""
    return owner.certainty == "absent" and any(
        m.value == "absent" and signal.stop <= m.first < owner.first for m in marks if m.kind == "certainty"
    )


def _sequence_groups(
    sequences: list[Mark], signals: list[Mark], marks: list[Mark], tokens: list[Token]
) -> list[list[Mark]]:
    """Sequences that share a signal; "bright on T2, FLAIR hypointense" has two groups, "T2/FLAIR hyperintense" one."""
    starts = {s.first for s in signals}
    result = []
    for group in grouped(sequences, marks, tokens):
        cut = len(group) - 1
        while cut and tokens[group[cut].first - 1].word == "/":  # "T2/FLAIR" is never parted
            cut -= 1
        signal = _signal_of(group[:1], signals, tokens)
        if cut and group[-1].stop in starts and signal is not None and signal.first < group[0].first:
            result += [group[:cut], group[cut:]]
        else:
            result.append(group)
    return result


def _signal_of(group: list[Mark], signals: list[Mark], tokens: list[Token]) -> Mark | None:
    before = [s for s in signals if s.stop <= group[0].first]
    after = [s for s in signals if s.first >= group[-1].stop]
    is_led = bool(after) and after[0].first == group[-1].stop
    if is_led and (not before or group[0].first - before[-1].stop > 2):  # "... on T1 and T2 hyperintense"
        return after[0]
    if before:
        gap = {t.word for t in tokens[before[-1].stop : group[0].first]}
        if gap & {"on", "in"} and len(gap) <= 8 and "," not in gap:
            return before[-1]
    if after and after[0].first - group[-1].stop <= 6:
        return after[0]
    if before and group[0].first - before[-1].stop <= 6:
        return before[-1]
    return None


def attach_attributes(
    marks: list[Mark], tokens: list[Token], carriers: list[Mention], text: str, start: int, stop: int
) -> None:
    """Hand severity, age, change, shape, size and count to their finding."""
    for mark in [m for m in marks if m.kind in _ATTRIBUTES]:
        owner = owner_of(mark, tokens, carriers)
        if mark.kind == "acuity":
            owner = _aged(mark, marks, tokens, carriers) or owner
        if owner is None:
            continue
        if mark.kind == "morphology":
            owner.morphology.add(mark.value)
        elif getattr(owner, mark.kind) == "none":
            setattr(owner, mark.kind, mark.value)
    low = tokens[start].start if start < len(tokens) else 0
    high = tokens[stop - 1].end if stop else 0
    for size in _SIZE.finditer(text, low, high) if _DIGIT.search(text, low, high) else ():
        position = next((i for i in range(start, stop) if tokens[i].start >= size.start()), start)
        end = next((i for i in range(position, stop) if tokens[i].end >= size.end()), stop - 1) + 1
        following = next((c for c in carriers if c.first >= end), None)
        is_led = end < len(tokens) and tokens[end].word == "of" and following is not None
        owner = following if is_led else owner_of(Mark("size", None, position, end), tokens, carriers)
        if owner is not None and owner.size_mm is None:
            scale = 10.0 if size.group(4).lower().startswith("c") else 1.0
            owner.size_mm = scale * max(float(v) for v in size.groups()[:3] if v)
    for mention in carriers:
        if mention.term and mention.count == "none" and mention.certainty != "absent":
            mention.count = _count_before(mention, tokens, carriers, start)


def _aged(age: Mark, marks: list[Mark], tokens: list[Token], carriers: list[Mention]) -> Mention | None:
    """The infarct whose places alone stand behind its age: "acute pontine, cerebellar and thalamic infarction"."""
    lesion = next((c for c in carriers if c.first >= age.stop), None)
    if lesion is None or lesion.term not in AGED:
        return None
    placed = {i for m in marks if m.kind in ("sites", "laterality") for i in range(m.first, m.stop)}
    is_led = all(i in placed or tokens[i].word in LIST_WORDS for i in range(age.stop, lesion.first))
    return lesion if is_led else None


def _count_before(mention: Mention, tokens: list[Token], carriers: list[Mention], start: int) -> int | str:
    low = max([start, mention.first - 7, *[c.stop for c in carriers if c.stop <= mention.first]])
    plural = any([t.word.endswith(_PLURALS) for t in tokens[mention.first : mention.stop]])
    counts = _NUMBERS if plural else _ONE
    for token in reversed(tokens[low : mention.first]):
        if token.word in counts:
            return counts[token.word]
    return "multiple" if plural else "none"
