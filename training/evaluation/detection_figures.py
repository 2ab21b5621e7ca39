"""Pictures of a detection: precision against recall, what is found against false boxes, and by finding."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .case_metrics import Cases
from .detection import BOX, LESION, OVERLAPS, STUDY, froc, match_cases
from .figures import new_figure, picture_fonts, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#2f6db5", "#e0a100", "#d1442f")
_MOST_FALSE = 8.0


@picture_fonts()
def draw_detection(
    cases: Cases,
    points: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    path: str | Path,
    *,
    title: str,
) -> None:
    """Write a PNG of both curves at every level of overlap, and of what is found by finding.

    Args:
        cases: Table of boxes.
        points: As of `detection_case_metrics`.
        intervals: By the same names; bars without one have no whisker.
        path: PNG file.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    figure = new_figure(14.5, 4.9)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    precision, found, by_finding = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
    scores = np.asarray(cases["score"], dtype=np.float64)[cases["kind"] == BOX]
    numbers = {name: np.array([float((cases["kind"] == name).sum())]) for name in (LESION, STUDY)}
    for level, colour in zip(OVERLAPS, _COLOURS, strict=True):
        is_true, _ = match_cases(cases, level)
        wrong, recall = (
            each[0] for each in froc(scores, is_true, np.ones((1, len(scores))), numbers[LESION], numbers[STUDY])
        )
        hits, misses = recall * numbers[LESION], wrong * numbers[STUDY]
        name = f"all/ap@{level:g}"
        low, high = intervals.get(name, (np.nan, np.nan))
        label = f"overlap {level:g}: area {100 * points[name]:.1f}"
        label += "" if np.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
        precision.plot(100 * recall, 100 * hits / np.maximum(hits + misses, 1), color=colour, label=label)
        inside = wrong <= _MOST_FALSE
        found.plot(wrong[inside], 100 * recall[inside], color=colour, label=f"overlap {level:g}")
    _style(precision, "lesions found (%)", "boxes that are right (%)")
    _style(found, "false boxes a study", "lesions found (%)")
    precision.set_xlim(0, 100)
    found.set_xlim(0, _MOST_FALSE)
    _draw_findings(by_finding, points, intervals)
    save_figure(figure, path)


def _draw_findings(axes: "Axes", points: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> None:
    groups = [name.rpartition("/")[0] for name in points if name.startswith("finding/") and name.endswith("/found")]
    groups.sort(key=lambda group: -points[f"{group}/n_lesions"])
    for place, group in enumerate(groups):
        axes.bar(place, 100 * points[f"{group}/found"], width=0.66, color="#8fb4de")
        if f"{group}/found" in intervals:
            axes.plot([place] * 2, [100 * end for end in intervals[f"{group}/found"]], color="black", linewidth=1.3)
    names = [f"{group.partition('/')[2]} ({points[f'{group}/n_lesions']:.0f})" for group in groups]
    axes.set_xticks(range(len(groups)), names, rotation=55, ha="right", fontsize=8)
    _style(axes, "", f"found at overlap {OVERLAPS[0]:g}, one false box a study (%)")


def _style(axes: "Axes", across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_ylim(0, 100)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8.5, frameon=False, loc="upper right")
