"""The table of cases on the page of an evaluation, the worst first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .evaluation_words import TaskWords, sort_key

# Columns of a task without words: never free text.
_ID_COLUMNS = ("study_id", "partner_id", "series_id", "sequence", "label", "kind", "direction")
_MOST_COLUMNS = 10
_CASE_WORDS = {"study_id": "study", "series_id": "series"}


@dataclass(frozen=True)
class ReportedResult:
    """One result.

    Attributes:
        name: Of its file.
        record: What the file holds.
        cases: Its table of cases by column; empty: none.
        mistakes: How wrong each case is, larger is worse; None: nobody says.
        pictures: PNG files by kind.
    """

    name: str
    record: Mapping[str, Any]
    cases: Mapping[str, Sequence[Any]]
    mistakes: Sequence[float] | None
    pictures: Mapping[str, bytes]


def cases_table(result: ReportedResult, words: TaskWords, limit: int) -> dict[str, Any] | None:
    """The table of cases, the worst first."""
    cases, mistakes = result.cases, result.mistakes
    if not cases or limit == 0:
        return None
    names = [name for name in words.cases if name in cases] or _plain_columns(cases)
    count = len(next(iter(cases.values())))
    order = list(range(count))
    if mistakes is not None:
        truth = cases.get("positive", [True] * count)  # of equal ones what was missed before what was marked wrongly
        order.sort(key=lambda row: (math.isnan(mistakes[row]), -mistakes[row], not truth[row]))
    shown = order[:limit]
    columns = [{"title": _case_title(name, words), "is_number": _is_number(cases[name])} for name in names]
    of_rows = [[_case_cell(cases[name][row], words) for name in names] for row in shown]
    if mistakes is not None:
        columns.append({"title": words.case_words.get("mistake", "mistake"), "is_number": True})
        are_shares = all(0 <= value <= 1 for value in mistakes if not math.isnan(value))
        for cells, row in zip(of_rows, shown, strict=True):
            text = f"{100 * mistakes[row]:.0f} %" if are_shares else f"{mistakes[row]:.3f}"
            cells.append({"text": "" if math.isnan(mistakes[row]) else text, "sort": sort_key(mistakes[row])})
    labels = sorted({str(cases["label"][row]) for row in shown}) if "label" in names else []
    return {
        "columns": columns,
        "rows": of_rows,
        "left_out": count - len(shown),
        "file": result.record.get("files", {}).get("cases", ""),
        "is_sorted": mistakes is not None,
        "labels": labels,
        "label_column": names.index("label") if labels else -1,
    }


def _plain_columns(cases: Mapping[str, Sequence[Any]]) -> list[str]:
    """Of a task without words: ids, and numbers; other text may be that of a report."""
    return [
        name for name, values in cases.items() if name in _ID_COLUMNS or (name != "patient_id" and _is_number(values))
    ][:_MOST_COLUMNS]


def _is_number(values: Sequence[Any]) -> bool:
    return not any(isinstance(value, str) for value in values[:1])


def _case_title(name: str, words: TaskWords) -> str:
    return words.case_words.get(name, _CASE_WORDS.get(name, name.replace("_", " ")))


def _case_cell(value: Any, words: TaskWords) -> dict[str, str]:
    if isinstance(value, bool):
        return {"text": "yes" if value else "no", "sort": str(int(value))}
    if isinstance(value, float):
        text = "" if math.isnan(value) else f"{value:.0f}" if value.is_integer() else f"{value:.3f}"
        return {"text": text, "sort": sort_key(value)}
    if isinstance(value, int):
        return {"text": str(value), "sort": str(value)}
    return {"text": words.names.get(str(value), str(value)), "sort": str(value)}
