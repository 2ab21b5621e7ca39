"""A lesion or statement while its mentions are collected: how the mentions of one are merged, and what comes out."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from ..findings import MAX_MORPHOLOGY, MAX_SIGNALS, MAX_SIZE_MM, Finding, Signal
from ..vocabulary import load_terms
from .mentions import HEDGED, Mention

_SEQUENCES = ("T1w", "T1c", "T2w", "FLAIR", "DWI", "ADC", "SWI", "MRA", "PD", "any")
_SIGNALS = ("hyper", "hypo", "iso", "mixed", "restricted", "enhancing", "none")
_SIGNAL_ORDER = {pair: i for i, pair in enumerate(product(_SEQUENCES, _SIGNALS))}
# A signal cannot be changed, so findings share it; one validated before is not validated again.
_SIGNAL_OF = {(s, w): Signal.model_validate({"sequence": s, "signal": w}) for s, w in _SIGNAL_ORDER}
_FINDINGS = TypeAdapter(list[Finding], config=ConfigDict(hide_input_in_errors=True))  # an input may be patient text


@dataclass(slots=True)
class Entry:
    """A lesion or statement while its mentions are collected. `is_placed`: the report names its site."""

    mention: Mention
    site: str
    side: str
    is_placed: bool
    quote: str
    section: int = 0
    sentence: int = 0


def is_reached(entry: Entry) -> bool:
    """Whether an entry is where its lesion extends to, not where it is."""
    return entry.site in entry.mention.reached


def is_group(entry: Entry) -> bool:
    """Whether an entry tells of several lesions."""
    return entry.mention.count not in ("none", 1)


def merge_into(new: Entry, entries: list[Entry]) -> Entry:
    """Add an entry or merge it with that of the same lesion, the more specific place winning; returns the kept."""
    term = new.mention.term
    told = [old for old in entries if old.mention.term == term]
    # A broader denial says more, not less; and nothing is more of a status.
    can_be_vague = told and new.mention.certainty != "absent" and load_terms().findings[term].kind != "status"
    for old in told:
        if _is_hedged_repetition(new, old):
            return old
        if old.mention.certainty != new.mention.certainty:
            continue
        if _is_another_denial(new, old):
            continue
        if (old.site, old.side) == (new.site, new.side) or (can_be_vague and _is_vaguer(new, old)):
            add_details(old.mention, new.mention)
            return old
        if can_be_vague and _is_vaguer(old, new) and not new.mention.is_involvement:
            old.site, old.side, old.is_placed, old.quote = new.site, new.side, new.is_placed, new.quote
            add_details(old.mention, new.mention)
            return old
    # Sites of one list share a mention; each entry gets its own copy, or what is added to one would be added to all.
    new.mention = copy_of(new.mention)
    entries.append(new)
    return new


def _is_hedged_repetition(new: Entry, old: Entry) -> bool:
    """Whether a section doubts, at no place of its own, what it has stated: a subtype of the same term."""
    if new.mention.certainty not in HEDGED or old.mention.certainty != "present" or new.section != old.section:
        return False
    return not new.is_placed or (new.site, new.side) == (old.site, old.side)


def _is_another_denial(new: Entry, old: Entry) -> bool:
    """Whether two things of one key are denied in a section: "no abnormal signal, no high signal on DWI"."""
    if new.mention.certainty != "absent" or new.mention.term != "signal abnormality" or new.section != old.section:
        return False
    return bool(new.mention.signals) != bool(old.mention.signals)


def _is_vaguer(vague: Entry, exact: Entry) -> bool:
    """Whether `vague` repeats `exact`, of one term and certainty, with less of site or side."""
    if vague.side not in ("none", exact.side):
        return False
    is_whole = vague.is_placed or "diffuse" in vague.mention.morphology
    if vague.mention.term == "atrophy" and is_whole and vague.site != exact.site:
        return False  # that of the whole brain is more than that of a part
    return (
        not vague.is_placed
        or vague.site == exact.site
        or (vague.section != exact.section and load_terms().is_within(exact.site, vague.site))
    )


def copy_of(mention: Mention) -> Mention:
    """A mention whose signals and shapes can be added to without changing the other."""
    copied = Mention.__new__(Mention)
    copied.__dict__.update(mention.__dict__, signals=set(mention.signals), morphology=set(mention.morphology))
    return copied


def add_details(target: Mention, source: Mention) -> None:
    """Add to a mention what another of the same lesion tells; what it says itself stays."""
    target.signals |= source.signals
    target.morphology |= source.morphology
    for name in ("count", "size_mm", "severity", "acuity", "change"):
        if getattr(target, name) in ("none", None):
            setattr(target, name, getattr(source, name))


def to_findings(entries: list[Entry]) -> list[Finding]:
    """Entries as they are told; validated together, which takes less time than one by one."""
    return _FINDINGS.validate_python([_row_of(entry) for entry in entries])


def _row_of(entry: Entry) -> dict[str, Any]:
    """The fields of a finding, signals and shapes in canonical order and cut to what it holds."""
    mention = entry.mention
    signals = sorted(mention.signals, key=_SIGNAL_ORDER.__getitem__)
    order = load_terms().morphology.index
    size = mention.size_mm if mention.size_mm is not None and 0 < mention.size_mm <= MAX_SIZE_MM else None
    return {
        "finding": mention.term,
        "site": entry.site,
        "laterality": entry.side,
        "signals": [_SIGNAL_OF[pair] for pair in signals[:MAX_SIGNALS]],
        "morphology": sorted(mention.morphology, key=order)[:MAX_MORPHOLOGY],
        "count": mention.count,
        "size_mm": size,
        "severity": mention.severity,
        "acuity": mention.acuity,
        "change": mention.change,
        "certainty": mention.certainty,
        "quote": entry.quote,
    }
