"""What belongs to what in an English sentence: sites, sides, signals with their sequences, sizes, attributes."""

import re
from itertools import pairwise

from ..vocabulary import load_terms
from .matching import Token
from .mentions import Mark, Mention

# fmt: off
LOCATIVE = frozenset((
    "in", "of", "within", "involving", "at", "along", "to", "into", "over", "from", "on", "near", "about",
    "around", "throughout", "through", "affecting",
))
# fmt: on
# fmt: off
_LIST_WORDS = frozenset((
    ",", "/", "and", "or", "&", "the", "lobe", "lobes", "region", "regions", "area", "areas", "of", "both", "to",
    "as", "well", "with", "aspect", "aspects", "including",
))
# fmt: on
_WHOLES = (
    "ventricles",
    "cerebellum",
    "brainstem",
    "posterior fossa",
    "cerebral hemisphere",
    "paranasal sinuses",
    "vessels",
)
_PARTING = frozenset((",", "with", "and"))
_COMPARING = ("than", "to", "with")
_LISTING = frozenset((",", "and", "including", "as"))
_DESCRIBING = ("severity", "morphology", "back_reference")
_FILLERS = frozenset(("a", "an", "some", "mild", "its"))
# What is seen of the structures that a lesion displaces: where that is, is not where the lesion is.
_DISPLACED = frozenset(("mass effect", "midline shift", "herniation", "hydrocephalus"))
_BESIDE = frozenset(
    (
        "adjacent",
        "abutting",
        "abuts",
        "adjoining",
        "perpendicular",
        "contiguous",
        "bordering",
        "communicating",
        "attached",
        "toward",
        "towards",
        "near",
    )
)
_NEIGHBOURS = frozenset(("near", "adjacent", "terminates", "terminating"))
_TOUCHING = frozenset(
    (
        "abutting",
        "abuts",
        "abut",
        "contacts",
        "contacting",
        "touches",
        "touching",
        "toward",
        "towards",
        "sparing",
        "spares",
        "beyond",
    )
)
# fmt: off
_DIRECTIONS = frozenset((
    "anterior", "posterior", "superior", "inferior", "lateral", "medial", "superficial", "deep", "next", "close",
    "mesial", "middle", "upper", "lower", "anterolateral", "posterolateral", "dorsal", "ventral", "dorsolateral",
    "paramedian", "central", "mid",
))
# fmt: on
_BASAL = ("middle cranial fossa", "sella", "suprasellar region", "cavernous sinus", "skull base")
_OUTSIDE = ("scalp", "skull", "face")
_ARTICLES = ("the", "that", "of", "normal", "adjacent", "left", "right")
# fmt: off
_COMPARED = frozenset((
    "isointense", "hyperintense", "hypointense", "relative", "compared", "similar", "respect", "identical", "parallel",
    "proportion", "comparison", "intense",
))
# fmt: on
# fmt: off
REACHING = frozenset((
    "extension", "extending", "extends", "extend", "extended", "invading", "invasion", "invades", "crossing",
    "crosses", "spreading", "spreads", "protruding", "protrudes", "bulging", "bulges", "infiltrating", "infiltrates",
    "reaching", "reaches", "encasing", "encases", "surrounds",
))
# fmt: on
# Not things of their own: "with most of the pons", while "with widening of the canal" is not of the lesion.
# fmt: off
_PARTS_OF_LESIONS = frozenset((
    "part", "portion", "component", "center", "centre", "epicenter", "base", "margin", "most", "some", "level", "all",
    "much", "surface", "area", "areas", "region", "side", "aspect", "involvement", "predominance",
    "distribution", "pattern",
))
# fmt: on
NEAR = frozenset(("adjacent", "underlying", "overlying", "ipsilateral", "surrounding", "subjacent", "neighboring"))
_OPENING = frozenset(("a", "an", "multiple", "several", "another"))
_WIDENED = ("sellar enlargement",)
_WIDE = ("ventricular dilation", "sulcal widening")
_BE = frozenset(("is", "are", "was", "were"))
_AROUND = frozenset(("about", "around", "surrounding", "of", "from"))
# What lies over the brain is at its own place also where a lobe is told.
_OVER_LOBES = frozenset(
    (
        "subdural hematoma",
        "epidural hematoma",
        "extra-axial collection",
        "soft tissue swelling",
        "fracture",
        "meningeal enhancement",
    )
)
_OF_TERRITORIES = frozenset(
    ("infarct", "acute infarct", "subacute infarct", "chronic infarct", "encephalomalacia", "ischemic change")
)
_TERRITORIES = dict.fromkeys(
    ("anterior cerebral artery", "middle cerebral artery", "posterior cerebral artery"), "cerebral hemisphere"
)
# Words between a side and a site without sides: "the left aspect of the pituitary".
_OF_A_LOBE = frozenset(("of", "the", "left", "right", "in", "both", "bilateral"))
_PART_OF = frozenset(("aspect", "side", "half", "portion", "part", "lobe", "of", "the"))
_BY = r"(?:\s*(?:cm|mm)?\s*(?:x|\u00d7|by)\s*(\d+(?:\.\d+)?))?"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)" + _BY + _BY + r"[\s-]*(mm|cm|millimet|centimet)", re.IGNORECASE)
_DIGIT = re.compile("[0-9]")
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6}
_ONE = frozenset(("a", "an", "single", "solitary", "one"))


def _groups(sites: list[Mark], marks: list[Mark], tokens: list[Token]) -> list[list[Mark]]:
    """Site marks joined into lists: only commas, "and", articles, sides and the like stand between them."""
    if len(sites) < 2:
        return [[site] for site in sites]
    filler = {i for m in marks if m.kind in ("laterality", "severity") for i in range(m.first, m.stop)}
    findings = {m.first for m in marks if m.kind == "findings"}
    groups: list[list[Mark]] = []
    for site in sites:
        if groups:
            last = groups[-1][-1]
            between = range(last.stop, site.first)
            # "macroadenoma with suprasellar extension", not "maxillary and sphenoid sinus disease"
            is_named = last.first in findings or (
                site.first in findings and any(tokens[i].word == "with" for i in between)
            )
            if not is_named and all(
                i in filler or tokens[i].word in _LIST_WORDS or tokens[i].word in _DIRECTIONS for i in between
            ):
                groups[-1].append(site)
                continue
        groups.append([site])
    return groups


def attach_sites(marks: list[Mark], tokens: list[Token], carriers: list[Mention]) -> None:
    """Give each list of sites to a finding, then to those joined to it ("edema and mass effect in ...")."""
    named = [m for m in marks if m.kind == "sites"]
    sites = _without_compartments(_without_comparisons(named, tokens), tokens)
    sides = _sides(marks, tokens, sites, carriers)
    listed_brains: set[int] = set()
    cues = {i for m in marks if m.kind in ("certainty", "consistent") for i in range(m.first, m.stop)}
    for group in _groups(sites, marks, tokens):
        placed = [(term, sides.get(id(mark), "none")) for mark in group for term in mark.value]
        if len(placed) > 1 and not _lists_brain(group, tokens):
            # "an intra-axial mass in the thalamus": the whole brain beside a part of it says nothing
            placed = [p for p in placed if p[0] != "brain"] or placed[:1]
        owner = _site_owner(group[0], group[-1], tokens, cues, carriers)
        if _is_of_another(owner, group[0].first, marks, tokens) or _is_of_statement(owner, group[-1], named, tokens):
            continue
        near = {t.word for t in tokens[max(0, group[0].first - 4) : group[0].first]}
        is_led = owner.sites_follow and not near & {",", "and", "or"} and _are_lobes(placed)
        if owner.sites and (not owner.sites_follow or is_led) and owner.first < group[0].first:
            # "subcortical hyperintensities in the frontal lobe": where lobe and tissue are both said, the lobe
            owner.sites = [] if _are_tissue(owner.sites) and not _are_tissue(placed) else owner.sites
        if _is_only_beside(group[0].first, tokens, _BESIDE | _TOUCHING if owner.sites else _TOUCHING):
            continue
        if ("brain", "none") in placed and len(placed) > 1:
            listed_brains.add(id(owner))
        if owner.sites and REACHING & near:
            if owner.term == "developmental anomaly":  # "a cleft extending to the ventricle"
                continue
            owner.reached |= {site for site, _ in placed}
        kept = owner.sites if near & _LISTING else _without_wholes(owner.sites, placed)
        owner.sites = kept + [p for p in placed if p not in owner.sites]
        owner.sites_follow = owner.first < group[0].first
        owner.is_near = owner.is_near or bool(NEAR & near)
    for mention in carriers:
        if not mention.sites:
            continue
        if len(mention.sites) > 1 and mention.certainty != "absent" and id(mention) not in listed_brains:
            mention.sites = [s for s in mention.sites if s[0] != "brain" or mention.term == "atrophy"]
        mention.sites = _in_the_midline(_without_whole_vessels(_around_the_brain(mention.sites)), mention.term)
        mention.sites = _of_the_term(mention.term, mention.sites)
        mention.sites = _on_the_side_of_the_lesion(mention)
    for earlier, mention in pairwise(carriers):
        if (
            earlier.term in _WIDENED
            and not mention.sites
            and "by" in {t.word for t in tokens[max(0, mention.first - 5) : mention.first]}
        ):
            # "the sella is expanded by a mass"
            mention.sites = list(earlier.sites) or [(load_terms().findings[earlier.term].default_site, "none")]
    for mention, following in reversed(list(pairwise(carriers))):
        if mention.sites or not following.sites or (following.term in _DISPLACED and mention.term not in _DISPLACED):
            continue
        if _is_joined(mention, following, tokens) or _surrounds(mention, following, tokens):
            mention.sites = [pair for pair in following.sites if pair[0] not in following.reached]


def _is_of_statement(owner: Mention, site: Mark, sites: list[Mark], tokens: list[Token]) -> bool:
    """Whether a place is told of in a statement that no finding names ("the left horn is larger and the ...")."""
    if owner.first < site.stop or len(sites) < 2:
        return False
    others = [s.first for s in sites if site.stop < s.first < owner.first]
    words = [t.word for t in tokens[site.stop : others[0]]] if others else []
    return bool(_BE & set(words[:2])) and "and" in words[2:]


def _without_wholes(told: list[tuple[str, str]], placed: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Places told before, less those whose part is told now: "an intraventricular mass in the lateral ventricle"."""
    if not told:
        return told
    terms = load_terms()
    return [
        (site, side)
        for site, side in told
        if side != "none"
        or not any(
            (new == site and s != "none") or (new != site and site in _WHOLES and terms.is_within(new, site))
            for new, s in placed
        )
    ]


def _is_of_another(owner: Mention, first: int, marks: list[Mark], tokens: list[Token]) -> bool:
    """Whether a place belongs to a thing behind a comma that no finding names (", and sagging of the brainstem")."""
    if owner.stop > first:
        return False
    start = next((i + 1 for i in range(first - 1, owner.stop - 1, -1) if tokens[i].word in _PARTING), None)
    if start is None:
        return False
    known = {i for m in marks for i in range(m.first, m.stop) if m.kind not in _DESCRIBING}
    ends = ("of", "at", "in") if tokens[start].word == "its" else ("of", "at")
    end = next((i for i in range(start, first) if tokens[i].word in ends), None)
    if end is None or end == start or any(i in known or tokens[i].word in LOCATIVE for i in range(start, end)):
        return False
    word = tokens[end - 1].word
    return word not in LOCATIVE and word not in _LIST_WORDS and word not in REACHING | _PARTS_OF_LESIONS | _FILLERS


def _are_tissue(sites: list[tuple[str, str]]) -> bool:
    terms = load_terms()
    return all(site == "cortex" or terms.is_within(site, "white matter") for site, _ in sites)


def _are_lobes(sites: list[tuple[str, str]]) -> bool:
    return all(load_terms().sites[site].parent == "cerebral hemisphere" and site != "cortex" for site, _ in sites)


def _lists_brain(group: list[Mark], tokens: list[Token]) -> bool:
    """Whether the brain is an item of a list ("brain and meninges", "cerebral and cerebellar")."""
    pairs = [(a, b) for a, b in pairwise(group) if ("brain",) in (a.value, b.value)]
    return bool(pairs) and all({"and", "or", ",", "/"} & {t.word for t in tokens[a.stop : b.first]} for a, b in pairs)


def _without_comparisons(sites: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out what a signal or size is only compared with ("isointense to gray matter", "relative to the sulci")."""
    kept = []
    for site in sites:
        if not any(t.word in _COMPARING for t in tokens[max(0, site.first - 4) : site.first]):
            kept.append(site)
            continue
        words = [t.word for t in tokens[max(0, site.first - 4) : site.first] if t.word not in _ARTICLES]
        if not (words[-1:] == ["than"] or (words[-1:] in (["to"], ["with"]) and _COMPARED & set(words[-2:-1]))):
            kept.append(site)
    return kept


def _without_whole_vessels(sites: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """ "Flow voids of the carotid arteries": beside a vessel of its own, the vessels as a whole say nothing."""
    terms = load_terms()
    named = [pair for pair in sites if pair[0] != "vessels" and terms.is_within(pair[0], "vessels")]
    return [pair for pair in sites if pair[0] != "vessels"] if named else sites


def _in_the_midline(sites: list[tuple[str, str]], term: str) -> list[tuple[str, str]]:
    """ "A midline suprasellar mass": the midline beside another site is its side."""
    others = [pair for pair in sites if pair[0] != "midline"]
    if not others or len(others) == len(sites) or term == "midline shift":
        return sites
    return [(site, "midline" if side == "none" else side) for site, side in others]


def _of_the_term(term: str, sites: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sites that a term turns into others.

    - What lies outside the brain is told by the lobe it lies over: "left frontal subdural hematoma".
    - An infarct of an artery is one of its territory.
    """
    terms = load_terms()
    if term == "midline shift":  # also that of the pituitary stalk
        return [("midline", side) for _, side in sites[:1]]
    if sites and term in terms.findings and not terms.is_within(terms.findings[term].default_site, "brain"):
        own = terms.findings[term].default_site  # "intracranial aneurysm"
        sites = [(own if site == "brain" else site, side) for site, side in sites]
    if term in _OVER_LOBES and sites:
        own = terms.findings[term].default_site
        lobes = [pair for pair in sites if terms.is_within(pair[0], "cerebral hemisphere") or pair[0] == "meninges"]
        if len(lobes) == len(sites):
            return list(dict.fromkeys((own, side) for _, side in lobes))
    if term in _OF_TERRITORIES:
        return list(dict.fromkeys((_TERRITORIES.get(site, site), side) for site, side in sites))
    return sites


def _on_the_side_of_the_lesion(mention: Mention) -> list[tuple[str, str]]:
    """ "A left frontal mass that extends into the insula": what a lesion reaches into is on its side."""
    side = mention.sites[0][1] if mention.sites else "none"
    if side not in ("left", "right") or not mention.reached:
        return mention.sites
    paired = load_terms().sites
    return [
        (site, side if own == "none" and site in mention.reached and paired[site].paired else own)
        for site, own in mention.sites
    ]


def _surrounds(mention: Mention, following: Mention, tokens: list[Token]) -> bool:
    """Whether a finding is told to be around the next: "edema about the left frontal mass"."""
    words = {t.word for t in tokens[mention.stop : following.first]}
    if mention.stop == following.first:  # "hemorrhagic mass"
        return True
    return following.first - mention.stop <= 7 and bool(words & _AROUND) and not words & {",", "and"}


def _is_only_beside(first: int, tokens: list[Token], beside: frozenset[str]) -> bool:
    """Whether a place is named as a neighbour ("adjacent to the temporal horn", "lateral to the insula")."""
    words = [t.word for t in tokens[max(0, first - 5) : first] if t.word not in ("the", "left", "right")]
    is_told = beside is not _TOUCHING
    if is_told and first >= 2 and tokens[first - 1].word in NEAR and tokens[first - 2].word in ("and", ","):
        return False  # "the peduncle and adjacent pons"
    is_direction = is_told and words[-1:] == ["to"] and bool(_DIRECTIONS & set(words[-2:-1]))
    if is_told and words[-1:] == ["of"]:  # "near the root entry zone of the trigeminal nerve"
        far = [t.word for t in tokens[max(0, first - 8) : first]]
        last = max(
            (i for i, word in enumerate(far) if word in LOCATIVE and word not in ("of", "to", "in")), default=-1
        )
        return any(word in _NEIGHBOURS for word in far[max(last, 0) :])
    return bool(beside & set(words[-2:])) or is_direction


def _around_the_brain(sites: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A lesion of the dura is at the dura, not in the lobe beside it, whose side it takes; a territory that a lobe
    follows is that lobe."""
    terms = load_terms()
    around = [pair for pair in sites if terms.is_within(pair[0], "extra-axial space")]
    lobes = [pair for pair in sites if terms.sites[pair[0]].parent == "cerebral hemisphere"]
    whole = [pair for pair in sites if pair[0] == "cerebral hemisphere"]
    if len(sites) == 2 and sites[0][0] == "sulci" and lobes:  # "the sulci of the left parietal convexity"
        return [("sulci", sites[0][1] if sites[0][1] != "none" else lobes[0][1])]
    if len(sites) > 1 and not lobes and any(terms.is_within(s, "posterior fossa") or s in _BASAL for s, _ in sites):
        # "an extra-axial lesion in the cerebellopontine angle"
        sites = [pair for pair in sites if pair[0] != "extra-axial space"]
        around = [pair for pair in around if pair[0] != "extra-axial space"]
    if around and (lobes or len(around) > 1) and len(around) + len(lobes) == len(sites):
        exact = [pair for pair in around if pair[0] != "extra-axial space"] or around
        sides = {side for _, side in sites} - {"none"}
        shared = sides.pop() if len(sides) == 1 else "none"
        return [(site, shared if side == "none" else side) for site, side in exact]
    outside = [pair for pair in sites if pair[0] in _OUTSIDE]
    if outside and lobes:  # "the left parietal scalp"
        side = next((side for _, side in lobes if side != "none"), "none")
        return [(site, side if own == "none" else own) for site, own in sites if (site, own) not in lobes]
    tissue = [pair for pair in sites if terms.is_within(pair[0], "white matter")]
    if len(whole) == 1 and tissue and len(sites) == len(tissue) + 1:  # "the white matter of both hemispheres"
        return [(site, whole[0][1] if side == "none" else side) for site, side in tissue]
    if whole and lobes:
        side = whole[0][1]
        return [(s, side if own == "none" else own) for s, own in sites if s != "cerebral hemisphere"]
    return sites


def _without_compartments(sites: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Where lobe and tissue are both said ("frontal subcortical white matter"), the lobe is the site."""
    terms = load_terms()
    dropped: set[int] = set()
    for a, b in pairwise(sites):
        between = {t.word for t in tokens[a.stop : b.first]}
        for lobe, tissue, joining in ((a, b, set()), (b, a, _OF_A_LOBE)):
            is_lobe = terms.sites[lobe.value[-1]].parent == "cerebral hemisphere" and lobe.value[-1] != "cortex"
            is_tissue = terms.is_within(tissue.value[0], "white matter") or tissue.value[0] == "cortex"
            if is_lobe and is_tissue and between <= joining:
                dropped.add(id(tissue))
        if not between and b.first == a.stop and b.value == ("white matter",) and _are_tissue([(a.value[0], "")]):
            dropped.add(id(b))  # "juxtacortical white matter"
        is_inner = a.value == ("white matter",) and terms.is_within(b.value[0], "white matter")
        if is_inner and between <= {"of", "the", "left", "right"} and "of" in between:
            dropped.add(id(a))
    return [site for site in sites if id(site) not in dropped]


def _site_owner(first: Mark, last: Mark, tokens: list[Token], cues: set[int], carriers: list[Mention]) -> Mention:
    """The finding of a list of sites: the one before it across a preposition, else the one that it leads up to."""
    left = _heads([m for m in carriers if m.first < first.first], first.first, tokens)
    right = [m for m in carriers if m.first >= last.stop or (m.first == first.first and m.term)]
    if not left or not right:
        return left[-1] if left else right[0] if right else carriers[-1]
    gap = range(left[-1].stop, first.first)
    if first.first == right[0].first:  # "pineal cyst": one phrase names the finding and its site
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
    if following.first - mention.stop > 4 or words & LOCATIVE or words & _OPENING or mention.term == "midline shift":
        return False
    return bool(words & {"and", "or", ",", "/", "nor"}) and bool(following.sites) and following.sites_follow


def _sides(marks: list[Mark], tokens: list[Token], sites: list[Mark], carriers: list[Mention]) -> dict[int, str]:
    """Side of each site mark, by the mark's identity. A side covers the list it leads, or the list that it ends."""
    paired = load_terms().sites
    result: dict[int, str] = {}
    sides = [m for m in marks if m.kind == "laterality" and not any(c.first <= m.first < c.stop for c in carriers)]
    if not sides:
        return result
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
                is_part = {t.word for t in tokens[side.stop : site.first]} <= _PART_OF | _DIRECTIONS
                if paired[site.value[0]].paired or site.first == side.stop or (is_part and site is group[0]):
                    result.setdefault(id(site), side.value)
            continue
        behind = [g for g in _groups(sites, marks, tokens) if g[-1].stop <= side.first]
        if behind and side.first - behind[-1][-1].stop <= 4:
            for site in behind[-1]:
                if paired[site.value[0]].paired or site.stop == side.first:
                    result.setdefault(id(site), side.value)
        else:
            nearest = _owner(side, tokens, carriers)
            if nearest is not None and (nearest.term != "mass effect" or not _is_direction(side, tokens)):
                nearest.side = side.value
    return result


def _is_direction(side: Mark, tokens: list[Token]) -> bool:
    """Whether a side tells where to something is displaced ("displaced to the left")."""
    return [t.word for t in tokens[max(0, side.first - 2) : side.first]] in (["to", "the"], ["towards", "the"])


def _owner(mark: Mark, tokens: list[Token], carriers: list[Mention]) -> Mention | None:
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


def attach_signals(marks: list[Mark], tokens: list[Token], carriers: list[Mention]) -> None:
    """Pair signal words with sequences and hand the pairs to their finding."""
    signals = [m for m in marks if m.kind == "signals"]
    sequences = [m for m in marks if m.kind == "sequences"]
    if not signals and not sequences:
        return
    if signals and not any(c.certainty == "absent" for c in carriers):
        # "does not enhance" gives no enhancement; "no high signal" is a finding of its own, which keeps its signal
        denials = [m.stop for m in marks if m.kind == "certainty" and m.value == "absent"]
        signals = [m for m in signals if not any(0 <= m.first - stop <= 2 for stop in denials)]
    taken: set[int] = set()
    for group in _sequence_groups(sequences, signals, marks, tokens):
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


def _sequence_groups(
    sequences: list[Mark], signals: list[Mark], marks: list[Mark], tokens: list[Token]
) -> list[list[Mark]]:
    """Sequences that share a signal; "bright on T2, FLAIR hypointense" has two groups, "T2/FLAIR hyperintense" one."""
    starts = {s.first for s in signals}
    result = []
    for group in _groups(sequences, marks, tokens):
        cut = len(group) - 1
        while cut and tokens[group[cut].first - 1].word == "/":  # "T2/FLAIR" is never parted
            cut -= 1
        signal = _signal_of(group[:1], signals, tokens)
        if cut and group[-1].stop in starts and signal is not None and signal.first < group[0].first:
            result += [group[:cut], group[cut:]]
        else:
            result.append(group)
    return result


def _signal_of(group: list[Mark], signals: list[Mark], tokens: list[Token]) -> Mark | None:
    before = [s for s in signals if s.stop <= group[0].first]
    after = [s for s in signals if s.first >= group[-1].stop]
    is_led = bool(after) and after[0].first == group[-1].stop
    if is_led and (not before or group[0].first - before[-1].stop > 2):  # "... on T1 and T2 hyperintense"
        return after[0]
    if before:
        gap = {t.word for t in tokens[before[-1].stop : group[0].first]}
        if gap & {"on", "in"} and len(gap) <= 8 and "," not in gap:
            return before[-1]
    if after and after[0].first - group[-1].stop <= 6:
        return after[0]
    if before and group[0].first - before[-1].stop <= 6:
        return before[-1]
    return None


def attach_attributes(
    marks: list[Mark], tokens: list[Token], carriers: list[Mention], text: str, start: int, stop: int
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
    for size in _SIZE.finditer(text, low, high) if _DIGIT.search(text, low, high) else ():
        position = next((i for i in range(start, stop) if tokens[i].start >= size.start()), start)
        end = next((i for i in range(position, stop) if tokens[i].end >= size.end()), stop - 1) + 1
        following = next((c for c in carriers if c.first >= end), None)
        is_led = end < len(tokens) and tokens[end].word == "of" and following is not None
        owner = following if is_led else _owner(Mark("size", None, position, end), tokens, carriers)
        if owner is not None and owner.size_mm is None:
            scale = 10.0 if size.group(4).lower().startswith("c") else 1.0
            owner.size_mm = scale * max(float(v) for v in size.groups()[:3] if v)
    for mention in carriers:
        if mention.term and mention.count == "none" and mention.certainty != "absent":
            mention.count = _count_before(mention, tokens, carriers, start)


def _count_before(mention: Mention, tokens: list[Token], carriers: list[Mention], start: int) -> int | str:
    low = max([start, mention.first - 7, *(c.stop for c in carriers if c.stop <= mention.first)])
    nouns = ("lesions", "foci", "infarcts", "masses", "nodules", "cysts", "spaces", "hyperintensities", "areas")
    plural = any(t.word.endswith(nouns) for t in tokens[mention.first : mention.stop])
    for token in reversed(tokens[low : mention.first]):
        if token.word in _NUMBERS and plural:
            return _NUMBERS[token.word]
        if token.word in _ONE and not plural:
            return 1
    return "multiple" if plural else "none"
