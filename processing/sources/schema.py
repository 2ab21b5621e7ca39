"""Columns of the studies table, and the record of what a source put in and left out."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypedDict

from datasets import Features, List, Nifti, Value

SKIPPED_NAME = "skipped.tsv"
REPEATED_NAME = "repeated_reports.tsv"


class SeriesEntry(TypedDict):
    """One series of a study; `volume` is a path, or a cell {"path", "bytes"} as the table stores it."""

    series_id: str
    sequence: str
    volume: Any
    b_value: float | None


class MaskEntry(TypedDict):
    """One mask of a study (label i + 1 is the i-th present finding of `reference_findings`)."""

    name: str
    volume: Any


class StudyRow(TypedDict):
    """One study: what `write_studies` takes and `iter_studies` yields."""

    study_id: str
    patient_id: str
    split: str
    language: str
    series: list[SeriesEntry]
    report: dict[str, str]
    labels: list[str]
    masks: list[MaskEntry]
    reference_findings: str


def study_features() -> Features:
    """Return the columns of the studies table, the same for the local and the Hub form."""
    return Features(
        {
            "study_id": Value("string"),
            "patient_id": Value("string"),
            "split": Value("string"),
            "language": Value("string"),
            "series": List(
                {
                    "series_id": Value("string"),
                    "sequence": Value("string"),
                    "volume": Nifti(),
                    "b_value": Value("float32"),  # s/mm^2; null where it is unknown or does not apply
                }
            ),
            "report": {"findings": Value("string"), "impression": Value("string")},
            "labels": List(Value("string")),
            "masks": List({"name": Value("string"), "volume": Nifti()}),
            "reference_findings": Value("string"),
        }
    )


@dataclass
class SkipLog:
    """What a source left out: (kind, path or study id, reason), kind "study" or "series"."""

    items: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, kind: str, where: str, reason: str) -> None:
        """Record one thing left out. `where` is a path relative to the source or a study id, never patient text."""
        self.items.append((kind, where, reason))

    def counts(self, kind: str) -> dict[str, int]:
        """Return the number of things of a kind left out, by reason, most frequent first."""
        counter = Counter(reason for item_kind, _, reason in self.items if item_kind == kind)
        return dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))


@dataclass(frozen=True)
class StudiesInfo:
    """Contents of `studies.json`: what the table holds and where its files are."""

    format_version: int
    root: str  # relative to the folder of the table, with "/"
    root_absolute: str  # where the files were when the table was written; tried second
    studies: int
    patients: int
    series: int
    splits: dict[str, int]  # studies per split
    sequences: dict[str, int]  # series per sequence
    skipped_studies: dict[str, int]  # by reason
    skipped_series: dict[str, int]  # by reason
    fingerprint: str  # sha256 of the table and the sizes of its files; does not change when the whole tree moves
    repeated_reports: int = 0  # studies whose report says the same words as an earlier one (`reports.report_key`)
    replaced: dict[str, int] | None = None  # placeholders by kind; None: the reports were not de-identified

    def __str__(self) -> str:
        """A few lines for the end of a run: counts, and what was skipped by reason."""
        splits = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        sequences = ", ".join(f"{name} {count}" for name, count in self.sequences.items())
        lines = [
            f"{self.studies} studies of {self.patients} patients ({splits})",
            f"{self.series} series ({sequences})",
        ]
        for kind, counts in (("studies", self.skipped_studies), ("series", self.skipped_series)):
            if counts:
                reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items())
                lines.append(f"skipped {sum(counts.values())} {kind}: {reasons} (listed in {SKIPPED_NAME})")
        if self.repeated_reports:
            lines.append(f"{self.repeated_reports} reports repeat an earlier one (listed in {REPEATED_NAME})")
        if self.replaced is not None:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.replaced.items())
            lines.append(f"placeholders put into the reports: {kinds or 'none'}")
        return "\n".join(lines)
