"""One whole study of the realistic form: patient, plan, head, lesions, truth, scans and report."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from selip.processing.findings import Finding, StructuredReport

from ..findings import PlannedFinding
from ..lesions import Lesion
from ..reports import Report
from ..study import SimulatedStudy, label_map
from . import chinese_held_out, chinese_train, english_held_out, english_train
from .details import HeadTemplate
from .facts import Deviations, ReportFacts, Told, TrueFinding, decide_facts
from .head import Shape, build_head, normal_shape
from .kinds import EDEMA
from .lesions import PlacedFinding, place_findings
from .pairs import draw_partner
from .patient import Patient, draw_patient
from .plan import VisitPlan, is_held_out, kind_of, plan_visit
from .scan import Examination, scan
from .scanners import Scanner, draw_scanner, draw_sequences

WRITERS: dict[tuple[str, bool], Callable[[ReportFacts], Report]] = {
    ("en", False): english_train.write,
    ("en", True): english_held_out.write,
    ("zh", False): chinese_train.write,
    ("zh", True): chinese_held_out.write,
}
"""Writers by language and whether the patient is held out of training."""

# Widening of sulci and ventricles by grade, in mm on top of what is normal for the age; ours.
ATROPHY_MM = {"mild": (0.5, 1.2), "moderate": (0.8, 2.0), "severe": (1.2, 3.0)}
DILATION_MM = {"mild": 3.0, "moderate": 5.0, "severe": 8.0}


@dataclass(frozen=True)
class Visit:
    """What a study is made of.

    Args:
        patient: the patient.
        session: number of the session.
        plan: its findings.
        sequences: its sequences.
        scanner: its scanner.
    """

    patient: Patient
    session: int
    plan: VisitPlan
    sequences: tuple[str, ...]
    scanner: Scanner


def draw_visit(seed: int, number: int, session: int, language: str) -> Visit:
    """Draw patient, findings, sequences and scanner of a visit.

    Args:
        seed: seed of the run.
        number: number of the patient, from 1.
        session: number of the session, from 1.
        language: "en", "zh" or "mixed".
    """
    patient = draw_patient(seed, number, language)
    plan = plan_visit(patient, seed, session)
    sequences = draw_sequences(seed, number, session, plan.wanted, plan.needed)
    return Visit(patient, session, plan, sequences, draw_scanner(patient, seed, session))


def make_studies(
    template: HeadTemplate, visit: Visit, seed: int, *, with_partner: bool = False
) -> tuple[SimulatedStudy, ...]:
    """Make the study of a visit and, where asked for, its partner in a minimal pair.

    Args:
        template: from `details.load_head_template`.
        visit: from `draw_visit`.
        seed: seed of the run.
        with_partner: add a partner if the patient is held out of training and a lesion can be changed.

    Returns:
        The study, and perhaps its partner; the study does not depend on whether that is made.
    """
    study, items, told = _make(template, visit, seed)
    if not with_partner or not visit.patient.is_held_out:
        return (study,)
    patient, session = visit.patient, visit.session
    rightly = frozenset(one.item // 2 for one in told)
    sized = frozenset(one.item // 2 for one in told if one.gives_size)
    partner = draw_partner(visit.plan, rightly, sized, visit.sequences, patient.split, seed, patient.number, session)
    if partner is None:
        return (study,)
    other, other_items, _ = _make(template, replace(visit, plan=partner.plan), seed)
    pair = {
        "original": f"{study.patient_id}_{study.session_id}",
        "change": partner.change,
        "finding": items.index(2 * partner.item),
        "partner_finding": None if partner.change == "removed" else other_items.index(2 * partner.item),
    }
    assert other.details is not None
    return study, replace(other, change=partner.change, details={**other.details, "pair": pair})


def _make(template: HeadTemplate, visit: Visit, seed: int) -> tuple[SimulatedStudy, list[int], tuple[Told, ...]]:
    """The study of a visit, the item of each true finding, and what its report tells rightly."""
    patient, session = visit.patient, visit.session
    head = build_head(template, _shape(visit, seed), seed, patient.number, session)
    placed = place_findings(visit.plan, head, seed, patient.number, session)
    lesions = tuple(lesion for finding in placed for lesion in finding.lesions)
    examination = Examination(head, lesions, visit.scanner, seed, patient.number, session)
    artefacts = {name: list(examination.artefacts(name).words) for name in visit.sequences}
    truth, numbered = _truth(placed, visit.sequences)
    facts, deviations = decide_facts(
        truth,
        visit.sequences,
        tuple(sorted({word for words in artefacts.values() for word in words})),
        patient.age,
        patient.sex,
        seed,
        patient.number,
        session,
    )
    report = WRITERS[patient.language, patient.is_held_out](facts)
    findings = [true.finding for true in truth]
    study = SimulatedStudy(
        patient=patient.number,
        session=session,
        series=tuple(scan(examination, name) for name in visit.sequences),
        report=report,
        truth=StructuredReport(normal=not findings, findings=findings, impression=list(report.impression)),
        labels=tuple(dict.fromkeys(finding.finding for finding in findings)),
        label_map=label_map(head, numbered),
        label_affine=head.affine,
        details=_details(visit, findings, deviations, artefacts),
    )
    wrong = {truth[error.finding].item for error in deviations.wrong}
    told = tuple(one for one in facts.told if one.item not in wrong)
    return study, [true.item for true in truth], told


def _shape(visit: Visit, seed: int) -> Shape:
    """The form of the head: normal for the age, changed by the findings that change it."""
    shape = normal_shape(visit.patient, seed)
    for _, finding in visit.plan.numbered:
        place = kind_of(finding).place
        if place == "sulci":
            sulcus_mm, ventricle_mm = ATROPHY_MM[finding.severity]
            shape = replace(
                shape, sulcus_mm=shape.sulcus_mm + sulcus_mm, ventricle_mm=shape.ventricle_mm + ventricle_mm
            )
        elif place == "ventricles":
            shape = replace(shape, ventricle_mm=shape.ventricle_mm + DILATION_MM[finding.severity])
        elif place == "mucosa":
            right, left = finding.side in ("right", "bilateral"), finding.side in ("left", "bilateral")
            shape = replace(shape, mucosa_mm=(finding.diameter_mm * right, finding.diameter_mm * left))
    return shape


def _truth(
    placed: tuple[PlacedFinding, ...], sequences: tuple[str, ...]
) -> tuple[list[TrueFinding], list[tuple[int, Lesion]]]:
    """True findings, oedema after what it surrounds, and the lesions with the number of their finding, from 1."""
    truth: list[TrueFinding] = []
    numbered: list[tuple[int, Lesion]] = []
    for finding in placed:
        kind = kind_of(finding.planned)
        true = finding_of(finding.planned, finding.lesion, sequences)
        truth.append(TrueFinding(true, kind.key, kind.is_incidental, item=2 * finding.item))
        if finding.lesion is not None:
            numbered.append((len(truth), finding.lesion))
        if finding.edema is not None:
            true = finding_of(finding.edema.plan, None, sequences)
            truth.append(TrueFinding(true, EDEMA.key, item=2 * finding.item + 1, host=2 * finding.item))
            numbered.append((len(truth), finding.edema))
    return truth, numbered


def finding_of(planned: PlannedFinding, lesion: Lesion | None, sequences: tuple[str, ...]) -> Finding:
    """One finding in the package's schema.

    Args:
        planned: the finding as planned.
        lesion: its lesion, None where it has none of its own.
        sequences: those that were acquired; the signals of others are left out.
    """
    kind = kind_of(planned)
    can_be_many = planned.shape in ("patchy", "punctate") or planned.side == "bilateral"
    size_mm = None
    if lesion is not None:  # of a crescent its thickness, as reports give it
        size_mm = float(round(planned.diameter_mm if kind.place == "subdural" else lesion.size_mm))
    return Finding.model_validate(
        {
            "finding": kind.term,
            "site": planned.site.term,
            "laterality": planned.side,
            "signals": [{"sequence": name, "signal": value} for name, value in kind.signals if name in sequences],
            "morphology": list(dict.fromkeys((planned.shape, *kind.morphology))),
            "count": "multiple" if lesion is not None and lesion.count > 1 and can_be_many else "none",
            "size_mm": size_mm,
            "severity": planned.severity,
            "acuity": kind.acuity,
        }
    )


def _details(
    visit: Visit, findings: list[Finding], deviations: Deviations, artefacts: dict[str, list[str]]
) -> dict[str, object]:
    """What is written beside the truth: who, where, and how the report differs from the truth."""
    held_out = [
        number
        for number, one in enumerate(findings)  # oedema goes with its lesion and is no combination of its own
        if one.finding != EDEMA.term and is_held_out(one.finding, one.site, one.laterality)
    ]
    return {
        "age": visit.patient.age,
        "sex": visit.patient.sex,
        "split": visit.patient.split,
        "language": visit.patient.language,
        "writer": "held out" if visit.patient.is_held_out else "training",
        "scanner": visit.scanner.name,
        "artefacts": {name: words for name, words in artefacts.items() if words},
        "held_out_combinations": held_out,
        "report": asdict(deviations),
    }
