"""Filters on the findings of studies: pure, on `StructuredReport`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from selip.processing.findings import Finding, StructuredReport, is_present
from selip.processing.vocabulary import load_terms

from ..configuration import nearest


@dataclass(frozen=True)
class FindingFilter:
    """What one finding of a study must be; None: anything. A study matches if one of its findings meets all.

    Attributes:
        finding: Canonical term.
        site: Canonical site; sites within it count too.
        laterality: left, right (a bilateral finding is both), bilateral or midline.
        severity: mild, moderate or severe.
        acuity: acute, subacute or chronic.
        change: new, unchanged, larger, smaller or resolved.
        morphology: Canonical term.
        min_size_mm: Least stated size; a finding without one does not match.
        max_size_mm: Largest stated size; a finding without one does not match.
        present: The finding is there; False: the report denies it or calls it resolved.
        normal: The report is normal; goes with none of the others.

    Raises:
        ValueError: A term is unknown (the nearest is named), or the conditions exclude each other.
    """

    finding: str | None = None
    site: str | None = None
    laterality: str | None = None
    severity: str | None = None
    acuity: str | None = None
    change: str | None = None
    morphology: str | None = None
    min_size_mm: float | None = None
    max_size_mm: float | None = None
    present: bool = True
    normal: bool = False

    def __post_init__(self) -> None:
        terms = load_terms()
        known = {"finding": terms.findings, "site": terms.sites, "morphology": terms.morphology}
        for name, allowed in known.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise ValueError(f"unknown {name} {value!r}{nearest(value, list(allowed))}")
        if self.normal and self.conditions():
            raise ValueError(f"expected no other filter with --normal, got {', '.join(self.conditions())}")
        if self.change == "resolved" and self.present:
            raise ValueError("expected --no-present with --change resolved: a resolved finding is not present")
        if None not in (self.min_size_mm, self.max_size_mm) and self.min_size_mm > self.max_size_mm:  # type: ignore[operator]
            raise ValueError(
                f"expected min_size_mm of at most max_size_mm, got {self.min_size_mm} and {self.max_size_mm}"
            )

    def conditions(self) -> dict[str, Any]:
        """The conditions on a finding that are set, by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            name: value for name, value in values.items() if name not in ("present", "normal") and value is not None
        }

    @property
    def is_active(self) -> bool:
        """Whether it leaves out anything."""
        return self.normal or not self.present or bool(self.conditions())

    def matches(self, report: StructuredReport) -> bool:
        """Whether a study with these findings matches."""
        return report.normal if self.normal else any(self.matches_finding(each) for each in report.findings)

    def matches_finding(self, finding: Finding) -> bool:
        """Whether one finding meets all conditions."""
        return is_present(finding) == self.present and all(
            _meets(finding, name, value) for name, value in self.conditions().items()
        )

    def __str__(self) -> str:
        """The filter in words, e.g. "finding hemorrhage, site thalamus, laterality left, present"."""
        if self.normal:
            return "normal"
        words = [f"{name.replace('_', ' ')} {value}" for name, value in self.conditions().items()]
        return ", ".join([*words, "present" if self.present else "not present"])


def _meets(finding: Finding, name: str, value: Any) -> bool:
    """Whether a finding meets one condition."""
    if name == "site":
        return load_terms().is_within(finding.site, value)
    if name == "laterality":
        return finding.laterality == value or (finding.laterality == "bilateral" and value in ("left", "right"))
    if name == "morphology":
        return value in finding.morphology
    if name == "min_size_mm":
        return finding.size_mm is not None and finding.size_mm >= value
    if name == "max_size_mm":
        return finding.size_mm is not None and finding.size_mm <= value
    return bool(getattr(finding, name) == value)


def filtered_studies(reports: Mapping[str, StructuredReport], condition: FindingFilter) -> set[str]:
    """Ids of the studies that match.

    Args:
        reports: Findings by study id; a study without an entry matches nothing.
        condition: The filter.

    Raises:
        ValueError: None matches. The message says how many meet each condition alone.
    """
    matching = {study_id for study_id, report in reports.items() if condition.matches(report)}
    if not matching:
        alone = {
            f"{name.replace('_', ' ')} {value}": sum(
                FindingFilter(**{name: value}, present=condition.present).matches(report)
                for report in reports.values()
            )
            for name, value in condition.conditions().items()
        }
        counts = "; each alone: " + ", ".join(f"{name} {count}" for name, count in alone.items()) if alone else ""
        raise ValueError(
            f"expected studies with {condition}, got none of {len(reports)} with known findings{counts}; leave out a "
            "condition"
        )
    return matching
