"""Where a finding is that its sentence places nowhere or in part: at the lesion that it goes with or explains."""

from dataclasses import replace

from ..vocabulary import load_terms
from .entries import Entry, copy_of, is_group, is_reached
from .mentions import ACCOMPANYING, HEDGED, VAGUE_SITES, Mention

# Where a finding of such a part is told after another of it, it is on that one's side.
_PARTS = (
    "hippocampus",
    "paranasal sinuses",
    "maxillary sinus",
    "mastoid",
    "pituitary",
    "cerebellopontine angle",
    "meninges",
)
# fmt: off
CAUSES = frozenset((
    "glioma", "meningioma", "metastasis", "lymphoma", "pituitary adenoma", "craniopharyngioma", "schwannoma",
    "hemangioblastoma", "hemangioma", "epidermoid cyst", "other tumor", "vascular malformation",
    "cavernous malformation", "developmental venous anomaly", "abscess", "arachnoid cyst", "encephalitis", "infection",
    "demyelinating plaque", "infarct", "acute infarct", "subacute infarct", "chronic infarct", "calcification",
    "mass", "cyst", "gliosis", "leukoencephalopathy", "necrosis", "microbleed", "contusion", "vasculopathy",
    "subarachnoid hemorrhage", "artifact", "aneurysm",
))
# fmt: on
_OF_VESSELS = ("aneurysm", "vasculopathy")
_OF_BOTH_SIDES = ("meningitis",)
# What is told as the cause of a lesion where it is doubted, while "postoperative change" by itself is a finding.
DOUBTED_CAUSES = CAUSES | frozenset(
    (
        "postoperative change",
        "developmental anomaly",
        "lacune",
        "perivascular space",
        "normal variant",
        "ischemic change",
        "hemorrhage",
        "hemosiderin deposition",
        "encephalomalacia",
        "diffuse axonal injury",
    )
)
# Where no lesion of the brain is.
_NO_BRAIN = ("vessels", "paranasal sinuses", "mastoid")
# fmt: off
_OF_ANY_PLACE = frozenset((
    "mass", "infection", "metastasis", "lymphoma", "necrosis", "other tumor", "calcification", "cyst",
    "normal variant", "developmental anomaly", "artifact", "hemorrhage", "postoperative change",
))
# fmt: on
# What has no signal of its own: an enhancement told after it is that of the lesion before.
DISPLACEMENTS = frozenset(("mass effect", "midline shift", "herniation", "ventricular dilation", "sulcal widening"))


def can_be_at(term: str, site: str) -> bool:
    """Whether what a diagnosis explains may be at a site: a lesion of the brain is in no vessel and no sinus."""
    terms = load_terms()
    is_inside = terms.findings[term].default_site in VAGUE_SITES and term not in _OF_ANY_PLACE
    is_of_vessel = term in _OF_VESSELS and not terms.is_within(site, "vessels")
    if term == "vasculopathy" and not terms.is_within(site, "extra-axial space"):
        return site != "sulci"  # white matter lesions may be due to vasculitis
    return not is_of_vessel and not (is_inside and any(terms.is_within(site, place) for place in _NO_BRAIN))


def placed_at(
    mention: Mention, quote: str, earlier: list[Entry], is_same_sentence: bool, is_cause: bool
) -> list[Entry]:
    """One entry per site; without a site, that of the lesion that the mention goes with, or the default."""
    if len(earlier) > 1:
        earlier = [e for e in earlier if not is_reached(e)] or earlier
    if mention.sites:
        return [
            Entry(
                _named_by_site(mention, site),
                site,
                side if side != "none" else _side_at(site, mention, earlier),
                True,
                quote,
            )
            for site, side in mention.sites
        ]
    term = load_terms().findings[mention.term]
    if not earlier:
        return [Entry(mention, term.default_site, mention.side, False, quote)]
    follows = mention.is_back_reference or mention.is_definite
    follows = follows or (mention.is_near and mention.certainty != "absent")
    if mention.term in ACCOMPANYING:
        follows = follows or is_same_sentence or (mention.certainty in HEDGED and bool(earlier))
        follows = follows or (mention.term in ("edema", "mass effect") and mention.certainty != "absent")
    elif is_cause:
        # "the enhancement pattern suggests a meningioma" says no place but that of meningiomas
        has_place = term.default_site not in VAGUE_SITES and not load_terms().is_within(term.default_site, "vessels")
        follows = any(e.is_placed for e in earlier) or (bool(earlier) and not has_place)
    elif mention.certainty in HEDGED and term.kind == "diagnosis":
        is_told = follows or is_same_sentence
        earlier = [e for e in earlier if e.mention.term not in DISPLACEMENTS]
        follows = term.default_site in VAGUE_SITES or (is_told and any(_may_be_at(e, mention.term) for e in earlier))
    is_of_part = term.default_site in _PARTS and mention.certainty != "absent" and mention.side == "none"
    is_of_part = is_of_part and mention.term not in _OF_BOTH_SIDES
    near = [e for e in earlier if is_of_part and load_terms().is_within(e.site, term.default_site)]
    if near:
        return [Entry(mention, e.site, e.side, e.is_placed, quote) for e in near]
    is_scattered = len({e.site for e in earlier}) > 1 and all(is_group(e) for e in earlier)
    if is_scattered and mention.certainty == "absent" and mention.is_of_these and mention.side == "none":
        return [Entry(mention, "brain", "none", False, quote)]  # "these do not enhance", of lesions here and there
    if follows and (mention.certainty in HEDGED or is_cause) and _are_several(earlier) and not is_same_sentence:
        is_pointing = mention.is_back_reference or mention.is_of_all or mention.is_definite
        return [Entry(mention, "brain" if is_pointing else term.default_site, "none", False, quote)]
    if not is_cause and mention.term not in ACCOMPANYING:  # "with associated hydrocephalus": not at the lesion
        follows = follows and (term.default_site in VAGUE_SITES or any(_may_be_at(e, mention.term) for e in earlier))
    if earlier and follows and mention.side == "none":
        return [Entry(mention, e.site, e.side, e.is_placed, quote) for e in earlier]
    side = _side_of_cause(mention, term.default_site, earlier, is_same_sentence)
    return [Entry(mention, term.default_site, side, False, quote)]


def _are_several(lesions: list[Entry]) -> bool:
    """Whether several separate lesions are spoken of, not one that is at several sites."""
    if len({e.sentence for e in lesions}) > 1:
        return True
    if all(e.mention.count == 1 or (e.mention.term == "mass" and not is_group(e)) for e in lesions):
        return len({e.quote for e in lesions}) > 1  # "a lesion in the frontal lobe and another in the cerebellum"
    sites = {e.site for e in lesions}
    sides = {e.side for e in lesions} - {"none"}
    # "hyperintensity of the insula and temporal lobe" is one lesion, that of more places or of other sides is not
    return len(sites) > 2 or (len(sites) > 1 and (len(sides) > 1 or any(is_group(e) for e in lesions)))


def _side_at(site: str, mention: Mention, earlier: list[Entry]) -> str:
    """Side of a site that is told without one: that of the lesion, beside which or of which it is told."""
    if not load_terms().sites[site].paired:
        return mention.side if len(mention.sites) == 1 else "none"
    if mention.side != "none":
        return mention.side
    if load_terms().findings[mention.term].kind == "status":
        return "none"
    is_cause = mention.certainty in HEDGED and load_terms().findings[mention.term].kind == "diagnosis"
    beside = {e.side for e in earlier if mention.is_near or (is_cause and e.site == site)}
    return beside.pop() if len(beside) == 1 else "none"


def _side_of_cause(mention: Mention, site: str, earlier: list[Entry], is_same_sentence: bool) -> str:
    """Side of a diagnosis that has a place of its own, where what it explains has a side: "a collection on the left,
    probably a subdural hematoma"."""
    is_within = load_terms().is_within
    is_of_vessel = is_within(site, "vessels")
    is_beside = is_same_sentence and any(is_within(e.site, "vessels") == is_of_vessel for e in earlier)
    is_near = is_beside or any(is_within(site, e.site) for e in earlier)
    is_said = (mention.certainty in HEDGED and is_near) or (mention.is_near and mention.certainty != "absent")
    sides = {e.side for e in earlier}
    is_known = mention.side != "none" or mention.term in _OF_BOTH_SIDES or not is_said
    if is_known or not load_terms().sites[site].paired or len(sides) != 1:
        return mention.side
    return sides.pop()


def _may_be_at(entry: Entry, term: str) -> bool:
    """Whether what is spoken of lies where a diagnosis has its place ("this suggests hydrocephalus" may not)."""
    return load_terms().is_within(entry.site, load_terms().findings[term].default_site)


def _named_by_site(mention: Mention, site: str) -> Mention:
    """ "Ventricles and sulci are prominent": wide ventricles are dilated, wide sulci and cisterns widened.

    Enhancement of brain and meninges is one of each kind.
    """
    if mention.term == "abnormal enhancement" and load_terms().is_within(site, "meninges"):
        return replace(copy_of(mention), term="meningeal enhancement")
    if mention.term not in ("ventricular dilation", "sulcal widening"):
        return mention
    term = "ventricular dilation" if load_terms().is_within(site, "ventricles") else "sulcal widening"
    return replace(copy_of(mention), term=term)
