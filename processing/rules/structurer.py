"""Rule structurer: the free text of a report to structured findings.

Sentences are read one by one, each language by a file of its own (`english.py`); this file resolves what refers back,
fills sites that are not said, and merges the mentions of one lesion.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ..findings import (
    MAX_FINDINGS,
    MAX_IMPRESSION,
    MAX_QUOTE_CHARACTERS,
    MAX_SENTENCE_CHARACTERS,
    StructuredReport,
    is_normal,
)
from ..reports import split_sentences
from ..vocabulary import load_terms
from .chinese import heading_sequence
from .chinese import read_sentence as read_chinese_sentence
from .english import read_sentence
from .entries import Entry, add_details, is_group, is_reached, merge_into, to_findings
from .mentions import ACCOMPANYING, AS_SIGNAL, HEDGED, VAGUE_SITES, Mention
from .placing import CAUSES, DISPLACEMENTS, DOUBTED_CAUSES, can_be_at, placed_at

VERSION = "0.9"  # raise with every change that alters the findings of some report
# Languages that have rules: how a sentence of each is read.
READERS: Mapping[str, Callable[[str], list[Mention]]] = {"en": read_sentence, "zh": read_chinese_sentence}
# What sequence the heading in front of a sentence names: it covers the sentences up to the next heading.
_HEADINGS: Mapping[str, Callable[[str], str | None]] = {"zh": heading_sequence}
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
# What a mass does to the bone around it is not what "it" points at, even with a place of its own.
_EFFECTS = frozenset(("sellar enlargement",))
_OF_SHAPE = frozenset(("normal variant", "developmental anomaly", "arachnoid cyst"))
# Families of what reaches nowhere: "it also extends into the sinus" is of the mass told before.
_OF_NO_EXTENT = ("sinus disease", "displacement", "wide fluid spaces", "skull", "sella")


@dataclass
class _Reading:
    """The entries of a report so far, and those of the lesion spoken of last (where "it" points)."""

    read_sentence: Callable[[str], list[Mention]]
    entries: list[Entry] = field(default_factory=list)
    last: list[Entry] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)  # all lesions of the last sentence that tells one
    lesion: list[Entry] = field(default_factory=list)  # the last that can enhance or restrict
    # what is described without a cause, sentence by sentence, which a diagnosis explains
    descriptions: list[list[Entry]] = field(default_factory=list)
    # the sentence of the last doubted cause, and where it stands
    doubted: tuple[int, list[Entry]] = (-1, [])
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
    entries = to_findings(reading.entries[:MAX_FINDINGS])
    sentences = [" ".join(s.text.split())[:MAX_SENTENCE_CHARACTERS] for s in sections[1]]
    return StructuredReport(normal=is_normal(entries), findings=entries, impression=sentences[:MAX_IMPRESSION])


def _read(sentence: str, reading: _Reading) -> None:
    """Add one sentence to the reading."""
    spoken_of: list[Entry] = []
    lesion: list[Entry] = []
    described: list[Entry] = []
    told: list[Entry] = []
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
        if mention.is_definite and mention.side != "none" and not mention.sites:
            on_side = _on_side(mention.side, reading)
            earlier, described = on_side or earlier, on_side or described
        is_cause = _explains(mention, reading, bool(spoken_of))
        if is_cause:
            summed = reading.told if mention.is_of_all and not lesion else []
            is_any = mention.certainty != "present" or mention.count in ("none", 1)
            spoken = lesion or reading.lesion or earlier if is_any else lesion  # "multiple infarcts" are no single one
            beside = _beside(mention, spoken_of)
            other = _of_alternative(mention, reading) if not (described or beside) else []
            is_of_sentence = bool(described or beside or other)
            earlier = described or beside or other or _meant(mention, reading) or summed or spoken
            earlier = [e for e in earlier if can_be_at(mention.term, e.site)]
        elif mention.is_of_all and mention.certainty in HEDGED and not (spoken_of or mention.sites):
            earlier = _meant(mention, reading) or reading.told  # "these changes suggest small vessel disease"
        if mention.is_definite and mention.reached:
            mention = _on_known_side(mention, earlier)
        if mention.is_definite:
            _agree_on_mass(mention, [e for e in earlier if e.section == reading.section])
        if mention.is_involvement:
            mention = _as_involvement(mention, lesion or reading.lesion, reading.entries, reading.descriptions)
        if mention.is_involvement and not (mention.term and mention.sites):
            if not mention.term:
                continue
            mention.is_involvement = False
        if _is_repetition(mention, reading):
            earlier = []  # it stands where it stood, not where the lesion beside it stands
        if _adds_to(mention, earlier, bool(spoken_of)):
            for entry in earlier:
                add_details(entry.mention, mention)
            continue
        placed = [
            _with_known_side(entry, reading) for entry in placed_at(mention, quote, earlier, is_of_sentence, is_cause)
        ]
        kept = [merge_into(entry, reading.entries) for entry in placed]
        # "multiple lesions in the brain" is no new entry, but what is said of them is said of the whole brain
        entries = [
            replace(k, site=p.site, side=p.side) if p.site == "brain" and (p.is_placed or is_group(p)) else k
            for k, p in zip(kept, placed, strict=True)
        ]
        if mention.certainty in HEDGED and mention.term in DOUBTED_CAUSES:
            reading.doubted = reading.sentence, entries
        is_lesion = mention.certainty != "absent" and load_terms().findings[mention.term].kind != "status"
        # a companion with a place of its own is a lesion in its own right
        is_effect = mention.term in _EFFECTS and bool(earlier)
        if is_lesion and not is_effect and (mention.term not in _COMPANIONS or mention.sites or not earlier):
            spoken_of = entries
            lesion = lesion if mention.term in DISPLACEMENTS else entries
            told += entries
            is_another = (
                not (mention.is_definite and (described or reading.descriptions)) and not mention.is_involvement
            )
            is_described = mention.term in _DESCRIBED and mention.certainty == "present" and is_another
            described = entries if is_described else described
    if described:
        reading.descriptions.append(described)
    reading.last = spoken_of or reading.last
    reading.lesion = lesion or reading.lesion
    reading.told = told or reading.told


def _beside(mention: Mention, spoken_of: list[Entry]) -> list[Entry]:
    """What the sentence has told before a doubted cause ("narrowing of the basilar artery, likely atheromatous")."""
    if mention.certainty not in HEDGED:
        return []
    is_of_shape = mention.term in _OF_SHAPE  # "a wide left ventricle, likely a normal variant"
    told = [e for e in spoken_of if e.mention.certainty == "present"]
    return [e for e in told if is_of_shape or e.mention.term not in DISPLACEMENTS]


def _of_alternative(mention: Mention, reading: _Reading) -> list[Entry]:
    """Where the cause stands that another is told beside ("... is favored; a glioma is less likely")."""
    sentence, entries = reading.doubted
    is_near = sentence == reading.sentence or (mention.is_alternative and sentence == reading.sentence - 1)
    if mention.certainty not in HEDGED or not is_near or not all(e.is_placed for e in entries):
        return []
    kinds = load_terms().findings  # "macroadenoma" says itself where it is
    is_own = all(e.site == kinds[e.mention.term].default_site and e.site not in VAGUE_SITES for e in entries)
    return [] if is_own else [e for e in entries if can_be_at(mention.term, e.site)]


def _on_side(side: str, reading: _Reading) -> list[Entry]:
    """The lesion told last on a side ("the left sided focus may be an infarct")."""
    kinds = load_terms().findings
    told = [
        e
        for e in reading.entries
        if e.side == side
        and e.mention.certainty != "absent"
        and e.mention.term not in _COMPANIONS
        and kinds[e.mention.term].kind != "status"
    ]
    return [e for e in told if e.sentence == told[-1].sentence]


def _agree_on_mass(mention: Mention, earlier: list[Entry]) -> None:
    """ "The lesion" that has been told to be a mass is a mass, and what is called "the mass" later was one before."""
    if mention.certainty == "absent":
        return
    if mention.term == "signal abnormality" and any(e.mention.term == "mass" for e in earlier):
        mention.term = "mass"
    elif mention.term == "mass" and not mention.is_involvement:
        for entry in earlier:
            if entry.mention.term == "signal abnormality" and entry.mention.certainty == "present":
                entry.mention.term = "mass"


def _meant(mention: Mention, reading: _Reading) -> list[Entry]:
    """What a diagnosis explains: in an impression, or of "these findings", the first mass, else all that is described;
    otherwise what is described last.
    """
    if not reading.descriptions or not (reading.section or mention.is_of_all):
        return reading.descriptions[-1] if reading.descriptions else []
    told = [entries for entries in reading.descriptions if any(not is_reached(e) for e in entries)]
    masses = [entries for entries in told if entries[0].mention.term == "mass"]
    return masses[0] if masses else [e for entries in told for e in entries]


def _as_involvement(
    mention: Mention, lesion: list[Entry], entries: list[Entry], descriptions: list[list[Entry]]
) -> Mention:
    """ "The thalamus is also involved": an entry of the lesion spoken of last at that place, on its side."""
    if not lesion or not mention.sites:
        return mention
    if load_terms().findings[lesion[-1].mention.term].family in _OF_NO_EXTENT:
        lesion = [e for e in entries if e.mention.term == "mass" and not is_reached(e)][-1:] or lesion
    if descriptions and all(e.mention.certainty in HEDGED for e in lesion):
        lesion = descriptions[-1]  # "lesions, perhaps metastases. The largest is in the left parietal lobe"
    last = lesion[-1]
    paired = load_terms().sites
    told = {e.side for e in lesion} & {"left", "right"} if mention.certainty != "absent" else set()
    lesion_side = told.pop() if len(told) == 1 else "none"
    sites = [(s, lesion_side if side == "none" and paired[s].paired else side) for s, side in mention.sites]
    if mention.term:
        return replace(mention, sites=sites)
    known = {site for e in lesion for site in [e.site]}
    if "cerebellar hemisphere" in known:  # "the superior portion of the hemisphere"
        known.add("cerebral hemisphere")
    sites = [(s, side) for s, side in sites if not any(load_terms().is_within(k, s) for k in known)]
    signals = mention.signals or (set(last.mention.signals) if mention.certainty != "absent" else set())
    is_tumor = load_terms().findings[last.mention.term].family == "tumor"  # what a tumor reaches into is told as mass
    return replace(mention, term="mass" if is_tumor else last.mention.term, sites=sites, signals=signals)


def _on_known_side(mention: Mention, lesion: list[Entry]) -> Mention:
    """ "The lesion extends to the orbital apex": what a lesion told before reaches into is on its side."""
    sides = {e.side for e in lesion}
    if len(sides) != 1 or not sides & {"left", "right"}:
        return mention
    side, paired = sides.pop(), load_terms().sites
    sites = [
        (s, side if own == "none" and s in mention.reached and paired[s].paired else own) for s, own in mention.sites
    ]
    return replace(mention, sites=sites)


def _is_repetition(mention: Mention, reading: _Reading) -> bool:
    """Whether the impression names, without a place, what the findings have told."""
    if reading.section == 0 or mention.sites or mention.side != "none" or mention.certainty != "present":
        return False
    told = (mention.term, "present")
    return any((e.mention.term, e.mention.certainty) == told and e.section < reading.section for e in reading.entries)


def _explains(mention: Mention, reading: _Reading, is_same_sentence: bool) -> bool:
    """Whether a diagnosis without a place, doubted or of the impression, names the cause of what is described."""
    causes = DOUBTED_CAUSES if mention.certainty in HEDGED else CAUSES
    if mention.sites or mention.side != "none" or mention.term not in causes:
        return False
    if mention.certainty != "present":
        return mention.certainty in HEDGED or mention.is_unlike
    is_focal = load_terms().findings[mention.term].family != "white matter disease"
    return not is_same_sentence and (mention.is_of_all or (reading.section > 0 and is_focal))


def _adds_to(mention: Mention, earlier: list[Entry], is_same_sentence: bool) -> bool:
    """Whether a mention only tells more of the lesion spoken of last."""
    if not mention.term:
        return True
    if not earlier or mention.certainty == "absent" or mention.sites:
        return False
    if mention.term == "cyst" and mention.is_back_reference and all(e.mention.term == "mass" for e in earlier):
        mention.morphology.add("cystic")  # "it is heterogeneous with small cysts"
        return True
    if mention.term in AS_SIGNAL and not mention.is_apart:
        mention.signals = mention.signals or {AS_SIGNAL[mention.term]}
        return True
    return mention.is_definite and mention.term in ("signal abnormality", "mass") and not is_same_sentence


def _with_known_side(entry: Entry, reading: _Reading) -> Entry:
    """An impression that leaves out the side of a lesion already described means that side."""
    entry.section, entry.sentence = reading.section, reading.sentence
    if reading.section == 0 or entry.side != "none" or entry.mention.certainty == "absent":
        return entry
    terms = load_terms()
    # a hematoma told as a collection before
    is_inner = terms.is_within(entry.site, "extra-axial space") and entry.mention.term != "meningitis"
    if terms.findings[entry.mention.term].kind == "status" or not (entry.is_placed or is_inner):
        return entry
    told = [e for e in reading.entries if e.mention.certainty != "absent" and e.mention.term not in DISPLACEMENTS]
    at_place = {e.side for e in told if e.site == entry.site or (is_inner and terms.is_within(entry.site, e.site))}
    sides = at_place - {"none", "midline"}
    if not sides and entry.site in (
        "cerebellum",
        "cerebral hemisphere",
        "basal ganglia",
    ):  # "cerebellar abscess" of a lesion of the left cerebellar hemisphere
        sides = {e.side for e in told if terms.is_within(e.site, entry.site)} - {"none"}
    return replace(entry, side=sides.pop()) if len(sides) == 1 else entry
