"""The findings of a Chinese clause and the places that each is said of."""

from collections.abc import Iterator
from dataclasses import replace

from ..vocabulary import load_terms
from .chinese_attachment import trend_of
from .chinese_clauses import SIGNAL, Clause, Item, distinct_findings
from .chinese_context import KEEPS_ITS_SITE, WITHOUT_SIGNAL, Context
from .chinese_marks import Predicate
from .chinese_places import Place
from .mentions import Mark


def find_items(context: Context, clause: Clause, places: list[Place]) -> list[Item]:
    """The findings of a clause with the places that each is said of."""
    marks = distinct_findings(clause)
    own = {m.first: str(m.value) for m in clause.of("own_site")}
    items: list[Item] = []
    taken = context.waiting_places
    start = clause.start
    for mark in marks:
        if _tells_change(context, mark, items, places, clause) or _is_of_a_lesion(context, mark, clause):
            continue
        ahead = [p for p in places if start <= p.first < mark.first]
        here = _without_enclosing(taken, ahead) + ahead
        if mark.first in own and (not here or own[mark.first] != "brain"):
            here = [Place(own[mark.first], _side_before(mark, own[mark.first], clause), mark.first, mark.stop)]
        elif not here and items and items[-1].places and mark.first not in own:
            here = items[-1].places
        elif not here and mark.first not in own:
            here = _places_meant(context, mark, clause)
        found = [Item(mark, term, at) for term, at in _resolve(context, mark, here, clause)]
        items += found
        if found:  # a word that means nothing at its site leaves the site to the next: 脑膜未见增厚及强化
            taken, start = [], mark.stop
    behind = [p for p in places if p.first >= start]
    is_located = items and (items[-1].mark.kind == "predicates" or clause.has("locates", "extension"))
    if is_located and behind and not items[-1].places and items[-1].term not in KEEPS_ITS_SITE:
        last = items.pop()
        items += [Item(last.mark, term, at) for term, at in _resolve(context, last.mark, behind, clause)]
    if all(i.term in WITHOUT_SIGNAL for i in items):
        signal = _bare_signal(context, clause, places, items)
        if signal is not None:
            items.append(signal)
    if places:
        context.places = places
    return items


def _places_meant(context: Context, mark: Mark, clause: Clause) -> list[Place]:
    """Places of a finding that names none: the white matter of its word, or the side of the structure named last."""
    if "白质" in context.text[mark.first : mark.stop]:
        return [Place("white matter", "none", mark.first, mark.stop)]
    sides = [m for m in clause.of("laterality") if m.stop <= mark.first]
    if not sides or context.lesions or len(context.places) != 1 or mark.kind == "predicates":
        return []
    return [replace(context.places[0], side=str(sides[-1].value), first=sides[-1].first, stop=sides[-1].stop)]


def _without_enclosing(taken: list[Place], ahead: list[Place]) -> list[Place]:
    """Places kept from a heading (鼻窦：) that are not named more exactly after it."""
    within = load_terms().is_within
    return [t for t in taken if not any(within(a.site, t.site) and a.site != t.site for a in ahead)]


def _side_before(mark: Mark, site: str, clause: Clause) -> str:
    """The side that stands directly before a word that names its site itself."""
    sides = [str(m.value) for m in clause.of("laterality") if m.stop == mark.first]
    return sides[-1] if sides and load_terms().sites[site].paired else "none"


def _is_of_a_lesion(context: Context, mark: Mark, clause: Clause) -> bool:
    """Whether 坏死 is a trait of the lesion that the sentence describes."""
    is_trait = mark.value == "necrosis" and any(m.first == mark.first for m in clause.of("morphology"))
    return is_trait and bool(context.bearers)


def _tells_change(context: Context, mark: Mark, items: list[Item], places: list[Place], clause: Clause) -> bool:
    """Whether a word such as 增大 says how a lesion has changed, and is no finding."""
    if mark.kind != "predicates" or not context.is_compared or not trend_of(context.text[mark.first : mark.stop]):
        return False
    return bool(items) or (not places and bool(clause.of("comparison")))


def _resolve(context: Context, mark: Mark, places: list[Place], clause: Clause) -> Iterator[tuple[str, list[Place]]]:
    """The terms of a finding, each with its places: a predicate names another finding at another site."""
    if not isinstance(mark.value, Predicate):
        term = str(mark.value)
        if term == "normal":
            places = places or context.places
            if not places and mark.kind != "clear" and clause.start:
                return
        yield term, places
        return
    predicate = mark.value
    at = places or (context.places if not context.lesions else [])
    found: dict[str, list[Place]] = {}
    if not places and mark.first and len(at) > 2:  # a long list is not meant again one by one
        at = []
    for place in at:
        if (term_here := predicate.term_at(place.site)) is not None:
            found.setdefault(term_here, []).append(place)
    if not at and "any" in predicate.terms and predicate.terms["any"] != "normal":
        found[predicate.terms["any"]] = []
    yield from found.items()


def _bare_signal(context: Context, clause: Clause, places: list[Place], items: list[Item]) -> Item | None:
    """A signal abnormality where a clause tells a signal and nothing that has it."""
    signals = clause.of(SIGNAL)
    if not signals:
        levels = clause.of("level")
        signals = levels if clause.of("sequences") else [m for m in levels if context.text.startswith("信号", m.first)]
    signals = [m for m in signals if not items or m.first >= items[-1].mark.stop]
    if not signals or clause.has("anaphora", "singled_out"):
        return None
    here = context.waiting_places + [p for p in places if p.first < signals[-1].first]
    if not here and not items and not context.mentions:
        here = context.places
    if items and items[-1].term != "normal":
        here = [p for p in here if p.first >= items[-1].mark.stop] or items[-1].places
    is_denied = any(m.value == "absent" and m.first < signals[-1].first for m in clause.of("certainty"))
    if not here and not is_denied and (context.bearers or not (context.lesions or clause.of("exists"))):
        return None
    if items and not here:
        return None
    mark = Mark("findings", "signal abnormality", signals[-1].first, signals[-1].stop)
    return Item(mark, "signal abnormality", here)
