"""Which sites a Chinese clause names, with their sides, and what a word says of the site it stands behind."""

import re
from collections.abc import Callable
from itertools import pairwise

from ..vocabulary import load_terms
from .mentions import Mark

Sites = list[tuple[str, str]]

_JOINS = re.compile(r"[、及和与或至/\-~到以并兼同 ]*")
_LOBES = frozenset(
    ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe", "insula", "cerebral hemisphere")
)
_WHOLES = frozenset(("white matter", "brain", "cortex"))
SPACES = frozenset(("ventricles", "sulci", "basal cisterns", "subarachnoid space"))
_FAR = 9  # more than the site tree is deep


def most_specific(marks: list[Mark], sites_of: Callable[[Mark], Sites]) -> list[Mark]:
    """Of the meanings of a word that depend on its site, the one whose site is nearest (移位: of the midline)."""
    kept: dict[tuple[int, int, str], tuple[int, Mark]] = {}
    for mark in marks:
        if mark.kind in ("predicate", "denial"):
            steps = min((_steps(site, mark.value[0]) for site, _ in sites_of(mark)), default=None)
            best = kept.get((mark.first, mark.stop, mark.kind))
            if steps is not None and steps < _FAR and (best is None or steps < best[0]):
                kept[mark.first, mark.stop, mark.kind] = (steps, mark)
    said = {(first, stop) for first, stop, _ in kept}
    others = [
        m
        for m in marks
        if m.kind not in ("predicate", "denial", "findings")
        or (m.kind == "findings" and (m.first, m.stop) not in said)
    ]
    return sorted((*others, *(mark for _, mark in kept.values())), key=lambda m: (m.first, -m.stop))


def _steps(site: str, ancestor: str) -> int:
    """Steps up the site tree, `_FAR` where the one is not within the other."""
    current: str | None = site
    for steps in range(_FAR):
        if current == ancestor:
            return steps
        current = None if current is None else load_terms().sites[current].parent
    return _FAR


def with_named_places(marks: list[Mark]) -> list[Mark]:
    """上颌窦炎 names its place; 脑白质病变 does where no place stands before it."""
    first = min((m.first for m in marks if m.kind == "sites"), default=None)
    named = [
        m for m in marks if m.kind == "placed" and (first is None or m.first < first or m.value[0] not in _WHOLES)
    ]
    added = [Mark("sites", m.value, m.first, m.stop) for m in named]
    return sorted((*marks, *added), key=lambda m: (m.first, -m.stop)) if added else marks


def site_groups(marks: list[Mark], text: str) -> list[tuple[int, int, Sites]]:
    """Lists of sites in a clause: (first, stop, [(site, side)]); a side covers the list up to the next side."""
    sites = [m for m in marks if m.kind == "sites"]
    sides = [m for m in marks if m.kind == "laterality"]
    grouped: list[list[Mark]] = []
    for mark in sites:
        if grouped:
            between = text[grouped[-1][-1].stop : mark.first]
            for side in sides:
                if grouped[-1][-1].stop <= side.first and side.stop <= mark.first:
                    between = between.replace(text[side.first : side.stop], "", 1)
            if _JOINS.fullmatch(between):
                grouped[-1].append(mark)
                continue
        grouped.append([mark])
    result = []
    for group in grouped:
        placed = _sided(group, sides, text)
        result.append((group[0].first, group[-1].stop, placed))
    return result


def _sided(group: list[Mark], sides: list[Mark], text: str) -> Sites:
    terms = load_terms()
    kept = _without_compartments(group)
    before = [s for s in sides if s.stop <= group[0].first and not text[s.stop : group[0].first].strip("的 侧脑部份")]
    side = str(before[-1].value) if before else "none"
    is_direct = bool(before) and before[-1].stop == group[0].first
    placed: Sites = []
    for number, mark in enumerate(group):
        inner = [s for s in sides if number and group[number - 1].stop <= s.first and s.stop <= mark.first]
        if inner and inner[-1].stop == mark.first:
            side, is_direct = str(inner[-1].value), True
        after = mark.stop + (text[mark.stop : mark.stop + 1] == "(")
        behind = [s for s in sides if s.first == after]
        own = side
        if behind and (number + 1 == len(group) or group[number + 1].first != behind[0].stop):
            own, is_direct = str(behind[0].value), True
        if mark in kept:
            for site in mark.value:
                applies = terms.sites[site].paired or is_direct
                pair = (site, own if applies else "none")
                if pair not in placed:
                    placed.append(pair)
        is_direct = False
    exact = [pair for pair in placed if pair[0] != "brain"]
    return exact or placed


def _without_compartments(group: list[Mark]) -> list[Mark]:
    """额叶皮层下 is the lobe; 额部颅骨内板下 is the space under the bone."""
    terms = load_terms()
    dropped: list[Mark] = []
    for a, b in pairwise(group):
        if a.stop != b.first:
            continue
        is_lobe = all(is_lobe_like(site) for site in a.value)
        if is_lobe and b.value[0] in SPACES:
            dropped.append(a)
        elif is_lobe and (terms.is_within(b.value[0], "white matter") or b.value[0] == "cortex"):
            dropped.append(b)
        elif terms.is_within(b.value[0], a.value[-1]) or (is_lobe and _is_beside_brain(b.value[0])):
            dropped.append(a)
    return [mark for mark in group if mark not in dropped]


def is_lobe_like(site: str) -> bool:
    """Whether a site is a lobe or the hemisphere, which a more exact place or a space beside it replaces."""
    return site in _LOBES


def _is_beside_brain(site: str) -> bool:
    return load_terms().is_within(site, "extra-axial space") or not load_terms().is_within(site, "brain")
