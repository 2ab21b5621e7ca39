"""A table of numbers as a picture: one row a set of sequences, one column a metric, coloured within the column."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .figures import new_figure, save_figure

_INK, _PALE_INK = "#1b1b1b", "#ffffff"


@dataclass(frozen=True)
class HeatTable:
    """Numbers with their names.

    Attributes:
        title: Above the picture.
        rows: R names; the first row is what the others are compared with.
        columns: C names.
        values: R x C.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


def draw_heat_table(table: HeatTable, path: Path) -> None:
    """Write a PNG; colour is the difference from the first row, blue above it and red below.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    values = np.array(table.values)
    change = values - values[:1]
    largest = max(5.0, float(np.abs(change).max()))
    figure = new_figure(max(7.5, 2.6 + 0.42 * len(table.columns)), 2.4 + 0.28 * len(table.rows))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.imshow(change, cmap="RdBu", vmin=-largest, vmax=largest, aspect="auto")
    for row in range(len(table.rows)):
        for column in range(len(table.columns)):
            ink = _PALE_INK if abs(change[row, column]) > 0.7 * largest else _INK
            axes.text(column, row, f"{values[row, column]:.0f}", ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(table.columns)), table.columns, rotation=50, ha="right", fontsize=8)
    axes.set_yticks(range(len(table.rows)), table.rows, fontsize=8)
    axes.axhline(0.5, color=_INK, linewidth=1)
    figure.suptitle(f"{table.title}; colour: difference from the first row", fontsize=9)
    save_figure(figure, path)
