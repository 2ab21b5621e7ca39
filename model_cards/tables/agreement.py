"""Agreement of readers as tables of text."""

from collections.abc import Mapping
from typing import Any

from .structuring import FIELD_TITLES, GROUP_TITLES, TextTable, percent_with_ends


def agreement_tables(record: Mapping[str, Any]) -> list[TextTable]:
    """Finding F1 by group, `normal` and the fields with kappa, and the terms."""
    metrics = record["metrics"]
    groups = tuple(
        (
            title,
            percent_with_ends(f"{group}/f1", record),
            f"{metrics[f'{group}/n_gold'] + metrics[f'{group}/n_predicted']:.0f}",
        )
        for group, title in GROUP_TITLES.items()
    )
    both = str(record["n"]["studies"])
    fields = [("normal or not", percent_with_ends("normal/agreement", record), "", _kappa("normal", record), both)]
    for field, title in FIELD_TITLES.items():
        stated = f"{field}/agreement_where_stated"
        fields.append(
            (
                title,
                percent_with_ends(f"{field}/agreement", record),
                percent_with_ends(stated, record) if stated in metrics else "",
                _kappa(field, record),
                f"{metrics[f'{field}/n']:.0f}",
            )
        )
    terms = tuple(
        (row["term"], str(row["first"]), str(row["second"]), f"{row['both']:g}", f"{100 * row['f1']:.0f}")
        for row in record["by_term"]
    )
    first, second = record["readers"]
    return [
        TextTable("Findings", ("", "F1", "findings of both readers"), groups),
        TextTable("Fields of matched findings", ("", "agreement", "where stated", "kappa", "n"), tuple(fields)),
        TextTable("Terms", ("term", first, second, "both", "F1"), terms),
    ]


def _kappa(field: str, record: Mapping[str, Any]) -> str:
    value, ends = record["metrics"].get(f"{field}/kappa"), record["intervals"].get(f"{field}/kappa")
    if value is None or value != value:
        return "-" if f"{field}/kappa" in record["metrics"] else ""
    return f"{value:.2f}" if ends is None else f"{value:.2f} ({ends[0]:.2f} to {ends[1]:.2f})"
