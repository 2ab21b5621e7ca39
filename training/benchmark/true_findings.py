"""A findings table of the truth, for the one run that shows what a perfect structurer would be worth."""

from pathlib import Path

from selip.processing.findings_table import write_findings
from selip.processing.sources.studies import iter_studies


def write_true_findings(studies: str | Path, out: Path) -> None:
    """Write the true findings of simulated studies as a findings table.

    Raises:
        ValueError: A study has no true findings.
    """
    rows = []
    for study in iter_studies(studies):
        if not study["reference_findings"]:
            raise ValueError(
                f"expected true findings of every study, as simulated ones have, {study['study_id']} has none"
            )
        rows.append(
            {
                "study_id": study["study_id"],
                "report": study["reference_findings"],
                "structurer": "truth",
                "version": "1",
                "valid": True,
            }
        )
    write_findings(rows, out)
