"""Chinese clauses without a finding: sites, sides, sequences and hedges for the clause before or after."""

from dataclasses import replace

from ..vocabulary import load_terms
from .chinese_clauses import ATTRIBUTE, FINDING, SIGNAL, Clause, Item, unread_characters
from .chinese_context import Context
from .chinese_mentions import places_of
from .chinese_places import Place
from .mentions import Mark, Mention


def keep_for_later(context: Context, clause: Clause, places: list[Place]) -> bool:
    """Whether a clause holds only sites, sequences or a hedge for the next one; then they are kept."""
    if clause.has(FINDING, SIGNAL, ATTRIBUTE, "level", "anaphora", "singled_out"):
        return False
    if places and clause.stop - places[-1].stop <= 1 and unread_characters(clause, context.text) <= 1:
        context.waiting_places += places
        context.waiting_sequences += clause.of("sequences")
        return True
    cues = clause.of("certainty")
    if cues and not places:
        is_alone = cues[0].first - clause.start <= 1 and clause.stop - cues[-1].stop <= 1
        told = [m for m in context.latest if m.certainty == "present" and m.term != "normal"]
        if clause.closer == ":" or (not told and cues[-1].value != "absent"):
            context.waiting_hedge = str(cues[-1].value)
        elif is_alone:  # "haemorrhage: none", "metastasis (possible)"
            for mention in told:
                mention.certainty = str(cues[-1].value)
        return True
    if _names_sequences(context, clause):
        return True
    if clause.of("sequences") and not context.is_compared:
        context.waiting_sequences += clause.of("sequences")
        return True
    return False


def _names_sequences(context: Context, clause: Clause) -> bool:
    """Whether a bracket names the sequences of the signal before it: 高信号(T2WI)."""
    names = {str(m.value) for m in clause.of("sequences")}
    told = [m for m in context.bearers if any(sequence == "any" for sequence, _ in m.signals)]
    if clause.opener != "(" or not names or not told:
        return False
    for mention in told:
        words = {word for sequence, word in mention.signals if sequence == "any"}
        kept = {signal for signal in mention.signals if signal[0] != "any"}
        mention.signals = kept | {(name, word) for name in names for word in words}
    return True


def take_sides(context: Context, clause: Clause, places: list[Place]) -> bool:
    """Give a side that stands alone, as in 额叶(左侧), to the site before it."""
    sides = {str(m.value) for m in clause.of("laterality")}
    if len(sides) != 1 or places or clause.has(FINDING, SIGNAL):
        return False
    side = sides.pop()
    if context.waiting_places:
        context.waiting_places = [_with_side(p, side, clause) for p in context.waiting_places]
    paired = load_terms().sites
    for mention in context.lesions if not context.waiting_places else ():
        is_next = clause.opener == "(" and mention.quote[1] >= clause.start - 1 and len(mention.sites) == 1
        mention.sites = [(s, side if d == "none" and (is_next or paired[s].paired) else d) for s, d in mention.sites]
        mention.side = side if not mention.sites and mention.side == "none" else mention.side
    return not clause.has(ATTRIBUTE, "sequences", "certainty", "singled_out")


def locate(context: Context, places: list[Place], clause: Clause) -> bool:
    """Give the places of a clause without a finding to the lesion before it that has none ("a mass, in the ...")."""
    if unread_characters(clause, context.text) > 1:
        return False
    unplaced = [
        m for m in context.lesions if m.term and not m.sites and not m.is_back_reference and m.certainty != "absent"
    ]
    for mention in unplaced:
        placed = places_of(Item(Mark("findings", mention.term, mention.first, mention.stop), mention.term, places))
        mention.sites = list(dict.fromkeys(p.key for p in placed))
        mention.quote = (mention.quote[0], max(mention.quote[1], places[-1].stop))
    return bool(unplaced)


def extend(context: Context, places: list[Place], clause: Clause) -> bool:
    """Make a finding of what a lesion of this sentence reaches; a tumour is a mass there."""
    lesions = [m for m in context.bearers if m.term and m.certainty != "absent"]
    verbs = clause.of("extension")
    is_denied = any(m.value == "absent" for m in clause.of("certainty"))
    is_invaded = any("侵" in str(m.value) or "包绕" in str(m.value) for m in verbs)
    if not places or not verbs or (is_denied and not is_invaded) or not (lesions or is_invaded):
        return bool(verbs)
    term = "mass" if is_invaded or load_terms().findings[lesions[-1].term].family == "tumor" else lesions[-1].term
    certainty = "absent" if is_denied else "present"
    reached = Mention(term, clause.marks[0].first, clause.marks[-1].stop, certainty)
    reached.sites = list(dict.fromkeys(p.key for p in places))
    reached.quote = (places[0].first, max(places[-1].stop, verbs[-1].stop))
    # before a lesion that has a place of its own, so that what follows is said of the lesion
    ahead = [i for i, m in enumerate(context.mentions) if m.sites and any(m is lesion for lesion in lesions)]
    context.mentions.insert(ahead[-1] if ahead else len(context.mentions), reached)
    return True


def _with_side(place: Place, side: str, clause: Clause) -> Place:
    is_next = clause.opener == "(" and place.stop >= clause.start - 1
    return (
        replace(place, side=side)
        if place.side == "none" and (is_next or load_terms().sites[place.site].paired)
        else place
    )
