"""Reports say what is true: every finding with side and site, no other lesion, no sequence that was not acquired."""

import hashlib
import re

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the simulator needs the extra `simulate`")

from selip.processing.findings import Finding
from selip.processing.sources.simulated.acquisition import acquired_sequences
from selip.processing.sources.simulated.config import SIMULATOR_VERSIONS
from selip.processing.sources.simulated.findings import plan_findings
from selip.processing.sources.simulated.reports import NOUNS, PLURALS, Report, write_report

# Words of which one must appear for a site; the longest part of the name that all its forms share.
SITE_WORDS = {
    "cerebellar hemisphere": "cerebell",
    "centrum semiovale": "semiovale",
    "periventricular white matter": "periventricular",
}


def case(patient: int) -> tuple[list[Finding], tuple[str, ...], Report]:
    """Findings, sequences and report of one study, without images."""
    sequences = acquired_sequences(9, patient, 1)
    findings = []
    for plan in plan_findings(9, patient, 1).findings:
        signals = [{"sequence": name, "signal": value} for name, value in plan.kind.signals if name in sequences]
        fields = {
            "finding": plan.kind.term,
            "site": plan.site.term,
            "laterality": plan.side,
            "signals": signals,
            "morphology": [plan.shape, *plan.kind.morphology],
            "count": "multiple" if plan.shape == "patchy" else "none",
            "size_mm": float(round(plan.diameter_mm)),
            "acuity": plan.kind.acuity,
        }
        findings.append(Finding.model_validate(fields))
    return findings, sequences, write_report(findings, sequences, 9, patient, 1)


CASES = [case(patient) for patient in range(1, 301)]


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[A-Za-z0-9)])\.\s+", text.replace("\n", " ")) if part]


def test_every_finding_is_told_with_side_and_site_in_both_sections() -> None:
    """Some sentence of the findings section names noun, side and site together, and so does the impression's."""
    for findings, _, report in CASES:
        assert len(report.impression) == max(len(findings), 1)
        for finding in findings:
            nouns = NOUNS[finding.finding] + PLURALS.get(finding.finding, ())
            site = SITE_WORDS.get(finding.site, finding.site.removesuffix(" lobe"))
            told = [s.lower() for s in sentences(report.findings)]
            assert any(finding.laterality in s and site in s and any(noun in s for noun in nouns) for s in told), (
                finding.finding
            )
            assert any(finding.laterality in s.lower() and site in s.lower() for s in report.impression)


def test_no_other_lesion_is_told_as_present() -> None:
    """Where a term of a finding that is not there occurs, its sentence denies it."""
    words = {
        "acute infarct": "acute infarct",
        "hemorrhage": "hemorrhage",
        "mass": "mass",
        "cyst": "cyst",
        "abscess": "abscess",
    }
    for findings, _, report in CASES:
        present = {finding.finding for finding in findings}
        for sentence in [*sentences(report.findings), *report.impression]:
            for term, word in words.items():
                if term not in present and re.search(rf"\b{word}", sentence.lower()):
                    assert re.match(r"(No|There is no)\b", sentence), sentence


def test_no_statement_denies_what_is_there() -> None:
    """A denied hemorrhage, infarct, mass or restricted diffusion is not among the findings."""
    for findings, _, report in CASES:
        present = {finding.finding for finding in findings}
        denied = " ".join(s for s in sentences(report.findings) if re.match(r"(No|There is no)\b", s)).lower()
        denied = denied.replace("subdural or epidural hematoma", "")
        if present & {"acute infarct", "abscess"}:
            assert "diffusion" not in denied
        if "acute infarct" in present:
            assert "infarct" not in denied
        if "hemorrhage" in present:
            assert "hemorrhage" not in denied
        if "mass" in present:
            assert "mass" not in denied


def test_only_acquired_sequences_are_named() -> None:
    """FLAIR, T1, T2, DWI and ADC occur in the text only where the study has them."""
    patterns = {"T1w": r"\bT1\b", "T2w": r"\bT2\b", "FLAIR": r"\bFLAIR\b", "DWI": r"\bDWI\b", "ADC": r"\bADC\b"}
    for _, sequences, report in CASES:
        for sequence, pattern in patterns.items():
            if sequence not in sequences:
                assert not re.search(pattern, report.text), (sequence, report.text)


def test_stated_sizes_are_the_true_ones() -> None:
    """Every size in the text, in mm or cm, is the size of one of the findings."""
    told = 0
    for findings, _, report in CASES:
        sizes = {finding.size_mm for finding in findings}
        for number, unit in re.findall(r"(\d+(?:\.\d)?) (mm|cm)\b", report.findings):
            assert round(float(number) * (10 if unit == "cm" else 1)) in sizes
            told += 1
    assert told > 150


def test_wording_varies() -> None:
    """No findings section of a study with lesions occurs twice, and about 70 % of the findings come with signals."""
    texts = [report.findings for findings, _, report in CASES if findings]
    assert len(set(texts)) == len(texts)
    named = [bool(re.search(r"intense|diffusion and|ADC", text)) for text in texts]
    assert 0.6 < np.mean(named) < 0.95


def test_the_simple_form_stays_what_its_version_says() -> None:
    """The 300 reports are those of version 2, byte for byte; published numbers rest on them."""
    texts = "".join(report.text for *_, report in CASES)
    assert SIMULATOR_VERSIONS["simple"] == 2
    assert (
        hashlib.sha256(texts.encode()).hexdigest()
        == "bcf9834bf430387ea804389a6a0337c04f675dbe9b87d3beace58cb8a9a3bccc"
    )
