"""What a visit finds: how many findings, which kinds by Zipf and age, where, and which combinations are held out."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ..findings import GAP_MM, PlannedFinding
from ..streams import Purpose, generator
from .kinds import KINDS, SITES, Kind
from .patient import MEAN_AGE, Patient

NORMAL_RATE = 0.40
"""Part of the visits without a finding, at the mean age."""

NORMAL_SLOPE = 0.007
"""By how much it falls with every year of age."""

COUNT_WEIGHTS = (0.42, 0.32, 0.17, 0.09)
"""Probability of 1, 2, 3 and 4 findings in the other visits; ours."""

UNUSUAL_AGE = 0.1
HELD_OUT_RATE = 0.12
"""Part of the combinations of term, site and side that only the test split has."""

# Places of findings that are in the way of no other.
DIFFUSE_PLACES = ("sulci", "ventricles", "mucosa", "scatter")


@dataclass(frozen=True)
class VisitPlan:
    """Findings of a visit; none where it is normal.

    Args:
        findings: as drawn, each with a `Kind`.
        removed: numbers of those that are taken out again (minimal pairs); the others keep their numbers, on which
            their random draws depend.
    """

    findings: tuple[PlannedFinding, ...] = ()
    removed: frozenset[int] = frozenset()

    @property
    def numbered(self) -> list[tuple[int, PlannedFinding]]:
        """The findings that are there, with their numbers."""
        return [(item, finding) for item, finding in enumerate(self.findings) if item not in self.removed]

    @property
    def wanted(self) -> frozenset[str]:
        """Sequences that the questions behind the findings ask for."""
        return frozenset(name for _, finding in self.numbered for name in kind_of(finding).asks_for)

    @property
    def needed(self) -> frozenset[str]:
        """Sequences without which a finding could not be seen at all."""
        return frozenset(name for _, finding in self.numbered for name in kind_of(finding).needs)


def kind_of(finding: PlannedFinding) -> Kind:
    """The kind of a planned finding of this form."""
    assert isinstance(finding.kind, Kind)
    return finding.kind


def is_held_out(term: str, site: str, side: str) -> bool:
    """Whether a combination occurs in the test split only.

    Only sided ones are held out, and never both sides: what is asked is whether "left" and a pair that was seen on the
    right can be put together.

    Args:
        term: finding term.
        site: site term.
        side: laterality.
    """
    if side not in ("left", "right"):
        return False
    digest = hashlib.sha256(f"held out\0{term}\0{site}".encode()).digest()
    held = ("left", "right")[digest[4] % 2]
    return side == held and int.from_bytes(digest[:4], "big") / 2**32 < 2.0 * HELD_OUT_RATE


def plan_visit(patient: Patient, seed: int, session: int) -> VisitPlan:
    """Draw the findings of a visit.

    Args:
        patient: the patient.
        seed: seed of the run.
        session: number of the session.

    Returns:
        The plan. No two findings share a term, focal ones lie apart, and outside the test split no held-out
        combination occurs.
    """
    rng = generator(seed, Purpose.FINDINGS, patient.number, session)
    if rng.random() < NORMAL_RATE - NORMAL_SLOPE * (patient.age - MEAN_AGE):
        return VisitPlan()
    count = 1 + int(rng.choice(len(COUNT_WEIGHTS), p=COUNT_WEIGHTS))
    weights = _weights(patient.age)
    findings: list[PlannedFinding] = []
    while len(findings) < count:
        drawn = _draw(weights, rng)
        combination = drawn.kind.term, drawn.site.term, drawn.side
        if patient.split != "test" and is_held_out(*combination):
            continue
        if any(drawn.kind.term == other.kind.term for other in findings):
            continue
        if all(are_apart(drawn, other) for other in findings):
            findings.append(drawn)
    return VisitPlan(tuple(findings))


def _weights(age: int) -> np.ndarray:
    """Probability of each kind at an age: 1 / rank, less at unusual ages."""
    weights = []
    for rank, kind in enumerate(KINDS, start=1):
        weight = 1.0 / rank
        if not kind.ages[0] <= age <= kind.ages[1]:
            weight *= UNUSUAL_AGE
        elif kind.grows_with_age:
            weight *= 2.0 * (age - kind.ages[0]) / (kind.ages[1] - kind.ages[0])
        weights.append(weight)
    return np.array(weights) / sum(weights)


def _draw(weights: np.ndarray, rng: np.random.Generator) -> PlannedFinding:
    """One finding: kind by weight, then site, side, shape, size and grade, each evenly."""
    kind = KINDS[int(rng.choice(len(KINDS), p=weights))]
    site = SITES[kind.sites[int(rng.integers(len(kind.sites)))]]
    side = ("left", "right")[int(rng.integers(2))]
    shape = kind.shapes[int(rng.integers(len(kind.shapes)))]
    diameter_mm = float(rng.uniform(*kind.diameter_mm))
    side = "bilateral" if rng.random() < kind.bilateral_rate else side
    grade = int(rng.choice(3, p=(0.5, 0.33, 0.17)))
    if kind.place in ("sulci", "ventricles"):
        side = "none"
    return PlannedFinding(kind, site, side, shape, diameter_mm, kind.grades[grade] if kind.grades else "none")


def are_apart(one: PlannedFinding, other: PlannedFinding) -> bool:
    """Whether two findings leave a gap between them; those of the whole head are in no one's way.

    Args:
        one: a planned finding.
        other: another one.
    """
    if kind_of(one).place in DIFFUSE_PLACES or kind_of(other).place in DIFFUSE_PLACES:
        return not (one.site == other.site == SITES["maxillary sinus"])
    if {one.side, other.side} == {"left", "right"}:
        return True
    reach_mm = sum(_reach_mm(finding) for finding in (one, other))
    distance_mm = float(np.linalg.norm(np.subtract(one.site.right_mm, other.site.right_mm)))
    return distance_mm > reach_mm + GAP_MM


def _reach_mm(finding: PlannedFinding) -> float:
    """How far a finding reaches from its site as planned."""
    kind = kind_of(finding)
    if kind.place in ("dura", "subdural"):
        return 30.0
    if kind.place == "dots":
        return 12.0
    halo_mm = kind.halo_mm[1] if kind.halo_mm else 0.0
    return finding.diameter_mm * (0.9 if finding.shape == "patchy" else 0.5) + halo_mm
