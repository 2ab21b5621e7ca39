"""How an English sentence is read: lexicon phrases, the scope of negation and hedging, one mention per lesion."""

from dataclasses import replace

from ..vocabulary import load_terms
from .english_attachment import attach_attributes, attach_signals
from .english_certainty import CUE_KINDS, certainty_of
from .english_left_out import REPORTING
from .english_marks import read_marks, split_segments, with_causes, with_predicates
from .english_mentions import (
    DEFINITE,
    joined_to_nouns,
    merge_descriptions,
    name_signals,
    refine_terms,
    with_doubted_places,
    without_normal_words,
)
from .english_places import INVOLVING, NEAR, REACHING, attach_sites
from .matching import Token, tokenize
from .mentions import AGED, AS_SIGNAL, HEDGED, Mark, Mention

_SIGNAL_KINDS = frozenset(("signals", "sequences"))
_EXTENSIONS = frozenset(("extension", "invasion", "encasement", "bowing", "bulging", "protrusion"))
_LIKENING = frozenset(("consistent", "typical", "compatible", "characteristic", "represent"))
_ELSEWHERE = frozenset(("new", "other", "additional", "further"))
_OF_IT = frozenset(("transformation", "conversion"))  # "no hemorrhagic transformation"
_BEDS = frozenset(("cavity", "bed", "margin", "margins", "site"))
_REMOVAL = frozenset(("resection", "surgical", "operative", "postoperative"))
# "These findings suggest": all that has been told.
_SUMMING = frozenset(
    ("findings", "finding", "finds", "appearances", "appearance", "changes", "abnormalities", "these", "features")
)
# fmt: off
_ALTERNATIVES = frozenset((
    "less", "also", "alternatively", "alternative", "alternatives", "differential", "other", "another", "next",
    "rather",
))
# fmt: on
_SEVERAL = frozenset(("these", "those", "they"))
_POINTING = frozenset(("it", "them", "this", "these", "the"))
_SPINE = frozenset(("spine", "lumbar", "thoracic", "cervical", "spinal", "lumbosacral"))
_GOING_ON = frozenset(("not", "is", "are", "does", "do", "without"))
# What is called normal without a site: the whole study, or the brain in it.
# fmt: off
_WHOLE_STUDY = frozenset((
    "mri", "mr", "mra", "mrv", "scan", "scans", "study", "studies", "exam", "examination", "imaging", "image",
    "images", "brain", "head", "remainder", "rest", "appearance", "appearances", "findings", "result", "results",
    "signal", "intensity", "everything", "it", "this", "these", "report", "evaluation", "otherwise", "remaining",
))
_COPULAS = frozenset(("is", "are", "was", "were", "appears", "appear", "appeared", "remains", "remain"))
_NO_SUBJECT = frozenset(("there", "which", "that", "what", "all", "and", "but"))
_AFTER_NORMAL = frozenset((
    "for", "in", "on", "with", "without", "at", "and", "or", "limits", "except", "apart", "given", "from", "by", "as",
    "to", "appearing", "variant", "variants", "after", "throughout",
))
# fmt: on


def read_sentence(text: str) -> list[Mention]:
    """Findings of one English sentence in order, also the denied and hedged ones.

    A mention without a term of its own (term "") holds what a sentence such as "It measures 12 mm and enhances" adds
    to the lesion of the sentence before.
    """
    tokens = tokenize(text)
    said = [t.word for t in tokens]
    words = set(said)
    marks = read_marks(tokens, said, words)
    mentions: list[Mention] = []
    for segment, start, stop in split_segments(marks, tokens, words):
        _read_segment(segment, tokens, start, stop, mentions, text)
    if not mentions:
        return []
    if not _SPINE.isdisjoint(words) and _is_of_the_spine(tokens):
        for mention in mentions:
            mention.sites = mention.sites or [("spine", "none")]
    if "mra" in words and "mri" not in words:  # "the MRA was normal"
        for mention in mentions:
            mention.sites = mention.sites or ([("vessels", "none")] if mention.term == "normal" else [])
    references = [m for m in marks if m.kind == "back_reference"]
    reference = references[0].first if references else len(tokens)
    is_at_it = any([m.value.startswith(("at ", "in ")) for m in references])
    are_several = any([m.value in _SEVERAL for m in references])
    unlike = len(tokens) if _LIKENING.isdisjoint(words) else _end_of_unlike(marks, tokens)
    sum_of_all = len(tokens)
    if not _SUMMING.isdisjoint(words):
        sum_of_all = next((i for i, t in enumerate(tokens[:6]) if t.word in _SUMMING), len(tokens))
    is_alternative = not _ALTERNATIVES.isdisjoint(words)
    denied_verbs = {m.first for m in marks if m.kind == "certainty"}  # "does not enhance"
    _split_ages(mentions, marks)
    if "largest" in words:
        _single_out(mentions, marks, tokens)
    for mention in mentions:
        is_pointing = reference <= mention.first or mention.first in denied_verbs
        is_pointing = is_pointing or (not mention.sites and (is_at_it or _is_within_it(mention, tokens)))
        mention.is_back_reference |= is_pointing
        is_of_none = tokens[mention.first].word == "none"  # "none of these enhance"
        mention.is_of_these = is_pointing and (are_several or is_of_none)
        mention.is_unlike = mention.certainty == "absent" and unlike <= mention.first
        mention.is_of_all = sum_of_all < mention.first
        mention.is_alternative = is_alternative and mention.certainty in HEDGED
        mention.term = AGED.get(mention.term, {}).get(mention.acuity, mention.term)  # "infarcts, which appear acute"
        before = [t.word for t in tokens[max(0, mention.first - 2) : mention.first]]
        if mention.certainty == "absent" and not _ELSEWHERE.isdisjoint(before):  # "It shows ... and no new lesions"
            mention.is_back_reference = False
        elif mention.certainty == "absent" and before[-1:] == ["adjacent"]:
            mention.is_back_reference = True
        mention.is_near |= not NEAR.isdisjoint(before)
        mention.is_definite |= _is_definite(mention, marks, tokens)
    return with_doubted_places(mentions) if any(m.doubted for m in mentions) else mentions


def _is_definite(mention: Mention, marks: list[Mark], tokens: list[Token]) -> bool:
    """Whether an article that points back stands before a finding ("the mass", "the left sided focus").

    It does not where it is the subject ("whether this represents tumor").
    """
    before = [t.word for t in tokens[max(0, mention.first - 3) : mention.first]]
    if not before or DEFINITE.isdisjoint(before):
        return False
    if before[-1] in DEFINITE:
        return True
    if before[-2:-1] and before[-2] in DEFINITE:
        links = ("consistent", "certainty")
        return not any(m.kind in links and m.first == mention.first - 1 for m in marks)
    return before[0] in DEFINITE and any(
        m.kind == "laterality" and m.first == mention.first - 2 and m.stop == mention.first for m in marks
    )


def _end_of_unlike(marks: list[Mark], tokens: list[Token]) -> int:
    """Where a denial of what the lesion spoken of is ends ("not considered consistent with a meningioma")."""
    for mark in marks:
        if mark.value == "absent" and not _LIKENING.isdisjoint(t.word for t in tokens[mark.first : mark.stop]):
            return mark.stop
    return len(tokens)


def _split_ages(mentions: list[Mention], marks: list[Mark]) -> None:
    """ "Infarcts of both thalami, acute on the right and subacute on the left": an entry of each side and age."""
    if len(mentions) != 1 or not mentions[0].sites:
        return
    ages = [m for m in marks if m.kind == "acuity"]
    if len(ages) != 2 or ages[0].value == ages[1].value:
        return
    sides = [next((m for m in marks if m.kind == "laterality" and 0 <= m.first - a.stop <= 2), None) for a in ages]
    if None in sides or {s.value for s in sides if s} != {"left", "right"}:
        return
    lesion = mentions.pop()
    for age, side in zip(ages, sides, strict=True):
        value = side.value if side is not None else "none"
        part = replace(lesion, acuity=age.value, sites=[(s, value) for s, _ in lesion.sites], side=value)
        part.signals, part.morphology = set(lesion.signals), set(lesion.morphology)
        term = "infarct" if lesion.term in AGED["infarct"].values() else lesion.term
        part.term = AGED.get(term, {}).get(age.value, term)
        mentions.append(part)


def _single_out(mentions: list[Mention], marks: list[Mark], tokens: list[Token]) -> None:
    """ "Multiple cavernomas, the largest in the pons": the group has an entry beside that of the one singled out."""
    largest = next(i for i, t in enumerate(tokens) if t.word == "largest")
    group = [m for m in mentions if m.term and m.stop <= largest]
    if not group or group[-1].count in ("none", 1) or not group[-1].sites:
        return
    lesion = group[-1]
    terms = load_terms().findings
    if any(m.kind == "sites" and m.first < largest for m in marks) or terms[lesion.term].default_site != "brain":
        return
    whole = replace(
        lesion, sites=[("brain", "none")], side="none", size_mm=None, morphology=set(), signals=set(lesion.signals)
    )
    lesion.count = "none"
    mentions.insert(mentions.index(lesion), whole)


def _is_of_the_spine(tokens: list[Token]) -> bool:
    """Whether a sentence tells a scan of the spine alone ("MRI of the lumbar spine revealed ...")."""
    words = [t.word for t in tokens[:12]]
    scan = next((i for i, word in enumerate(words) if word in ("mri", "mr")), None)
    if scan is None:
        return False
    named = words[scan : scan + 8]
    end = next((i for i, word in enumerate(named) if word in REPORTING or not (word.isalnum() or word in ",/")), 8)
    named = named[:end]
    return not _SPINE.isdisjoint(named) and "brain" not in named and "head" not in named


def _is_within_it(mention: Mention, tokens: list[Token]) -> bool:
    """Whether a finding is told to lie in the lesion spoken of ("areas of hemorrhage within it")."""
    behind = [t.word for t in tokens[mention.stop : mention.stop + 2]]
    is_within = len(behind) == 2 and behind[0] in ("within", "inside") and behind[1] in _POINTING
    is_within = is_within or behind in (["in", "its"], ["in", "it"])
    is_within = is_within or not _OF_IT.isdisjoint([t.word for t in tokens[mention.first : mention.stop]])
    return is_within or behind[:1] == ["therein"]


def _read_segment(
    marks: list[Mark], tokens: list[Token], start: int, stop: int, mentions: list[Mention], text: str
) -> None:
    kinds = {m.kind for m in marks}  # what no mark is of, is passed over
    if "predicates" in kinds:
        marks = with_predicates(marks, tokens)
    if "causes" in kinds:
        marks = with_causes(marks, tokens)
    own = [Mention(m.value, m.first, m.stop) for m in marks if m.kind == "findings"]
    own = joined_to_nouns(without_normal_words(own), marks, tokens)
    if "signals" in kinds:
        own = name_signals(own, marks, tokens, mentions)
    if not own and not mentions:
        words = {t.word for t in tokens[start:stop]}
        is_signal = not kinds.isdisjoint(_SIGNAL_KINDS) or "signal" in words
        is_involved = bool(words & (REACHING | INVOLVING)) and not is_signal
        own = [Mention("", start, start, is_involvement=is_involved)]
    if own and not mentions and _singles_out(marks, tokens[start : start + 2], own[0].first):
        own = [Mention("", start, start, is_involvement=True), *own]
    carriers = own or mentions[-1:]
    for mention in own if not kinds.isdisjoint(CUE_KINDS) else ():
        mention.certainty = certainty_of(mention, marks, tokens, own)
        if mention.is_involvement:  # what is said of the place is said of the lesion there
            cues = ("certainty", "closing_hedge")  # "involvement of the sinus cannot be excluded"
            mention.certainty = next((str(m.value) for m in marks if m.kind in cues), "present")
    is_told = not own and (carriers[0].certainty == "absent" or (carriers[0].term == "normal" and carriers[0].sites))
    if not is_told:  # "no hydrocephalus; ventricular size is ...", "the thalami are normal; the pons looks small"
        attach_sites(marks, tokens, carriers)
    if own and mentions and not mentions[-1].term and mentions[-1].sites and not own[0].sites:
        _take_place_of_subject(own, mentions)
    if own and mentions:
        _take_other_side(own[0], mentions[-1], tokens[start : own[0].first])
    if own and mentions and not own[0].sites and _goes_on(tokens[start : start + 2]):
        own[0].sites = list(mentions[-1].sites)  # "the left MCA is displaced but not narrowed"
    if not kinds.isdisjoint(_SIGNAL_KINDS):
        attach_signals(marks, tokens, carriers)
    attach_attributes(marks, tokens, carriers, text, start, stop)
    sites = [m for m in marks if m.kind == "sites"]
    for mention in own:
        last = max([mention.stop, *[m.stop for m in sites if m.first < mention.stop + 8]]) if sites else mention.stop
        mention.quote = (
            tokens[mention.first].start if tokens else 0,
            tokens[min(last, stop) - 1].end if tokens else 0,
        )
    refine_terms(own, marks, tokens)
    merge_descriptions(own, mentions, marks, tokens)
    _mark_parts(own, tokens)
    is_status = bool(own) and own[0].term in ("normal", "normal variant")
    if is_status and not own[0].sites and start and tokens[start].word == "which":
        _point_back(own, mentions)
    is_outside = "outside" in kinds
    for mention in own:
        is_normal = mention.term == "normal"
        if is_normal and mention.certainty == "absent":
            continue
        if mention.sites or not (is_outside or (is_normal and _is_of_unknown(mention, marks, tokens, start))):
            mentions.append(mention)


def _take_place_of_subject(own: list[Mention], mentions: list[Mention]) -> None:
    """ "The left insula looks thick, which could be polymicrogyria": the place of which no finding is named yet."""
    if own[0].certainty in HEDGED and own[0].term and load_terms().findings[own[0].term].kind == "diagnosis":
        place = mentions.pop()
        for mention in own:
            if mention.certainty == own[0].certainty and not mention.sites:
                mention.sites = list(place.sites)


def _take_other_side(mention: Mention, earlier: Mention, opening: list[Token]) -> None:
    """ "The left mastoid is opacified; the right is clear": the other side of the place told before."""
    words = [t.word for t in opening if t.word not in (";", ",", ":", "and", "but", "while", "whereas", "that")]
    is_side_alone = words[:1] == ["the"] and words[2:3] and words[2] in _COPULAS and len(words) <= 4
    if is_side_alone and words[1] in ("left", "right") and not mention.sites and earlier.sites:
        mention.sites = [(site, words[1]) for site, _ in earlier.sites]
        mention.side = words[1]


def _is_of_unknown(mention: Mention, marks: list[Mark], tokens: list[Token], start: int) -> bool:
    """Whether something is called normal that no site names: "the parotid glands are unremarkable"."""
    if tokens[mention.first].word == "no":  # "no intracranial abnormality is identified"
        return False
    before = [t.word for t in tokens[start : mention.first]]
    behind = [t.word for t in tokens[mention.stop : mention.stop + 4]]
    if not _WHOLE_STUDY.isdisjoint(before + behind) or any(m.kind in ("sequences", "back_reference") for m in marks):
        return False
    verb = next((i for i, word in enumerate(before) if word in _COPULAS), None)
    if verb is not None:
        return any(word.isalpha() and word not in _NO_SUBJECT for word in before[:verb])
    return bool(behind) and behind[0].isalpha() and behind[0] not in _AFTER_NORMAL


def _goes_on(opening: list[Token]) -> bool:
    """Whether a part of a sentence says more of the subject before it ("but not narrowed")."""
    return [t.word for t in opening[:1]] == ["but"] and len(opening) > 1 and opening[1].word in _GOING_ON


def _singles_out(marks: list[Mark], opening: list[Token], first: int) -> bool:
    """Whether a sentence places one of the lesions told before ("The largest is in the parietal lobe and ...")."""
    if len(opening) < 2 or (opening[0].word, opening[1].word) != ("the", "largest"):
        return False
    return any(m.kind == "sites" and m.stop <= first for m in marks)


def _point_back(own: list[Mention], earlier: list[Mention]) -> None:
    """ "Tonsils 3 mm below the foramen magnum, which is normal": the place before; of a lesion it says no more."""
    if earlier and not earlier[-1].term:
        own[0].sites = earlier.pop().sites
    else:
        own.pop(0)


def _mark_parts(own: list[Mention], tokens: list[Token]) -> None:
    """What an entry is of the lesion spoken of: its extension, or what lies at the bed from which it was removed."""
    for mention in own:
        if mention.term == "mass":
            words = {t.word for t in tokens[mention.first : mention.stop]}
            mention.is_involvement = bool(words & _EXTENSIONS)
        elif mention.term in AS_SIGNAL and not mention.sites:
            behind = {t.word for t in tokens[mention.stop : mention.stop + 8]}
            if behind & _BEDS and ("cavity" in behind or behind & _REMOVAL):
                mention.is_apart = mention.is_back_reference = True
