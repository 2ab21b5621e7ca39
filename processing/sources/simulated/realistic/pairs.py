"""Minimal pairs: the study of a visit again, with one lesion changed and nothing else.

A model that ranks the two reports of a pair rightly for the two studies has seen the lesion, not the patient: head,
position, scanner, noise and all other findings are the same.
"""

from dataclasses import dataclass, replace

from ..findings import PlannedFinding
from ..streams import Purpose, generator
from .kinds import KINDS, Kind
from .plan import VisitPlan, are_apart, is_held_out, kind_of

CHANGES = ("side", "signal", "size", "removed")
PLACES = ("brain", "dura")
"""Places of the lesions that are changed: focal and on one side."""

LARGEST_MM = 46.0
"""Diameter beyond which a lesion is not doubled."""

_BY_NAME = {(kind.term, kind.variant): kind for kind in KINDS}
# What a lesion becomes when its signal is swapped: something of another signal in at least one sequence.
SWAPS: dict[tuple[str, str], tuple[str, str]] = {
    ("acute infarct", ""): ("subacute infarct", ""),
    ("subacute infarct", ""): ("acute infarct", ""),
    ("lacune", ""): ("acute infarct", ""),
    ("encephalomalacia", ""): ("acute infarct", ""),
    ("hemorrhage", "acute"): ("hemorrhage", "subacute"),
    ("hemorrhage", "subacute"): ("hemorrhage", "acute"),
    ("glioma", "high grade"): ("abscess", ""),
    ("abscess", ""): ("glioma", "high grade"),
}


@dataclass(frozen=True)
class Partner:
    """The changed half of a pair.

    Args:
        plan: findings of the visit with the one changed.
        change: one of `CHANGES`.
        item: number of the changed finding in both plans.
    """

    plan: VisitPlan
    change: str
    item: int


def draw_partner(
    plan: VisitPlan,
    told: frozenset[int],
    sized: frozenset[int],
    sequences: tuple[str, ...],
    split: str,
    seed: int,
    patient: int,
    session: int,
) -> Partner | None:
    """Choose which lesion of a visit is changed, and how.

    Args:
        plan: findings of the visit.
        told: numbers of the findings that the report tells rightly; no other is changed, as the reports of the pair
            would then not tell it apart.
        sized: those of them whose size it gives; no other is made larger.
        sequences: sequences of the study; a signal is swapped only where one of them shows it.
        split: split of the patient; held-out combinations stay out of the validation split.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        The partner, each kind of change with equal probability where it is possible, or None where nothing can change.
    """
    rng = generator(seed, Purpose.PAIRS, patient, session)
    choices = []
    for item, planned in plan.numbered:
        if item in told and kind_of(planned).place in PLACES and planned.side in ("left", "right"):
            possible = _possible(planned, item, plan, sequences, split)
            choices += [(change, item, planned) for change in possible if change != "size" or item in sized]
    changes = sorted({change for change, _, _ in choices}, key=CHANGES.index)
    if not changes:
        return None
    change = changes[int(rng.integers(len(changes)))]
    candidates = [(item, planned) for name, item, planned in choices if name == change]
    item, planned = candidates[int(rng.integers(len(candidates)))]
    if change == "removed":
        return Partner(replace(plan, removed=plan.removed | {item}), change, item)
    findings = list(plan.findings)
    findings[item] = _changed(planned, change)
    return Partner(replace(plan, findings=tuple(findings)), change, item)


def _possible(
    planned: PlannedFinding, item: int, plan: VisitPlan, sequences: tuple[str, ...], split: str
) -> list[str]:
    """The changes that a lesion allows."""
    possible = ["removed"]
    others = [other for number, other in plan.numbered if number != item]
    kind = kind_of(planned)
    for change in ("side", "size", "signal"):
        if change == "size" and 2.0 * planned.diameter_mm > LARGEST_MM:
            continue
        if change == "signal" and not _can_swap(kind, sequences):
            continue
        after = _changed(planned, change)
        if split != "test" and is_held_out(after.kind.term, after.site.term, after.side):
            continue
        if all(are_apart(after, other) and after.kind.term != other.kind.term for other in others):
            possible.append(change)
    return possible


def _can_swap(kind: Kind, sequences: tuple[str, ...]) -> bool:
    """Whether there is another kind whose signal differs in a sequence that was acquired."""
    swapped = SWAPS.get((kind.term, kind.variant))
    if swapped is None:
        return False
    one, other = set(kind.signals), set(_BY_NAME[swapped].signals)
    return any(sequence in sequences for sequence, _ in one ^ other)


def _changed(planned: PlannedFinding, change: str) -> PlannedFinding:
    """The finding with its side moved, size doubled, or another tissue in the same geometry."""
    if change == "side":
        return replace(planned, side="left" if planned.side == "right" else "right")
    if change == "size":
        return replace(planned, diameter_mm=2.0 * planned.diameter_mm)
    old = kind_of(planned)
    new = _BY_NAME[SWAPS[old.term, old.variant]]
    same_place = replace(
        new,
        fills_sulci=old.fills_sulci,
        needs_white=old.needs_white,
        edge_mm=old.edge_mm,
        halo_mm=old.halo_mm,
    )
    return replace(planned, kind=same_place)
