"""What a report says, before anybody words it: what is told, left out, doubted, told wrongly, denied and compared.

A report is not the truth. The truth stays as it is; every difference is recorded beside it, so that an evaluation can
tell a model's error from the report's.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from selip.processing.findings import Finding

from ..streams import Purpose, generator

WRONG_RATE = 0.05
"""Part of the told findings with a wrong side or a wrong size. Laterality errors in reports are rarer when counted by
retrospective search (Sangwaiya et al., AJR 2009;192:W239-W244); the rate here is ours."""

FAINT_MM = 8.0
"""Size below which a lesion is easily missed in slices of 5 to 6 mm."""

LEFT_OUT = {"plain": 0.02, "incidental": 0.2, "faint": 0.3}
"""Probability that a finding is not told, by how it looks."""

DOUBTED = {"plain": 0.06, "faint": 0.3, "without key sequence": 0.7}
"""Probability that a told finding is hedged."""

SIGNALS_RATE = 0.75
"""Part of the told findings whose signals are named by sequence, so that about one sentence in six names one."""

SIZE_RATE = 0.8
DENIAL_RATE = 0.25
REGION_RATE = 0.25
"""Parts of what can truly be denied, or called normal, that a report spells out."""

PRIOR_RATE = 0.25
"""Part of the first visits with an earlier examination elsewhere; every second visit has one."""

RESOLVED_RATE = 0.12
"""Part of the reports with a comparison that mention something that is gone."""

# What can be denied: the true terms that forbid it, and a sequence it takes.
DENIALS: dict[str, tuple[tuple[str, ...], str]] = {
    "restricted diffusion": (("acute infarct", "abscess", "hemorrhage", "subacute infarct"), "DWI"),
    "acute infarct": (("acute infarct", "subacute infarct"), "DWI"),
    "hemorrhage": (("hemorrhage", "microbleed", "subdural hematoma", "cavernous malformation"), ""),
    "microbleed": (("hemorrhage", "microbleed", "cavernous malformation"), "SWI"),
    "mass": (
        ("glioma", "meningioma", "metastasis", "abscess", "cavernous malformation", "arachnoid cyst", "hemorrhage"),
        "",
    ),
    "abnormal enhancement": (("glioma", "meningioma", "metastasis", "abscess"), "T1c"),
    "midline shift": (("glioma", "abscess", "subdural hematoma", "hemorrhage", "metastasis"), ""),
    "hydrocephalus": (("ventricular dilation",), ""),
    "extra-axial collection": (("subdural hematoma",), ""),
}

# What can be called normal, and the true terms that forbid it.
NORMAL_REGIONS: dict[str, tuple[str, ...]] = {
    "ventricles": ("ventricular dilation", "atrophy"),
    "sulci": ("atrophy", "ventricular dilation"),
    "cisterns": ("atrophy", "arachnoid cyst"),
    "vessels": (),
    "paranasal sinuses": ("mucosal thickening", "retention cyst"),
    "mastoids": (),
    "orbits": (),
    "skull": (),
    "pituitary": (),
    "craniocervical junction": (),
}

DIAGNOSES_OF_PRIORS = ("subdural hematoma", "extra-axial collection", "edema")


@dataclass(frozen=True)
class Told:
    """One finding as the report tells it.

    Args:
        finding: with the certainty, change, side and size of the report.
        names_signals: the signals are named by sequence.
        gives_size: the size is given.
        is_incidental: it belongs to the end of the impression.
        item: `TrueFinding.item` of what is told.
        seed: seed of its wording, so that a change elsewhere in the study does not change it.
    """

    finding: Finding
    names_signals: bool
    gives_size: bool
    is_incidental: bool
    item: int
    seed: int


@dataclass(frozen=True)
class ReportFacts:
    """Content of one report.

    Args:
        age: age of the patient.
        sex: "F" or "M".
        sequences: sequences of the study; no other is named.
        told: findings, in the order in which they are told.
        denied: terms that are denied.
        normal: regions that are called normal.
        artefacts: artefacts that are mentioned.
        has_prior: an earlier examination is compared with.
        resolved: term that the earlier examination had and this one has not, or "".
        seed: seed of the wording of the rest.
    """

    age: int
    sex: str
    sequences: tuple[str, ...]
    told: tuple[Told, ...]
    denied: tuple[str, ...]
    normal: tuple[str, ...]
    artefacts: tuple[str, ...]
    has_prior: bool
    resolved: str
    seed: int

    @property
    def is_normal(self) -> bool:
        """Whether no finding is told."""
        return not self.told


@dataclass(frozen=True)
class TrueFinding:
    """A true finding and what the report's author sees of it.

    Args:
        finding: the truth.
        key: sequences of which one must be there for a certain statement.
        is_incidental: it was not looked for.
        item: number of its own; a change elsewhere in the study does not change it.
        host: `item` of the finding that it surrounds, None where it stands for itself.
    """

    finding: Finding
    key: tuple[str, ...] = ()
    is_incidental: bool = False
    item: int = 0
    host: int | None = None


@dataclass(frozen=True)
class WrongStatement:
    """Something that a report says wrongly.

    Args:
        finding: number of the true finding, from 0.
        field: field of the finding.
        told: what the report says.
    """

    finding: int
    field: str
    told: str | float


@dataclass
class Deviations:
    """Where a report differs from the truth; numbers count the true findings from 0."""

    left_out: list[int] = field(default_factory=list)
    wrong: list[WrongStatement] = field(default_factory=list)
    hedged: list[int] = field(default_factory=list)


def decide_facts(
    truth: list[TrueFinding],
    sequences: tuple[str, ...],
    artefacts: tuple[str, ...],
    age: int,
    sex: str,
    seed: int,
    patient: int,
    session: int,
) -> tuple[ReportFacts, Deviations]:
    """Decide what the report of a study says.

    Draws are made by finding, so that the report of a study and of its minimal pair differ in one finding only.

    Args:
        truth: true findings.
        sequences: sequences of the study.
        artefacts: visible artefacts.
        age: age of the patient.
        sex: sex of the patient.
        seed: seed of the run.
        patient: number of the patient.
        session: number of the session.

    Returns:
        The facts, and where they differ from the truth.
    """
    rng = generator(seed, Purpose.REPORT, patient, session)
    has_prior = bool(rng.random() < PRIOR_RATE) or session > 1
    gone = DIAGNOSES_OF_PRIORS[int(rng.integers(len(DIAGNOSES_OF_PRIORS)))]
    mentions_gone = has_prior and rng.random() < RESOLVED_RATE
    denial_draws = dict(zip(DENIALS, rng.random(len(DENIALS)), strict=True))
    region_draws = dict(zip(NORMAL_REGIONS, rng.random(len(NORMAL_REGIONS)), strict=True))
    mentions_artefacts = rng.random() < 0.7
    wording = int(rng.integers(2**31))
    present = {true.finding.finding for true in truth}
    told: dict[int, Told] = {}
    deviations = Deviations()
    for number, true in enumerate(truth):
        if true.host is not None and true.host not in told:
            deviations.left_out.append(number)
            continue
        own = generator(seed, Purpose.REPORT, patient, session, 1 + true.item)
        item = _tell(true, number, sequences, has_prior, deviations, own)
        if item is not None and true.host is not None:
            item = _beside(item, number, told[true.host], deviations)
        if item is not None:
            told[true.item] = item
    denied = [
        term
        for term, (forbidding, needed) in DENIALS.items()
        if not present.intersection(forbidding)
        and (not needed or needed in sequences)
        and denial_draws[term] < DENIAL_RATE
    ]
    normal = [
        region
        for region, forbidding in NORMAL_REGIONS.items()
        if not present.intersection(forbidding) and region_draws[region] < REGION_RATE
    ]
    facts = ReportFacts(
        age=age,
        sex=sex,
        sequences=sequences,
        told=tuple(told.values()),
        denied=tuple(denied),
        normal=tuple(normal),
        artefacts=artefacts if mentions_artefacts else (),
        has_prior=has_prior,
        resolved=gone if mentions_gone and gone not in present else "",
        seed=wording,
    )
    return facts, deviations


def _tell(
    true: TrueFinding,
    number: int,
    sequences: tuple[str, ...],
    has_prior: bool,
    deviations: Deviations,
    rng: np.random.Generator,
) -> Told | None:
    """Decide how one finding is told, or that it is not; every number is drawn whatever the others are."""
    finding = true.finding
    omit, doubt, how, err, which, change, signals, size = rng.random(8)
    seed = int(rng.integers(2**31))
    is_faint = finding.size_mm is not None and finding.size_mm < FAINT_MM
    has_key = not true.key or bool(set(true.key).intersection(sequences))
    look = "faint" if is_faint else "incidental" if true.is_incidental else "plain"
    if omit < LEFT_OUT[look]:
        deviations.left_out.append(number)
        return None
    updates: dict[str, object] = {}
    if doubt < DOUBTED["without key sequence" if not has_key else "faint" if is_faint else "plain"]:
        updates["certainty"] = "probable" if how < 0.6 else "possible"
        deviations.hedged.append(number)
    if err < WRONG_RATE and true.host is None:
        updates |= _error(finding, number, which, deviations)
    if has_prior and true.host is None:
        updates["change"] = _change(finding, change)
    return Told(
        finding=finding.model_copy(update=updates),
        names_signals=bool(signals < SIGNALS_RATE),
        gives_size=bool(size < SIZE_RATE) and finding.size_mm is not None,
        is_incidental=true.is_incidental,
        item=true.item,
        seed=seed,
    )


def _beside(told: Told, number: int, host: Told, deviations: Deviations) -> Told:
    """What surrounds a lesion is told on the side on which the lesion is told."""
    side = host.finding.laterality
    if side == told.finding.laterality:
        return told
    deviations.wrong.append(WrongStatement(number, "laterality", side))
    return replace(told, finding=told.finding.model_copy(update={"laterality": side}))


def _error(finding: Finding, number: int, which: float, deviations: Deviations) -> dict[str, object]:
    """A wrong side where there is one, or a wrong size; the finding as changed."""
    if finding.laterality in ("left", "right") and which < 0.5:
        side = "right" if finding.laterality == "left" else "left"
        deviations.wrong.append(WrongStatement(number, "laterality", side))
        return {"laterality": side}
    if finding.size_mm is not None:
        size_mm = float(round(finding.size_mm * (0.5 if which < 0.75 else 1.8)))
        deviations.wrong.append(WrongStatement(number, "size_mm", size_mm))
        return {"size_mm": size_mm}
    return {}


def _change(finding: Finding, draw: float) -> str:
    """What a comparison says: acute lesions are new, others mostly unchanged."""
    if finding.acuity == "acute":
        return "new"
    for change, upper in (("unchanged", 0.65), ("larger", 0.8), ("smaller", 0.9), ("new", 0.95)):
        if draw < upper:
            return change
    return "none"
