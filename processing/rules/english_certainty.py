"""How sure an English sentence is of each finding: the scope of its denials and hedges."""

from itertools import pairwise

from ..vocabulary import load_terms
from .english_lists import LOCATIVE
from .matching import Token
from .mentions import Mark, Mention

# fmt: off
_SEEN = frozenset((
    "seen", "identified", "present", "demonstrated", "visualized", "visualised", "evident", "noted", "detected",
    "appreciated", "observed", "found", "apparent",
))
_VERBS = frozenset((
    "is", "are", "was", "were", "has", "have", "shows", "show", "showed", "demonstrates", "demonstrate",
    "demonstrated", "measures", "appears", "appear", "there",
))
# fmt: on
_PREDICATES = _VERBS - {"there"}
# What no item of a denied list begins with: "no recurrence, stable postoperative changes".
_GOING_OVER = frozenset(
    (
        "with",
        "stable",
        "unchanged",
        "mild",
        "mildly",
        "moderate",
        "persistent",
        "some",
        "normal",
        "old",
        "chronic",
        "remote",
    )
)
_PAST = frozenset(("prior", "previous", "previously", "earlier", "before"))
_BE = frozenset(("is", "are", "was", "were"))
_SPREADING = frozenset(("extend", "involve", "invade", "infiltrate", "encase", "affect", "reach", "spread"))
_SPREADING |= frozenset(("extended", "reached", "invaded"))
_COMPARING = frozenset(("over", "than", "to"))
_BEFORE_SEEN = frozenset(("felt", "thought", "believed", "considered", "to", "be", "definitely", "clearly", "well"))
_DESCRIPTIONS = frozenset(
    ("signal abnormality", "abnormal enhancement", "restricted diffusion", "white matter lesion")
)
# fmt: off
_GOING_ON = frozenset((
    "and", "or", "in", "given", "but", "at", "on", "because", "with", "here", "based", "over", "by", "as", "without",
    "clinically", "since", "although", "however", "for", "from", "though", "if", "to",
))
# fmt: on
_JOINING = frozenset((",", "and", "or", "/", "versus", "vs", "such", "including", "like", "("))
_CAUSAL = frozenset(("from", "of", "to", "on"))
_HEDGES = ("probable", "possible")
CUE_KINDS = frozenset(("certainty", "closing_hedge", "differential"))  # where none is, all is told as present


def certainty_of(mention: Mention, marks: list[Mark], tokens: list[Token], own: list[Mention]) -> str:
    """The cue that governs a finding: the last before it, or one behind it that closes ("is not seen")."""
    cues = [m for m in marks if m.kind == "certainty"]
    if any(c.first == mention.first and c.value == "absent" for c in cues):  # "does not enhance"
        return "absent"
    closing = _closing_hedge(mention, marks, tokens, own)
    if closing is not None:
        return closing
    governing, last = _governing(mention, cues, tokens)
    if governing in _HEDGES and _is_denied_behind(mention, cues, tokens, own):
        return "absent"
    if governing in _HEDGES and _is_told_cause(mention, last, tokens):
        governing = "present"
    if governing == "absent" and _is_denial_over(tokens, last, mention.first):
        governing = "present"
    if governing in _HEDGES and not _is_hedged(mention, last, own, tokens):
        governing = "present"
    if governing == "present" and (_is_in_differential(mention, marks) or _is_less_favored(mention, marks, tokens)):
        governing = "possible"
    if governing == "present":
        governing = _cue_behind(mention, cues, tokens, own)
    return "possible" if governing == "present" and _is_alternative(mention, own, tokens) else governing


def _is_alternative(mention: Mention, own: list[Mention], tokens: list[Token]) -> bool:
    """Whether one of two diagnoses is told, and not which ("a lacune or perivascular space in the putamen")."""
    kinds = load_terms().findings
    if len(own) < 2 or mention.term not in kinds or kinds[mention.term].kind != "diagnosis":
        return False
    i = own.index(mention)
    for former, latter in pairwise(own[max(0, i - 1) : i + 2]):
        words = [t.word for t in tokens[former.stop : latter.first]]
        other = latter if former is mention else former
        if "or" not in words or len(words) > 4 or other.term == mention.term or other.term not in kinds:
            continue
        families = {kinds[former.term].family, kinds[latter.term].family}
        if kinds[other.term].kind == "diagnosis" and len(families) == 2 and LOCATIVE.isdisjoint(words):
            return True
    return False


def _is_denied_behind(mention: Mention, cues: list[Mark], tokens: list[Token], own: list[Mention]) -> bool:
    """Whether what was suspected is denied: "the previously described possible lesion is not seen"."""
    following = next((c for c in cues if c.first >= mention.stop), None)
    if following is None or following.value != "absent":
        return False
    is_apart = not {",", "or"}.isdisjoint(t.word for t in tokens[mention.stop : following.first])
    return not is_apart and _cue_behind(mention, cues, tokens, own) == "absent"


def _is_told_cause(mention: Mention, start: int, tokens: list[Token]) -> bool:
    """Whether only that a lesion is the cause is doubted ("likely due to the posterior fossa mass")."""
    cue = tokens[start - 1].word if start else ""
    words = [t.word for t in tokens[start : mention.first]]
    return words[:1] == ["the"] and cue in ("to", "from", "of") and len(words) <= 5


def _governing(mention: Mention, cues: list[Mark], tokens: list[Token]) -> tuple[str, int]:
    """Value and end of the last cue before a finding."""
    governing, last = "present", 0
    for cue in (m for m in cues if m.first < mention.first):
        denied = governing == "absent" and not _is_list_end(tokens, last, cue.first)
        governing = "absent" if denied else str(cue.value)  # "no signal that suggests infarct" denies the infarct
        last = cue.stop
    return governing, last


def _cue_behind(mention: Mention, cues: list[Mark], tokens: list[Token], own: list[Mention]) -> str:
    for cue in cues:
        if cue.first < mention.stop or any(o.first >= cue.stop for o in own):
            continue
        if cue.value == "absent" and not _PAST.isdisjoint([t.word for t in tokens[cue.stop : cue.stop + 6]]):
            continue  # "was not present on the prior examination"
        behind = [t.word for t in tokens[cue.stop : cue.stop + 5]]
        while behind[3:] and behind[0] in _BEFORE_SEEN:  # "is not felt to be present"
            behind.pop(0)
        is_closing = _is_said_to_be_absent(cue, tokens) or not _SEEN.isdisjoint(behind[:3])
        following = tokens[cue.stop].word if cue.stop < len(tokens) else "."
        # not "collections, probably from overshunting", nor "an infarct, likely in the PICA territory"
        is_place = following in LOCATIVE and following not in _CAUSAL and tokens[cue.first - 1].word != ","
        is_last_word = not following.isalnum() or is_place or following in _SEEN
        if cue.value != "absent" and not _reaches_back(mention, cue, tokens, own):
            continue
        if tokens[cue.stop - 1].word in _SPREADING:
            continue  # "the lesion may extend into the putamen"
        if is_closing or (cue.value != "absent" and is_last_word):  # not "enhancement, which may reflect hypotension"
            return str(cue.value)
    return "present"


def _reaches_back(mention: Mention, cue: Mark, tokens: list[Token], own: list[Mention]) -> bool:
    """Whether a hedge behind several findings is of this one, too: "left parietal lesion, demyelination favored"."""
    items = [o for o in own if mention.stop <= o.first < cue.first]
    if _is_before_apposition(mention, items, cue, tokens):
        return False
    if items and not _PREDICATES.isdisjoint(t.word for t in tokens[mention.stop : items[-1].first]):
        return False  # "the mastoid is opacified and the sinus contains fluid, so that a fracture is suspected"
    return not items or mention.term not in _DESCRIPTIONS or items[-1].term in _DESCRIPTIONS


def _is_said_to_be_absent(cue: Mark, tokens: list[Token]) -> bool:
    """Whether "absent" is said of what stands before it ("is absent"), not of what follows ("an absent stalk")."""
    following = tokens[cue.stop].word if cue.stop < len(tokens) else "."
    return tokens[cue.first].word == "absent" and (not following.isalnum() or following in _GOING_ON)


def _closing_hedge(mention: Mention, marks: list[Mark], tokens: list[Token], own: list[Mention]) -> str | None:
    """A hedge that stands behind what it doubts: "a tumor or abscess cannot be excluded", "infarct versus tumor"."""
    for mark in marks:
        if mark.first < mention.stop or mark.kind not in CUE_KINDS:
            continue
        is_versus = mark.kind == "certainty" and tokens[mark.first].word in ("versus", "vs")
        if not is_versus and not _closes(mark, tokens):
            continue
        position = mention.stop
        items = [o for o in own if mention.stop <= o.first < mark.first and not _is_place(o, tokens)]
        is_described = mention.term in _DESCRIPTIONS and not all(o.term in _DESCRIPTIONS for o in items)
        is_told = mention.term == "mass" and bool(items) and tokens[mention.stop].word == ","
        is_told = is_told or _is_before_apposition(mention, items, mark, tokens)
        if is_described or is_told:  # "lesions, infarct versus tumor"; "a mass, metastasis until proven otherwise"
            return None
        for item in [*items, None]:
            stop = mark.first if item is None else item.first
            words = _words_but_places(position, stop, marks, tokens)
            is_far = item is None and (len(words) > 4 or (is_versus and bool(words & {",", "and", "with"})))
            is_parted = item is not None and (not words & (_JOINING | {"with"}) or bool(words & LOCATIVE))
            if is_far or is_parted or words & _PREDICATES:
                return None
            position = stop if item is None else item.stop
        return str(mark.value)
    return None


def _words_but_places(start: int, stop: int, marks: list[Mark], tokens: list[Token]) -> set[str]:
    """Words between two things, less those of a place: "an infarct in the left cerebellar hemisphere is suspected"."""
    covered = {i for m in marks if m.kind in ("sites", "laterality") for i in range(m.first, m.stop)}
    words = {tokens[i].word for i in range(start, stop) if i not in covered}
    return words - LOCATIVE - {"the"} if covered & set(range(start, stop)) else words


def _is_before_apposition(mention: Mention, items: list[Mention], mark: Mark, tokens: list[Token]) -> bool:
    """Whether a finding is told before what a hedge doubts: "slow flow, thrombosis cannot be ruled out".

    Behind a comma, what is doubted with it is a list: "infarct, tumor or abscess cannot be excluded".
    """
    if (",", "with") in pairwise(t.word for t in tokens[mention.stop : mark.first]):
        return True  # "likely ischemic, with demyelination less likely"
    if not items:
        return "," in {t.word for t in tokens[mention.stop : mark.first - 1]}
    words = {t.word for t in tokens[mention.stop : items[-1].first]}
    is_bracket = "(" in {t.word for t in tokens[mention.stop : items[0].first]}
    return is_bracket or ("," in words and words.isdisjoint(("and", "or", "/", "versus", "vs", "nor")))


def _is_place(mention: Mention, tokens: list[Token]) -> bool:
    """Whether a lesion is named as a place ("calcification within the mass")."""
    before = [t.word for t in tokens[max(0, mention.first - 2) : mention.first]]
    return before[-1:] == ["the"] and before[0] in LOCATIVE


def _closes(mark: Mark, tokens: list[Token]) -> bool:
    """Whether a hedge ends what it doubts: "infarct is likely", not "this is likely an infarct"."""
    following = tokens[mark.stop].word if mark.stop < len(tokens) else "."
    is_over = tokens[mark.stop - 1].word in _COMPARING
    return mark.kind == "closing_hedge" and (is_over or not following.isalnum() or following in _GOING_ON)


def _is_in_differential(mention: Mention, marks: list[Mark]) -> bool:
    """Whether a finding is an item of a list that is called differential, considerations or the like."""
    return any(m.kind == "differential" and m.stop <= mention.first for m in marks)


def _is_less_favored(mention: Mention, marks: list[Mark], tokens: list[Token]) -> bool:
    """Whether another diagnosis is likelier: "infection favored over lymphoma"."""
    closing = [m for m in marks if m.kind == "closing_hedge" and m.stop <= mention.first]
    return bool(closing) and tokens[closing[-1].stop - 1].word in _COMPARING and mention.first - closing[-1].stop <= 4


def _is_list_end(tokens: list[Token], start: int, stop: int) -> bool:
    return any(t.word in (",", "and") for t in tokens[start:stop])


def _is_denial_over(tokens: list[Token], start: int, stop: int) -> bool:
    """Whether the sentence goes on with something else: "does not enhance and shows edema", ", with atrophy"."""
    words = [t.word for t in tokens[start:stop]]
    if "and" in words and not _BE.isdisjoint(words[words.index("and") :]):
        return True  # "no extension is seen and the cavernous sinuses are clear"
    return any(a in ("and", ",") and (b in _VERBS or b in _GOING_OVER) for a, b in pairwise(words))


def _is_hedged(mention: Mention, start: int, own: list[Mention], tokens: list[Token]) -> bool:
    """Whether a hedge that ends at token `start` reaches a finding: the first behind it and those listed with it."""
    position, last = start, None
    for item in sorted((o for o in own if start <= o.first <= mention.first), key=lambda o: o.first):
        words = {t.word for t in tokens[position : item.first]}
        is_part = last is not None and last.term == "signal abnormality" and tokens[position].word == "of"
        last = item
        if is_part:  # "a focus of old hemorrhage"
            position = item.stop
            continue
        if position == start and tokens[position].word == "with":  # "possibly with a small cyst"
            position += 1
        if _is_new_item(tokens, position, item.first):
            return False
        if position != start and (
            sum(t.word.isalnum() for t in tokens[position : item.first]) > 5 or not words & _JOINING
        ):
            return False
        position = item.stop
    return True


def _is_new_item(tokens: list[Token], start: int, stop: int) -> bool:
    """Whether a list goes on with an item of its own, not hedged ("possible gliosis as well as a cyst")."""
    words = [t.word for t in tokens[start:stop]]
    pairs = set(pairwise(words))
    if "and" in words and not _BE.isdisjoint(words[words.index("and") :]):
        return True  # "probably hypoplastic, and the cistern is enlarged"
    return ("as", "well") in pairs or "with" in words or any(a == "and" and b in _VERBS for a, b in pairs)
