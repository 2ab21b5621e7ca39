"""Where a Chinese clause says things are: sites with their sides, in the order of the text."""

import re
from dataclasses import dataclass, replace
from itertools import pairwise

from ..vocabulary import load_terms
from .mentions import Mark

# Words of position between two sites that are one: 颞叶前部颅骨内板下.
_JOINTS = re.compile("(?:[前后上下中内外底]部|[内外]侧|表面|的|内|区|处|旁|缘)?")
_BETWEEN = ("acuity", "severity", "count", "morphology")
_BOUNDS = frozenset(("findings", "predicates", "clear"))
# What stands outside the parenchyma of a lobe that says where along the surface it is.
_ON_THE_SURFACE = ("sulci", "extra-axial space", "skull", "scalp", "vessels", "ventricles")


@dataclass(frozen=True)
class Place:
    """A site and its side at characters [first, stop)."""

    site: str
    side: str
    first: int
    stop: int

    @property
    def key(self) -> tuple[str, str]:
        return self.site, self.side


def find_places(marks: list[Mark], text: str) -> list[Place]:
    """Sites of a clause with their sides.

    A side covers the list that it leads, up to the next side or finding; of unpaired sites only one directly behind
    it. Behind a site it belongs to that site alone (脑桥右侧). Of sites that follow each other without a mark
    (额叶皮层下, 基底节区豆状核) one is meant.
    """
    starts = {m.first for m in marks if m.kind in ("sites", "lobes")}
    if not starts:
        return []
    sites = load_terms().sites
    places: list[Place] = []
    side, side_stop = "none", -1
    for mark in marks:
        if mark.kind in _BOUNDS:
            side = "none"
        elif mark.kind == "laterality":
            if places and places[-1].stop == mark.first and mark.stop not in starts and mark.first not in starts:
                stop = places[-1].stop
                places = [replace(p, side=mark.value, stop=mark.stop) if p.stop == stop else p for p in places]
            else:
                side, side_stop = mark.value, mark.stop
        elif mark.kind in ("sites", "lobes"):
            is_led = mark.first <= side_stop <= mark.stop
            for term in mark.value:
                own = side if sites[term].paired or is_led else "none"
                places.append(Place(term, own, mark.first, mark.stop))
    if len(places) < 2:
        return places
    return _without_repetition(places, [m for m in marks if m.kind in _BETWEEN], text)


def _without_repetition(places: list[Place], attributes: list[Mark], text: str) -> list[Place]:
    """Leave out what only says where in the body the next site is, or what tissue of a lobe is meant."""
    spans = sorted({(p.first, p.stop) for p in places})
    groups = [[p for p in places if (p.first, p.stop) == span] for span in spans]
    for before, after in pairwise(groups):
        if not before or not after:
            continue
        gap = text[before[0].stop : after[0].first]
        told = sum(m.stop - m.first for m in attributes if before[0].stop <= m.first < after[0].first)
        if len(gap) - told > _JOINTS.match(gap).end():  # type: ignore[union-attr]  # it matches the empty text
            continue
        kept = _meant(before[-1].site, after[-1].site)
        if kept == "after":
            side = before[0].side
            after[:] = [replace(p, side=_either(p, side), first=before[0].first) for p in after]
            before.clear()
        elif kept == "before":
            before[:] = [replace(p, stop=after[0].stop) for p in before]
            after[:], before[:] = before, []
    return [place for group in groups for place in group]


def _either(place: Place, side: str) -> str:
    return side if place.side == "none" and load_terms().sites[place.site].paired else place.side


def _meant(before: str, after: str) -> str:
    """Which of two adjacent sites is meant: "before", "after" or "both"."""
    terms = load_terms()
    if terms.is_within(after, before):
        return "after"
    if terms.is_within(before, after):
        return "before"
    if terms.is_within(before, "meninges") and after in ("subdural space", "epidural space", "subarachnoid space"):
        return "after"
    is_lobe = terms.sites[before].parent == "cerebral hemisphere" and before not in ("cortex", "basal ganglia")
    if is_lobe and (terms.is_within(after, "white matter") or after == "cortex"):
        return "before"
    if before == "cerebral hemisphere" and terms.is_within(after, "white matter"):
        return "after"
    if (is_lobe or before == "cerebral hemisphere") and any(terms.is_within(after, s) for s in _ON_THE_SURFACE):
        return "after"
    return "both"
