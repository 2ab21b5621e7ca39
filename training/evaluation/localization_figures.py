"""Pictures of maps: examples with the true lesion, how often a map points at it, and one map over its series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .figures import axial_view, new_figure, picture_fonts, save_figure, wrap
from .lesions import BoolArray, highest_voxel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

COLOURS = "inferno"
"""A perceptually uniform map of colours: equal steps of the value look like equal steps."""
_OPACITY = 0.75
_BRIGHT_PERCENTILE = 99.5
_HIT, _MISS, _LESION = "#12703c", "#b3261e", "#35d0e8"
_PANEL_INCHES = 3.1
_WORDS_INCHES = 0.62
_TEXT_CELLS = 98
_SCALE_MM = 50.0


@dataclass(frozen=True)
class LocalizedExample:
    """A series, the map of a text on it, and the lesion that the text tells of, all (X, Y, Z) on the study box."""

    volume: npt.NDArray[np.floating]
    values: npt.NDArray[np.floating]
    head: BoolArray
    lesion: BoolArray
    spacing_mm: tuple[float, float, float]
    title: str
    text: str
    is_hit: bool
    distance_mm: float


@picture_fonts()
def draw_localized(examples: Sequence[LocalizedExample], path: str | Path, *, title: str) -> None:
    """Write a PNG with two slices an example: where the lesion is largest, and where the map is highest.

    Slices are shown as radiologists do: the patient's right is on the left of the picture.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: No example was given.
    """
    if not examples:
        raise ValueError("expected at least one example to draw, got none")
    rows = -(-len(examples) // 2)
    width, height = 4 * _PANEL_INCHES + 0.9, rows * (_PANEL_INCHES + _WORDS_INCHES) + 0.8
    figure = new_figure(width, height)
    figure.text(0.2 / width, 1 - 0.28 / height, title, fontsize=14, fontweight="bold", va="center")
    legend = "of each: the slice with most of the lesion, and the slice in which the map is highest (cross)    blue: "
    legend += "outline of the lesion    colours: what speaks for the text, from 0 to the highest value of the map"
    figure.text(0.2 / width, 1 - 0.56 / height, legend, fontsize=9, color="#555555", va="center")
    for place, example in enumerate(examples):
        row, column = divmod(place, 2)
        left = 0.2 + column * (2 * _PANEL_INCHES + 0.4)
        top = height - 0.8 - row * (_PANEL_INCHES + _WORDS_INCHES)
        told = "points at it" if example.is_hit else f"{example.distance_mm:.0f} mm beside it"
        colour = _HIT if example.is_hit else _MISS
        head: dict[str, Any] = {"fontsize": 8.5, "fontweight": "bold", "color": colour, "va": "top"}
        figure.text(left / width, (top - 0.08) / height, f"{example.title}:  {told}", **head)
        words = "\n".join(wrap(example.text, _TEXT_CELLS)[:2])
        figure.text(left / width, (top - 0.25) / height, words, fontsize=8.5, va="top")
        bottom = (top - _WORDS_INCHES - _PANEL_INCHES) / height
        highest = highest_voxel(example.values, example.head)
        slices = (int(example.lesion.sum(axis=(0, 1)).argmax()), highest[2])
        for number, z in enumerate(slices):
            at = (left + number * (_PANEL_INCHES + 0.1)) / width
            axes = figure.add_axes((at, bottom, _PANEL_INCHES / width, _PANEL_INCHES / height))
            draw_map_slice(axes, example.volume, example.values, z, example.spacing_mm, head=example.head)
            if example.lesion[:, :, z].any():
                outline = axial_view(example.lesion, z).astype(float)
                axes.contour(outline, levels=[0.5], colors=_LESION, linewidths=1.1)
            if z == highest[2]:
                x, y = (size - 1 - at for size, at in zip(example.values.shape[:2], highest[:2], strict=True))
                axes.plot([x], [y], marker="+", color="white", markersize=11, markeredgewidth=1.6)
    save_figure(figure, path)


def draw_map_slice(
    axes: "Axes",
    volume: npt.NDArray[np.floating],
    values: npt.NDArray[np.floating],
    z: int,
    spacing_mm: Sequence[float],
    *,
    head: BoolArray | None = None,
) -> "AxesImage":
    """One axial slice in grey with a map over it, from clear at 0 to opaque at the map's highest value.

    Args:
        axes: Where to draw.
        volume: (X, Y, Z) RAS+.
        values: (X, Y, Z); what is not above 0 is not shown.
        z: The slice.
        spacing_mm: Voxel size.
        head: Where the map is shown; None: everywhere.

    Returns:
        The map, for a bar of its colours.
    """
    inside = volume[volume > 0]
    bright = float(np.percentile(inside, _BRIGHT_PERCENTILE)) if inside.size else 1.0
    aspect = spacing_mm[1] / spacing_mm[0]
    axes.imshow(axial_view(volume, z), cmap="gray", vmin=0, vmax=bright, aspect=aspect, interpolation="bilinear")
    shown = np.where(True if head is None else head, values, 0)
    top = max(float(shown.max()), 1e-12)
    share = np.clip(axial_view(shown, z) / top, 0, 1)
    drawn = axes.imshow(
        share * top, cmap=COLOURS, vmin=0, vmax=top, alpha=_OPACITY * share, aspect=aspect, interpolation="nearest"
    )
    for x, side, align in ((0.03, "R", "left"), (0.97, "L", "right")):
        axes.text(x, 0.5, side, transform=axes.transAxes, color="#ffd24d", fontsize=9, ha=align, va="center")
    axes.set_axis_off()
    return drawn


@picture_fonts()
def draw_overlay(
    volume: npt.NDArray[np.floating],
    values: npt.NDArray[np.floating],
    head: BoolArray,
    spacing_mm: Sequence[float],
    path: str | Path,
    *,
    title: str,
    unit: str,
    num_slices: int,
) -> None:
    """Write a PNG of the axial slices in which a map is highest, not side by side, lowest first.

    Args:
        volume: (X, Y, Z) RAS+, one series.
        values: (X, Y, Z), the map; what is not above 0 is not shown.
        head: Where the map is shown.
        spacing_mm: Voxel size.
        path: PNG file.
        title: Heading.
        unit: What a value is, for the bar of colours.
        num_slices: Slices, at least 1.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    shown = np.where(head, values, -np.inf)
    slices = highest_slices(shown.max(axis=(0, 1)), num_slices)
    lines = wrap(title, 44 * len(slices) + 20)[:3]
    height = 4.3 + 0.2 * len(lines) + 0.3
    figure = new_figure(3.5 * len(slices) + 1.2, height)
    for number, line in enumerate(lines):
        figure.text(0.02, 1 - (0.22 + 0.2 * number) / height, line, fontsize=10, fontweight="bold", va="center")
    grid = figure.add_gridspec(
        1, len(slices) + 1, width_ratios=[*[1] * len(slices), 0.05], left=0.01, right=0.87,
        top=4.3 / height, bottom=0.3 / height, wspace=0.03,
    )  # fmt: skip
    visible = np.where(head, np.maximum(values, 0), 0)
    for place, z in enumerate(slices):
        axes = figure.add_subplot(grid[0, place])
        drawn = draw_map_slice(axes, volume, visible, z, spacing_mm)
        _draw_scale(axes, spacing_mm, label=place == 0)
        axes.text(0.97, 0.03, f"slice {z}", transform=axes.transAxes, color="#bbbbbb", fontsize=7, ha="right")
    bar = figure.colorbar(drawn, cax=figure.add_subplot(grid[0, len(slices)]))
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    bar.set_label(unit, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    note = "radiological: the patient's right is on the left.  Not a medical device."
    figure.text(0.02, 0.12 / height, note, fontsize=8, color="#555555", va="center")
    save_figure(figure, path)


def highest_slices(highest: npt.NDArray[np.floating], count: int) -> list[int]:
    """Numbers of the slices (Z,) with the highest values, none within two of another, ascending."""
    left = np.asarray(highest, dtype=np.float64).copy()
    chosen: list[int] = []
    while len(chosen) < count and np.isfinite(left).any():
        best = int(left.argmax())
        chosen.append(best)
        left[max(0, best - 2) : best + 3] = -np.inf
    return sorted(chosen)


def _draw_scale(axes: "Axes", spacing_mm: Sequence[float], *, label: bool) -> None:
    """A bar of 50 mm in the lower left corner."""
    left, bottom = axes.get_xlim()[0] + 6, axes.get_ylim()[0] - 6
    right = left + _SCALE_MM / spacing_mm[0]
    axes.plot([left, right], [bottom, bottom], color="white", linewidth=2.2, solid_capstyle="butt")
    if label:
        axes.text(left, bottom - 5, f"{_SCALE_MM:.0f} mm", color="white", fontsize=8, va="bottom")


@picture_fonts()
def draw_shares_hit(
    points: Mapping[str, float], intervals: Mapping[str, tuple[float, float]], path: str | Path, *, title: str
) -> None:
    """Write a PNG of how often a map points at its lesion, by finding and by sequence, beside chance and the ideal.

    Args:
        points: As of `localization_case_metrics`.
        intervals: By the same names; bars without one have no whisker.
        path: PNG file.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    groups = list(dict.fromkeys(name.rpartition("/")[0] for name in points))
    findings = sorted((g for g in groups if g.startswith("finding/")), key=lambda g: -points[f"{g}/n_cases"])
    order = ["all", *(g for g in groups if g.startswith("sequence/")), *findings]
    figure = new_figure(max(8.0, 0.5 * len(order) + 2.2), 5.2)
    axes = figure.subplots()
    for place, group in enumerate(order):
        value = 100 * points[f"{group}/hit"]
        axes.bar(place, value, width=0.66, color="#2f6db5" if place == 0 else "#8fb4de")
        if f"{group}/hit" in intervals:
            ends = [100 * end for end in intervals[f"{group}/hit"]]
            axes.plot([place, place], ends, color="black", linewidth=1.3)
        for name, colour, words in (("chance", "#d1442f", "chance"), ("ideal_hit", "#12703c", "ideal map")):
            level = 100 * points[f"{group}/{name}"]
            label = words if place == 0 else ""
            axes.hlines(level, place - 0.4, place + 0.4, color=colour, linewidth=2.2, label=label)
    names = [f"{g.rpartition('/')[2]} ({points[f'{g}/n_cases']:.0f})" for g in order]
    axes.set_xticks(range(len(order)), names, rotation=45, ha="right", fontsize=8.5)
    axes.set_xlim(-0.7, len(order) - 0.3)
    axes.set_ylim(0, 103)
    axes.set_ylabel("maps that point at the lesion (%)")
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8.5, frameon=False)
    axes.set_title(title, fontsize=12, fontweight="bold", loc="left")
    figure.set_layout_engine("constrained")
    save_figure(figure, path)
