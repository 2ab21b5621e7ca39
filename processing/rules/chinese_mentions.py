"""From a finding of a Chinese clause to its mention: a new one, or one that the sentence has told before."""

from ..vocabulary import load_terms
from .chinese_clauses import Clause, Item
from .chinese_context import KEEPS_ITS_SITE, WITHOUT_SIGNAL, Context, draw_out_quotes
from .chinese_places import Place
from .mentions import ACCOMPANYING, AGED, AGES, AS_SIGNAL, VAGUE_SITES, Mention

_QUOTED = frozenset(
    ("findings", "predicates", "clear", "signal", "relaxation", "bare", "laterality", "sites", "lobes", "sequences")
) | {"morphology", "count", "severity", "acuity"}
_SHOWS = ("示", "显示")  # "DWI shows the lesion ...": what follows need not be new


def make_mention(context: Context, item: Item, before: list[Item], clause: Clause) -> None:
    """Make the mention of a finding, or find the one that it only speaks of again."""
    if earlier := _spoken_of(context, item, before, clause):
        item.mentions = earlier
        draw_out_quotes(item, item.mark)
        return
    mention = Mention(item.term, item.mark.first, item.mark.stop, certainty=item.certainty)
    places = places_of(item)
    mention.sites = list(dict.fromkeys(p.key for p in places))
    if len(mention.sites) > 1:
        mention.sites = [s for s in mention.sites if s[0] != "brain"] or mention.sites[:1]
    start = max([clause.start, *(i.mark.stop for i in before)])
    first = next((m.first for m in clause.marks if m.first >= start and m.kind in _QUOTED), item.mark.first)
    mention.quote = (first, max(item.mark.stop, *(p.stop for p in places if p.stop <= clause.stop), 0))
    mention.is_back_reference = clause.has("back_reference", "operated") or _stays(context, item, clause)
    mention.is_apart = clause.has("operated")
    mention.is_definite = _is_anaphor(context, item, clause)
    _set_side(context, mention, item, clause)
    _take_over(context, mention, item)
    item.mentions = [mention]
    context.mentions.append(mention)


def _spoken_of(context: Context, item: Item, before: list[Item], clause: Clause) -> list[Mention]:
    """The mentions of this sentence that a finding only adds to: 病灶边界清楚, or a diagnosis of what is described."""
    if item.certainty == "absent":
        return []
    own = item.places
    if item.term in AS_SIGNAL and not clause.of("operated"):
        told = [i.mentions for i in before if i.term not in WITHOUT_SIGNAL and i.certainty != "absent"]
        showing = told[-1] if told else [] if own else context.bearers
        for mention in showing:
            mention.signals = {s for s in mention.signals if s != ("DWI", "none")} | {AS_SIGNAL[item.term]}
        if showing:
            return showing
    if not context.lesions:
        return []
    if not own and _is_anaphor(context, item, clause):
        return context.lesions
    terms = load_terms().findings
    same = [m for m in context.mentions if m.term == item.term and m.certainty != "absent"]
    if (
        same
        and item.certainty != "present"
        and not own
        and context.lesions[-1].sites in ([], [("brain", "none")], same[-1].sites)
    ):
        return same
    described = (
        [m for m in context.lesions if m.certainty == "present" and terms[m.term].kind == "description"]
        if context.lesions[0].term
        else []
    )
    is_linked = clause.opener == "(" or any(m.first < item.mark.first for m in clause.of("consistent"))
    if item.certainty == "present" and terms[item.term].kind == "diagnosis" and described and not own and is_linked:
        for mention in described:
            mention.term = item.term
        return described
    return []


def _is_anaphor(context: Context, item: Item, clause: Clause) -> bool:
    if item.term not in ("signal abnormality", "mass", "cyst", "hemorrhage") or item.certainty != "present":
        return False
    if not any(m.first == item.mark.first for m in clause.of("anaphora")):
        return False
    introduced = [
        m for m in (*clause.of("exists"), *clause.of("count")) if m.first < item.mark.first and m.value not in _SHOWS
    ]
    return not introduced


def _stays(context: Context, item: Item, clause: Clause) -> bool:
    """Whether a finding without a place of its own is where the lesion before it in the sentence is."""
    if not context.lesions or item.places or item.term in KEEPS_ITS_SITE:
        return False
    if item.certainty == "absent":
        return item.term in (*ACCOMPANYING, "mass", "signal abnormality") and not clause.has("change")
    default = load_terms().findings[item.term].default_site
    if item.term in ("abnormal vessels", "vessel tortuosity"):
        return any(m.sites for m in context.lesions)
    return default == "brain" or ((item.certainty != "present" or default == "vessels") and _is_near(context, default))


def _is_near(context: Context, site: str) -> bool:
    """Whether the lesion spoken of stands at, in or around a site."""
    within = load_terms().is_within
    return any(within(s, site) or within(site, s) for m in context.lesions for s, _ in m.sites if s != "brain")


def places_of(item: Item) -> list[Place]:
    """The places that a term can have: a meningioma is dural, a midline shift has none but its direction."""
    terms = load_terms()
    if item.term in ("midline shift", "hydrocephalus", "herniation"):
        return []
    if item.term == "meningioma":
        return [
            Place("meninges", p.side, p.first, p.stop)
            if terms.is_within(p.site, "cerebral hemisphere") or p.site == "brain"
            else p
            for p in item.places
        ]
    return item.places


def _set_side(context: Context, mention: Mention, item: Item, clause: Clause) -> None:
    if item.term == "midline shift":
        sides = [m.value for m in clause.of("laterality") if m.value in ("left", "right")]
        mention.side = sides[-1] if sides and item.certainty != "absent" else "none"
    elif not mention.sites and (sides := _sides_before(context, item, clause)):
        mention.side = str(sides[-1])
    elif not mention.sites and not mention.is_back_reference and _is_sided_like_the_lesion(context, item):
        of_lesions = {side for m in context.lesions for _, side in m.sites}
        mention.side = of_lesions.pop() if len(of_lesions) == 1 else "none"


def _sides_before(context: Context, item: Item, clause: Clause) -> list[object]:
    terms = load_terms()
    is_paired = terms.sites[terms.findings[item.term].default_site].paired
    return [m.value for m in clause.of("laterality") if is_paired and m.stop <= item.mark.first]


def _is_sided_like_the_lesion(context: Context, item: Item) -> bool:
    terms = load_terms()
    site = terms.findings[item.term].default_site
    return item.certainty != "absent" and terms.sites[site].paired and site not in ("vessels", *VAGUE_SITES)


def _take_over(context: Context, mention: Mention, item: Item) -> None:
    """A hedged diagnosis counts and measures what the same sentence describes."""
    described = [m for m in context.lesions if load_terms().findings[m.term or "normal"].kind == "description"]
    named = [p for p in item.places if p.first != item.mark.first]  # other than by its own word (脑白质病变)
    if item.certainty in ("probable", "possible") and described and not named:
        mention.count, mention.size_mm = described[-1].count, described[-1].size_mm
        mention.morphology |= described[-1].morphology


def name_age(mention: Mention) -> None:
    """Let the age word make the term (脑梗死, 慢性期), or the term the age, once the sentence has said all of it."""
    mention.term = AGED.get(mention.term, {}).get(mention.acuity, mention.term)
    if mention.term in AGES and mention.acuity == "none":
        mention.acuity = AGES[mention.term]


def finish(context: Context, item: Item) -> None:
    """Terms that age and signal make, and what later clauses may add to."""
    for mention in item.mentions:
        if mention.term == "meningeal enhancement" and "强化" in context.text[item.mark.first : item.mark.stop]:
            mention.signals.add(("T1c", "enhancing"))
        if mention.term in AS_SIGNAL:
            mention.signals = {s for s in mention.signals if s[1] != "none"} or {AS_SIGNAL[mention.term]}
        if mention.certainty == "absent":
            mention.severity, mention.count = "none", "none"
        if "symmetric" in mention.morphology:
            paired = load_terms().sites
            mention.sites = [(s, "bilateral" if d == "none" and paired[s].paired else d) for s, d in mention.sites]
    is_lesion = item.certainty != "absent" and item.term not in ("normal", "normal variant", "artifact")
    goes_along = item.term in (*ACCOMPANYING, "midline shift", "meningeal enhancement") and not item.places
    if is_lesion and (not goes_along or any(m.is_apart for m in item.mentions)):
        context.lesions = item.mentions
        context.bearers = item.mentions if item.term not in WITHOUT_SIGNAL else context.bearers
