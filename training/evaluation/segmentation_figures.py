"""Pictures of a segmentation result: true against predicted lesions from worst to best, and how Dice is spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .case_metrics import Cases
from .figures import axial_view, draw_axial, new_figure, picture_fonts, save_figure, shown_slices
from .segmentation import case_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRUE, _PREDICTED, _BAR, _MEAN = "#35d0e8", "#ff9d2e", "#8fb4de", "#d1442f"
_SLICES = 4
_ROW_INCHES = 2.75


@dataclass(frozen=True)
class SegmentedStudy:
    """One study with both masks.

    Attributes:
        volume: (X, Y, Z) RAS+ box volume of one series, any intensity scale.
        spacing_mm: Voxel size along X, Y, Z.
        true: bool (X, Y, Z).
        predicted: bool (X, Y, Z).
        title: Above its row.
    """

    volume: npt.NDArray[Any]
    spacing_mm: tuple[float, float, float]
    true: npt.NDArray[np.bool_]
    predicted: npt.NDArray[np.bool_]
    title: str


def cases_from_worst_to_best(cases: Cases, count: int) -> npt.NDArray[np.int64]:
    """Rows of studies with a lesion, evenly spaced by Dice: the worst first, the best last, the median in the middle.

    Args:
        cases: Case table of a segmentation.
        count: Rows at most; an even number gives one less, so that there is a middle.
    """
    rows = np.flatnonzero(np.asarray(cases["voxels_true"]) > 0)
    ordered = rows[np.argsort(case_scores(cases)["dice"][rows], kind="stable")]
    count = min(count - (count % 2 == 0), len(ordered))
    places = [(len(ordered) - 1) // 2] if count < 2 else np.linspace(0, len(ordered) - 1, count).astype(np.int64)
    return ordered[np.asarray(places)]


@picture_fonts()
def draw_overlays(studies: Sequence[SegmentedStudy], path: str | Path, *, title: str) -> None:
    """Write a PNG with one row a study: axial slices with most lesion, true outlined, predicted filled.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: No study was given.
    """
    if not studies:
        raise ValueError("expected at least one study to draw, got none")
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = new_figure(2.5 * _SLICES, _ROW_INCHES * len(studies) + 0.8)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    rows = figure.subfigures(len(studies), 1, squeeze=False)[:, 0]
    for row, study in zip(rows, studies, strict=True):
        row.suptitle(study.title, fontsize=9, x=0.01, ha="left")
        panels = row.subplots(1, _SLICES)
        for axes, z in zip(panels, shown_slices(study.volume, study.true | study.predicted, _SLICES), strict=True):
            _draw_masks(axes, study, z)
    handles = [Line2D([], [], color=_TRUE), Patch(facecolor=_PREDICTED, alpha=0.55)]
    figure.legend(handles, ["true", "predicted"], loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw_masks(axes: "Axes", study: SegmentedStudy, z: int) -> None:
    draw_axial(axes, study.volume, z, study.spacing_mm)
    if study.predicted[:, :, z].any():
        filled = axial_view(study.predicted, z)
        coloured = np.zeros((*filled.shape, 4))
        coloured[filled] = (*(int(_PREDICTED[place : place + 2], 16) / 255 for place in (1, 3, 5)), 0.55)
        axes.imshow(coloured, aspect=study.spacing_mm[1] / study.spacing_mm[0], interpolation="nearest")
    if study.true[:, :, z].any():
        axes.contour(axial_view(study.true, z).astype(float), levels=[0.5], colors=_TRUE, linewidths=1.1)


@picture_fonts()
def draw_dice(cases: Cases, path: str | Path, *, title: str) -> None:
    """Write a PNG: how many studies with a lesion have which Dice, and Dice against the volume of the true lesions.

    Args:
        cases: Case table of a segmentation.
        path: PNG file.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    rows = np.flatnonzero(np.asarray(cases["voxels_true"]) > 0)
    dice = 100 * case_scores(cases)["dice"][rows]
    volumes_ml = (np.asarray(cases["voxels_true"]) * cases["voxel_ml"])[rows]
    figure = new_figure(10.0, 3.9)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    left, right = figure.subplots(1, 2)
    left.hist(dice, bins=np.linspace(0, 100, 21), color=_BAR)
    left.axvline(dice.mean(), color=_MEAN, linewidth=1.4, label=f"mean {dice.mean():.0f}")
    left.axvline(np.median(dice), color="#1b1b1b", linewidth=1.4, linestyle=":", label=f"median {np.median(dice):.0f}")
    left.set_xlabel("Dice (%)")
    left.set_ylabel(f"studies, of {len(rows)} with a lesion")
    left.legend(frameon=False, fontsize=9)
    right.scatter(volumes_ml, dice, s=14, color="#2f6db5", alpha=0.7, linewidths=0)
    right.set_xscale("log")
    right.set_ylim(-3, 103)
    right.set_xlabel("volume of the true lesions (ml)")
    right.set_ylabel("Dice (%)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        axes.grid(color="#e2e2e2", linewidth=0.7)
    save_figure(figure, path)
