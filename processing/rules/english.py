"""How an English sentence is read: lexicon phrases, the scope of negation and hedging, one mention per lesion."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from ..vocabulary import load_lexicon, load_terms
from .english_attachment import LOCATIVE, attach_attributes, attach_signals, attach_sites
from .matching import Match, PhraseMatcher, Token, tokenize
from .mentions import AGED, AGES, AS_SIGNAL, Mark, Mention

_PLURAL_GROUPS = ("findings", "sites")
# fmt: off
_SEEN = frozenset((
    "seen", "identified", "present", "demonstrated", "visualized", "visualised", "evident", "noted", "detected",
    "appreciated", "observed", "found", "apparent",
))
# fmt: on
_WIDE = frozenset(("dilated", "enlarged", "prominent", "widened", "distended", "expanded"))
_SPACES = ("ventricles", "sulci", "basal cisterns", "subarachnoid space")
_DEFINITE = frozenset(("the", "this", "these", "that", "its"))
_SCAN = frozenset(("mri", "mr", "scan"))
_REPORTING = frozenset(
    ("revealed", "reveals", "showed", "shows", "demonstrated", "demonstrates", "demonstrate", "show")
)
_DIRECTION = {"increased": "hyper", "high": "hyper", "decreased": "hypo", "low": "hypo", "reduced": "hypo"}
_DIRECTION |= {"elevated": "hyper", "bright": "hyper", "dark": "hypo", "abnormal": "none"}


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

    A mention without a term of its own (term "") holds what a sentence such as "It measures 12 mm and enhances" adds
    to the lesion of the sentence before.
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
        mention.is_definite = bool(before) and (
            before[-1] in _DEFINITE or (before[0] in _DEFINITE and len(before) == 2)
        )
    return mentions


def _marks(matches: list[Match]) -> list[Mark]:
    return [Mark(kind, value, match.first, match.stop) for match in matches for kind, value in match.meanings]


def _without_preamble(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out part and contrast agent where they only name the scan ("MRI brain, 3/30, revealed ...")."""
    scan = next((i for i, t in enumerate(tokens[:8]) if t.word in _SCAN), None)
    if scan is None:
        return marks
    verb = next((i for i, t in enumerate(tokens) if i > scan and t.word in _REPORTING), None)
    end = verb if verb is not None else scan + 2
    named = [m for m in marks if m.kind in ("sites", "certainty") or (m.kind == "sequences" and m.value == "T1c")]
    return [m for m in marks if m not in named or m.first >= end]


def _name_bare_signals(marks: list[Mark], tokens: list[Token]) -> None:
    """Read "increased T2 signal": a direction before a sequence is a signal, "signal" after it the finding."""
    sequences = [m for m in marks if m.kind == "sequences"]
    covered = {i for m in marks for i in range(m.first, m.stop)}
    for sequence in sequences:
        word = _DIRECTION.get(tokens[sequence.first - 1].word) if sequence.first else None
        if word is not None and sequence.first - 1 not in covered:
            marks.append(Mark("signals", word, sequence.first - 1, sequence.first))
        behind = sequence.stop
        if behind < len(tokens) and tokens[behind].word in ("signal", "signals") and behind not in covered:
            marks.append(Mark("findings", "signal abnormality", behind, behind + 1))
            covered.add(behind)
    marks.sort(key=lambda m: m.first)


def _segments(marks: list[Mark], tokens: list[Token]) -> list[tuple[list[Mark], int, int]]:
    """Parts of a sentence between semicolons and boundary words; scopes of negation and hedging end there."""
    cuts = [i for i, token in enumerate(tokens) if token.word in ";:"]
    cuts += [mark.first for mark in marks if mark.kind == "boundary"]
    edges = [0, *sorted(set(cuts)), len(tokens)]
    parts: list[tuple[list[Mark], int, int]] = []
    for start, stop in pairwise(edges):
        inside = [m for m in marks if start <= m.first < stop and m.kind != "boundary"]
        is_led = start < len(tokens) and (
            tokens[start].word == "there" or (tokens[start].word == ":" and _is_place(parts, tokens))
        )
        if is_led and len(parts) == 1 and all(m.kind not in ("findings", "signals") for m in parts[0][0]):
            # "In the left thalamus there is ...", "On DWI there is ...": a lead-in belongs to what it leads up to.
            lead, start, _ = parts.pop()
            inside = lead + inside
        if inside:
            parts.append((inside, start, stop))
    return parts


def _is_place(parts: list[tuple[list[Mark], int, int]], tokens: list[Token]) -> bool:
    """Whether what stands before a colon says where ("Left thalamus: ..."), not what was done ("MRI brain: ...")."""
    if len(parts) != 1:
        return False
    marks, start, stop = parts[0]
    sites = [m for m in marks if m.kind == "sites" and m.value != ("brain",)]
    return bool(sites) and not any(t.word in _SCAN for t in tokens[start:stop])


def _read_segment(
    marks: list[Mark], tokens: list[Token], start: int, stop: int, mentions: list[Mention], text: str
) -> None:
    own = [Mention(m.value, m.first, m.stop) for m in marks if m.kind == "findings"]
    own = _with_wide_spaces(own, marks, tokens[start:stop], start)
    own = _name_signals(_joined_to_nouns(_without_normal_words(own), tokens), marks, mentions)
    if not own and not mentions:
        own = [Mention("", start, start)]
    carriers = own or mentions[-1:]
    for mention in own:
        mention.certainty = _certainty(mention, marks, tokens, own)
    attach_sites(marks, tokens, own if own else carriers)
    attach_signals(marks, tokens, carriers)
    attach_attributes(marks, tokens, carriers, text, start, stop)
    for mention in own:
        last = max([mention.stop, *(m.stop for m in marks if m.kind == "sites" and m.first < mention.stop + 8)])
        mention.quote = (
            tokens[mention.first].start if tokens else 0,
            tokens[min(last, stop) - 1].end if tokens else 0,
        )
    _refine_terms(own, marks, tokens)
    _merge_descriptions(own, mentions, marks, tokens)
    mentions.extend(own)


def _with_wide_spaces(own: list[Mention], marks: list[Mark], tokens: list[Token], start: int) -> list[Mention]:
    """ "The lateral ventricles are moderately dilated": wide is said of fluid spaces, at some distance."""
    terms = load_terms()
    spaces = [m for m in marks if m.kind == "sites" and any(terms.is_within(m.value[0], space) for space in _SPACES)]
    if not spaces or any(m.term in ("ventricular dilation", "sulcal widening") for m in own):
        return own
    wide = next((start + i for i, t in enumerate(tokens) if t.word in _WIDE), None)
    if wide is None or wide < spaces[0].first or any(m.first <= wide < m.stop for m in own):
        return own
    return sorted([*own, Mention("ventricular dilation", wide, wide + 1)], key=lambda m: m.first)


def _joined_to_nouns(own: list[Mention], tokens: list[Token]) -> list[Mention]:
    """ "Focus of restricted diffusion": the noun is the lesion, what it is a focus of its signal."""
    joined: list[Mention] = []
    for mention in own:
        last = joined[-1] if joined else None
        between = [t.word for t in tokens[last.stop : mention.first]] if last is not None else []
        is_noun = last is not None and last.term == "signal abnormality" and between[:1] == ["of"]
        if last is not None and is_noun and mention.term in AS_SIGNAL and between == ["of"]:
            last.stop = mention.stop
            last.signals.add(AS_SIGNAL[mention.term])
        elif last is not None and is_noun and mention.term == "signal abnormality" and len(between) <= 4:
            last.stop = mention.stop
        else:
            joined.append(mention)
    return joined


def _name_signals(own: list[Mention], marks: list[Mark], mentions: list[Mention]) -> list[Mention]:
    """Add a signal abnormality where a site has a signal and no finding is named yet ("the pons is bright")."""
    signal = next((m for m in marks if m.kind == "signals"), None)
    if signal is None or any(m.first <= signal.first for m in own):
        return own
    hedge = next((m for m in marks if m.kind == "certainty" and m.first > signal.first), None)
    hedged = bool(own) and hedge is not None and hedge.value != "absent" and hedge.first < own[0].first
    denials = [m for m in marks if m.kind == "certainty" and m.value == "absent" and m.first > signal.first]
    is_first = not own or (bool(denials) and denials[0].first < own[0].first)  # "bright ... without mass effect"
    alone = is_first and any(m.kind == "sites" for m in marks) and not mentions
    if not (hedged or alone):
        return own
    return [Mention("signal abnormality", signal.first, signal.stop), *own]


def _certainty(mention: Mention, marks: list[Mark], tokens: list[Token], own: list[Mention]) -> str:
    """The cue that governs a finding: the last before it, or one behind it that closes ("is not seen")."""
    cues = [m for m in marks if m.kind == "certainty"]
    governing, last = "present", 0
    for cue in (m for m in cues if m.first < mention.first):
        denied = governing == "absent" and not _is_list_end(tokens, last, cue.first)
        governing = "absent" if denied else str(cue.value)  # "no signal that suggests infarct" denies the infarct
        last = cue.stop
    if governing in ("probable", "possible") and not _is_hedged(mention, last, own, tokens):
        governing = "present"
    if governing != "present":
        return governing
    for cue in cues:
        if cue.first < mention.stop or any(o.first >= cue.stop for o in own):
            continue
        is_closing = tokens[cue.first].word == "absent" or any(
            t.word in _SEEN for t in tokens[cue.stop : cue.stop + 3]
        )
        following = tokens[cue.stop].word if cue.stop < len(tokens) else "."
        is_last_word = not following.isalnum() or following in LOCATIVE or following in _SEEN
        if is_closing or (cue.value != "absent" and is_last_word):  # not "enhancement, which may reflect hypotension"
            return str(cue.value)
    return "present"


def _is_list_end(tokens: list[Token], start: int, stop: int) -> bool:
    return any(t.word in (",", "and") for t in tokens[start:stop])


def _is_hedged(mention: Mention, start: int, own: list[Mention], tokens: list[Token]) -> bool:
    """Whether a hedge that ends at token `start` reaches a finding: the first behind it and those listed with it."""
    position = start
    for item in sorted((o for o in own if start <= o.first <= mention.first), key=lambda o: o.first):
        words = {t.word for t in tokens[position : item.first]}
        if _is_new_item(tokens, position, item.first):
            return False
        if position != start and (item.first - position > 5 or not words & {",", "and", "or", "/", "versus", "vs"}):
            return False
        position = item.stop
    return True


def _is_new_item(tokens: list[Token], start: int, stop: int) -> bool:
    """Whether a list goes on with an item of its own, not hedged ("possible gliosis as well as a cyst")."""
    words = [t.word for t in tokens[start:stop]]
    return any(a == "as" and b == "well" for a, b in pairwise(words)) or "with" in words


def _refine_terms(own: list[Mention], marks: list[Mark], tokens: list[Token]) -> None:
    """Age words make the infarct term; "white matter" directly before a signal noun makes the white matter lesion."""
    terms = load_terms()
    for mention in own:
        mention.term = AGED.get(mention.term, {}).get(mention.acuity, mention.term)
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
            mention.sites = [
                (s, "bilateral" if d == "none" and terms.sites[s].paired else d) for s, d in mention.sites
            ]
        if mention.term == "signal abnormality":
            phrase = tokens[max(0, mention.first - 2) : mention.first]
            if [t.word for t in phrase] == ["white", "matter"]:
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
            if last is not None and mention.first - last.stop <= 3:  # "foci of acute infarction"
                linked = linked or tokens[last.stop].word == "of"
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
