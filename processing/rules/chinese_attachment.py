"""What belongs to what in a Chinese clause: signals with their sequences, sizes, counts, ages and forms."""

import re
from typing import Any

from .mentions import AGED, AGES, AS_SIGNAL, Mark, Mention

ATTRIBUTES = ("severity", "acuity", "change", "count", "morphology", "size")
_DEGREE_OF_SIGNAL = re.compile(
    r"(?:异常)?(?:均匀|不均匀|环形|结节状|线状|斑片状)*(?:强化|[高低等]信号|长T|短T|增高|减低|受限)"
)


def signals_of(marks: list[Mark], own: list[Mention], lead: list[str]) -> set[tuple[str, str]]:
    """(sequence, signal) pairs of a clause."""
    pairs = {m.value for m in marks if m.kind == "pair"}
    sequences = [m for m in marks if m.kind == "sequences"]
    words = [m for m in marks if m.kind == "signals"]
    previous = -1
    used: set[int] = set()
    group: list[str] = []
    for word in words:
        if word.value in ("enhancing", "restricted"):
            pairs.add(("T1c" if word.value == "enhancing" else "DWI", word.value))
            used |= {id(s) for s in sequences if s.value in ("T1c", "DWI")}
            continue
        between = [s for s in sequences if previous < s.first < word.first]
        if between:
            group = [str(s.value) for s in between]
            used |= {id(s) for s in between}
        elif not group:
            behind = [s for s in sequences if s.first >= word.stop]
            group = [str(s.value) for s in behind[:1]] or list(lead)
            used |= {id(s) for s in behind[:1]}
        named = [s for s in group if s != "T1c" or len(group) == 1]
        pairs |= {(sequence, str(word.value)) for sequence in named or ["any"]}
        previous = word.first
    if own:
        stated = [str(s.value) for s in sequences if id(s) not in used] or ([] if words or pairs else lead)
        has_signal = {sequence for sequence, _ in pairs}
        pairs |= {(s, "none") for s in stated if s not in has_signal and s != "T1c"}
        if any(m.term in AS_SIGNAL for m in own):
            pairs = {pair for pair in pairs if pair[1] != "none"}
    explicit = {word for sequence, word in pairs if sequence != "any"}
    return {(s, w) for s, w in pairs if s != "any" or w not in explicit}


def attach_attributes(marks: list[Mark], own: list[Mention], text: str) -> None:
    """Severity, age, change, count, size and form to the finding they stand before, else to the last one."""
    negations = [m for m in marks if m.kind == "negation"]
    for mark in marks:
        if mark.kind not in ATTRIBUTES:
            continue
        ahead = [m for m in own if m.first >= mark.first or m.stop > mark.first >= m.first]
        owners = [ahead[0]] if ahead else own[-1:]
        if ahead and mark.kind in ("count", "acuity"):  # 多发缺血灶及软化灶: said of the whole list
            owners = [m for m in ahead if m.certainty == ahead[0].certainty]
        owners = [m for owner in owners for m in own if m.term == owner.term and m.first == owner.first]
        for owner in owners:
            if owner.certainty == "absent" and mark.kind in ("count", "severity", "size", "change"):
                continue
            _set_attribute(owner, mark, text, negations)


def _set_attribute(owner: Mention, mark: Mark, text: str, negations: list[Mark]) -> None:
    if mark.kind == "morphology":
        owner.morphology.add(str(mark.value))
    elif mark.kind == "size":
        owner.size_mm = mark.value if owner.size_mm is None else owner.size_mm
    elif mark.kind == "severity":
        is_degree = _DEGREE_OF_SIGNAL.match(text, mark.stop) is not None
        is_denied = any(n.first <= mark.first < n.stop + 1 for n in negations)
        if not is_degree and not is_denied and owner.severity == "none" and owner.term not in ("normal", ""):
            owner.severity = str(mark.value)
    elif getattr(owner, mark.kind) == "none":
        setattr(owner, mark.kind, mark.value)


def refine(mention: Mention) -> None:
    """Age words make the infarct term, and terms that say an age have it; a mass is one unless more are told."""
    mention.term = AGED.get(mention.term, {}).get(mention.acuity, mention.term)
    if mention.term in AGES and mention.acuity == "none":
        mention.acuity = AGES[mention.term]
    if mention.term in AS_SIGNAL and not mention.signals:
        mention.signals.add(AS_SIGNAL[mention.term])
    if mention.certainty == "absent":
        mention.count = "none"


def absorb(diagnosis: Mention, described: Mention) -> None:
    """Give a diagnosis what the description before it told."""
    diagnosis.sites = diagnosis.sites or described.sites
    diagnosis.side = diagnosis.side if diagnosis.side != "none" else described.side
    diagnosis.signals |= described.signals
    diagnosis.morphology |= described.morphology
    diagnosis.quote = (described.quote[0], diagnosis.quote[1])
    for name in ("count", "severity", "acuity", "change", "size_mm"):
        if getattr(diagnosis, name) in ("none", None):
            value: Any = getattr(described, name)
            setattr(diagnosis, name, value)
