"""Rule structurer: the free text of a report to structured findings.

Sentences are read one by one, each language by a file of its own (`english.py`); this file resolves what refers back,
fills sites that are not said, and merges the mentions of one lesion.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

from ..findings import (
    MAX_FINDINGS,
    MAX_IMPRESSION,
    MAX_MORPHOLOGY,
    MAX_QUOTE_CHARACTERS,
    MAX_SENTENCE_CHARACTERS,
    MAX_SIGNALS,
    MAX_SIZE_MM,
    Finding,
    StructuredReport,
    is_normal,
)
from ..reports import split_sentences
from ..vocabulary import load_terms
from .chinese import heading_sequence
from .chinese import read_sentence as read_chinese_sentence
from .english import read_sentence
from .mentions import ACCOMPANYING, AS_SIGNAL, VAGUE_SITES, Mention

VERSION = "0.5"  # raise with every change that alters the findings of some report

_SEQUENCES = ("T1w", "T1c", "T2w", "FLAIR", "DWI", "ADC", "SWI", "MRA", "PD", "any")
_SIGNALS = ("hyper", "hypo", "iso", "mixed", "restricted", "enhancing", "none")
_SIGNAL_ORDER = {pair: i for i, pair in enumerate(product(_SEQUENCES, _SIGNALS))}
# Languages that have rules: how a sentence of each is read.
READERS: Mapping[str, Callable[[str], list[Mention]]] = {"en": read_sentence, "zh": read_chinese_sentence}
# What sequence the heading in front of a sentence names: it covers the sentences up to the next heading.
_HEADINGS: Mapping[str, Callable[[str], str | None]] = {"zh": heading_sequence}

# Where a finding of such a part is told after another of it, it is on that one's side.
_PARTS = (
    "hippocampus",
    "paranasal sinuses",
    "maxillary sinus",
    "mastoid",
    "pituitary",
    "cerebellopontine angle",
    "meninges",
)
# What goes with a lesion is not what "it" points at in the next sentence.
_COMPANIONS = ACCOMPANYING | {
    "midline shift",
    "herniation",
    "hydrocephalus",
    "ventricular dilation",
    "meningeal enhancement",
}
# What is described before its cause is named, and what may be its cause.
_DESCRIBED = frozenset(("mass", "signal abnormality", "abnormal enhancement", "restricted diffusion", "cyst"))
# fmt: off
_CAUSES = frozenset((
    "glioma", "meningioma", "metastasis", "lymphoma", "pituitary adenoma", "craniopharyngioma", "schwannoma",
    "hemangioblastoma", "hemangioma", "epidermoid cyst", "other tumor", "vascular malformation",
    "cavernous malformation", "developmental venous anomaly", "abscess", "arachnoid cyst", "encephalitis", "infection",
    "demyelinating plaque", "infarct", "acute infarct", "subacute infarct", "chronic infarct", "calcification",
    "mass", "cyst", "gliosis", "leukoencephalopathy", "necrosis", "microbleed", "contusion", "vasculopathy",
    "subarachnoid hemorrhage", "artifact", "aneurysm",
))
# fmt: on
_HEDGED = ("probable", "possible")
# What a mass does to the bone around it is not what "it" points at, even with a place of its own.
_EFFECTS = frozenset(("sellar enlargement",))
# Where no lesion of the brain is.
_NO_BRAIN = ("vessels", "paranasal sinuses", "mastoid")
_OF_ANY_PLACE = ("mass", "infection", "metastasis", "lymphoma", "necrosis", "other tumor", "calcification", "cyst")
# What has no signal of its own: an enhancement told after it is that of the lesion before.
_DISPLACEMENTS = frozenset(("mass effect", "midline shift", "herniation", "ventricular dilation", "sulcal widening"))


@dataclass
class _Entry:
    """A lesion or statement while its mentions are collected. `is_placed`: the report names its site."""

    mention: Mention
    site: str
    side: str
    is_placed: bool
    quote: str
    section: int = 0
    sentence: int = 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.mention.term, self.site, self.side, self.mention.certainty


@dataclass
class _Reading:
    """The entries of a report so far, and those of the lesion spoken of last (where "it" points)."""

    read_sentence: Callable[[str], list[Mention]]
    entries: list[_Entry] = field(default_factory=list)
    last: list[_Entry] = field(default_factory=list)
    lesion: list[_Entry] = field(default_factory=list)  # the last that can enhance or restrict
    # what is described without a cause, sentence by sentence, which a diagnosis explains
    descriptions: list[list[_Entry]] = field(default_factory=list)
    section: int = 0
    sentence: int = 0
    heading: str = ""  # the sequence that it names


def structure_report(findings: str, impression: str, language: str = "en") -> StructuredReport:
    """Structured findings of one report.

    Args:
        findings: text of the findings section, may be empty.
        impression: text of the impression section, may be empty.
        language: one of `READERS`.

    Raises:
        ValueError: there are no rules for the language.
    """
    if language not in READERS:
        raise ValueError(f"expected a language among {', '.join(READERS)}, got {language!r}")
    reading = _Reading(READERS[language])
    sections = [split_sentences(section, language) for section in (findings, impression)]
    for reading.section, section in enumerate(sections):
        reading.heading = ""
        for sentence in section:
            heading = _HEADINGS[language](sentence.text) if language in _HEADINGS else None
            reading.heading = reading.heading if heading is None else heading
            reading.sentence += 1
            _read(sentence.text, reading)
    entries = [_to_finding(entry) for entry in reading.entries[:MAX_FINDINGS]]
    sentences = [" ".join(s.text.split())[:MAX_SENTENCE_CHARACTERS] for s in sections[1]]
    return StructuredReport(normal=is_normal(entries), findings=entries, impression=sentences[:MAX_IMPRESSION])


def _read(sentence: str, reading: _Reading) -> None:
    """Add one sentence to the reading."""
    spoken_of: list[_Entry] = []
    lesion: list[_Entry] = []
    described: list[_Entry] = []
    for mention in reading.read_sentence(sentence):
        if reading.heading and reading.heading not in {sequence for sequence, _ in mention.signals}:
            mention.signals.add((reading.heading, "none"))
        quote = sentence[slice(*mention.quote)].strip()[:MAX_QUOTE_CHARACTERS]
        is_of_lesion = mention.is_definite or mention.term in ACCOMPANYING
        earlier = spoken_of or reading.last
        is_of_sentence = bool(spoken_of)
        earlier = (lesion or reading.lesion or earlier) if is_of_lesion else earlier
        if mention.is_apart:  # at the bed of what was taken out
            beds = [e for e in reading.entries if e.mention.term == "postoperative change"]
            earlier = beds[-1:] or earlier
        is_cause = _explains(mention, reading, bool(spoken_of))
        if is_cause:
            is_of_sentence = bool(described) or not reading.descriptions
            earlier = described or _meant(mention, reading) or lesion or reading.lesion or earlier
            earlier = [e for e in earlier if _can_be_at(mention.term, e.site)]
        if mention.is_definite:
            _agree_on_mass(mention, [e for e in earlier if e.section == reading.section])
        if mention.is_involvement:
            mention = _as_involvement(mention, lesion or reading.lesion)
        if mention.is_involvement and not (mention.term and mention.sites):
            if not mention.term:
                continue
            mention.is_involvement = False
        if _adds_to(mention, earlier, bool(spoken_of)):
            for entry in earlier:
                _add_details(entry.mention, mention)
            continue
        if _is_repetition(mention, reading):
            earlier = []  # it stands where it stood, not where the lesion beside it stands
        placed = [
            _with_known_side(entry, reading) for entry in _place(mention, quote, earlier, is_of_sentence, is_cause)
        ]
        kept = [_merge(entry, reading.entries) for entry in placed]
        # "multiple lesions in the brain" is no new entry, but what is said of them is said of the whole brain
        entries = [
            replace(k, site=p.site, side=p.side) if p.site == "brain" and (p.is_placed or _is_group(p)) else k
            for k, p in zip(kept, placed, strict=True)
        ]
        is_lesion = mention.certainty != "absent" and load_terms().findings[mention.term].kind != "status"
        # a companion with a place of its own is a lesion in its own right
        is_effect = mention.term in _EFFECTS and bool(earlier)
        if is_lesion and not is_effect and (mention.term not in _COMPANIONS or mention.sites or not earlier):
            spoken_of = entries
            lesion = lesion if mention.term in _DISPLACEMENTS else entries
            is_another = (
                not (mention.is_definite and (described or reading.descriptions)) and not mention.is_involvement
            )
            is_described = mention.term in _DESCRIBED and mention.certainty == "present" and is_another
            described = entries if is_described else described
    if described:
        reading.descriptions.append(described)
    reading.last = spoken_of or reading.last
    reading.lesion = lesion or reading.lesion


def _agree_on_mass(mention: Mention, earlier: list[_Entry]) -> None:
    """ "The lesion" that has been told to be a mass is a mass, and what is called "the mass" later was one before."""
    if mention.certainty == "absent":
        return
    if mention.term == "signal abnormality" and any(e.mention.term == "mass" for e in earlier):
        mention.term = "mass"
    elif mention.term == "mass" and not mention.is_involvement:
        for entry in earlier:
            if entry.mention.term == "signal abnormality" and entry.mention.certainty == "present":
                entry.mention.term = "mass"


def _meant(mention: Mention, reading: _Reading) -> list[_Entry]:
    """What a diagnosis explains: in an impression, or of "these findings", the first mass, else all that is described;
    otherwise what is described last.
    """
    if not reading.descriptions or not (reading.section or mention.is_of_all):
        return reading.descriptions[-1] if reading.descriptions else []
    told = [entries for entries in reading.descriptions if any(not _is_reached(e) for e in entries)]
    masses = [entries for entries in told if entries[0].mention.term == "mass"]
    return masses[0] if masses else [e for entries in told for e in entries]


def _can_be_at(term: str, site: str) -> bool:
    """Whether what a diagnosis explains may be at a site: a lesion of the brain is in no vessel and no sinus."""
    terms = load_terms()
    is_inside = terms.findings[term].default_site in VAGUE_SITES and term not in _OF_ANY_PLACE
    is_of_vessel = term == "aneurysm" and not terms.is_within(site, "vessels")
    return not is_of_vessel and not (is_inside and any(terms.is_within(site, place) for place in _NO_BRAIN))


def _is_reached(entry: _Entry) -> bool:
    return entry.site in entry.mention.reached


def _as_involvement(mention: Mention, lesion: list[_Entry]) -> Mention:
    """ "The thalamus is also involved": an entry of the lesion spoken of last at that place, on its side."""
    if not lesion or not mention.sites:
        return mention
    last = lesion[-1]
    paired = load_terms().sites
    told = {e.side for e in lesion} & {"left", "right"} if mention.certainty != "absent" else set()
    lesion_side = told.pop() if len(told) == 1 else "none"
    sites = [(s, lesion_side if side == "none" and paired[s].paired else side) for s, side in mention.sites]
    if mention.term:
        return replace(mention, sites=sites)
    known = {site for e in lesion for site in [e.site]}
    sites = [(s, side) for s, side in sites if not any(load_terms().is_within(k, s) for k in known)]
    signals = mention.signals or (set(last.mention.signals) if mention.certainty != "absent" else set())
    is_tumor = load_terms().findings[last.mention.term].family == "tumor"  # what a tumor reaches into is told as mass
    return replace(mention, term="mass" if is_tumor else last.mention.term, sites=sites, signals=signals)


def _is_repetition(mention: Mention, reading: _Reading) -> bool:
    """Whether the impression names, without a place, what the findings have told."""
    if reading.section == 0 or mention.sites or mention.side != "none" or mention.certainty != "present":
        return False
    told = (mention.term, "present")
    return any((e.mention.term, e.mention.certainty) == told and e.section < reading.section for e in reading.entries)


def _explains(mention: Mention, reading: _Reading, is_same_sentence: bool) -> bool:
    """Whether a diagnosis without a place, doubted or of the impression, names the cause of what is described."""
    if mention.sites or mention.side != "none" or mention.term not in _CAUSES:
        return False
    if mention.certainty != "present":
        return mention.certainty in _HEDGED
    is_focal = load_terms().findings[mention.term].family != "white matter disease"
    return not is_same_sentence and (mention.is_of_all or (reading.section > 0 and is_focal))


def _adds_to(mention: Mention, earlier: list[_Entry], is_same_sentence: bool) -> bool:
    """Whether a mention only tells more of the lesion spoken of last."""
    if not mention.term:
        return True
    if not earlier or mention.certainty == "absent" or mention.sites:
        return False
    if mention.term in AS_SIGNAL and not mention.is_apart:
        mention.signals = mention.signals or {AS_SIGNAL[mention.term]}
        return True
    return mention.is_definite and mention.term in ("signal abnormality", "mass") and not is_same_sentence


def _place(
    mention: Mention, quote: str, earlier: list[_Entry], is_same_sentence: bool, is_cause: bool
) -> list[_Entry]:
    """One entry per site; without a site, that of the lesion that the mention goes with, or the default."""
    if len(earlier) > 1:
        earlier = [e for e in earlier if not _is_reached(e)] or earlier
    if mention.sites:
        sides = [side if side != "none" else _side_at(site, mention, earlier) for site, side in mention.sites]
        placed = zip(mention.sites, sides, strict=True)
        return [_Entry(_named_by_site(mention, site), site, side, True, quote) for (site, _), side in placed]
    terms = load_terms().findings
    term = terms[mention.term]
    follows = mention.is_back_reference or mention.is_definite
    if mention.term in ACCOMPANYING:
        follows = follows or is_same_sentence
        follows = follows or (mention.term in ("edema", "mass effect") and mention.certainty != "absent")
    elif is_cause:
        follows = bool(earlier)
    elif mention.certainty in _HEDGED and term.kind == "diagnosis":
        is_told = follows or is_same_sentence
        earlier = [e for e in earlier if e.mention.term not in _DISPLACEMENTS]
        follows = term.default_site in VAGUE_SITES or (is_told and any(_may_be_at(e, mention.term) for e in earlier))
    is_of_part = term.default_site in _PARTS and mention.certainty != "absent" and mention.side == "none"
    near = [e for e in earlier if is_of_part and load_terms().is_within(e.site, term.default_site)]
    if near:
        return [_Entry(mention, e.site, e.side, e.is_placed, quote) for e in near]
    is_of_several = len(earlier) > 1 and all(_is_group(e) for e in earlier)
    is_of_several = is_of_several or len({e.sentence for e in earlier}) > 1
    if follows and (mention.certainty in _HEDGED or is_cause) and is_of_several and not is_same_sentence:
        return [_Entry(mention, "brain", "none", False, quote)]  # "these findings" of several lesions
    if not is_cause and mention.term not in ACCOMPANYING:  # "with associated hydrocephalus": not at the lesion
        follows = follows and (term.default_site in VAGUE_SITES or any(_may_be_at(e, mention.term) for e in earlier))
    if earlier and follows and mention.side == "none":
        return [_Entry(mention, e.site, e.side, e.is_placed, quote) for e in earlier]
    side = _side_of_cause(mention, term.default_site, earlier, is_same_sentence)
    return [_Entry(mention, term.default_site, side, False, quote)]


def _side_at(site: str, mention: Mention, earlier: list[_Entry]) -> str:
    """Side of a site that is told without one: that of the lesion, beside which or of which it is told."""
    if not load_terms().sites[site].paired:
        return mention.side if len(mention.sites) == 1 else "none"
    if mention.side != "none":
        return mention.side
    if load_terms().findings[mention.term].kind == "status":
        return "none"
    is_cause = mention.certainty in _HEDGED and mention.term in _CAUSES
    beside = {e.side for e in earlier if mention.is_near or (is_cause and e.site == site)}
    return beside.pop() if len(beside) == 1 else "none"


def _side_of_cause(mention: Mention, site: str, earlier: list[_Entry], is_same_sentence: bool) -> str:
    """Side of a diagnosis that has a place of its own, where what it explains has a side: "a collection on the left,
    probably a subdural hematoma"."""
    is_near = any(load_terms().is_within(site, e.site) for e in earlier) or (is_same_sentence and bool(earlier))
    is_said = (mention.certainty in _HEDGED and is_near) or (mention.is_near and mention.certainty != "absent")
    sides = {e.side for e in earlier}
    if mention.side != "none" or not is_said or not load_terms().sites[site].paired or len(sides) != 1:
        return mention.side
    return sides.pop()


def _is_group(entry: _Entry) -> bool:
    """Whether an entry tells of several lesions."""
    return entry.mention.count not in ("none", 1)


def _may_be_at(entry: _Entry, term: str) -> bool:
    """Whether what is spoken of lies where a diagnosis has its place ("this suggests hydrocephalus" may not)."""
    return load_terms().is_within(entry.site, load_terms().findings[term].default_site)


def _named_by_site(mention: Mention, site: str) -> Mention:
    """ "Ventricles and sulci are prominent": wide ventricles are dilated, wide sulci and cisterns widened.

    Enhancement of brain and meninges is one of each kind.
    """
    if mention.term == "abnormal enhancement" and load_terms().is_within(site, "meninges"):
        return replace(_copy(mention), term="meningeal enhancement")
    if mention.term not in ("ventricular dilation", "sulcal widening"):
        return mention
    term = "ventricular dilation" if load_terms().is_within(site, "ventricles") else "sulcal widening"
    return replace(_copy(mention), term=term)


def _with_known_side(entry: _Entry, reading: _Reading) -> _Entry:
    """An impression that leaves out the side of a lesion already described means that side."""
    entry.section, entry.sentence = reading.section, reading.sentence
    if reading.section == 0 or entry.side != "none" or entry.mention.certainty == "absent":
        return entry
    terms = load_terms()
    is_inner = terms.is_within(entry.site, "extra-axial space")  # a hematoma told as a collection before
    if terms.findings[entry.mention.term].kind == "status" or not (entry.is_placed or is_inner):
        return entry
    told = [e for e in reading.entries if e.mention.certainty != "absent"]
    at_place = {e.side for e in told if e.site == entry.site or (is_inner and terms.is_within(entry.site, e.site))}
    sides = at_place - {"none"}
    if not sides and entry.site in (
        "cerebellum",
        "cerebral hemisphere",
        "basal ganglia",
    ):  # "cerebellar abscess" of a lesion of the left cerebellar hemisphere
        sides = {e.side for e in told if terms.is_within(e.site, entry.site)} - {"none"}
    return replace(entry, side=sides.pop()) if len(sides) == 1 else entry


def _merge(new: _Entry, entries: list[_Entry]) -> _Entry:
    """Add an entry or merge it with that of the same lesion, the more specific place winning; returns the kept."""
    for old in entries:
        if old.mention.term != new.mention.term:
            continue
        if _is_hedged_repetition(new, old):
            return old
        if old.mention.certainty != new.mention.certainty:
            continue
        if _is_another_denial(new, old):
            continue
        if old.key == new.key or _is_vaguer(new, old):
            _add_details(old.mention, new.mention)
            return old
        if _is_vaguer(old, new) and not new.mention.is_involvement:
            old.site, old.side, old.is_placed, old.quote = new.site, new.side, new.is_placed, new.quote
            _add_details(old.mention, new.mention)
            return old
    # Sites of one list share a mention; each entry gets its own copy, or what is added to one would be added to all.
    new.mention = _copy(new.mention)
    entries.append(new)
    return new


def _is_hedged_repetition(new: _Entry, old: _Entry) -> bool:
    """Whether a section doubts, at no place of its own, what it has stated: a subtype of the same term."""
    if new.mention.certainty not in _HEDGED or old.mention.certainty != "present" or new.section != old.section:
        return False
    return not new.is_placed or (new.site, new.side) == (old.site, old.side)


def _is_another_denial(new: _Entry, old: _Entry) -> bool:
    """Whether two things of one key are denied in a section: "no abnormal signal, no high signal on DWI"."""
    if new.mention.certainty != "absent" or new.mention.term != "signal abnormality" or new.section != old.section:
        return False
    return bool(new.mention.signals) != bool(old.mention.signals)


def _is_vaguer(vague: _Entry, exact: _Entry) -> bool:
    """Whether `vague` repeats `exact` with less of site or side. A broader denial says more, not less."""
    if vague.mention.term == "atrophy" and vague.is_placed and vague.site != exact.site:
        return False  # that of the whole brain is more than that of a part
    if vague.mention.certainty == "absent" or load_terms().findings[vague.mention.term].kind == "status":
        return False
    if vague.side not in ("none", exact.side):
        return False
    return (
        not vague.is_placed
        or vague.site == exact.site
        or (vague.section != exact.section and load_terms().is_within(exact.site, vague.site))
    )


def _copy(mention: Mention) -> Mention:
    copied = Mention.__new__(Mention)
    copied.__dict__.update(mention.__dict__, signals=set(mention.signals), morphology=set(mention.morphology))
    return copied


def _add_details(target: Mention, source: Mention) -> None:
    target.signals |= source.signals
    target.morphology |= source.morphology
    for name in ("count", "size_mm", "severity", "acuity", "change"):
        if getattr(target, name) in ("none", None):
            setattr(target, name, getattr(source, name))


def _to_finding(entry: _Entry) -> Finding:
    mention = entry.mention
    signals = sorted(mention.signals, key=_SIGNAL_ORDER.__getitem__)
    order = load_terms().morphology.index
    size = mention.size_mm if mention.size_mm is not None and 0 < mention.size_mm <= MAX_SIZE_MM else None
    return Finding.model_validate(
        {
            "finding": mention.term,
            "site": entry.site,
            "laterality": entry.side,
            "signals": [{"sequence": s, "signal": w} for s, w in signals[:MAX_SIGNALS]],
            "morphology": sorted(mention.morphology, key=order)[:MAX_MORPHOLOGY],
            "count": mention.count,
            "size_mm": size,
            "severity": mention.severity,
            "acuity": mention.acuity,
            "change": mention.change,
            "certainty": mention.certainty,
            "quote": entry.quote,
        }
    )
