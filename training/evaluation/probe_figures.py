"""Pictures of a probe result: the few-shot curve, and the map of study embeddings under several colourings."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .figures import new_figure, picture_fonts, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINE, _COMMON, _CHANCE, _GREY = "#2f6db5", "#12703c", "#d1442f", "#c4c4c4"
_LEVELS = {"mean": "#1b1b1b", "baseline/statistics": "#e0a100", "baseline/sequences": "#8a5a00"}
_LEVEL_NAMES = {
    "mean": "all studies and labels",
    "baseline/statistics": "volume statistics, all studies and labels",
    "baseline/sequences": "sequences present, all studies and labels",
}
# Okabe and Ito's palette, which the colour-blind can tell apart; what comes after is grey.
_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#000000")
_PANEL_INCHES = 4.6
MAP_NOTE = (
    "Each point is a study. Not to be read from this picture: distances between groups, their size, density and empty "
    "space (t-SNE makes them), or a cause.\nThe numbers are from the embeddings, not from the picture: share of the "
    "nearest neighbours, of other patients, that have a study's colour, beside that of colours dealt out anew."
)


@picture_fonts()
def draw_few_shot(
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    settings: Sequence[str],
    path: str | Path,
    *,
    title: str,
) -> None:
    """Write a PNG of the mean area against the number of labelled studies, with 95 % bands.

    Args:
        metrics: Of a `ProbeResult`.
        intervals: By the same names; points without one have no band.
        settings: Settings of the curve, e.g. `k=8` and `share=10%`.
        path: PNG file.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    per_class = [each for each in settings if each.startswith("k=")]
    shares = [each for each in settings if each.startswith("share=")]
    figure = new_figure(12.0, 5.2)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 1 + bool(shares), sharey=True, squeeze=False, width_ratios=[2, 1] if shares else [1])[
        0
    ]
    figure.suptitle(title, fontsize=12, fontweight="bold")
    _draw_curve(panels[0], metrics, intervals, per_class, "few_shot", _LINE, "labels with enough studies")
    counts = {metrics.get(f"few_shot/{each}/n_labels") for each in per_class}
    if len(counts) > 1:
        words = "the same labels throughout"
        _draw_curve(panels[0], metrics, intervals, per_class, "few_shot_common", _COMMON, words)
    _axis(panels[0], per_class, metrics, "k=", "studies of each class (number of labels below)")
    if shares:
        _draw_curve(panels[1], metrics, intervals, shares, "few_shot", _LINE, "all labels")
        _axis(panels[1], shares, metrics, "share=", "share of training patients")
    for axes in panels:
        axes.axhline(50, color=_CHANCE, linewidth=1, linestyle="--", label="chance")
        for name, colour in _LEVELS.items():
            if f"{name}/auroc" in metrics:
                level = 100 * metrics[f"{name}/auroc"]
                axes.axhline(level, color=colour, linewidth=1, linestyle=":", label=_LEVEL_NAMES[name])
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean area under the ROC curve (%)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save_figure(figure, path)


def _draw_curve(
    axes: "Axes",
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    settings: Sequence[str],
    group: str,
    colour: str,
    label: str,
) -> None:
    places = [place for place, each in enumerate(settings) if f"{group}/{each}/auroc" in metrics]
    names = [f"{group}/{settings[place]}/auroc" for place in places]
    axes.plot(places, [100 * metrics[name] for name in names], marker="o", color=colour, linewidth=1.6, label=label)
    if names and all(name in intervals for name in names):
        low, high = (100 * np.array([intervals[name][end] for name in names]) for end in (0, 1))
        axes.fill_between(places, low, high, color=colour, alpha=0.18, linewidth=0)


def _axis(axes: "Axes", settings: Sequence[str], metrics: Mapping[str, float], prefix: str, title: str) -> None:
    ticks = []
    for each in settings:
        count = metrics.get(f"few_shot/{each}/n_labels")
        ticks.append(each.removeprefix(prefix) + ("" if count is None else f"\n({count:.0f})"))
    axes.set_xticks(range(len(settings)), ticks)
    axes.set_xlabel(title)


@picture_fonts()
def draw_map(
    places: npt.NDArray[np.floating],
    colours: Mapping[str, Sequence[str]],
    notes: Mapping[str, str],
    path: str | Path,
    *,
    title: str,
) -> None:
    """Write a PNG with one panel a colouring, all of the same points.

    Args:
        places: (N, 2).
        colours: Category of each of N studies, by colouring; of many the most frequent have a colour, others are grey.
        notes: A line or two below the name of each colouring.
        path: PNG file.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    columns = min(2 if len(colours) == 4 else 3, len(colours))
    rows = math.ceil(len(colours) / columns)
    figure = new_figure(max(_PANEL_INCHES * columns, 9.0), (_PANEL_INCHES + 1.0) * rows + 1.0)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.supxlabel(MAP_NOTE, fontsize=8, color="#444444")
    for number, (name, categories) in enumerate(colours.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set_title(f"{name}\n{notes[name]}", fontsize=9)
        values = np.asarray(categories)
        counts = Counter(categories).most_common()
        shown = counts if len(counts) <= len(_PALETTE) else counts[: len(_PALETTE) - 1]
        named = {category for category, _ in shown}
        rest = np.array([value not in named for value in values])
        if rest.any():
            axes.scatter(
                places[rest, 0], places[rest, 1], s=14, color=_GREY, linewidths=0, label=f"others ({int(rest.sum())})"
            )
        for (category, count), colour in zip(shown, _PALETTE[: len(shown)], strict=True):
            mine = values == category
            axes.scatter(
                places[mine, 0], places[mine, 1], s=16, color=colour, linewidths=0, label=f"{category} ({count})"
            )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.legend(
            fontsize=6.5,
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=2,
            handletextpad=0.1,
            columnspacing=0.6,
        )
    save_figure(figure, path)
