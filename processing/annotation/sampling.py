"""`selip annotate sample`: reports to annotate, drawn from all kinds of reports in equal numbers.

Drawn as they come, most reports of a corpus say much the same. Strata are language, kind and length:

- kind: normal; rare or common, by how many reports state their rarest finding: the rarest third at most are rare; or
  unread, where there are no valid findings;
- length: short or long, at the median of its language.

Each stratum gives as many reports as any other until it has no more. A score over such a sample is about the sample;
the weight of a row, the size of its stratum over the number drawn from it, says how many reports it stands for.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from ..findings import StructuredReport, is_abnormal
from ..findings_table import load_findings
from ..reports import read_sections
from ..row_files import ROW_FILES, read_rows, write_rows
from ..sources.studies import iter_studies
from ..structurer import ReportText, RuleStructurer
from .config import AnnotateSampleConfig
from .gold import patient_of, row_id, section_texts

RARE_SHARE = 1 / 3
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True)
class SampledText:
    """A report that may be annotated."""

    id: str
    patient_id: str
    text: ReportText


@dataclass(frozen=True)
class SampleSummary:
    """What was drawn: reports by stratum, of how many."""

    out_file: Path
    drawn: Mapping[str, int]
    available: Mapping[str, int]

    def __str__(self) -> str:
        lines = [f"{sum(self.drawn.values())} reports drawn: {self.out_file}"]
        lines += [
            f"  {name:<24}{self.drawn.get(name, 0):>6} of {self.available[name]}" for name in sorted(self.available)
        ]
        return "\n".join(lines)


def sample_reports(config: AnnotateSampleConfig) -> SampleSummary:
    """Draw reports and write the sample: rows id, patient_id, language, findings, impression, stratum, weight.

    Raises:
        FileExistsError: The file is there and `overwrite` is off.
        FileNotFoundError: The reports or the findings table are not there.
        ValueError: A row cannot be read, an id occurs twice, or there is no report with text.
    """
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another file or say --overwrite")
    draw = random.Random(config.seed)
    reports = one_of_each_patient(list(read_texts(config.dataset)), draw)
    if not reports:
        raise ValueError(f"expected at least one report with text in {config.dataset}, got none")
    findings = load_findings(config.findings) if config.findings is not None else _read_by_rules(reports)
    strata = stratified(reports, findings)
    drawn = draw_equally(strata, config.reports, draw)
    available = {name: len(members) for name, members in strata.items()}
    counts = Counter(name for name, _ in drawn)
    rows = (
        {
            "id": report.id,
            "patient_id": report.patient_id,
            **report.text._asdict(),
            "stratum": name,
            "weight": available[name] / counts[name],
        }
        for name, report in drawn
    )
    write_rows(rows, config.out)
    return SampleSummary(config.out, counts, available)


def read_texts(dataset: Path) -> Iterator[SampledText]:
    """Reports of a studies table or of a file of texts; those without a word are left out.

    Raises:
        FileNotFoundError: There is nothing at `dataset`.
        ValueError: A row has no id or no text, or an id occurs twice.
    """
    known: set[str] = set()
    for place, row in _rows(dataset):
        name = row_id(row, place)
        if name in known:
            raise ValueError(f"{place}: expected each report once, got {name} again")
        known.add(name)
        text = _sections(row, place)
        if (text.findings + text.impression).strip():
            yield SampledText(name, patient_of(row, name), text)


def one_of_each_patient(reports: Sequence[SampledText], draw: random.Random) -> list[SampledText]:
    """One report a patient, drawn at random: reports of one patient repeat each other."""
    by_patient: dict[str, list[SampledText]] = defaultdict(list)
    for report in reports:
        by_patient[report.patient_id].append(report)
    return [draw.choice(found) for found in by_patient.values()]


def stratified(
    reports: Sequence[SampledText], findings: Mapping[str, StructuredReport]
) -> dict[str, list[SampledText]]:
    """Reports by stratum, "language kind length"; `findings` by report id, as far as there are any."""
    strata: dict[str, list[SampledText]] = defaultdict(list)
    lengths: dict[str, list[int]] = defaultdict(list)
    for report in reports:
        lengths[report.text.language].append(_length(report))
    kinds = _kinds(reports, findings)
    for report in reports:
        language = report.text.language
        length = "long" if _length(report) > median(lengths[language]) else "short"
        strata[f"{language} {kinds[report.id]} {length}"].append(report)
    return dict(strata)


def draw_equally(
    strata: Mapping[str, Sequence[SampledText]], count: int, draw: random.Random
) -> list[tuple[str, SampledText]]:
    """Reports with their stratum, in random order; from each stratum as many as from any other while it has some."""
    waiting = {name: draw.sample(list(strata[name]), len(strata[name])) for name in sorted(strata)}
    drawn: list[tuple[str, SampledText]] = []
    while len(drawn) < count and any(waiting.values()):
        round_of_all = [(name, members.pop()) for name, members in waiting.items() if members]
        draw.shuffle(round_of_all)  # in the last round not all have a place
        drawn += round_of_all[: count - len(drawn)]
    draw.shuffle(drawn)
    return drawn


def _rows(dataset: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if dataset.suffix in ROW_FILES:
        yield from read_rows(dataset)
        return
    for study in iter_studies(dataset):
        report = study["report"] or {}
        sections = {name: report.get(name) or "" for name in ("findings", "impression")}
        yield f"{dataset}, study {study['study_id']}", {**study, **sections}


def _sections(row: Mapping[str, Any], place: str) -> ReportText:
    """Sections of a row; one text is cut at its headings, its language told by its script where it is not said."""
    text = row.get("text")
    if row.get("findings") is None and isinstance(text, str):
        sections = read_sections(text)
        language = row.get("language") or ("zh" if _HAN.search(text) else "en")
        return ReportText(sections.get("findings", ""), sections.get("impression", ""), language)
    return section_texts(row, place)


def _read_by_rules(reports: Iterable[SampledText]) -> dict[str, StructuredReport]:
    rules = RuleStructurer()
    found = {}
    for report in tqdm(reports, desc="read by rules", delay=2):
        result = rules([report.text])[0]
        if not isinstance(result, str):
            found[report.id] = result
    return found


def _kinds(reports: Sequence[SampledText], findings: Mapping[str, StructuredReport]) -> dict[str, str]:
    terms = {
        report.id: {finding.finding for finding in findings[report.id].findings if is_abnormal(finding)}
        for report in reports
        if report.id in findings
    }
    frequency = Counter(term for found in terms.values() for term in found)
    rarest = {name: min(frequency[term] for term in found) for name, found in terms.items() if found}
    limit, below = 0, 0
    for count, reports_of_it in sorted(Counter(rarest.values()).items()):
        below += reports_of_it
        if below <= RARE_SHARE * len(rarest):
            limit = count
    kinds = {}
    for report in reports:
        if report.id not in terms:
            kinds[report.id] = "unread"
        elif report.id not in rarest:
            kinds[report.id] = "normal"
        else:
            kinds[report.id] = "rare" if rarest[report.id] <= limit else "common"
    return kinds


def _length(report: SampledText) -> int:
    return len(report.text.findings) + len(report.text.impression)
