"""Which finding of a Chinese sentence the signals and attributes of a clause belong to."""

import re

from .chinese_attachment import add_attribute, add_signals, trend_of
from .chinese_clauses import ATTRIBUTE, SIGNAL, Clause, Item
from .chinese_context import WITHOUT_SIGNAL, Context, draw_out_quotes
from .chinese_places import find_places
from .mentions import AS_SIGNAL, Mark, Mention

_MARGINS = ("well-defined", "ill-defined", "homogeneous", "heterogeneous", "smooth")
_OF_A_PART = re.compile(r"其?(?:部分|内|中心|中央|边缘|周边|内部)")
_OF_SIGNALS = ("signal", "relaxation", "bare", "level", "sequences")


def attach(context: Context, clause: Clause, items: list[Item]) -> None:
    """Hand signals and attributes of a clause to its findings, or to the lesion that the sentence is about."""
    if clause.of("singled_out"):
        _single_out(context, clause, items)
    lesions = [i for i in items if i.term != "normal"]
    sequences = context.waiting_sequences + clause.of("sequences")
    if not sequences and clause.has(SIGNAL) and _OF_A_PART.match(context.text, clause.start):
        sequences = context.latest_sequences
    context.latest_sequences = sequences or context.latest_sequences
    add_signals(clause.marks, sequences, lambda mark: _owner(context, mark, lesions, clause).mentions, context.text)
    for mark in clause.of(ATTRIBUTE):
        owner = _owner(context, mark, lesions, clause)
        if mark.kind == "count" and not lesions and mark.value in ("few", "multiple"):
            continue  # of something that has no term
        for mention in owner.mentions:
            if mark.kind == "count" and owner.term in AS_SIGNAL and mention.term != owner.term:
                continue
            add_attribute(mention, owner.term, mark, context.text, clause.start)
    if (
        context.is_compared
        and not clause.of("change")
        and (trend := trend_of(context.text[clause.start : clause.stop]))
    ):
        mark = Mark("change", trend, clause.stop, clause.stop)
        for mention in _owner(context, mark, lesions, clause).mentions:
            add_attribute(mention, mention.term, mark, context.text, clause.start)
    _lead_on(context, clause, items, sequences)


def _owner(context: Context, mark: Mark, items: list[Item], clause: Clause) -> Item:
    """The finding of the clause that a word leads up to, else the last one before it, else the lesion spoken of."""
    is_signal = mark.kind in _OF_SIGNALS
    able = [i for i in items if not (is_signal and i.term in WITHOUT_SIGNAL)]
    if mark.kind == "sequences":
        able = [i for i in able if i.term in AS_SIGNAL] or able
    for item in able:
        if item.mark.stop > mark.first:
            return draw_out_quotes(item, mark)
    if able or (items and not is_signal):
        return draw_out_quotes((able or items)[-1], mark)
    lesions = context.bearers if is_signal and context.bearers else context.lesions
    if not lesions:
        lesions = _addition(context, mark, clause)
    return draw_out_quotes(Item(mark, lesions[-1].term if lesions else "", [], mentions=lesions), mark)


def _addition(context: Context, mark: Mark, clause: Clause) -> list[Mention]:
    """A mention without a term for what a clause tells of the lesion of the sentence before; none if it may not."""
    if mark.kind in ("count", "severity", "acuity") or (mark.kind == "morphology" and mark.value not in _MARGINS):
        return []
    if find_places(clause.marks, context.text):
        return []
    context.lesions = context.bearers = [Mention("", mark.first, mark.stop, quote=(mark.first, mark.stop))]
    context.mentions += context.lesions
    return context.lesions


def _single_out(context: Context, clause: Clause, items: list[Item]) -> None:
    """ "The largest in the right occipital lobe" is an entry of its own, with the signals of the group."""
    places = find_places(clause.marks, context.text)
    if not places:
        return
    group = context.lesions[-1] if context.lesions else Mention("signal abnormality", 0, 0, is_definite=True)
    if not group.term:
        return
    start = places[0].first
    one = Mention(group.term, start, places[-1].stop, group.certainty, is_definite=group.is_definite, count=1)
    one.sites = list(dict.fromkeys(p.key for p in places))
    one.signals, one.morphology = set(group.signals), set(group.morphology)
    one.quote = (min(start, group.quote[0]) if context.lesions else start, places[-1].stop)
    context.mentions.append(one)
    context.lesions = context.bearers = [one]
    items[:] = [i for i in items if i.term == "normal"]


def _lead_on(context: Context, clause: Clause, items: list[Item], sequences: list[Mark]) -> None:
    """An angiogram named once is what all findings of the sentence are seen on."""
    context.has_angiogram = context.has_angiogram or any(m.value == "MRA" for m in sequences)
    for item in items:
        for mention in item.mentions if context.has_angiogram else ():
            mention.signals.add(("MRA", "none"))
        if item.term == "normal" and item.certainty != "absent":
            named = [
                m for m in sequences if clause.start <= m.first <= item.mark.first and m.value not in ("MRA", "T1c")
            ]
            for mention in item.mentions:
                mention.signals |= {(str(m.value), "none") for m in named}
