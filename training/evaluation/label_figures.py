"""Pictures of scores for labels: ROC curves by label with a band, and how far probabilities can be believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .binary_metrics import CALIBRATION_BINS, bin_of, brier_scores, calibration_errors, roc_points
from .bootstrap import PatientBootstrap, percentile_interval
from .case_metrics import Cases
from .figures import new_figure, picture_fonts, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

_COLUMNS = 5
_PANEL_INCHES = 2.5
_GRID = np.linspace(0, 1, 101)  # shares of false alarms at which the band is drawn
_TITLE_CHARACTERS = 34
_LINE, _CHANCE, _BAND = "#2f6db5", "#d1442f", "#8fb4de"


def draw_label_pictures(
    out: Path,
    *,
    cases: Cases,
    score: str,
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    bootstrap_samples: int,
    seed: int,
    heading: str,
) -> dict[str, str]:
    """Draw both pictures beside a result path; returns their file names by kind. Arguments as below."""
    roc, reliability = out.with_suffix(".roc.png"), out.with_suffix(".reliability.png")
    draw_roc(
        cases,
        score,
        roc,
        metrics=metrics,
        intervals=intervals,
        bootstrap_samples=bootstrap_samples,
        seed=seed,
        title=f"ROC curves, {heading}",
    )
    draw_reliability(cases, reliability, title=f"Calibration, {heading}")
    return {"roc": roc.name, "reliability": reliability.name}


@picture_fonts()
def draw_roc(
    cases: Cases,
    score: str,
    path: str | Path,
    *,
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    bootstrap_samples: int,
    seed: int,
    title: str,
) -> None:
    """Write a PNG with one ROC curve a label; the band is the 95 % interval of the sensitivity over patients.

    Args:
        cases: Columns `label`, `positive`, `patient_id` and the score, one row a study and label.
        score: Name of the score.
        path: PNG file.
        metrics: `{label}/auroc` of every label.
        intervals: Their intervals.
        bootstrap_samples: Draws of patients behind the band; 0: no band.
        seed: Seed of the draws.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    resampling = None
    if bootstrap_samples:
        resampling = PatientBootstrap(cases["patient_id"], num_samples=bootstrap_samples, seed=seed)
    labels = list(dict.fromkeys(cases["label"]))
    figure, panels = _panels(labels, title, "false alarms (%)", "sensitivity (%)")
    for axes, label in zip(panels, labels, strict=True):
        rows = np.flatnonzero(cases["label"] == label)
        scores, positive = cases[score][rows], cases["positive"][rows]
        axes.plot([0, 100], [0, 100], color=_CHANCE, linewidth=1, linestyle="--")
        if resampling is not None:
            counts = resampling.counts[:, resampling.patient_of_row[rows]].astype(np.float64)
            low, high = percentile_interval(sensitivity_curves(scores, positive, counts, _GRID))
            axes.fill_between(100 * _GRID, 100 * low, 100 * high, color=_BAND, alpha=0.45, linewidth=0)
        curve = sensitivity_curves(scores, positive, np.ones((1, len(rows))), _GRID)[0]
        axes.plot(100 * _GRID, 100 * curve, color=_LINE, linewidth=1.6)
        area = _percent(f"{label}/auroc", metrics, intervals)
        _note(axes, f"area {area}\n{positive.sum()} of {len(rows)} studies", right=True)
    save_figure(figure, path)


@picture_fonts()
def draw_reliability(cases: Cases, path: str | Path, *, title: str) -> None:
    """Write a PNG with one panel a label: share of studies that have it against the probability that was said.

    Points have the area of the number of studies in their bin, bins are those of the calibration error.

    Args:
        cases: Columns `label`, `positive` and `probability`, one row a study and label.
        path: PNG file.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    labels = list(dict.fromkeys(cases["label"]))
    figure, panels = _panels(labels, title, "probability said (%)", "have it (%)")
    for axes, label in zip(panels, labels, strict=True):
        rows = np.flatnonzero(cases["label"] == label)
        probabilities, positive = cases["probability"][rows], cases["positive"][rows]
        bins = bin_of(probabilities, CALIBRATION_BINS)
        filled = np.unique(bins)
        said, true = (
            np.array([each[bins == number].mean() for number in filled]) for each in (probabilities, positive)
        )
        counts = np.array([(bins == number).sum() for number in filled])
        axes.plot([0, 100], [0, 100], color=_CHANCE, linewidth=1, linestyle="--")
        axes.axhline(100 * positive.mean(), color="#999999", linewidth=0.8, linestyle=":")
        axes.plot(100 * said, 100 * true, color=_LINE, linewidth=1)
        sizes = 10 + 110 * counts / len(rows)
        axes.scatter(100 * said, 100 * true, s=sizes, color=_LINE, alpha=0.8, zorder=3, clip_on=False)
        every = np.ones((1, len(rows)))
        error = calibration_errors(probabilities, positive, every, CALIBRATION_BINS)[0]
        brier = brier_scores(probabilities, positive, every)[0]
        _note(axes, f"error {100 * error:.0f}\nBrier {brier:.2f}", right=False)
    save_figure(figure, path)


def sensitivity_curves(
    scores: FloatArray, positive: npt.NDArray[np.bool_], weights: FloatArray, false_alarms: FloatArray
) -> FloatArray:
    """Sensitivity at given shares of false alarms, on straight lines between the points of the ROC curve.

    Args:
        scores: (N,).
        positive: (N,).
        weights: (B, N) how often each case counts.
        false_alarms: (G,) ascending in [0, 1].

    Returns:
        (B, G); NaN where a row of weights has no positive or no negative.
    """
    points = zip(*roc_points(scores, positive, weights), strict=True)
    return np.stack([np.interp(false_alarms, alarms, found) for alarms, found in points])


def _panels(labels: Sequence[str], title: str, across: str, up: str) -> tuple["Figure", list["Axes"]]:
    """A figure with one square panel a label, each from 0 to 100 both ways."""
    columns = min(_COLUMNS, len(labels))
    rows = -(-len(labels) // columns)
    figure = new_figure(max(_PANEL_INCHES * columns, 7.5), _PANEL_INCHES * rows + 0.6)
    figure.set_layout_engine("constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    figure.supxlabel(across, fontsize=10)
    figure.supylabel(up, fontsize=10)
    panels = []
    for number, label in enumerate(labels):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set_title(label if len(label) <= _TITLE_CHARACTERS else f"{label[: _TITLE_CHARACTERS - 1]}…", fontsize=9)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xticks([0, 50, 100])
        axes.set_yticks([0, 50, 100])
        axes.tick_params(labelsize=7)
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
        panels.append(axes)
    return figure, panels


def _note(axes: "Axes", text: str, *, right: bool) -> None:
    x, y, across, up = (0.97, 0.04, "right", "bottom") if right else (0.04, 0.97, "left", "top")
    axes.text(x, y, text, transform=axes.transAxes, ha=across, va=up, fontsize=7.5, color="#222222")


def _percent(name: str, metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> str:
    value = f"{100 * metrics[name]:.0f}"
    ends = intervals.get(name)
    return value if ends is None else f"{value} [{100 * ends[0]:.0f}, {100 * ends[1]:.0f}]"
