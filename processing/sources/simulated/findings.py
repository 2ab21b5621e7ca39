"""Which lesions there are: kinds with their tissue and signal in every sequence, sites, and the draw of a study's
findings.

Terms are the canonical ones of the package's lexicon. Signals are relative to the tissue around the lesion and follow
from the MR properties given here through the signal equations; `tests/processing/sources/test_simulated_contrast.py`
checks that they do.
"""

from dataclasses import dataclass, field

import numpy as np

from .contrast import Tissue
from .streams import Purpose, generator

NORMAL_RATE = 0.25
"""Part of the studies without a lesion."""

COUNT_WEIGHTS = (0.5, 0.3, 0.2)
"""Probability of 1, 2 and 3 findings where there is a lesion."""

GAP_MM = 8.0
"""Least gap between two findings of one side as planned; places vary by about as much."""


@dataclass(frozen=True)
class Site:
    """A place in the brain.

    Args:
        term: canonical site term.
        right_mm: MNI coordinates (RAS mm) of the place on the right; on the left x changes sign.
        jitter_mm: standard deviation of a lesion's centre around it, per axis.
        is_white: lesions of white matter can lie here.
    """

    term: str
    right_mm: tuple[float, float, float]
    jitter_mm: float
    is_white: bool = False


# Coordinates are ours, chosen on the ICBM152 2009a maps (docs/simulated_studies.md); a test checks the tissue there.
SITES: dict[str, Site] = {
    site.term: site
    for site in (
        Site("frontal lobe", (32.0, 36.0, 22.0), 5.0, True),
        Site("parietal lobe", (40.0, -52.0, 36.0), 4.0, True),
        Site("temporal lobe", (52.0, -24.0, -14.0), 4.5, True),
        Site("occipital lobe", (26.0, -84.0, 8.0), 4.5, True),
        Site("insula", (38.0, 4.0, 2.0), 2.0),
        Site("basal ganglia", (25.0, 4.0, 2.0), 2.5),
        Site("thalamus", (12.0, -18.0, 7.0), 1.5),
        Site("cerebellar hemisphere", (26.0, -62.0, -30.0), 4.0),
        Site("pons", (6.0, -26.0, -32.0), 1.5),
        Site("centrum semiovale", (25.0, -14.0, 38.0), 3.0, True),
        Site("periventricular white matter", (28.0, -48.0, 20.0), 2.5, True),
        Site("corona radiata", (25.0, 2.0, 24.0), 2.5, True),
    )
}

LOBES = ("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe")
DEEP = ("basal ganglia", "thalamus")
WHITE = ("centrum semiovale", "periventricular white matter", "corona radiata")


@dataclass(frozen=True)
class LesionKind:
    """One kind of lesion.

    Args:
        term: canonical finding term.
        core: tissue of the lesion.
        signals: (sequence, signal) pairs that can be seen, against the tissue around; iso is left out.
        sites: site terms it occurs at.
        diameter_mm: smallest and largest diameter.
        shapes: shapes it takes: round, oval, irregular or patchy (several blobs).
        weight: how often it is drawn, relative to the other kinds.
        rim: tissue of a rim around the core, if any.
        rim_mm: thickness of the rim.
        edge_mm: width of the ramp at its border.
        morphology: canonical words that always apply.
        acuity: canonical acuity.
        fills_sulci: it displaces what lies between the gyri; otherwise only brain tissue changes.
        needs_white: it lies in white matter.
        bilateral_rate: probability that both sides are affected.
        variant: name where one term has several kinds (age of blood).
    """

    term: str
    core: Tissue
    signals: tuple[tuple[str, str], ...]
    sites: tuple[str, ...]
    diameter_mm: tuple[float, float]
    shapes: tuple[str, ...]
    weight: float = 1.0
    rim: Tissue | None = None
    rim_mm: float = 0.0
    edge_mm: float = 2.0
    morphology: tuple[str, ...] = ()
    acuity: str = "none"
    fills_sulci: bool = False
    needs_white: bool = False
    bilateral_rate: float = 0.0
    variant: str = ""


# Signal patterns and their sources:
# acute infarct (hours to days): restricted diffusion; FLAIR and T2 follow. Allen et al., RadioGraphics
#   2012;32:1285-1297.
# chronic infarct: cavity like fluid with a gliotic rim on FLAIR. Allen et al. 2012.
# lacune: fluid-filled cavity, FLAIR centre dark (rim optional, left out). Wardlaw et al. (STRIVE), Lancet Neurol
#   2013;12:822-838.
# white matter lesion: T2 and FLAIR hyperintense, T1 iso- or hypointense, no restriction. Wardlaw et al. 2013.
# hemorrhage: acute = deoxyhaemoglobin (T2 dark, T1 iso), late subacute = extracellular methaemoglobin (bright on T1
#   and T2). Bradley, Radiology 1993;189:15-26. DWI and lowered ADC: Silvera et al., AJNR 2005;26:236-241.
# cyst: follows fluid in all sequences. Osborn and Preece, Radiology 2006;239:650-664.
# mass (diffuse glioma): T1 dark, T2 and FLAIR bright, raised ADC. Kono et al., AJNR 2001;22:1081-1088.
# edema (vasogenic): T2 and FLAIR bright, raised ADC, white matter. Ebisu et al., J Magn Reson Imaging 1993;3:863-868.
# abscess: restricted pus in a capsule dark on T2. Desprechins et al., AJNR 1999;20:1252-1257.
KINDS: tuple[LesionKind, ...] = (
    LesionKind(
        term="acute infarct",
        core=Tissue(1650.0, 210.0, 0.80, 400.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("DWI", "hyper"), ("ADC", "hypo")),
        sites=(*LOBES, *DEEP, "insula", "cerebellar hemisphere", "pons", "corona radiata"),
        diameter_mm=(12.0, 30.0),
        shapes=("irregular", "oval", "patchy"),
        weight=1.8,
        acuity="acute",
    ),
    LesionKind(
        term="chronic infarct",
        core=Tissue(3600.0, 1000.0, 0.98, 2600.0),
        signals=(
            ("T1w", "hypo"),
            ("T2w", "hyper"),
            ("FLAIR", "hypo"),
            ("FLAIR", "hyper"),
            ("DWI", "hypo"),
            ("ADC", "hyper"),
        ),
        sites=(*LOBES, "insula", "cerebellar hemisphere"),
        diameter_mm=(22.0, 36.0),
        shapes=("irregular", "round"),
        rim=Tissue(1700.0, 210.0, 0.86, 1500.0),
        rim_mm=2.5,
        acuity="chronic",
        fills_sulci=True,
    ),
    LesionKind(
        term="lacune",
        core=Tissue(4000.0, 1400.0, 1.00, 2900.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hypo"), ("DWI", "hypo"), ("ADC", "hyper")),
        sites=(*DEEP, "pons", "centrum semiovale", "corona radiata"),
        diameter_mm=(10.0, 14.0),
        shapes=("round", "oval"),
        weight=1.3,
        edge_mm=1.0,
        morphology=("small", "well-defined"),
        acuity="chronic",
    ),
    LesionKind(
        term="white matter lesion",
        core=Tissue(1350.0, 130.0, 0.80, 1250.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("ADC", "hyper")),
        sites=(*WHITE, "frontal lobe", "parietal lobe"),
        diameter_mm=(10.0, 20.0),
        shapes=("patchy", "oval"),
        weight=1.6,
        needs_white=True,
        bilateral_rate=0.3,
    ),
    LesionKind(
        term="hemorrhage",
        core=Tissue(900.0, 32.0, 0.80, 480.0),
        signals=(("T2w", "hypo"), ("FLAIR", "hypo"), ("DWI", "hypo"), ("ADC", "hypo")),
        sites=(*LOBES, *DEEP, "cerebellar hemisphere", "pons"),
        diameter_mm=(14.0, 30.0),
        shapes=("oval", "irregular", "round"),
        weight=0.8,
        acuity="acute",
        fills_sulci=True,
        variant="acute",
    ),
    LesionKind(
        term="hemorrhage",
        core=Tissue(320.0, 190.0, 0.90, 520.0),
        signals=(("T1w", "hyper"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("DWI", "hyper"), ("ADC", "hypo")),
        sites=(*LOBES, *DEEP, "cerebellar hemisphere", "pons"),
        diameter_mm=(14.0, 30.0),
        shapes=("oval", "irregular", "round"),
        weight=0.8,
        acuity="subacute",
        fills_sulci=True,
        variant="subacute",
    ),
    LesionKind(
        term="cyst",
        core=Tissue(4000.0, 1500.0, 1.00, 3000.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hypo"), ("DWI", "hypo"), ("ADC", "hyper")),
        sites=(*LOBES, "cerebellar hemisphere"),
        diameter_mm=(14.0, 30.0),
        shapes=("round", "oval"),
        edge_mm=1.0,
        morphology=("well-defined",),
        fills_sulci=True,
    ),
    LesionKind(
        term="mass",
        core=Tissue(1700.0, 260.0, 0.80, 1500.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("ADC", "hyper")),
        sites=(*LOBES, "thalamus", "insula", "cerebellar hemisphere"),
        diameter_mm=(20.0, 34.0),
        shapes=("round", "irregular"),
        weight=1.2,
        fills_sulci=True,
    ),
    LesionKind(
        term="edema",
        core=Tissue(1500.0, 150.0, 0.82, 1350.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("ADC", "hyper")),
        sites=LOBES,
        diameter_mm=(26.0, 38.0),
        shapes=("irregular",),
        weight=0.8,
        edge_mm=5.0,
        morphology=("ill-defined",),
        needs_white=True,
    ),
    LesionKind(
        term="abscess",
        core=Tissue(1800.0, 260.0, 0.86, 480.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("DWI", "hyper"), ("ADC", "hypo")),
        sites=(*LOBES, "basal ganglia", "cerebellar hemisphere"),
        diameter_mm=(16.0, 26.0),
        shapes=("round",),
        weight=0.8,
        rim=Tissue(900.0, 50.0, 0.75, 800.0),
        rim_mm=2.0,
        edge_mm=1.0,
        morphology=("ring",),
        fills_sulci=True,
    ),
)


@dataclass(frozen=True)
class PlannedFinding:
    """One finding as drawn, before it has a place in a patient.

    Args:
        kind: what it is.
        site: where it is.
        side: left, right or bilateral.
        shape: round, oval, irregular or patchy.
        diameter_mm: diameter aimed at; the truth states the size measured on the lesion as made.
        severity: mild, moderate or severe where the kind has grades, else none.
    """

    kind: LesionKind
    site: Site
    side: str
    shape: str
    diameter_mm: float
    severity: str = "none"


@dataclass(frozen=True)
class StudyPlan:
    """Findings of one study, none where it is normal."""

    findings: tuple[PlannedFinding, ...] = field(default_factory=tuple)


def plan_findings(seed: int, patient: int, session: int) -> StudyPlan:
    """Draw the findings of a study: none in one study of four, else one to three at different places.

    Args:
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        The plan. No two findings share a site or a term, and they lie apart.
    """
    rng = generator(seed, Purpose.FINDINGS, patient, session)
    if rng.random() < NORMAL_RATE:
        return StudyPlan()
    count = 1 + int(rng.choice(len(COUNT_WEIGHTS), p=COUNT_WEIGHTS))
    findings: list[PlannedFinding] = []
    while len(findings) < count:
        drawn = _draw(rng)
        is_repeated = any(drawn.site == other.site or drawn.kind.term == other.kind.term for other in findings)
        if not is_repeated and all(_are_apart(drawn, other) for other in findings):
            findings.append(drawn)
    return StudyPlan(tuple(findings))


def _draw(rng: np.random.Generator) -> PlannedFinding:
    """One finding: kind by weight, then one of its sites, a side, a shape and a size, each evenly."""
    weights = np.array([kind.weight for kind in KINDS])
    kind = KINDS[int(rng.choice(len(KINDS), p=weights / weights.sum()))]
    site = SITES[kind.sites[int(rng.integers(len(kind.sites)))]]
    side = ("left", "right")[int(rng.integers(2))]
    shape = kind.shapes[int(rng.integers(len(kind.shapes)))]
    diameter_mm = float(rng.uniform(*kind.diameter_mm))
    side = "bilateral" if rng.random() < kind.bilateral_rate else side
    return PlannedFinding(kind, site, side, shape, diameter_mm)


def _are_apart(one: PlannedFinding, other: PlannedFinding) -> bool:
    """Whether two findings at the middle of their sites have a gap between them; patches spread wider."""
    if {one.side, other.side} == {"left", "right"}:
        return True
    reach_mm = sum(finding.diameter_mm * (0.9 if finding.shape == "patchy" else 0.5) for finding in (one, other))
    distance_mm = float(np.linalg.norm(np.subtract(one.site.right_mm, other.site.right_mm)))
    return distance_mm > reach_mm + GAP_MM
