"""Pseudo reports: texts of the simulator's report writers with the findings that they state, known and not read.

What a study would have is drawn as `selip simulate --form realistic` draws it, without making a head or an image:
sizes are those aimed at, not those measured on a lesion. What the report says of it, leaves out, hedges, denies and
compares is decided by the same rules, and worded by the same writers. The writers for training and those for
validation and test share no wording (docs/simulated_studies.md).
"""

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np

from selip.processing.findings import MAX_QUOTE_CHARACTERS, Finding, StructuredReport, is_normal
from selip.processing.sources.simulated.findings import PlannedFinding
from selip.processing.sources.simulated.realistic import (
    chinese_held_out,
    chinese_train,
    english_held_out,
    english_train,
)
from selip.processing.sources.simulated.realistic.facts import ReportFacts, Told, TrueFinding, decide_facts
from selip.processing.sources.simulated.realistic.kinds import EDEMA
from selip.processing.sources.simulated.realistic.plan import kind_of
from selip.processing.sources.simulated.realistic.study import Visit, draw_visit, finding_of
from selip.processing.sources.simulated.reports import Report
from selip.processing.structurer import ReportText

from .stock_statements import stock_statements
from .told_findings import told_findings

Writer = Literal["training", "held-out", "simple"]

WRITERS: dict[tuple[str, str], ModuleType] = {
    ("training", "en"): english_train,
    ("training", "zh"): chinese_train,
    ("held-out", "en"): english_held_out,
    ("held-out", "zh"): chinese_held_out,
}
SPLITS: dict[str, str] = {"training": "train", "held-out": "test"}

SEED_OFFSET = 1_000_000_007
"""Added to a seed, so that no pseudo report is that of a simulated study of the same seed."""

EDEMA_RATE = 0.85
MANY_RATE = 0.5
ARTEFACT_RATES = {"motion": 0.1, "flow": 0.1}
"""Decided by the images in a simulated study; here drawn, with rates of about that size."""


class LabelledReport(NamedTuple):
    """A report and its findings.

    Attributes:
        id: unique in its file.
        text: sections and language.
        target: the findings, with quotes; in the order of the text where the report is a pseudo report.
    """

    id: str
    text: ReportText
    target: StructuredReport


def iter_pseudo_reports(
    count: int, *, seed: int, language: Literal["en", "zh", "mixed"], writer: Writer = "training"
) -> Iterator[LabelledReport]:
    """Pseudo reports, without end to their variety but for what the writers know.

    Args:
        count: how many.
        seed: decides all of them; a longer run begins with a shorter one.
        language: of the texts; mixed: either, with equal probability.
        writer: training or held-out, of the realistic form; simple: the English writer of the simple form.

    Raises:
        ValueError: the writer has no reports in the language.
    """
    if writer == "simple":
        from .simple_reports import simple_report

        if language != "en":
            raise ValueError(f"expected language en with the simple writer, got {language!r}")
        yield from (simple_report(seed, number) for number in range(1, count + 1))
        return
    made = number = 0
    while made < count:
        number += 1
        visit = draw_visit(seed + SEED_OFFSET, number, 1, language)
        if visit.patient.split == SPLITS[writer]:
            made += 1
            yield _report(visit, seed, writer)


def _report(visit: Visit, seed: int, writer: str) -> LabelledReport:
    patient, module = visit.patient, WRITERS[writer, visit.patient.language]
    rng = np.random.default_rng([seed, patient.number])
    artefacts = tuple(name for name, rate in sorted(ARTEFACT_RATES.items()) if rng.random() < rate)
    facts, _ = decide_facts(
        _true_findings(visit, rng),
        visit.sequences,
        artefacts,
        patient.age,
        patient.sex,
        seed + SEED_OFFSET,
        patient.number,
        visit.session,
    )
    report = module.write(facts)
    text = ReportText(report.findings, numbered(report), patient.language)
    findings = stated_findings(facts, report, module, patient.language)
    target = StructuredReport(normal=is_normal(findings), findings=findings, impression=list(report.impression))
    return LabelledReport(f"pseudo-{writer}-{seed}-{patient.number:06d}", text, target)


def numbered(report: Report) -> str:
    """The impression of a report as its file has it."""
    lines = report.impression
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1)) if len(lines) > 1 else lines[0]


def _true_findings(visit: Visit, rng: np.random.Generator) -> list[TrueFinding]:
    """The findings of a visit as the simulator numbers them, with sizes as planned."""
    truth = []
    for item, planned in visit.plan.numbered:
        kind = kind_of(planned)
        is_many, has_edema = rng.random() < MANY_RATE, rng.random() < EDEMA_RATE
        finding = _finding(planned, visit.sequences, is_many=is_many)
        truth.append(TrueFinding(finding, kind.key, kind.is_incidental, item=2 * item))
        if kind.halo_mm is not None and has_edema:
            around = PlannedFinding(EDEMA, planned.site, planned.side, "irregular", 0.0)
            edema = finding_of(around, None, visit.sequences)
            truth.append(TrueFinding(edema, EDEMA.key, item=2 * item + 1, host=2 * item))
    return truth


def _finding(planned: PlannedFinding, sequences: tuple[str, ...], *, is_many: bool) -> Finding:
    finding = finding_of(planned, None, sequences)
    if planned.diameter_mm == 0.0 or kind_of(planned).place == "mucosa":  # the head itself changes, nothing to measure
        return finding
    can_be_many = planned.shape in ("patchy", "punctate") or planned.side == "bilateral"
    return finding.model_copy(
        update={
            "size_mm": float(round(planned.diameter_mm)),
            "count": "multiple" if is_many and can_be_many else "none",
        }
    )


def stated_findings(facts: ReportFacts, report: Report, writer: ModuleType, language: str) -> list[Finding]:
    """What a report of the realistic form states, in the order in which it does.

    Raises:
        ValueError: a part of the text is neither on a lesion nor one of the writer's fixed sentences.
    """
    text, found = report.findings, list[tuple[int, list[Finding]]]()
    statements = stock_statements(writer)
    for told in facts.told:
        alone = _alone(told, facts, writer)
        text, at = _take(text, alone.findings)
        conclusion = "" if alone.impression[0] in statements else alone.impression[0]
        entries = told_findings(told, alone.findings, conclusion, writer, language)
        found.append((at, [_quoted(finding, alone.findings[:MAX_QUOTE_CHARACTERS]) for finding in entries]))
    for sentence in sorted(statements, key=len, reverse=True):  # a short one may be the end of a long one
        if sentence in text:
            text, at = _take(text, sentence)
            found.append((at, [_quoted(f, sentence) for f in statements[sentence]]))
    if text.replace("\0", "").strip():
        raise ValueError(f"expected every sentence of {writer.__name__} to be known, {len(text)} characters are not")
    ordered = [finding for _, findings in sorted(found, key=lambda one: one[0]) for finding in findings]
    concluded = [
        _quoted(finding, sentence) for sentence in report.impression for finding in statements.get(sentence, ())
    ]
    return once(ordered + concluded)


def _alone(told: Told, facts: ReportFacts, writer: ModuleType) -> Report:
    """What the writer says of one lesion: its report where it says nothing else.

    A section on incidental findings alone opens with a sentence on the brain, so this one counts as looked for.
    """
    only = replace(facts, told=(replace(told, is_incidental=False),), denied=(), normal=(), artefacts=(), resolved="")
    alone: Report = writer.write(only)
    return alone


def _take(text: str, part: str) -> tuple[str, int]:
    """The text with a part blanked, so that positions stay, and where it was."""
    at = text.index(part)
    return text[:at] + "\0" * len(part) + text[at + len(part) :], at


def _quoted(finding: Finding, quote: str) -> Finding:
    return finding.model_copy(update={"quote": quote})


def once(findings: list[Finding]) -> list[Finding]:
    """Each (finding, site, side, certainty, change) once; what a later mention adds of signals goes to the first.

    Denials of one key stay apart where they deny different signals, as the annotation guide has it.
    """
    merged: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        denied = tuple(finding.signals) if finding.certainty == "absent" else ()
        is_resolved = finding.change == "resolved"
        key = (finding.finding, finding.site, finding.laterality, finding.certainty, is_resolved, denied)
        if key in merged:
            first = merged[key]
            added = [signal for signal in finding.signals if signal not in first.signals]
            merged[key] = first.model_copy(update={"signals": [*first.signals, *added]})
        else:
            merged[key] = finding
    return list(merged.values())
