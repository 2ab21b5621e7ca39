"""Sites that stand together in an English sentence: which of them says the place of the finding."""

from itertools import pairwise

from ..vocabulary import load_terms
from .matching import Token
from .mentions import Mark, Mention

# A part that is told after them takes their place.
_WHOLES = (
    "ventricles",
    "cerebellum",
    "brainstem",
    "posterior fossa",
    "cerebral hemisphere",
    "paranasal sinuses",
    "vessels",
    "white matter",
    "meninges",
    "skull",
)
_COMPARING = frozenset(("than", "to", "with"))
_BASAL = ("middle cranial fossa", "sella", "suprasellar region", "cavernous sinus", "skull base")
_OUTSIDE = ("scalp", "skull", "face")
_ARTICLES = ("the", "that", "of", "normal", "adjacent", "left", "right")
# fmt: off
_COMPARED = frozenset((
    "isointense", "hyperintense", "hypointense", "relative", "compared", "similar", "respect", "identical", "parallel",
    "proportion", "comparison", "intense",
))
# fmt: on
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
_UNDER_BONE = frozenset(
    ("subdural hematoma", "epidural hematoma", "extra-axial collection", "subarachnoid hemorrhage")
)
# Where a hematoma of a space of its own is told to lie along.
_ALONG = frozenset(("falx", "meninges", "sulci", "skull"))
_OF_SINUSES = frozenset(("sinusitis", "mucosal thickening", "sinus opacification", "retention cyst"))
_OF_TERRITORIES = frozenset(
    ("infarct", "acute infarct", "subacute infarct", "chronic infarct", "encephalomalacia", "ischemic change")
)
_TERRITORIES = dict.fromkeys(
    ("anterior cerebral artery", "middle cerebral artery", "posterior cerebral artery", "carotid artery"),
    "cerebral hemisphere",
)
_TERRITORIES |= {"vertebrobasilar arteries": "cerebellum", "vessels": "brain"}  # "PICA infarct", "perforator infarct"
# A term that has another name at the place where it is told.
_TERMS_AT = {
    "cavernous malformation": dict.fromkeys(("orbit", "skull", "face", "scalp", "spine"), "hemangioma"),
    "mucosal thickening": {"mastoid": "mastoiditis"},
    "edema": dict.fromkeys(("scalp", "face"), "soft tissue swelling"),
    "hemorrhage": {
        "subdural space": "subdural hematoma",
        "epidural space": "epidural hematoma",
        "subarachnoid space": "subarachnoid hemorrhage",
    },
    "abnormal enhancement": {"sulci": "meningeal enhancement"},
}
# Beside these the white matter says where it is.
_WITH_WHITE_MATTER = frozenset(("brain", "cerebral hemisphere", "posterior fossa"))
_PART_OF_WHOLE = frozenset(("of", "the", "left", "right", "both", "bilateral"))
# Nouns that a word of a larger or neighbouring place describes.
# fmt: off
_HEADS = frozenset((
    "sulci", "basal cisterns", "vermis", "cerebellar hemisphere", "cerebellar peduncle", "optic nerve",
    "cranial nerves",
    "carotid artery", "vertebrobasilar arteries", "dural venous sinuses", "middle cerebral artery",
    "anterior cerebral artery", "posterior cerebral artery", "lateral ventricle", "skull base", "paranasal sinuses",
))
# fmt: on
_OF_A_LOBE = frozenset(("of", "the", "left", "right", "in", "both", "bilateral"))


def without_wholes(told: list[tuple[str, str]], placed: list[tuple[str, str]]) -> list[tuple[str, str]]:
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


def are_tissue(sites: list[tuple[str, str]]) -> bool:
    """Whether all sites are compartments of tissue: cortex or white matter."""
    terms = load_terms()
    return all(site == "cortex" or terms.is_within(site, "white matter") for site, _ in sites)


def are_lobes(sites: list[tuple[str, str]]) -> bool:
    """Whether all sites are lobes or other parts of a hemisphere, the cortex left out."""
    return all(load_terms().sites[site].parent == "cerebral hemisphere" and site != "cortex" for site, _ in sites)


def lists_brain(group: list[Mark], tokens: list[Token]) -> bool:
    """Whether the brain is an item of a list ("brain and meninges", "cerebral and cerebellar")."""
    pairs = [(a, b) for a, b in pairwise(group) if ("brain",) in (a.value, b.value)]
    return bool(pairs) and all({"and", "or", ",", "/"} & {t.word for t in tokens[a.stop : b.first]} for a, b in pairs)


def without_comparisons(sites: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Leave out what a signal or size is only compared with ("isointense to gray matter", "relative to the sulci")."""
    kept = []
    for site in sites:
        before = [t.word for t in tokens[max(0, site.first - 4) : site.first]]
        if _COMPARING.isdisjoint(before):
            kept.append(site)
            continue
        words = [word for word in before if word not in _ARTICLES]
        is_listed = words[-2:] in (["more", "than"], ["greater", "than"]) and any(
            other.stop == site.first - 2 - (tokens[site.first - 1].word in _ARTICLES) for other in sites
        )  # "the vermis more than the hemispheres"
        if is_listed or not (
            words[-1:] == ["than"] or (words[-1:] in (["to"], ["with"]) and _COMPARED & set(words[-2:-1]))
        ):
            kept.append(site)
    return kept


def without_whole_vessels(sites: list[tuple[str, str]], term: str) -> list[tuple[str, str]]:
    """ "Flow voids of the carotid arteries": beside a vessel of its own, the vessels as a whole say nothing.

    Nor does the flow void of an aneurysm.
    """
    terms = load_terms()
    named = [pair for pair in sites if pair[0] != "vessels" and terms.is_within(pair[0], "vessels")]
    return [pair for pair in sites if pair[0] != "vessels"] if named or term == "aneurysm" else sites


def in_the_midline(sites: list[tuple[str, str]], term: str) -> list[tuple[str, str]]:
    """ "A midline suprasellar mass": the midline beside another site is its side."""
    others = [pair for pair in sites if pair[0] != "midline"]
    if not others or len(others) == len(sites) or term == "midline shift":
        return sites
    return [(site, "midline" if side == "none" else side) for site, side in others]


def term_at(term: str, sites: list[tuple[str, str]]) -> str:
    """The name of a term at its places: a cavernous hemangioma of the orbit, blood in the subdural space."""
    names = {_TERMS_AT[term].get(site, term) for site, _ in sites} if term in _TERMS_AT else {term}
    return names.pop() if len(names) == 1 else term


def of_the_term(term: str, sites: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sites that a term turns into others.

    - What lies outside the brain is told by the lobe it lies over: "left frontal subdural hematoma".
    - An infarct of an artery is one of its territory.
    """
    terms = load_terms()
    if term == "midline shift":
        return [("midline", side) for _, side in sites[:1]]
    if sites and term in terms.findings and not terms.is_within(terms.findings[term].default_site, "brain"):
        own = terms.findings[term].default_site  # "intracranial aneurysm"
        sites = [(own if site == "brain" else site, side) for site, side in sites]
    if term in _OVER_LOBES and sites:
        own = terms.findings[term].default_site
        lobes = [pair for pair in sites if terms.is_within(pair[0], "cerebral hemisphere") or pair[0] == "meninges"]
        if len(lobes) == len(sites):
            return list(dict.fromkeys((own, side) for _, side in lobes))
    if term in _UNDER_BONE:  # "an epidural hematoma beneath the temporal squama", "a subdural hematoma along the falx"
        own = terms.findings[term].default_site
        along = _ALONG if own in ("subdural space", "epidural space") else ("skull", "cortex")
        sites = list(dict.fromkeys((own if site in along else site, side) for site, side in sites))
    if term in _OF_SINUSES:  # "right frontal mucosal thickening"
        sites = [("frontal sinus" if site == "frontal lobe" else site, side) for site, side in sites]
    if term == "soft tissue swelling":  # "overlying the parietal bone"
        sites = list(dict.fromkeys(("scalp" if site == "skull" else site, side) for site, side in sites))
    if term == "vascular malformation":  # "a dural arteriovenous fistula"
        others = [pair for pair in sites if pair[0] != "meninges"]
        sites = others or [("vessels", side) for _, side in sites]
    if term == "empty sella":
        sites = list(dict.fromkeys(("sella" if site == "pituitary" else site, side) for site, side in sites))
    if term == "postoperative change" and ("posterior fossa", "none") in sites and len(sites) > 1:
        # "a suboccipital craniectomy" is told by the fossa, one "in the occipital bone on the left" by the bone
        bones = [pair for pair in sites if pair[0] == "skull" and pair[1] != "none"]
        sites = bones or [pair for pair in sites if pair[0] != "skull"]
    if term == "postoperative change" and any(terms.sites[site].parent == "cerebral hemisphere" for site, _ in sites):
        sites = [pair for pair in sites if pair[0] != "skull"] or sites  # "a left frontal burr hole"
    if term in _OF_TERRITORIES:
        return list(dict.fromkeys((_TERRITORIES.get(site, site), side) for site, side in sites))
    return sites


def on_the_side_of_the_lesion(mention: Mention) -> list[tuple[str, str]]:
    """ "A left frontal mass that extends into the insula": what a lesion reaches into is on its side."""
    side = mention.sites[0][1] if mention.sites else "none"
    if side not in ("left", "right") or not mention.reached:
        return mention.sites
    paired = load_terms().sites
    return [
        (site, side if own == "none" and site in mention.reached and paired[site].paired else own)
        for site, own in mention.sites
    ]


def around_the_brain(sites: list[tuple[str, str]], term: str) -> list[tuple[str, str]]:
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
    if {site for site, _ in sites} == {"skull base", "cerebellopontine angle"} and term != "bone erosion":
        # "along the left petrous bone in the cerebellopontine angle"
        side = next((side for _, side in sites if side != "none"), "none")
        return [("cerebellopontine angle", side)]
    outside = [pair for pair in sites if pair[0] in _OUTSIDE]
    if outside and lobes and term != "postoperative change":  # "the left parietal scalp"
        side = next((side for _, side in lobes if side != "none"), "none")
        return [(site, side if own == "none" else own) for site, own in sites if (site, own) not in lobes]
    tissue = [pair for pair in sites if terms.is_within(pair[0], "white matter")]
    if len(whole) == 1 and tissue and len(sites) == len(tissue) + 1:  # "the white matter of both hemispheres"
        return [(site, whole[0][1] if side == "none" else side) for site, side in tissue]
    is_status = term == "normal" or whole[:1] == [("cerebral hemisphere", "none")]
    is_item = len(whole) + len(lobes) < len(sites) and is_status
    if whole and lobes and not is_item:  # "in the hemispheres, basal ganglia or brainstem" lists the hemispheres, too
        side = whole[0][1]
        return [
            (s, side if own == "none" and terms.sites[s].paired else own)
            for s, own in sites
            if s != "cerebral hemisphere"
        ]
    return sites


def without_compartments(sites: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Where lobe and tissue are both said ("frontal subcortical white matter"), the lobe is the site."""
    if len(sites) < 2:
        return sites
    terms = load_terms()
    dropped: set[int] = set()
    for a, b in pairwise(sites):
        between = {t.word for t in tokens[a.stop : b.first]}
        for lobe, tissue, joining in ((a, b, set()), (b, a, _OF_A_LOBE)):
            is_lobe = terms.sites[lobe.value[-1]].parent == "cerebral hemisphere" and lobe.value[-1] != "cortex"
            is_tissue = terms.is_within(tissue.value[0], "white matter") or tissue.value[0] == "cortex"
            if is_lobe and is_tissue and between <= joining:
                dropped.add(id(tissue))
        if b.value == ("white matter",) and b.first == a.stop and a.value[0] not in _WITH_WHITE_MATTER:
            dropped.add(id(b))  # "juxtacortical white matter", "the pyramidal tracts of the brainstem"
        elif "of" in between and between <= _PART_OF_WHOLE and a.value != b.value:
            # "the ependyma of the lateral ventricle", "the white matter of the centrum semiovale"
            if terms.is_within(b.value[0], a.value[0]):
                dropped.add(id(a))
            elif len(b.value) == 1 and terms.is_within(a.value[0], b.value[0]):
                dropped.add(id(b))
    return [site for site in sites if id(site) not in dropped]


def joined_to_heads(sites: list[Mark]) -> list[Mark]:
    """Where one word of a place leads to the next at once, the last says where: "superior frontal sulcus",
    "intraorbital optic nerve"."""
    joined: list[Mark] = []
    for site in sites:
        last = joined[-1] if joined else None
        if last is not None and last.stop == site.first and site.value[0] in _HEADS and last.value != site.value:
            joined[-1] = Mark(site.kind, site.value, last.first, site.stop)
        else:
            joined.append(site)
    return joined
