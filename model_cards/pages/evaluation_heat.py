"""The table of `selip missing` on its page: sets of sequences against metrics, coloured."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .evaluation_words import TaskWords, metric_text, metric_title, row_title, sort_key

# Differences below this are no colour at all.
_LEAST_FULL_COLOUR = 0.05


def heat_table(sets: Sequence[Mapping[str, Any]], names: Sequence[str], words: TaskWords) -> dict[str, Any]:
    """Cells with their difference from the first row, and how strongly they are coloured by it."""
    first = sets[0]["metrics"]
    differences = [[each["metrics"][name] - first[name] for name in names] for each in sets]
    largest = max([_LEAST_FULL_COLOUR, *(abs(value) for row in differences for value in row if not math.isnan(value))])
    return {
        "columns": _columns(names, words),
        "rows": [
            {
                "title": each["title"],
                "studies": each["n"].get("studies", 0),
                "interval": metric_text(names[0], each["metrics"][names[0]], each["intervals"].get(names[0])),
                "cells": [
                    {
                        "text": f"{100 * each['metrics'][name]:.0f}",
                        "difference": "" if number == 0 else _signed(100 * change),
                        "sort": sort_key(each["metrics"][name]),
                        "colour": _colour(change / largest),
                    }
                    for name, change in zip(names, row, strict=True)
                ],
            }
            for number, (each, row) in enumerate(zip(sets, differences, strict=True))
        ],
    }


def _columns(names: Sequence[str], words: TaskWords) -> list[str]:
    """What each metric is of; with the metric itself where several of one group stand side by side."""
    groups = [name.rpartition("/")[0] for name in names]
    return [
        row_title(group, words) if groups.count(group) == 1 else f"{metric_title(name)}, {row_title(group, words)}"
        for name, group in zip(names, groups, strict=True)
    ]


def _colour(strength: float) -> str:
    """Blue for more, red for less, paler for little; -1 to 1."""
    return f"rgba({'33,102,172' if strength > 0 else '178,24,43'},{0.55 * min(1.0, abs(strength)):.2f})"


def _signed(value: float) -> str:
    """A whole number with its sign, 0 without one."""
    return f"{round(value):+d}" if round(value) else "0"
