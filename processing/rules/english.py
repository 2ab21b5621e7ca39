"""How an English sentence is read: lexicon phrases, the scope of negation and hedging, one mention per lesion."""

from dataclasses import replace
from itertools import pairwise

from ..vocabulary import load_terms
from .english_attachment import attach_attributes, attach_signals
from .english_certainty import certainty_of
from .english_marks import REPORTING, read_marks, split_segments, with_causes, with_predicates
from .english_places import NEAR, REACHING, attach_sites
from .english_site_terms import are_tissue, of_the_term, without_comparisons
from .matching import Token, tokenize
from .mentions import AGED, AGES, AS_SIGNAL, Mark, Mention

# fmt: off
_INVOLVING = frozenset((
    "involved", "involves", "involve", "involvement", "affected", "affects", "infiltrated", "encased", "invaded",
    "occupies", "fills",
))
# fmt: on
_BETWEEN_SIGNALS = frozenset(
    ("on", "and", "the", ",", "images", "imaging", "weighted", "sequences", "with", "corresponding", "/")
)
_EXTENSIONS = frozenset(("extension", "invasion", "encasement", "bowing", "bulging", "protrusion"))
_LIKENING = frozenset(("consistent", "typical", "compatible", "characteristic", "represent"))
_AROUND = frozenset(("about", "around", "along", "over"))
_ELSEWHERE = frozenset(("new", "other", "additional", "further"))
_SEQUENCE_WORDS = frozenset(("t1", "t2", "flair", "/", "and", "weighted", "signal"))
_OF_IT = frozenset(("transformation", "conversion"))  # "no hemorrhagic transformation"
_BEDS = frozenset(("cavity", "bed", "margin", "margins", "site"))
_REMOVAL = frozenset(("resection", "surgical", "operative", "postoperative"))
# "These findings suggest": all that has been told.
_SUMMING = frozenset(
    ("findings", "finding", "finds", "appearances", "appearance", "changes", "abnormalities", "these", "features")
)
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
_POINTING = frozenset(("it", "them", "this", "these", "the"))
_SPINE = frozenset(("spine", "lumbar", "thoracic", "cervical", "spinal", "lumbosacral"))
_GOING_ON = frozenset(("not", "is", "are", "does", "do", "without"))
_PRONOUNS = frozenset(("it", "they", "this", "these", "both"))
_DEFINITE = frozenset(("the", "this", "these", "that", "its"))
# What is called normal without a site: the whole study, or the brain in it.
# fmt: off
_WHOLE_STUDY = frozenset((
    "mri", "mr", "mra", "mrv", "scan", "scans", "study", "studies", "exam", "examination", "imaging", "image", "images",
    "brain", "head", "remainder", "rest", "appearance", "appearances", "findings", "result", "results", "signal",
    "intensity", "everything", "it", "this", "these", "report", "evaluation", "otherwise", "remaining",
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
    words = {t.word for t in tokens}
    marks = read_marks(tokens, words)
    mentions: list[Mention] = []
    for segment, start, stop in split_segments(marks, tokens):
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
    is_at_it = any(m.value.startswith(("at ", "in ")) for m in references)
    unlike = len(tokens) if _LIKENING.isdisjoint(words) else _end_of_unlike(marks, tokens)
    sum_of_all = next((i for i, t in enumerate(tokens[:6]) if t.word in _SUMMING), len(tokens))
    denied_verbs = {m.first for m in marks if m.kind == "certainty"}  # "does not enhance"
    _split_ages(mentions, marks)
    if "largest" in words:
        _single_out(mentions, marks, tokens)
    for mention in mentions:
        is_pointing = reference <= mention.first or mention.first in denied_verbs
        is_pointing = is_pointing or (not mention.sites and (is_at_it or _is_within_it(mention, tokens)))
        mention.is_back_reference |= is_pointing
        mention.is_unlike = mention.certainty == "absent" and unlike <= mention.first
        mention.is_of_all = sum_of_all < mention.first
        mention.term = AGED.get(mention.term, {}).get(mention.acuity, mention.term)  # "infarcts, which appear acute"
        before = [t.word for t in tokens[max(0, mention.first - 2) : mention.first]]
        if mention.certainty == "absent" and not _ELSEWHERE.isdisjoint(before):  # "It shows ... and no new lesions"
            mention.is_back_reference = False
        elif mention.certainty == "absent" and before[-1:] == ["adjacent"]:
            mention.is_back_reference = True
        mention.is_near |= not NEAR.isdisjoint(before)
        mention.is_definite |= bool(before) and (
            before[-1] in _DEFINITE or (before[0] in _DEFINITE and len(before) == 2)
        )
    return mentions


def _end_of_unlike(marks: list[Mark], tokens: list[Token]) -> int:
    """Where a denial of what the lesion spoken of is ends ("not considered consistent with a meningioma")."""
    for mark in marks:
        if mark.value == "absent" and not _LIKENING.isdisjoint(t.word for t in tokens[mark.first : mark.stop]):
            return mark.stop
    return len(tokens)


def _split_ages(mentions: list[Mention], marks: list[Mark]) -> None:
    """ "Infarcts of both thalami, acute on the right and subacute on the left": an entry of each side and age."""
    ages = [m for m in marks if m.kind == "acuity"]
    if len(ages) != 2 or ages[0].value == ages[1].value or len(mentions) != 1 or not mentions[0].sites:
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
    whole = replace(lesion, sites=[("brain", "none")], side="none", size_mm=None, morphology=set(), signals=set(lesion.signals))
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
    marks = with_causes(with_predicates(marks, tokens), tokens)
    own = [Mention(m.value, m.first, m.stop) for m in marks if m.kind == "findings"]
    own = _name_signals(_joined_to_nouns(_without_normal_words(own), marks, tokens), marks, tokens, mentions)
    if not own and not mentions:
        words = {t.word for t in tokens[start:stop]}
        is_signal = any(m.kind in ("signals", "sequences") for m in marks) or "signal" in words
        is_involved = bool(words & (REACHING | _INVOLVING)) and not is_signal
        own = [Mention("", start, start, is_involvement=is_involved)]
    if own and not mentions and _singles_out(marks, tokens[start : start + 2], own[0].first):
        own = [Mention("", start, start, is_involvement=True), *own]
    carriers = own or mentions[-1:]
    for mention in own:
        mention.certainty = certainty_of(mention, marks, tokens, own)
        if mention.is_involvement:  # what is said of the place is said of the lesion there
            mention.certainty = next((str(m.value) for m in marks if m.kind == "certainty"), "present")
    if own or carriers[0].certainty != "absent":  # "no hydrocephalus; ventricular size is ..."
        attach_sites(marks, tokens, carriers)
    if own and mentions and not own[0].sites and _goes_on(tokens[start : start + 2]):
        own[0].sites = list(mentions[-1].sites)  # "the left MCA is displaced but not narrowed"
    attach_signals(marks, tokens, carriers)
    attach_attributes(marks, tokens, carriers, text, start, stop)
    sites = [m for m in marks if m.kind == "sites"]
    for mention in own:
        last = max([mention.stop, *[m.stop for m in sites if m.first < mention.stop + 8]])
        mention.quote = (
            tokens[mention.first].start if tokens else 0,
            tokens[min(last, stop) - 1].end if tokens else 0,
        )
    _refine_terms(own, marks, tokens)
    _merge_descriptions(own, mentions, marks, tokens)
    _mark_parts(own, tokens)
    is_status = bool(own) and own[0].term in ("normal", "normal variant")
    if is_status and not own[0].sites and start and tokens[start].word == "which":
        _point_back(own, mentions)
    is_outside = any(m.kind == "outside" for m in marks)
    own = [
        m
        for m in own
        if (m.term, m.certainty) != ("normal", "absent")
        and (m.sites or not (is_outside or (m.term == "normal" and _is_of_unknown(m, marks, tokens, start))))
    ]
    mentions.extend(own)


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
    """Whether a sentence places one lesion of those told before ("The largest is in the left parietal lobe and ...")."""
    is_largest = [t.word for t in opening] == ["the", "largest"]
    return is_largest and any(m.kind == "sites" and m.stop <= first for m in marks)


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


def _joined_to_nouns(own: list[Mention], marks: list[Mark], tokens: list[Token]) -> list[Mention]:
    """ "Focus of restricted diffusion": the noun is the lesion, what it is a focus of its signal.

    So it is in "hyperintensity with restricted diffusion" and "enhancement of a small lesion", if nothing is denied.
    """
    if len(own) < 2:
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
            lesion.is_definite = tokens[lesion.first - 1].word in _DEFINITE  # "enhancement of this lesion"
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


def _name_signals(
    own: list[Mention], marks: list[Mark], tokens: list[Token], mentions: list[Mention]
) -> list[Mention]:
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


def _refine_terms(own: list[Mention], marks: list[Mark], tokens: list[Token]) -> None:
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
            words = [t.word for t in tokens[max(0, mention.first - 6) : mention.first]]
            while words and words[-1] in _SEQUENCE_WORDS:  # "white matter T2/FLAIR hyperintensities"
                words.pop()
            if words[-2:] == ["white", "matter"]:
                mention.term = "white matter lesion"
        if mention.term in AGES and mention.acuity == "none":
            mention.acuity = AGES[mention.term]


def _without_normal_words(own: list[Mention]) -> list[Mention]:
    """ "Normal enhancement", "normal flow void": what is normal is no finding of its own."""
    normal = {m.stop for m in own if m.term == "normal"}
    return [m for m in own if m.term == "normal" or m.first not in normal]


def _merge_descriptions(own: list[Mention], earlier: list[Mention], marks: list[Mark], tokens: list[Token]) -> None:
    """One entry per lesion of a statement; edits `own` in place.

    - "hyperintensity consistent with infarct": the diagnosis takes over what was described.
    - "infarct with restricted diffusion", "mass with T2 hyperintensity": the second term is a signal of the first.
    """
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
        described = [m for m in own if m.term and m.first < mention.first and m.certainty != "absent"]
        lesions = [
            m for m in (*earlier, *described) if m.term and m.certainty != "absent" and kinds[m.term].kind != "status"
        ]
        if not mention.term:
            continue
        if mention.certainty == "present" and kinds[mention.term].kind == "diagnosis":
            last = described[-1] if described else None
            linked = last is not None and any(last.first <= link < mention.first for link in (*links, *brackets))
            if last is not None and mention.first - last.stop <= 3:  # "foci of acute infarction"
                linked = linked or tokens[last.stop].word == "of"
            if last is not None and linked and _is_description(last):
                _absorb(mention, last)
                own.remove(last)
        elif mention.term == "normal variant" and mention.certainty == "present" and not mention.sites and described:
            _absorb(mention, described[-1])  # "a hypoplastic left A1 segment, a normal variant"
            own.remove(described[-1])
        elif mention.certainty != "absent" and lesions and (
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
