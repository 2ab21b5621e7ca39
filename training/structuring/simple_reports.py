"""Pseudo reports in the wording of the simple form: English, other words than either writer of the realistic form.

They stand for what a group has of its own: few, in other words, and corrected by hand. Its writer draws as it writes,
so what a report states is found in the text: the fixed sentences by themselves, the sentences on a lesion by its place
and the nouns of its term.
"""

import re

import numpy as np

from selip.processing.findings import Finding, Signal, StructuredReport, is_normal
from selip.processing.sources.simulated import reports as writer
from selip.processing.sources.simulated.acquisition import acquired_sequences
from selip.processing.sources.simulated.findings import PlannedFinding, plan_findings
from selip.processing.structurer import ReportText

from .pseudo_reports import MANY_RATE, SEED_OFFSET, LabelledReport, numbered, once
from .stock_statements import denial, special_statement
from .told_findings import SAYS_ACUITY, ordered_signals, stated_morphology

_GOES_ON = ("This is ", "These are ", "The lesion is ", "The lesions are ")
_SIZE = re.compile(r"\d mm|\d cm")
_ACUITY_IN_TERM = (*SAYS_ACUITY, "chronic infarct")

_TERMS = {
    "There is no midline shift.": "midline shift",
    "No hydrocephalus.": "hydrocephalus",
    "No extra-axial fluid collection.": "extra-axial collection",
    "No restricted diffusion.": "restricted diffusion",
    "No evidence of diffusion restriction.": "restricted diffusion",
    "No acute infarct is identified.": "acute infarct",
    "There is no evidence of acute infarction.": "acute infarct",
    "No intracranial hemorrhage.": "hemorrhage",
    "There is no evidence of hemorrhage.": "hemorrhage",
    "No mass lesion is seen.": "mass",
}
_REGIONS = {
    "The ventricles are normal in size.": "ventricles",
    "The ventricular system is normal in size and configuration.": "ventricles",
    "The basal cisterns are patent.": "basal cisterns",
    "Basal cisterns are clear.": "basal cisterns",
    "Flow voids of the major vessels are preserved.": "vessels",
    "Major intracranial flow voids are maintained.": "vessels",
    "The orbits are unremarkable.": "orbit",
    "The calvarium is normal.": "skull",
    "Normal appearance of the skull base.": "skull base",
    "The brain parenchyma is normal in signal and morphology.": "brain",
    "Normal signal intensity of the brain parenchyma.": "brain",
    "The cerebral sulci are within normal limits.": "sulci",
    "Normal MRI of the brain.": "brain",
    "Unremarkable brain MRI.": "brain",
}

_RIM = r"hypointense with a hyperintense rim on FLAIR|dark on FLAIR with a hyperintense rim"
# (sequence, signal) by the phrases that state it
_SIGNALS: dict[tuple[str, str], re.Pattern[str]] = {
    ("T1w", "hyper"): re.compile(r"T1 hyperintense|hyperintense on T1"),
    ("T1w", "hypo"): re.compile(r"T1 hypointense|hypointense on T1"),
    ("T2w", "hyper"): re.compile(r"T2(/FLAIR)? hyperintense|hyperintense on T2"),
    ("T2w", "hypo"): re.compile(r"T2(/FLAIR)? hypointense|hypointense on T2"),
    ("FLAIR", "hyper"): re.compile(rf"FLAIR hyperintense|hyperintense on (T2 and )?FLAIR|{_RIM}"),
    ("FLAIR", "hypo"): re.compile(rf"FLAIR hypointense|hypointense on (T2 and )?FLAIR|{_RIM}"),
    ("DWI", "hyper"): re.compile(r"hyperintense on DWI|DWI hyperintense"),
    ("DWI", "hypo"): re.compile(r"hypointense on DWI|DWI hypointense"),
    ("DWI", "restricted"): re.compile(r"restricted diffusion"),
    ("ADC", "hyper"): re.compile(r"increased ADC"),
    ("ADC", "hypo"): re.compile(r"low ADC|decreased ADC"),
}


def simple_report(seed: int, number: int) -> LabelledReport:
    """One report of the simple form and what it states.

    Args:
        seed: decides the report, with its number.
        number: from 1.
    """
    shifted = seed + SEED_OFFSET
    rng = np.random.default_rng([seed, number])
    sequences = acquired_sequences(shifted, number, 1)
    truth = [_finding(planned, sequences, rng) for planned in plan_findings(shifted, number, 1).findings]
    report = writer.write_report(truth, sequences, shifted, number, 1)
    findings = once(
        [
            finding.model_copy(update={"quote": said})
            for said in (*_statements(report.findings), *report.impression)
            for finding in _stated(said, truth)
        ]
    )
    target = StructuredReport(normal=is_normal(findings), findings=findings, impression=list(report.impression))
    return LabelledReport(
        f"pseudo-simple-{seed}-{number:06d}", ReportText(report.findings, numbered(report), "en"), target
    )


def _finding(planned: PlannedFinding, sequences: tuple[str, ...], rng: np.random.Generator) -> Finding:
    kind = planned.kind
    can_be_many = planned.shape == "patchy" or planned.side == "bilateral"
    return Finding(
        finding=kind.term,
        site=planned.site.term,
        laterality=planned.side,  # type: ignore[arg-type]
        signals=[Signal(sequence=name, signal=value) for name, value in kind.signals if name in sequences],  # type: ignore[arg-type]
        morphology=[planned.shape, *kind.morphology],
        count="multiple" if rng.random() < MANY_RATE and can_be_many else "none",
        size_mm=float(round(planned.diameter_mm)),
        acuity=kind.acuity,  # type: ignore[arg-type]
    )


def _statements(text: str) -> list[str]:
    """Sentences of a findings section; those that go on about the lesion before belong to it."""
    statements: list[str] = []
    for sentence in re.split(r"(?<=\.) (?=[A-Z])", text):
        if sentence.startswith(_GOES_ON):
            statements[-1] += f" {sentence}"
        else:
            statements.append(sentence)
    return statements


def _stated(said: str, truth: list[Finding]) -> list[Finding]:
    """What one statement says: a fixed sentence, or one on a lesion.

    Raises:
        ValueError: it is neither, or fits several lesions.
    """
    special = special_statement(said)
    if special is not None:
        return list(special)
    if said in _TERMS:
        return [denial(_TERMS[said])]
    if said in _REGIONS:
        return [Finding(finding="normal", site=_REGIONS[said])]
    about = [finding for finding in truth if _names(said, finding)]
    if len(about) != 1:
        raise ValueError(f"expected a statement of the simple writer on one lesion, found {len(about)} that it fits")
    return [_as_said(about[0], said)]


def _names(said: str, finding: Finding) -> bool:
    """Whether a statement names side and site of a finding; no two of a report share a site."""
    site = finding.site.removesuffix(" lobe")
    names = {
        "centrum semiovale": ("centrum semiovale", "centra semiovale"),
        "cerebellar hemisphere": ("cerebellar hemisphere", "cerebellum"),
    }
    lower = said.lower()
    return any(f"{finding.laterality} {name}" in lower for name in names.get(finding.site, (site,)))


def _as_said(finding: Finding, said: str) -> Finding:
    pairs = {pair for pair, phrase in _SIGNALS.items() if phrase.search(said)}
    is_many = re.search(r"\b(multiple|several|lesions|hyperintensities|infarcts|foci)\b", said, re.IGNORECASE)
    is_one = re.match(r"There is an? |An? |In the .* there is an? |The .* (shows|demonstrates|contains) an? ", said)
    return finding.model_copy(
        update={
            "signals": ordered_signals(pairs),
            "morphology": [*stated_morphology(finding, said.lower(), "en")],
            "count": "multiple" if is_many else 1 if is_one else "none",
            "size_mm": finding.size_mm if _SIZE.search(said) else None,
            "acuity": finding.acuity if finding.finding in _ACUITY_IN_TERM else "none",
        }
    )
