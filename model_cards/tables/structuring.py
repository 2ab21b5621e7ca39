"""Results of structurers as tables: from the JSON of `selip evaluate --task structuring` to rows of text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GROUP_TITLES = {
    "finding": "all findings",
    "without_normal": "without normal",
    "present": "present",
    "hedged": "probable or possible",
    "absent": "absent",
}
FIELD_TITLES = {
    "signals": "signals (sequence and signal), set F1",
    "sequences": "sequences, set F1",
    "morphology": "morphology, set F1",
    "size_mm": "size",
    "severity": "severity",
    "acuity": "acuity",
    "change": "change",
    "count": "count",
    "certainty": "certainty, four levels",
    "site": "exact site",
}
_CAUSES = {
    "finding": "other term",
    "site": "other site",
    "laterality": "other side",
    "certainty": "other certainty",
    "several": "several differ",
    "missed": "missed",
    "extra": "extra",
    "doubled": "said twice",
    "size_mm": "size",
}


@dataclass(frozen=True)
class TextTable:
    """A table of texts; columns from `first_number` on hold numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first_number: int = 1


def finding_table(record: Mapping[str, Any]) -> TextTable:
    """F1, precision and recall in percent with intervals: of all findings, of kinds of them, and by language."""
    languages = sorted(name.removeprefix("studies_") for name in record["n"] if name.startswith("studies_"))
    groups = dict(GROUP_TITLES)
    if len(languages) > 1:
        groups |= {f"{name}/finding": f"all findings, {name}" for name in languages}
        groups |= {f"{name}/without_normal": f"without normal, {name}" for name in languages}
    metrics = record["metrics"]
    if "weighted/finding/f1" in metrics:
        groups |= {"weighted/finding": "all findings, weighted to the corpus"}
    rows = tuple(
        (
            title,
            *(percent_with_ends(f"{group}/{name}", record) for name in ("f1", "precision", "recall")),
            _count(metrics[f"{group}/n_gold"]),
            _count(metrics[f"{group}/n_predicted"]),
        )
        for group, title in groups.items()
    )
    return TextTable("Findings", ("", "F1", "precision", "recall", "gold", "predicted"), rows)


def field_table(record: Mapping[str, Any]) -> TextTable:
    """Agreement of the fields of matched findings in percent, of all and where gold or prediction states the field."""
    metrics = record["metrics"]
    rows: list[tuple[str, ...]] = []
    for field, title in FIELD_TITLES.items():
        stated = f"{field}/agreement_where_stated"
        has_stated = stated in metrics
        rows.append(
            (
                title,
                percent_with_ends(f"{field}/agreement", record),
                _count(metrics[f"{field}/n"]),
                percent_with_ends(stated, record) if has_stated else "",
                _count(metrics[f"{field}/n_where_stated"]) if has_stated else "",
            )
        )
    return TextTable("Fields of matched findings", ("", "all", "n", "where stated", "n"), tuple(rows))


def report_table(record: Mapping[str, Any]) -> TextTable:
    """Shares of reports and quotes in percent, and the speed."""
    rows = [
        ("rightly called normal or not", percent_with_ends("normal/accuracy", record)),
        ("valid findings", percent_with_ends("valid/share", record)),
        ("quotes verbatim in the text", percent_with_ends("quotes/verbatim", record)),
    ]
    speed = record["metrics"].get("speed/reports_per_second")
    if speed:
        rows.append(("reports a second", f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"))
    return TextTable("Whole reports", ("", ""), tuple(rows))


def confusion_rows(
    record: Mapping[str, Any], *, is_of_pair: bool, limit: int, names: tuple[str, str] = ("gold", "predicted")
) -> TextTable:
    """What was taken for what, most frequent first: of unpaired findings, or of the fields of pairs.

    Args:
        record: Result with `confusions`.
        is_of_pair: Fields of pairs.
        limit: Rows at most.
        names: Of the two sets of findings.
    """
    found = [row for row in record["confusions"] if row["is_of_pair"] == is_of_pair]
    rows = tuple(
        (_CAUSES.get(row["cause"], row["cause"]), row["gold"] or "-", row["predicted"] or "-", str(row["n"]))
        for row in found[:limit]
    )
    title = "Fields that differ" if is_of_pair else f"Findings in {names[0]} or {names[1]} only"
    if len(found) > limit:
        title += f" (the {limit} most frequent of {len(found)})"
    return TextTable(title, ("what", *names, "n"), rows, first_number=3)


def cause_name(cause: str) -> str:
    """The cause of a fault in words."""
    return _CAUSES.get(cause, cause)


def percent_with_ends(name: str, record: Mapping[str, Any]) -> str:
    """A metric in percent with the ends of its interval where it has one, "-" where it has no value."""
    value, ends = record["metrics"].get(name), record["intervals"].get(name)
    if value is None or value != value:
        return "-"
    if ends is None or None in ends:
        return f"{100 * value:.1f}"
    return f"{100 * value:.1f} ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"


def _count(value: float) -> str:
    return f"{value:.0f}"
