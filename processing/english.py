"""How English reports are read: lexicon phrases of a sentence, the scope of negation and hedging, and what belongs to what."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from .matching import Match, PhraseMatcher, Token, tokenize
from .vocabulary import load_lexicon, load_terms

LOCATIVE = frozenset(
    "in of within involving at along to into over from on near about around throughout affecting".split()
)
_LIST_WORDS = frozenset(
    ", / and or & the lobe lobes region regions area areas of both to as well with aspect aspects".split()
)
_PLURAL_GROUPS = ("findings", "sites")
_SIZE = re.compile(
    r"(\d+(?:\.\d+)?)(?:\s*(?:cm|mm)?\s*(?:x|\u00d7|by)\s*(\d+(?:\.\d+)?))?(?:\s*(?:cm|mm)?\s*(?:x|\u00d7|by)\s*(\d+(?:\.\d+)?))?"
    r"[\s-]*(mm|cm|millimet|centimet)",
    re.IGNORECASE,
)
_SEEN = frozenset(
    "seen identified present demonstrated visualized visualised evident noted detected appreciated observed found apparent".split()
)
_DEFINITE = frozenset(("the", "this", "these", "that", "its"))
_SCAN = frozenset(("mri", "mr", "scan"))
_REPORTING = frozenset(("revealed", "reveals", "showed", "shows", "demonstrated", "demonstrates", "demonstrate", "show"))
_DIRECTION = {"increased": "hyper", "high": "hyper", "decreased": "hypo", "low": "hypo", "reduced": "hypo"}
_DIRECTION |= {"elevated": "hyper", "bright": "hyper", "dark": "hypo", "abnormal": "none"}
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6}
_ONE = frozenset(("a", "an", "single", "solitary", "one"))
# What is said to accompany a lesion stands where the lesion stands unless a site of its own is named.
ACCOMPANYING = frozenset(
    ("edema", "mass effect", "abnormal enhancement", "restricted diffusion", "hemorrhage", "necrosis", "calcification")
)
# Terms that turn into a signal of the lesion that the same statement describes.
AS_SIGNAL = {"abnormal enhancement": ("T1c", "enhancing"), "restricted diffusion": ("DWI", "restricted")}
_AGED = {"infarct": {"acute": "acute infarct", "subacute": "subacute infarct", "chronic": "chronic infarct"}}
_AGED["lacune"] = {"acute": "acute infarct", "subacute": "subacute infarct"}


@dataclass
class Mention:
    """A finding as one sentence tells it. Token positions [first, stop); sites with their sides in the order of the text."""

    term: str
    first: int
    stop: int
    certainty: str = "present"
    sites: list[tuple[str, str]] = field(default_factory=list)
    side: str = "none"
    signals: set[tuple[str, str]] = field(default_factory=set)
    morphology: set[str] = field(default_factory=set)
    count: int | str = "none"
    size_mm: float | None = None
    severity: str = "none"
    acuity: str = "none"
    change: str = "none"
    is_back_reference: bool = False
    is_definite: bool = False
    sites_follow: bool = False
    quote: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class _Mark:
    kind: str
    value: Any
    first: int
    stop: int


@cache
def english_matcher() -> PhraseMatcher:
    """The matcher over all English words of the lexicon, with British spellings and plurals."""
    return PhraseMatcher(_phrases())


def _phrases() -> Iterator[tuple[str, str, Any]]:
    lexicon = load_lexicon("en")
    spelling = [(a, b) for a, b in lexicon.extra["spelling"]]
    for group, rows in lexicon.words.items():
        for term, words in rows.items():
            value = (term,) if group == "sites" else term
            for word in {lexicon.names[group][term], *words} - {""}:
                for phrase in _variants(word, spelling, plural=group in _PLURAL_GROUPS):
                    yield phrase, group, value
    for word, sites in lexicon.extra["compound_sites"].items():
        yield word, "sites", tuple(sites)
    for group in ("consistent", "boundary", "back_reference"):
        for word in lexicon.extra[group]:
            yield word, group, word


def _variants(word: str, spelling: list[tuple[str, str]], *, plural: bool) -> set[str]:
    forms = {word}
    for american, british in spelling:
        forms |= {form.replace(american, british) for form in forms}
    if plural:
        for form in tuple(forms):
            if form.endswith("is"):
                forms.add(form[:-2] + "es")
            elif form.endswith("y") and form[-2] not in "aeiou":
                forms.add(form[:-1] + "ies")
            elif not form.endswith("s"):
                forms.add(form + ("es" if form.endswith(("x", "ch", "sh")) else "s"))
    return forms


def read_sentence(text: str) -> list[Mention]:
    """Findings of one English sentence in order, also the denied and hedged ones.

    A mention without a term of its own (term "") holds what a sentence such as "It measures 12 mm and enhances" adds to the
    lesion of the sentence before.
    """
    tokens = tokenize(text)
    marks = _without_preamble(_marks(english_matcher().find(tokens)), tokens)
    _name_bare_signals(marks, tokens)
    mentions: list[Mention] = []
    for segment, start, stop in _segments(marks, tokens):
        _read_segment(segment, tokens, start, stop, mentions, text)
    reference = next((m for m in marks if m.kind == "back_reference"), None)
    for mention in mentions:
        mention.is_back_reference = reference is not None and reference.first <= mention.first
        before = [t.word for t in tokens[max(0, mention.first - 2) : mention.first]]
        mention.is_definite = bool(before) and (before[-1] in _DEFINITE or before[0] in _DEFINITE and len(before) == 2)
    return mentions


def _marks(matches: list[Match]) -> list[_Mark]:
    return [_Mark(kind, value, match.first, match.stop) for match in matches for kind, value in match.meanings]


def _without_preamble(marks: list[_Mark], tokens: list[Token]) -> list[_Mark]:
    """Leave out the examined part and the contrast agent where they only name the scan ("MRI brain, 3/30, revealed ...")."""
    scan = next((i for i, t in enumerate(tokens[:8]) if t.word in _SCAN), None)
    if scan is None:
        return marks
    verb = next((i for i, t in enumerate(tokens) if i > scan and t.word in _REPORTING), None)
    end = verb if verb is not None else scan + 2
    named = [m for m in marks if m.kind == "sites" or (m.kind == "sequences" and m.value == "T1c")]
    return [m for m in marks if m not in named or m.first >= end]


def _name_bare_signals(marks: list[_Mark], tokens: list[Token]) -> None:
    """Read "increased T2 signal": a direction before a sequence is a signal, "signal" after one is a signal abnormality."""
    sequences = [m for m in marks if m.kind == "sequences"]
    covered = {i for m in marks for i in range(m.first, m.stop)}
    for sequence in sequences:
        word = _DIRECTION.get(tokens[sequence.first - 1].word) if sequence.first else None
        if word is not None and sequence.first - 1 not in covered:
            marks.append(_Mark("signals", word, sequence.first - 1, sequence.first))
        behind = sequence.stop
        if behind < len(tokens) and tokens[behind].word in ("signal", "signals") and behind not in covered:
            marks.append(_Mark("findings", "signal abnormality", behind, behind + 1))
            covered.add(behind)
    marks.sort(key=lambda m: m.first)


def _segments(marks: list[_Mark], tokens: list[Token]) -> list[tuple[list[_Mark], int, int]]:
    """Parts of a sentence between semicolons and boundary words; scopes of negation and hedging end there."""
    cuts = [i for i, token in enumerate(tokens) if token.word in ";:"]
    cuts += [mark.first for mark in marks if mark.kind == "boundary"]
    edges = [0, *sorted(set(cuts)), len(tokens)]
    parts: list[tuple[list[_Mark], int, int]] = []
    for start, stop in pairwise(edges):
        inside = [m for m in marks if start <= m.first < stop and m.kind != "boundary"]
        if parts and all(m.kind not in ("findings", "signals") for m in parts[-1][0]):
            # "In the left thalamus there is ...", "On DWI there is ...": a lead-in belongs to what it leads up to.
            lead, start, _ = parts.pop()
            inside = lead + inside
        if inside:
            parts.append((inside, start, stop))
    return parts


def _read_segment(
    marks: list[_Mark], tokens: list[Token], start: int, stop: int, mentions: list[Mention], text: str
) -> None:
    own = [Mention(m.value, m.first, m.stop) for m in marks if m.kind == "findings"]
    own = _name_signals(_without_normal_words(own), marks, mentions)
    if not own and not mentions:
        own = [Mention("", start, start)]
    carriers = own or mentions[-1:]
    for mention in own:
        mention.certainty = _certainty(mention, marks, tokens, own)
    _attach_sites(marks, tokens, carriers if not own else own)
    _attach_signals(marks, tokens, carriers)
    _attach_attributes(marks, tokens, carriers, text, start, stop)
    for mention in own:
        last = max([mention.stop, *(m.stop for m in marks if m.kind == "sites" and m.first < mention.stop + 8)])
        mention.quote = (
            tokens[mention.first].start if tokens else 0,
            tokens[min(last, stop) - 1].end if tokens else 0,
        )
    _refine_terms(own, marks, tokens)
    _merge_descriptions(own, mentions, marks, tokens)
    mentions.extend(own)


def _name_signals(own: list[Mention], marks: list[_Mark], mentions: list[Mention]) -> list[Mention]:
    """Add a signal abnormality where a signal is told of a site before any finding is named ("the thalamus is bright")."""
    signal = next((m for m in marks if m.kind == "signals"), None)
    if signal is None or any(m.first <= signal.first for m in own):
        return own
    hedge = next((m for m in marks if m.kind == "certainty" and m.first > signal.first), None)
    hedged = bool(own) and hedge is not None and hedge.value != "absent" and hedge.first < own[0].first
    alone = not own and any(m.kind == "sites" for m in marks) and not mentions
    if not (hedged or alone):
        return own
    return [Mention("signal abnormality", signal.first, signal.stop), *own]


def _certainty(mention: Mention, marks: list[_Mark], tokens: list[Token], own: list[Mention]) -> str:
    """The cue that governs a finding: the last one before it, or one behind it that nothing follows ("is not seen")."""
    cues = [m for m in marks if m.kind == "certainty"]
    governing, last = "present", 0
    for cue in (m for m in cues if m.first < mention.first):
        denied = governing == "absent" and not _is_list_end(tokens, last, cue.first)
        governing = "absent" if denied else str(cue.value)  # "no signal that suggests infarct" denies the infarct
        last = cue.stop
    if governing in ("probable", "possible") and _is_new_item(tokens, last, mention.first):
        governing = "present"
    if governing != "present":
        return governing
    for cue in cues:
        if cue.first < mention.stop or any(o.first >= cue.stop for o in own):
            continue
        is_closing = tokens[cue.first].word == "absent" or any(t.word in _SEEN for t in tokens[cue.stop : cue.stop + 3])
        if cue.value != "absent" or is_closing:
            return str(cue.value)
    return "present"


def _is_list_end(tokens: list[Token], start: int, stop: int) -> bool:
    return any(t.word in (",", "and") for t in tokens[start:stop])


def _is_new_item(tokens: list[Token], start: int, stop: int) -> bool:
    """Whether a list goes on with an item of its own ("possible gliosis as well as a small cyst"), which is not hedged."""
    words = [t.word for t in tokens[start:stop]]
    return any(a == "as" and b == "well" for a, b in zip(words, words[1:], strict=False)) or "with" in words


def _groups(sites: list[_Mark], marks: list[_Mark], tokens: list[Token]) -> list[list[_Mark]]:
    """Site marks joined into lists: only commas, "and", articles, sides and the like stand between them."""
    filler = {i for m in marks if m.kind in ("laterality", "severity") for i in range(m.first, m.stop)}
    groups: list[list[_Mark]] = []
    for site in sites:
        if groups:
            between = range(groups[-1][-1].stop, site.first)
            if all(i in filler or tokens[i].word in _LIST_WORDS for i in between):
                groups[-1].append(site)
                continue
        groups.append([site])
    return groups


def _attach_sites(marks: list[_Mark], tokens: list[Token], carriers: list[Mention]) -> None:
    """Give each list of sites to a finding, then to the findings that a list joins to it ("edema and mass effect in ...")."""
    sites = [m for m in marks if m.kind == "sites" and not any(c.first <= m.first < c.stop for c in carriers if c.term)]
    sites = _without_compartments(sites, tokens)
    sides = _sides(marks, tokens, sites, carriers)
    cues = {i for m in marks if m.kind in ("certainty", "consistent") for i in range(m.first, m.stop)}
    for group in _groups(sites, marks, tokens):
        placed = [(term, sides.get(id(mark), "none")) for mark in group for term in mark.value]
        owner = _site_owner(group[0], group[-1], tokens, cues, carriers)
        owner.sites += [p for p in placed if p not in owner.sites]
        owner.sites_follow = owner.first < group[0].first
    for mention, following in reversed(list(zip(carriers, carriers[1:], strict=False))):
        if not mention.sites and _is_joined(mention, following, tokens):
            mention.sites = list(following.sites)


def _without_compartments(sites: list[_Mark], tokens: list[Token]) -> list[_Mark]:
    """Where lobe and tissue are both said ("frontal subcortical white matter"), the lobe is the site."""
    terms = load_terms()
    dropped: set[int] = set()
    for a, b in zip(sites, sites[1:], strict=False):
        between = {t.word for t in tokens[a.stop : b.first]}
        for lobe, tissue, joining in ((a, b, set()), (b, a, {"of", "the", "left", "right", "in"})):
            is_lobe = terms.sites[lobe.value[-1]].parent == "cerebral hemisphere" and lobe.value[-1] != "cortex"
            is_tissue = terms.is_within(tissue.value[0], "white matter") or tissue.value[0] == "cortex"
            if is_lobe and is_tissue and between <= joining:
                dropped.add(id(tissue))
        is_inner = a.value == ("white matter",) and terms.is_within(b.value[0], "white matter")
        if is_inner and between <= {"of", "the", "left", "right"} and "of" in between:
            dropped.add(id(a))
    return [site for site in sites if id(site) not in dropped]


def _site_owner(
    first: _Mark, last: _Mark, tokens: list[Token], cues: set[int], carriers: list[Mention]
) -> Mention:
    """The finding of a list of sites: the one before it across a preposition, or else the one that the list leads up to."""
    left = [m for m in carriers if m.first < first.first]
    right = [m for m in carriers if m.first >= last.stop]
    if not left or not right:
        return left[-1] if left else right[0] if right else carriers[-1]
    gap = range(left[-1].stop, first.first)
    has_preposition = any(tokens[i].word in LOCATIVE for i in gap if i not in cues) and not cues & set(gap)
    leads = right[0].first - last.stop <= 6 and all(t.word != "," for t in tokens[last.stop : right[0].first])
    return right[0] if leads and not has_preposition else left[-1]


def _is_joined(mention: Mention, following: Mention, tokens: list[Token]) -> bool:
    """Whether only a list stands between two findings; an article opens an item of its own."""
    words = {t.word for t in tokens[mention.stop : following.first]}
    if following.first - mention.stop > 4 or words & LOCATIVE or words & {"a", "an"}:
        return False
    return bool(words & {"and", "or", ",", "/", "nor"}) and bool(following.sites) and following.sites_follow


def _sides(marks: list[_Mark], tokens: list[Token], sites: list[_Mark], carriers: list[Mention]) -> dict[int, str]:
    """Side of each site mark, by the mark's identity. A side covers the list it leads, or the list that it ends."""
    paired = load_terms().sites
    result: dict[int, str] = {}
    sides = [m for m in marks if m.kind == "laterality" and not any(c.first <= m.first < c.stop for c in carriers)]
    shifts = [c for c in carriers if c.term == "midline shift"]
    for k, side in enumerate(sides):
        until = sides[k + 1].first if k + 1 < len(sides) else len(tokens)
        shift = next((c for c in shifts if 0 <= side.first - c.stop <= 3 or 0 <= c.first - side.stop <= 1), None)
        if shift is not None:
            shift.side = side.value
            continue
        ahead = [s for s in sites if side.stop <= s.first < until]
        near = (
            ahead
            and ahead[0].first - side.stop <= 5
            and not {",", "and", "in"} & {t.word for t in tokens[side.stop : ahead[0].first]}
        )
        if near:
            group = next(g for g in _groups(ahead, marks, tokens) if g[0] is ahead[0])
            for site in group:
                if paired[site.value[0]].paired or site.first == side.stop:
                    result.setdefault(id(site), side.value)
            continue
        behind = [g for g in _groups(sites, marks, tokens) if g[-1].stop <= side.first]
        if behind and side.first - behind[-1][-1].stop <= 4:
            for site in behind[-1]:
                if paired[site.value[0]].paired or site.stop == side.first:
                    result.setdefault(id(site), side.value)
        elif nearest := _owner(side, tokens, carriers):
            nearest.side = side.value
    return result


def _owner(mark: _Mark, tokens: list[Token], carriers: list[Mention]) -> Mention | None:
    """The finding that a word belongs to: the next one if it leads up to it, else the one before, else the next."""
    left = [m for m in carriers if m.first <= mark.first]
    right = [m for m in carriers if m.first > mark.first]
    if right:
        words = {t.word for t in tokens[mark.stop : right[0].first]}
        leads = (
            not words & {",", "with", "and", "without"} and right[0].first - mark.stop <= 5 and not words & LOCATIVE
        )
        if leads or not left:
            return right[0]
    return left[-1] if left else None


def _attach_signals(marks: list[_Mark], tokens: list[Token], carriers: list[Mention]) -> None:
    """Pair signal words with sequences and hand the pairs to their finding."""
    signals = [m for m in marks if m.kind == "signals"]
    sequences = [m for m in marks if m.kind == "sequences"]
    taken: set[int] = set()
    for group in _groups(sequences, marks, tokens):
        signal = _signal_of(group, signals, tokens)
        if {m.value for m in group} == {"T1c"}:  # a contrast agent alone says nothing of the lesion
            signal = next((s for s in signals if s.value == "enhancing"), signal)
            if signal is None:
                continue
        if signal is not None:
            taken.add(id(signal))
        owner = _owner(signal or group[0], tokens, carriers)
        if owner is not None:
            value = signal.value if signal is not None else "none"
            owner.signals |= {(sequence.value, value) for sequence in group}
    for signal in signals:
        owner = _owner(signal, tokens, carriers)
        if id(signal) in taken or owner is None:
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


def _signal_of(group: list[_Mark], signals: list[_Mark], tokens: list[Token]) -> _Mark | None:
    before = [s for s in signals if s.stop <= group[0].first]
    after = [s for s in signals if s.first >= group[-1].stop]
    if before:
        gap = {t.word for t in tokens[before[-1].stop : group[0].first]}
        if gap & {"on", "in"} and len(gap) <= 8 and "," not in gap - {","}:
            return before[-1]
    if after and after[0].first - group[-1].stop <= 6:
        return after[0]
    if before and group[0].first - before[-1].stop <= 6:
        return before[-1]
    return None


def _attach_attributes(
    marks: list[_Mark], tokens: list[Token], carriers: list[Mention], text: str, start: int, stop: int
) -> None:
    for mark in marks:
        if mark.kind in ("severity", "acuity", "change", "morphology", "count"):
            owner = _owner(mark, tokens, carriers)
            if owner is None:
                continue
            if mark.kind == "morphology":
                owner.morphology.add(mark.value)
            elif getattr(owner, mark.kind) == "none":
                setattr(owner, mark.kind, mark.value)
    low = tokens[start].start if start < len(tokens) else 0
    high = tokens[stop - 1].end if stop else 0
    for size in _SIZE.finditer(text, low, high):
        position = next((i for i in range(start, stop) if tokens[i].start >= size.start()), start)
        end = next((i for i in range(position, stop) if tokens[i].end >= size.end()), stop - 1) + 1
        owner = _owner(_Mark("size", None, position, end), tokens, carriers)
        if owner is not None and owner.size_mm is None:
            scale = 10.0 if size.group(4).lower().startswith("c") else 1.0
            owner.size_mm = scale * max(float(v) for v in size.groups()[:3] if v)
    for mention in carriers:
        if mention.term and mention.count == "none" and mention.certainty != "absent":
            mention.count = _count_before(mention, tokens, carriers, start)


def _count_before(mention: Mention, tokens: list[Token], carriers: list[Mention], start: int) -> int | str:
    low = max([start, mention.first - 7, *(c.stop for c in carriers if c.stop <= mention.first)])
    plural = tokens[mention.stop - 1].word.endswith(
        ("lesions", "foci", "infarcts", "masses", "nodules", "cysts", "spaces")
    )
    for token in reversed(tokens[low : mention.first]):
        if token.word in _NUMBERS and plural:
            return _NUMBERS[token.word]
        if token.word in _ONE and not plural:
            return 1
    return "multiple" if plural else "none"


def _refine_terms(own: list[Mention], marks: list[_Mark], tokens: list[Token]) -> None:
    """Age words make the infarct term; "white matter" directly before a signal noun makes the white matter lesion."""
    ages = {"acute infarct": "acute", "acute abnormality": "acute", "subacute infarct": "subacute"}
    terms = load_terms()
    ages |= dict.fromkeys(("chronic infarct", "lacune", "encephalomalacia"), "chronic")
    for mention in own:
        mention.term = _AGED.get(mention.term, {}).get(mention.acuity, mention.term)
        words = "".join(t.word for t in tokens[mention.first : mention.stop])
        for stem, signal in (("hyperintens", "hyper"), ("hypointens", "hypo")):
            if stem in words and not mention.signals:
                mention.signals.add(("any", signal))
        if mention.term in AS_SIGNAL:
            mention.signals -= {("DWI", "none")}
            mention.signals = mention.signals or {AS_SIGNAL[mention.term]}
        if mention.term == "abnormal enhancement" and any(terms.is_within(s, "meninges") for s, _ in mention.sites):
            others = [p for p in mention.sites if p[0] != "meninges"]
            mention.term, mention.sites = "meningeal enhancement", others or mention.sites
        if "symmetric" in mention.morphology and mention.side == "none" and mention.certainty != "absent":
            mention.sites = [(s, "bilateral" if d == "none" and terms.sites[s].paired else d) for s, d in mention.sites]
        if mention.term == "signal abnormality":
            phrase = tokens[max(0, mention.first - 2) : mention.first]
            if [t.word for t in phrase] == ["white", "matter"]:
                mention.term = "white matter lesion"
        if mention.term in ages and mention.acuity == "none":
            mention.acuity = ages[mention.term]


def _without_normal_words(own: list[Mention]) -> list[Mention]:
    """ "Normal enhancement", "normal flow void": what is normal is no finding of its own."""
    normal = {m.stop for m in own if m.term == "normal"}
    return [m for m in own if m.term == "normal" or m.first not in normal]


def _merge_descriptions(
    own: list[Mention], earlier: list[Mention], marks: list[_Mark], tokens: list[Token]
) -> None:
    """One entry per lesion of a statement; edits `own` in place.

    - "hyperintensity consistent with infarct": the diagnosis takes over what was described.
    - "infarct with restricted diffusion", "mass with T2 hyperintensity": the second term is a signal of the first.
    """
    links = [m.first for m in marks if m.kind == "consistent"]
    brackets = [i for i, t in enumerate(tokens) if t.word == "("]
    kinds = load_terms().findings
    for mention in list(own):
        described = [m for m in own if m.first < mention.first and m.certainty != "absent"]
        lesions = [
            m for m in (*earlier, *described) if m.term and m.certainty != "absent" and kinds[m.term].kind != "status"
        ]
        if not mention.term:
            continue
        if mention.certainty == "present" and kinds[mention.term].kind == "diagnosis":
            last = described[-1] if described else None
            linked = last is not None and any(last.first <= link < mention.first for link in (*links, *brackets))
            if last is not None and linked and kinds[last.term].kind == "description":
                _absorb(mention, last)
                own.remove(last)
        elif mention.certainty != "absent" and lesions and not mention.sites and mention.side == "none":
            is_signal = mention.term in AS_SIGNAL or (mention.term == "signal abnormality" and mention.signals)
            if is_signal and lesions[-1] is not mention:
                lesions[-1].signals |= mention.signals or {AS_SIGNAL[mention.term]}
                lesions[-1].morphology |= mention.morphology
                own.remove(mention)


def _absorb(mention: Mention, described: Mention) -> None:
    """Give a diagnosis what the description before it told."""
    mention.sites = mention.sites or described.sites
    mention.side = mention.side if mention.side != "none" else described.side
    mention.signals |= described.signals
    mention.morphology |= described.morphology
    mention.quote = (described.quote[0], mention.quote[1])
    for name in ("count", "severity", "acuity", "change", "size_mm"):
        if getattr(mention, name) in ("none", None):
            setattr(mention, name, getattr(described, name))
