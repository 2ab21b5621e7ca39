"""What every structurer is: report texts in, structured reports or reasons out."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .findings import StructuredReport
from .rules.structurer import READERS, VERSION, structure_report


class ReportText(NamedTuple):
    """The text of one report: two sections, either may be empty, and the language (en, zh)."""

    findings: str
    impression: str
    language: str


class Structurer(Protocol):
    """Reads findings out of reports.

    Attributes:
        name: Of the kind of structurer, as the findings table keeps it, e.g. "rules".
        version: Of this one; findings of different versions are not mixed unseen.
    """

    name: str
    version: str

    def __call__(self, reports: Sequence[ReportText]) -> list[StructuredReport | str]:
        """One result per report, in order: its findings, or why there are none, in no words of the report."""


class RuleStructurer:
    """The rules, as a structurer."""

    name = "rules"
    version = VERSION

    def __call__(self, reports: Sequence[ReportText]) -> list[StructuredReport | str]:
        return [self._one(report) for report in reports]

    def _one(self, report: ReportText) -> StructuredReport | str:
        if report.language not in READERS:
            return "no rules for the language"
        return structure_report(*report)
