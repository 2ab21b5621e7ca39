"""One whole simulated study in memory: truth first, then images and report from it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from selip.processing.findings import Finding, StructuredReport

from .acquisition import Series, acquire, acquired_sequences
from .anatomy import Head, Template, deform
from .findings import plan_findings
from .lesions import Lesion, make_lesion
from .reports import Report, write_report


@dataclass(frozen=True)
class SimulatedStudy:
    """A study and its truth.

    Args:
        patient: number of the patient, from 1.
        session: number of the session, from 1.
        series: the images.
        report: the text.
        truth: the structured report.
        labels: finding terms present, each once.
        label_map: uint8 on an axis-aligned RAS grid of 2 mm; value i + 1 is the i-th finding of the truth.
        label_affine: float64 (4, 4), voxel of the label map to scanner mm.
        details: how the study was made, where that is written beside the truth (realistic form).
        change: what makes it the partner of a minimal pair, "" for a study of its own.
    """

    patient: int
    session: int
    series: tuple[Series, ...]
    report: Report
    truth: StructuredReport
    labels: tuple[str, ...]
    label_map: np.ndarray
    label_affine: np.ndarray
    details: dict[str, object] | None = None
    change: str = ""

    @property
    def patient_id(self) -> str:
        """BIDS subject, as `sub-0001`."""
        return f"sub-{self.patient:04d}"

    @property
    def session_id(self) -> str:
        """BIDS session, as `ses-01`; a partner's ends with its change."""
        return f"ses-{self.session:02d}{self.change}"


def simulate_study(template: Template, seed: int, patient: int, session: int) -> SimulatedStudy:
    """Make one study; the result depends on the arguments only.

    Args:
        template: from `anatomy.load_template`.
        seed: seed of the run.
        patient: number of the patient, from 1.
        session: number of the session, from 1.

    Returns:
        Images, report and truth.
    """
    head = deform(template, seed, patient, session)
    plan = plan_findings(seed, patient, session)
    lesions = [make_lesion(planned, head, seed, patient, session, item) for item, planned in enumerate(plan.findings)]
    sequences = acquired_sequences(seed, patient, session)
    findings = [_true_finding(lesion, sequences) for lesion in lesions]
    report = write_report(findings, sequences, seed, patient, session)
    truth = StructuredReport(normal=not findings, findings=findings, impression=list(report.impression))
    return SimulatedStudy(
        patient=patient,
        session=session,
        series=tuple(acquire(head, lesions, sequence, seed, patient, session) for sequence in sequences),
        report=report,
        truth=truth,
        labels=tuple(dict.fromkeys(finding.finding for finding in findings)),
        label_map=label_map(head, enumerate(lesions, start=1)),
        label_affine=head.affine,
    )


def _true_finding(lesion: Lesion, sequences: tuple[str, ...]) -> Finding:
    """One finding in the package's schema; signals of the sequences that were acquired, iso left out."""
    plan = lesion.plan
    is_multiple = plan.shape == "patchy" or plan.side == "bilateral"
    return Finding.model_validate(
        {
            "finding": plan.kind.term,
            "site": plan.site.term,
            "laterality": plan.side,
            "signals": [{"sequence": name, "signal": value} for name, value in plan.kind.signals if name in sequences],
            "morphology": [plan.shape, *plan.kind.morphology],
            "count": "multiple" if is_multiple and lesion.count > 1 else "none",
            "size_mm": float(round(lesion.size_mm)),
            "acuity": plan.kind.acuity,
        }
    )


def label_map(head: Head, numbered: Iterable[tuple[int, Lesion]]) -> np.ndarray:
    """Map of lesions by number, uint8 on the grid of the head; where two touch, the later one.

    Args:
        head: the head.
        numbered: numbers, from 1, and lesions.
    """
    labels = np.zeros(head.template_mm.shape[1:], dtype=np.uint8)
    for number, lesion in numbered:
        labels[lesion.box][lesion.mask] = number
    return labels
