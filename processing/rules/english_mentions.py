"""One mention per lesion of an English statement: nouns with their signals, descriptions with their diagnosis."""

from dataclasses import replace
from itertools import pairwise

from ..vocabulary import load_terms
from .english_site_terms import are_tissue, of_the_term, without_comparisons
from .matching import Token
from .mentions import AGED, AGES, AS_SIGNAL, HEDGED, Mark, Mention

_BETWEEN_SIGNALS = frozenset(
    ("on", "and", "the", ",", "images", "imaging", "weighted", "sequences", "with", "corresponding", "/")
)
_AROUND = frozenset(("about", "around", "along", "over"))
_SEQUENCE_WORDS = frozenset(("t1", "t2", "flair", "/", "and", "weighted", "signal"))
# Diagnoses by their kind that say what is seen, too: "narrowing characteristic of moyamoya disease" is one entry.
_SEEN_CHANGES = frozenset(
    (
        "white matter lesion",
        "abnormal vessels",
        "edema",
        "flow abnormality",
        "stenosis",
        "cyst",
        "extra-axial collection",
    )
)
_SEEN_SIGNALS = frozenset(("signal abnormality", *AS_SIGNAL))
_PRONOUNS = frozenset(("it", "they", "this", "these", "both"))
DEFINITE = frozenset(("the", "this", "these", "that", "its"))


def joined_to_nouns(own: list[Mention], marks: list[Mark], tokens: list[Token]) -> list[Mention]:
    """ "Focus of restricted diffusion": the noun is the lesion, what it is a focus of its signal.

    So it is in "hyperintensity with restricted diffusion" and "enhancement of a small lesion", if nothing is denied.
    """
    if len(own) < 2 or _SEEN_SIGNALS.isdisjoint([m.term for m in own]):
        return own
    denials = [m.first for m in marks if m.kind == "certainty" and m.value == "absent"]
    named = {i for m in marks if m.kind == "sites" for i in range(m.first, m.stop)}
    joined: list[Mention] = []
    for mention in own:
        last = joined[-1] if joined else None
        between = [t.word for t in tokens[last.stop : mention.first]] if last is not None else []
        is_noun = last is not None and last.term == "signal abnormality" and between[:1] == ["of"]
        if last is not None and is_noun and mention.term in AS_SIGNAL and between == ["of"]:
            last.stop = mention.stop
            last.signals.add(AS_SIGNAL[mention.term])
        elif (
            last is not None
            and last.term == mention.term == "signal abnormality"
            and (
                (is_noun and len(between) <= 4)
                or between == ["and"]  # "hyperintensity and susceptibility"
                or _is_same_lesion(between, range(last.stop, mention.first), marks)
            )
        ):
            last.stop = mention.stop
        elif last is not None and _is_signal_with(last, mention, between, denials, named):
            lesion, signal = (last, mention) if mention.term in AS_SIGNAL else (mention, last)
            lesion.signals.add(AS_SIGNAL[signal.term])
            lesion.is_definite = tokens[lesion.first - 1].word in DEFINITE  # "enhancement of this lesion"
            lesion.first, lesion.stop = last.first, mention.stop
            joined[-1] = lesion
        else:
            joined.append(mention)
    return joined


def _is_same_lesion(between: list[str], gap: range, marks: list[Mark]) -> bool:
    """Whether only sequences stand between two signals: "low signal on T1 and high signal on T2"."""
    sequences = {i for m in marks if m.kind == "sequences" for i in range(m.first, m.stop)}
    is_filled = all(i in sequences or word in _BETWEEN_SIGNALS for i, word in zip(gap, between, strict=True))
    return is_filled and not sequences.isdisjoint(gap)


def _is_signal_with(last: Mention, mention: Mention, between: list[str], denials: list[int], named: set[int]) -> bool:
    """Whether one of two neighbours is a signal of the other, a lesion of no better name."""
    places = named & set(range(last.stop, mention.first))
    if any(i < mention.first for i in denials) or not 1 <= len(between) <= 6:
        return False
    if mention.term in AS_SIGNAL and last.term in ("signal abnormality", "mass"):
        return between[0] in ("with", "and") and len(between) <= 4 and not places and "," not in between
    return last.term in AS_SIGNAL and mention.term in ("signal abnormality", "mass") and between[0] == "of"


def name_signals(own: list[Mention], marks: list[Mark], tokens: list[Token], mentions: list[Mention]) -> list[Mention]:
    """Add a signal abnormality where a site has a signal and no finding is named yet ("the pons is bright")."""
    signal = next((m for m in marks if m.kind == "signals"), None)
    if signal is None or any(m.first <= signal.first for m in own):
        return own
    hedge = next((m for m in marks if m.kind == "certainty" and m.first > signal.first), None)
    hedged = bool(own) and hedge is not None and hedge.value != "absent" and hedge.first < own[0].first
    denials = [m for m in marks if m.kind == "certainty" and m.value == "absent" and m.first > signal.first]
    is_first = not own or (bool(denials) and denials[0].first < own[0].first)  # "bright ... without mass effect"
    sites = [m for m in marks if m.kind == "sites"]  # "it is isointense to gray matter" tells none
    alone = is_first and not mentions and bool(sites and without_comparisons(sites, tokens))
    if not (hedged or alone):
        return own
    if not sites and not mentions and tokens[0].word in _PRONOUNS:  # "They are bright on T1, suggesting blood"
        return [Mention("", signal.first, signal.stop), *own]
    term = {"enhancing": "abnormal enhancement", "restricted": "restricted diffusion"}.get(signal.value)
    is_told = alone and term is not None  # "the left cavernous sinus is bulky and enhances"
    return [Mention(term if is_told and term else "signal abnormality", signal.first, signal.stop), *own]


def refine_terms(own: list[Mention], marks: list[Mark], tokens: list[Token]) -> None:
    """Age words make the infarct term; "white matter" directly before a signal noun makes the white matter lesion."""
    terms = load_terms()
    for mention in own:
        mention.term = AGED.get(mention.term, {}).get(mention.acuity, mention.term)
        if not mention.signals:
            words = "".join([t.word for t in tokens[mention.first : mention.stop]])
            for stem, signal in (("hyperintens", "hyper"), ("hypointens", "hypo")):
                if stem in words and not mention.signals:
                    mention.signals.add(("any", signal))
        if mention.term in AS_SIGNAL:
            mention.signals -= {("DWI", "none")}
            mention.signals = mention.signals or {AS_SIGNAL[mention.term]}
        if (
            mention.term == "abnormal enhancement"
            and len(mention.sites) > 1
            and mention.sites[0][0] == "meninges"
            and not _AROUND.isdisjoint([t.word for t in tokens[mention.stop : mention.stop + 5]])
        ):  # "enhancement of the meninges about the cistern"
            mention.term, mention.sites = "meningeal enhancement", mention.sites[1:]
        elif (
            mention.term == "abnormal enhancement"
            and mention.sites
            and all(terms.is_within(s, "extra-axial space") for s, _ in mention.sites)
        ):
            others = [p for p in mention.sites if p[0] != "meninges"]
            mention.term, mention.sites = "meningeal enhancement", others or mention.sites
        if "symmetric" in mention.morphology and mention.side == "none" and mention.certainty != "absent":
            mention.sites = [
                (s, "bilateral" if d == "none" and terms.sites[s].paired else d) for s, d in mention.sites
            ]
        if mention.certainty == "absent" and mention.term == "signal abnormality":
            mention.term = next((t for t, pair in AS_SIGNAL.items() if mention.signals == {pair}), mention.term)
        if mention.term == "signal abnormality":
            before = [t.word for t in tokens[max(0, mention.first - 6) : mention.first]]
            while before and before[-1] in _SEQUENCE_WORDS:  # "white matter T2/FLAIR hyperintensities"
                before.pop()
            if before[-2:] == ["white", "matter"]:
                mention.term = "white matter lesion"
        if mention.term in AGES and mention.acuity == "none":
            mention.acuity = AGES[mention.term]


def without_normal_words(own: list[Mention]) -> list[Mention]:
    """ "Normal enhancement", "normal flow void": what is normal is no finding of its own."""
    if len(own) < 2:
        return own
    normal = {m.stop for m in own if m.term == "normal"}
    return [m for m in own if m.term == "normal" or m.first not in normal]


def merge_descriptions(own: list[Mention], earlier: list[Mention], marks: list[Mark], tokens: list[Token]) -> None:
    """One entry per lesion of a statement; edits `own` in place.

    - "hyperintensity consistent with infarct": the diagnosis takes over what was described.
    - "infarct with restricted diffusion", "mass with T2 hyperintensity": the second term is a signal of the first.
    """
    if len(own) + len(earlier) < 2:
        return
    links = [m.first for m in marks if m.kind == "consistent"]
    _absorb_before_which(own, earlier, links)
    brackets = [i for i, t in enumerate(tokens) if t.word == "("] if len(own) > 1 else []
    kinds = load_terms().findings
    for former, mention in reversed(list(pairwise(own))):
        if mention.term != former.term or mention.certainty != former.certainty or mention.sites:
            continue
        if mention.side == "none" and [t.word for t in tokens[former.stop : mention.first]] == ["and"]:
            own.remove(mention)  # "compressed and displaced"
    for mention in list(own):
        if not mention.term or mention.certainty == "absent":
            continue
        described = [m for m in own if m.term and m.first < mention.first and m.certainty != "absent"]
        lesions = [
            m for m in (*earlier, *described) if m.term and m.certainty != "absent" and kinds[m.term].kind != "status"
        ]
        if mention.certainty == "present" and kinds[mention.term].kind == "diagnosis":
            last = described[-1] if described else None
            linked = last is not None and any(last.first <= link < mention.first for link in (*links, *brackets))
            if last is not None and mention.first - last.stop <= 3:  # "foci of acute infarction"
                linked = linked or tokens[last.stop].word == "of"
            if last is not None and linked and _is_description(last):
                _absorb(mention, last)
                own.remove(last)
        elif (
            mention.certainty in HEDGED
            and described
            and described[-1].certainty == mention.certainty
            and described[-1].term == "signal abnormality"
            and mention.first - described[-1].stop <= 3
            and tokens[described[-1].stop].word == "of"
            and kinds[mention.term].kind == "diagnosis"
        ):  # "possibly a focus of old hemorrhage"
            _absorb(mention, described[-1])
            own.remove(described[-1])
        elif mention.term == "normal variant" and mention.certainty == "present" and not mention.sites and described:
            _absorb(mention, described[-1])  # "a hypoplastic left A1 segment, a normal variant"
            own.remove(described[-1])
        elif lesions and (
            (not mention.sites and mention.side == "none") or _is_signal_of_tissue(mention, lesions[-1], tokens)
        ):
            is_signal = mention.term in AS_SIGNAL or (mention.term == "signal abnormality" and mention.signals)
            if is_signal and lesions[-1] is not mention:
                lesions[-1].signals |= mention.signals or {AS_SIGNAL[mention.term]}
                lesions[-1].morphology |= mention.morphology
                own.remove(mention)


def _is_signal_of_tissue(mention: Mention, lesion: Mention, tokens: list[Token]) -> bool:
    """Whether a signal is told of the tissue of a lesion ("swelling of the hemisphere with cortical enhancement")."""
    before = [t.word for t in tokens[lesion.stop : mention.first]]
    is_of_part = bool(mention.sites and lesion.sites) and are_tissue(mention.sites) and not are_tissue(lesion.sites)
    return mention.term in AS_SIGNAL and is_of_part and before[-2:-1] == ["with"]


def _absorb_before_which(own: list[Mention], earlier: list[Mention], links: list[int]) -> None:
    """ "Foci, which are consistent with infarcts": the description stands in the part of the sentence before."""
    kinds = load_terms().findings
    if not own or not earlier or not own[0].term or not links:
        return
    first, last = own[0], earlier[-1]
    if first.term in AS_SIGNAL and not first.sites and len(own) > 1 and first.certainty == "present":
        first = own[1]  # "a lesion that is dark but shows restricted diffusion, in keeping with an epidermoid"
    is_led = any(link < first.first for link in links)
    is_diagnosis = is_led and first.certainty == "present" and kinds[first.term].kind == "diagnosis"
    is_described = last.term != "" and last.certainty == "present" and _is_description(last)
    if is_diagnosis and is_described and not first.sites:
        _absorb(first, last)
        earlier.remove(last)


def with_doubted_places(mentions: list[Mention]) -> list[Mention]:
    """ "A frontal mass, possibly extending into the thalamus": an entry of its own for where a lesion may be."""
    told: list[Mention] = []
    for mention in mentions:
        doubts = [mention.doubted.get(p, mention.doubted.get((p[0], "none"))) for p in mention.sites]
        levels = {level for level in doubts if level is not None}
        if mention.certainty != "present" or not levels:
            told.append(mention)
            continue
        sure = [pair for pair, doubt in zip(mention.sites, doubts, strict=True) if doubt is None]
        if sure:
            told.append(replace(mention, sites=sure))
        for level in sorted(levels):
            sites = [pair for pair, doubt in zip(mention.sites, doubts, strict=True) if doubt == level]
            part = replace(mention, sites=sites, certainty=level, count="none", size_mm=None, reached=set())
            part.signals, part.morphology = set(mention.signals), set()
            told.append(part)
    return told


def _is_description(mention: Mention) -> bool:
    return mention.term in _SEEN_CHANGES or load_terms().findings[mention.term].kind == "description"


def _absorb(mention: Mention, described: Mention) -> None:
    """Give a diagnosis what the description before it told."""
    sides = dict(described.sites)  # "the left optic nerve is swollen, consistent with optic neuritis"
    mention.sites = [(s, d if d != "none" else sides.get(s, d)) for s, d in mention.sites] or described.sites
    mention.sites = of_the_term(mention.term, mention.sites)
    mention.side = mention.side if mention.side != "none" else described.side
    mention.signals |= described.signals
    mention.morphology |= described.morphology
    mention.quote = (described.quote[0], mention.quote[1])
    for name in ("count", "severity", "acuity", "change", "size_mm"):
        if getattr(mention, name) in ("none", None):
            setattr(mention, name, getattr(described, name))
