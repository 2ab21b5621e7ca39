"""Where an English sentence says a finding is: lists of sites with their sides, and whose they are."""

from itertools import pairwise

from ..vocabulary import load_terms
from .english_lists import DIRECTIONS, LIST_WORDS, LOCATIVE, grouped, owner_of
from .english_site_terms import (
    are_lobes,
    are_tissue,
    around_the_brain,
    in_the_midline,
    joined_to_heads,
    lists_brain,
    of_the_term,
    on_the_side_of_the_lesion,
    term_at,
    without_comparisons,
    without_compartments,
    without_whole_vessels,
    without_wholes,
)
from .matching import Token
from .mentions import HEDGED, VAGUE_SITES, Mark, Mention

_PARTING = frozenset((",", "with", "and"))
_LISTING = frozenset((",", "and", "including", "as"))
_DESCRIBING = ("severity", "morphology", "back_reference")
# fmt: off
_FILLERS = frozenset((
    "a", "an", "some", "mild", "its", "one", "two", "three", "four", "several", "most", "many", "all", "few",
    "largest", "smallest", "others", "another",
))
# fmt: on
# What is seen of the structures that a lesion displaces: where that is, is not where the lesion is.
_DISPLACED = frozenset(("mass effect", "midline shift", "herniation", "hydrocephalus"))
# fmt: off
_TOUCHING = frozenset((
    "abutting", "abuts", "abut", "contacts", "contacting", "touches", "touching", "attached", "toward", "towards",
    "sparing", "spares", "beyond", "obscuring", "obscures",
))
_BESIDE = _TOUCHING | frozenset((
    "continuous", "adjacent", "adjoining", "perpendicular", "contiguous", "bordering", "communicating", "attached",
    "near",
))
# fmt: on
_NEIGHBOURS = frozenset(("near", "adjacent", "terminates", "terminating"))
# Words by which a lesion is at a second place, too.
# fmt: off
REACHING = frozenset((
    "extension", "extending", "extends", "extend", "extended", "invading", "invasion", "invades", "crossing",
    "crosses", "spreading", "spreads", "protruding", "protrudes", "bulging", "bulges", "infiltrating", "infiltrates",
    "reaching", "reaches", "encasing", "encases", "surrounds",
))
INVOLVING = frozenset((
    "involved", "involves", "involve", "involving", "involvement", "affected", "affects", "affect", "infiltrated",
    "encased", "encase", "encasement", "invaded", "invade", "occupies", "fills", "infiltrate", "infiltration", "reach",
    "spread", "ruptured", "rupture",
))
# fmt: on
_SPREADING = REACHING | INVOLVING
_BEFORE_PLACES = frozenset(("the", "in", "within", "also", "left", "right", "of", "both", "bilateral"))
# Not things of their own: "with most of the pons", while "with widening of the canal" is not of the lesion.
# fmt: off
_PARTS_OF_LESIONS = frozenset((
    "part", "portion", "component", "center", "centre", "epicenter", "base", "margin", "most", "some", "level", "all",
    "much", "surface", "area", "areas", "region", "side", "aspect", "involvement", "predominance",
    "distribution", "pattern", "floor", "roof", "wall", "body", "horn", "undersurface",
))
# fmt: on
# A structure told as the one beside the lesion, on its side: "the adjacent sulci".
NEAR = frozenset(("adjacent", "underlying", "overlying", "ipsilateral", "surrounding", "subjacent", "neighboring"))
# What opens an item of its own in a list.
_OPENING = frozenset(("a", "an", "multiple", "several", "another"))
_SINUSES = ("paranasal sinuses", "maxillary sinus", "ethmoid sinus", "sphenoid sinus")
_IN_LISTS_OF_SINUSES = frozenset(
    ("and", ",", "/", "or", "the", "left", "right", "bilateral", "both", "anterior", "posterior")
)
_SCARS = frozenset(("encephalomalacia", "gliosis", "atrophy"))
_SCARRING = frozenset(("infarct", "chronic infarct", "subacute infarct", "hemorrhage", "contusion", "ischemic change"))
_WIDENED = ("sellar enlargement",)
_WIDE = ("ventricular dilation", "sulcal widening")
# "A left frontal meningioma", which is one of the dura over that lobe.
_OVER = frozenset(("frontal", "parietal", "temporal", "occipital", "parasagittal", "frontotemporal", "frontoparietal"))
_LIKENED = frozenset(("consistent", "compatible", "keeping", "line", "correlating", "compared"))
_BE = frozenset(("is", "are", "was", "were"))
_ALTERNATIVES = frozenset((",", "and", "or", "/", "versus", "vs"))
_AROUND = frozenset(("about", "around", "surrounding", "of", "from"))
# Words between a side and a site without sides: "the left aspect of the pituitary".
_PART_OF = frozenset(("aspect", "side", "half", "portion", "part", "lobe", "of", "the"))


def attach_sites(marks: list[Mark], tokens: list[Token], carriers: list[Mention]) -> None:
    """Give each list of sites to a finding, then to those joined to it ("edema and mass effect in ...")."""
    named = [m for m in marks if m.kind == "sites"]
    _name_frontal_sinuses(named, tokens)
    sites = joined_to_heads(without_compartments(without_comparisons(named, tokens), tokens))
    groups = grouped(sites, marks, tokens)
    sides = _sides(marks, tokens, sites, groups, carriers)
    paired = load_terms().sites
    listed_brains: set[int] = set()
    cues = {i for m in marks if m.kind in ("certainty", "consistent") for i in range(m.first, m.stop)}
    for group in _of_one_finding(groups, carriers):
        placed = [  # "left lateral and third ventricles": the left of the paired one
            (term, side if paired[term].paired or term == mark.value[0] else "none")
            for mark, side in ((mark, sides.get(id(mark), "none")) for mark in group)
            for term in mark.value
        ]
        if len(group) > 1 and not lists_brain(group, tokens):
            # "an intra-axial mass in the thalamus": the whole brain beside a part of it says nothing
            placed = [p for p in placed if p[0] != "brain"] or placed[:1]
        if group[-1].stop < len(tokens) and tokens[group[-1].stop].word.startswith("predominan"):
            continue  # "with temporal predominance"
        owner = _site_owner(group[0], group[-1], tokens, cues, carriers)
        if _is_of_another(owner, group[0].first, marks, tokens) or _is_of_statement(owner, group[-1], named, tokens):
            continue
        near = {t.word for t in tokens[max(0, group[0].first - 4) : group[0].first]}
        is_led = owner.sites_follow and not near & {",", "and", "or"} and are_lobes(placed)
        if owner.sites and (not owner.sites_follow or is_led) and owner.first < group[0].first:
            # "subcortical hyperintensities in the frontal lobe": where lobe and tissue are both said, the lobe
            owner.sites = [] if are_tissue(owner.sites) and not are_tissue(placed) else owner.sites
        if owner.sites and _is_end_of_range(group[0].first, tokens):
            continue
        if _is_only_beside(group[0].first, tokens, _BESIDE if owner.sites else _TOUCHING):
            continue
        if ("brain", "none") in placed and len(placed) > 1:
            listed_brains.add(id(owner))
        is_told_before = owner.first > 0 and tokens[owner.first - 1].word in ("the", "this")
        if (owner.sites or is_told_before) and REACHING & near:
            if owner.term in ("developmental anomaly", "bone erosion"):  # "a cleft extending to the ventricle"
                continue
            owner.reached |= {site for site, _ in placed}
        kept = owner.sites if near & _LISTING and "involving" not in near else without_wholes(owner.sites, placed)
        if cues and owner.first < group[0].first:
            level = _doubt_of_place(owner, group[0].first, marks, tokens)
            owner.doubted |= dict.fromkeys(placed, level) if level else {}
        owner.sites = kept + [p for p in placed if p not in owner.sites]
        owner.sites_follow = owner.first < group[0].first
        is_one = not kept and not _is_plural(tokens[group[-1].stop - 1].word)
        # "displacing the tip of the temporal lobe": that on the side of the lesion
        is_beside = owner.term == "mass effect" and owner.sites_follow and is_one
        owner.is_near = owner.is_near or bool(NEAR & near) or is_beside
    for mention in carriers:
        if not mention.sites:
            continue
        if len(mention.sites) > 1 and mention.certainty != "absent" and id(mention) not in listed_brains:
            mention.sites = [s for s in mention.sites if s[0] != "brain" or mention.term == "atrophy"]
        if len(mention.sites) > 1:
            mention.sites = in_the_midline(
                without_whole_vessels(around_the_brain(mention.sites, mention.term), mention.term), mention.term
            )
        if ("spinal cord", "none") in mention.sites:  # "a lesion of the cord at C3"
            mention.sites = [pair for pair in mention.sites if pair[0] != "spine"]
        if mention.sites[0][0] == "midline" and mention.side == "midline":  # "the midline structures are normal"
            mention.side = "none"
        mention.term = term_at(mention.term, mention.sites)
        mention.sites = of_the_term(mention.term, mention.sites)
        mention.sites = on_the_side_of_the_lesion(mention)
        if mention.term == "meningioma" and tokens[mention.first - 1].word in _OVER and are_lobes(mention.sites):
            mention.sites = list(dict.fromkeys(("meninges", side) for _, side in mention.sites))
    if len(carriers) < 2:
        return
    for earlier, mention in pairwise(carriers):
        if (
            earlier.term in _WIDENED
            and not mention.sites
            and "by" in {t.word for t in tokens[max(0, mention.first - 5) : mention.first]}
        ):
            # "the sella is expanded by a mass"
            mention.sites = list(earlier.sites) or [(load_terms().findings[earlier.term].default_site, "none")]
    for earlier, mention in pairwise(carriers):
        if earlier.sites and _is_left_by(earlier, mention, tokens):
            mention.sites = list(earlier.sites)
        if not earlier.sites or mention.sites:
            continue
        if _is_had(earlier, mention, tokens) or _is_listed_with(earlier, mention, tokens):
            mention.sites = [pair for pair in earlier.sites if pair[0] not in earlier.reached]
    for mention, following in reversed(list(pairwise(carriers))):
        if mention.sites or not following.sites or (following.term in _DISPLACED and mention.term not in _DISPLACED):
            continue
        if (
            _is_joined(mention, following, tokens)
            or _surrounds(mention, following, tokens)
            or _goes_with(mention, following, tokens)
        ):
            mention.sites = [pair for pair in following.sites if pair[0] not in following.reached]


def _doubt_of_place(owner: Mention, first: int, marks: list[Mark], tokens: list[Token]) -> str | None:
    """How likely a lesion is at a place that it may have reached ("with possible extension into the thalamus").

    So it is of one place in a list ("in the pons and possibly the midbrain").
    """
    hedges = [m for m in marks if m.kind == "certainty" and owner.stop <= m.first and m.stop <= first]
    if not hedges or hedges[-1].value not in HEDGED:
        return None
    cue = hedges[-1]
    if any(m.kind == "findings" and cue.stop <= m.first < first for m in marks):
        return None
    words = {t.word for t in tokens[cue.first : first]}
    behind = [t.word for t in tokens[cue.stop : first] if t.word not in _BEFORE_PLACES]
    before = tokens[cue.first - 1].word
    is_place = before == "," and "in" in words  # "an infarct, likely in the PICA territory"
    is_listed = not behind and before in ("and", "or", ",") and not is_place
    return str(cue.value) if (is_listed and owner.sites) or words & _SPREADING else None


def _is_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("us", "is", "ss"))


def _name_frontal_sinuses(sites: list[Mark], tokens: list[Token]) -> None:
    """ "The frontal and maxillary sinuses": in a list of sinuses, the frontal one is meant."""
    sinuses = [m for m in sites if m.value[0] in _SINUSES]
    for mark in sites if sinuses else ():
        if mark.value != ("frontal lobe",) or tokens[mark.stop - 1].word != "frontal":
            continue
        near = min(sinuses, key=lambda m: abs(m.first - mark.first))
        low, high = min(near.stop, mark.stop), max(near.first, mark.first)
        if all(tokens[i].word in _IN_LISTS_OF_SINUSES for i in range(low, high)):
            mark.value = ("frontal sinus",)
            sinuses.append(mark)


def _of_one_finding(groups: list[list[Mark]], carriers: list[Mention]) -> list[list[Mark]]:
    """Lists cut where their last site leads up to a finding: "trapping of the horn and periventricular edema"."""
    if len(carriers) < 2:
        return groups
    starts = {m.first for m in carriers[1:]}
    cut: list[list[Mark]] = []
    for group in groups:
        if len(group) > 1 and group[-1].stop in starts and carriers[0].stop <= group[0].first and carriers[0].term:
            cut += [group[:-1], group[-1:]]
        else:
            cut.append(group)
    return cut


def _is_of_statement(owner: Mention, site: Mark, sites: list[Mark], tokens: list[Token]) -> bool:
    """Whether a place is told of in a statement that no finding names ("the left horn is larger and the ...")."""
    if owner.first < site.stop or len(sites) < 2:
        return False
    others = [s.first for s in sites if site.stop < s.first < owner.first]
    words = [t.word for t in tokens[site.stop : others[0]]] if others else []
    return bool(_BE & set(words[:2])) and "and" in words[2:]


def _is_of_another(owner: Mention, first: int, marks: list[Mark], tokens: list[Token]) -> bool:
    """Whether a place belongs to a thing behind a comma that no finding names (", and sagging of the brainstem")."""
    if owner.stop > first:
        return False
    start = next((i + 1 for i in range(first - 1, owner.stop - 1, -1) if tokens[i].word in _PARTING), None)
    if start is None:
        return False
    ends = ("of", "at", "in") if tokens[start].word == "its" else ("of", "at")
    start += tokens[start].word == "of"  # "a cyst of ... and of asymmetric pneumatization of the apices"
    end = next((i for i in range(start, first) if tokens[i].word in ends), None)
    if end is None or end == start:
        return False
    known = {i for m in marks for i in range(m.first, m.stop) if m.kind not in _DESCRIBING}
    if any(i in known or tokens[i].word in LOCATIVE for i in range(start, end)):
        return False
    word = tokens[end - 1].word
    if word in ("mm", "cm"):  # "19 mm in the cerebellum, 8 mm at the frontal pole"
        return False
    return word not in LOCATIVE and word not in LIST_WORDS and word not in REACHING | _PARTS_OF_LESIONS | _FILLERS


def _is_had(lesion: Mention, mention: Mention, tokens: list[Token]) -> bool:
    """Whether a lesion is told to have a finding without a place: "a left frontal infarct with a small cyst"."""
    words = [t.word for t in tokens[max(lesion.stop, mention.first - 5) : mention.first]]
    if "with" not in words or "absent" in (lesion.certainty, mention.certainty) or not lesion.term or not mention.term:
        return False
    kinds = load_terms().findings
    is_lesion = kinds[lesion.term].kind != "status" and lesion.term not in _DISPLACED and lesion.term not in _WIDE
    is_of_brain = kinds[mention.term].default_site in VAGUE_SITES and kinds[mention.term].kind == "diagnosis"
    is_of_brain = is_of_brain and all(load_terms().is_within(site, "brain") for site, _ in lesion.sites)
    is_likened = not _LIKENED.isdisjoint(words[: words.index("with")][-1:])
    return (
        is_lesion
        and is_of_brain
        and not is_likened
        and mention.term not in _DISPLACED
        and "," not in words[words.index("with") :]
    )


def _is_left_by(scar: Mention, mention: Mention, tokens: list[Token]) -> bool:
    """Whether a finding is told to come from another, which was there: "gliosis of the pons from an old infarct"."""
    words = [t.word for t in tokens[scar.stop : mention.first]]
    is_cause = "from" in words[-5:] and scar.term in _SCARS and mention.term in _SCARRING
    return is_cause and all(site in ("cerebral hemisphere", "brain") for site, _ in mention.sites)


def _is_listed_with(earlier: Mention, mention: Mention, tokens: list[Token]) -> bool:
    """Whether one place leads two findings ("in the left parietal lobe there is gliosis and volume loss")."""
    if earlier.sites_follow or not mention.term or not earlier.term or earlier.certainty != mention.certainty:
        return False
    if mention.certainty in HEDGED:  # "the temporal lobe change could be tumor or necrosis"
        between = [t.word for t in tokens[earlier.stop : mention.first]]
        return len(between) <= 5 and not _ALTERNATIVES.isdisjoint(between) and LOCATIVE.isdisjoint(between)
    kinds = load_terms().findings
    is_of_brain = kinds[mention.term].default_site in VAGUE_SITES and kinds[mention.term].kind == "diagnosis"
    is_of_brain = is_of_brain and kinds[earlier.term].kind != "status" and earlier.term not in _DISPLACED | set(_WIDE)
    words = [t.word for t in tokens[earlier.stop : mention.first]]
    if mention.term == "signal abnormality" and earlier.term in ("atrophy", "edema"):
        return words[:1] == ["and"] and len(words) <= 4  # "the hippocampus is atrophic and bright on FLAIR"
    return is_of_brain and words == ["and"] and mention.term not in _DISPLACED


def _goes_with(mention: Mention, following: Mention, tokens: list[Token]) -> bool:
    """Whether a finding has the next with it: "a cyst with a mural nodule in the cerebellum"."""
    words = [t.word for t in tokens[mention.stop : following.first]]
    is_of_brain = mention.term != "" and load_terms().findings[mention.term].default_site in VAGUE_SITES
    return words[:1] == ["with"] and len(words) <= 5 and is_of_brain and following.sites_follow and "," not in words


def _surrounds(mention: Mention, following: Mention, tokens: list[Token]) -> bool:
    """Whether a finding is told to be around the next: "edema about the left frontal mass"."""
    words = {t.word for t in tokens[mention.stop : following.first]}
    if mention.stop == following.first:  # "hemorrhagic mass"
        return True
    return following.first - mention.stop <= 7 and bool(words & _AROUND) and not words & {",", "and"}


def _is_only_beside(first: int, tokens: list[Token], beside: frozenset[str]) -> bool:
    """Whether a place is named as a neighbour ("adjacent to the temporal horn", "lateral to the insula")."""
    words = [t.word for t in tokens[max(0, first - 5) : first] if t.word not in ("the", "left", "right")]
    if beside is _TOUCHING:
        return not beside.isdisjoint(words[-2:])
    if first >= 2 and tokens[first - 1].word in NEAR and tokens[first - 2].word in ("and", ","):
        return False  # "the peduncle and adjacent pons"
    if "most" in words and words[-1] != "of":
        return True  # "most prominent over the right convexity": which part is worst
    if words[-1:] == ["of"] and words[-2:-1] in (["edge"], ["border"]):
        return True  # "into the cavernous sinus along the edge of the carotid artery"
    if words[-1:] == ["of"]:  # "near the root entry zone of the trigeminal nerve"
        far = [t.word for t in tokens[max(0, first - 8) : first]]
        last = max(
            (i for i, word in enumerate(far) if word in LOCATIVE and word not in ("of", "to", "in")), default=-1
        )
        return any(word in _NEIGHBOURS for word in far[max(last, 0) :])
    is_direction = words[-1:] == ["to"] and not DIRECTIONS.isdisjoint(words[-2:-1])
    return is_direction or not beside.isdisjoint(words[-2:])


def _site_owner(first: Mark, last: Mark, tokens: list[Token], cues: set[int], carriers: list[Mention]) -> Mention:
    """The finding of a list of sites: the one before it across a preposition, else the one that it leads up to."""
    left = _heads([m for m in carriers if m.first < first.first], first.first, tokens)
    right = [m for m in carriers if m.first >= last.stop or (m.first in (first.first, last.first) and m.term)]
    if not left or not right:
        return left[-1] if left else right[0] if right else carriers[-1]
    gap = range(left[-1].stop, first.first)
    if first.first == right[0].first:  # "pineal cyst": one phrase names the finding and its site
        return right[0]
    if left[-1].term == "normal" and first.first - left[-1].stop <= 1 and not left[-1].sites:
        return left[-1]  # "normal midbrain, pons and medulla and a normal brainstem"
    if first.first - left[-1].stop <= 1 and not left[-1].sites and tokens[last.stop].word == "and":
        return left[-1]  # "air fluid level right maxillary antrum and mucosal thickening of ..."
    if _is_new_clause(first.first, last.stop, right[0].first, tokens):
        return right[0]
    if first.first == left[-1].stop and left[-1].term in _WIDE:  # "enlarged fourth ventricle with a cyst"
        return left[-1]
    if last.stop == right[0].first and left[-1].sites:  # "gliosis in the right occipital lobe from a PCA infarct"
        return right[0]
    has_preposition = any(
        tokens[i].word in LOCATIVE or tokens[i].word in REACHING for i in gap if i not in cues
    ) and not cues & set(gap)
    leads = right[0].first - last.stop <= 6 and all(t.word != "," for t in tokens[last.stop : right[0].first])
    return right[0] if leads and not has_preposition else left[-1]


def _is_end_of_range(first: int, tokens: list[Token]) -> bool:
    """Whether a place is only how far a finding is told to go ("from the root entry zone to Meckel's cave")."""
    words = [t.word for t in tokens[max(0, first - 10) : first] if t.word not in ("the", "left", "right")]
    return words[-1:] == ["to"] and "from" in words


def _is_new_clause(first: int, stop: int, finding: int, tokens: list[Token]) -> bool:
    """Whether a place is the subject of a clause of its own ("... and the lateral ventricles are dilated")."""
    words = [t.word for t in tokens[max(0, first - 3) : first] if t.word not in ("left", "right", "both", "the")]
    return words[-1:] == ["and"] and finding - stop <= 4 and bool(_BE & {t.word for t in tokens[stop:finding]})


def _heads(left: list[Mention], position: int, tokens: list[Token]) -> list[Mention]:
    """Findings that a place at `position` may belong to: behind a verb not those that only go with the subject.

    "Cysts with rim enhancement are seen in both hemispheres": the cysts are.
    """
    while len(left) > 1 and _BE & {t.word for t in tokens[left[-1].stop : position]}:
        if not {"with", "without"} & {t.word for t in tokens[left[-2].stop : left[-1].first]}:
            break
        left = left[:-1]
    return left


def _is_joined(mention: Mention, following: Mention, tokens: list[Token]) -> bool:
    """Whether only a list stands between two findings; an article opens an item of its own."""
    words = {t.word for t in tokens[mention.stop : following.first]}
    if mention.certainty == following.certainty and mention.certainty in HEDGED and words & {"or", "versus", "vs"}:
        # "either a cavernoma or a focus of old hemorrhage in the putamen"
        is_near = following.first - mention.stop <= 6 and "likely" not in words
        kinds = load_terms().findings
        is_of_place = mention.term in kinds and kinds[mention.term].default_site in [s for s, _ in following.sites]
        is_near = is_near and (is_of_place or _are_of_brain(mention, following))
        return is_near and bool(following.sites) and following.sites_follow
    if following.first - mention.stop > 4 or words & LOCATIVE or words & _OPENING or mention.term == "midline shift":
        return False
    if "absent" in {mention.certainty, following.certainty} and mention.certainty != following.certainty:
        return False
    is_list = bool(words & {"and", "or", ",", "/", "nor", "versus", "vs"})
    return is_list and bool(following.sites) and following.sites_follow


def _are_of_brain(*mentions: Mention) -> bool:
    """Whether findings have no place of their own, as meningiomas have."""
    kinds = load_terms().findings
    return all(m.term in kinds and kinds[m.term].default_site in VAGUE_SITES for m in mentions)


def _sides(
    marks: list[Mark], tokens: list[Token], sites: list[Mark], groups: list[list[Mark]], carriers: list[Mention]
) -> dict[int, str]:
    """Side of each site mark, by the mark's identity. A side covers the list it leads, or the list that it ends."""
    paired = load_terms().sites
    result: dict[int, str] = {}
    sides = [m for m in marks if m.kind == "laterality" and not any(c.first <= m.first < c.stop for c in carriers)]
    if not sides:
        return result
    is_of_stalk = any("pituitary" in s.value for s in sites)
    shifts = [c for c in carriers if c.term == "midline shift" or (is_of_stalk and _is_deviation(c, tokens))]
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
        if tokens[side.first].word == "bilaterally":  # said of the list that it ends
            for site in [s for g in groups if g[-1].stop == side.first for s in g]:
                if paired[site.value[0]].paired:
                    result.setdefault(id(site), side.value)
        if near:
            group = next(g for g in grouped(ahead, marks, tokens) if g[0] is ahead[0])
            for site in group:
                is_part = {t.word for t in tokens[side.stop : site.first]} <= _PART_OF | DIRECTIONS
                if paired[site.value[0]].paired or site.first == side.stop or (is_part and site is group[0]):
                    result.setdefault(id(site), side.value)
            continue
        behind = [g for g in groups if g[-1].stop <= side.first]
        if behind and side.first - behind[-1][-1].stop <= 4:
            for site in behind[-1]:
                if paired[site.value[0]].paired or site.stop == side.first:
                    result.setdefault(id(site), side.value)
        else:
            nearest = owner_of(side, tokens, carriers)
            if nearest is not None and (nearest.term != "mass effect" or not _is_direction(side, tokens)):
                nearest.side = side.value
    return result


def _is_deviation(mention: Mention, tokens: list[Token]) -> bool:
    """Whether a mass effect is told as a deviation, whose direction is its side ("deviation of the stalk")."""
    words = [t.word for t in tokens[mention.first : mention.stop]]
    return mention.term == "mass effect" and any(w.startswith("deviat") for w in words)


def _is_direction(side: Mark, tokens: list[Token]) -> bool:
    """Whether a side tells where to something is displaced ("displaced to the left")."""
    return [t.word for t in tokens[max(0, side.first - 2) : side.first]] in (["to", "the"], ["towards", "the"])
