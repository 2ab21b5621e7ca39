"""Pictures of a retrieval result: example series with what was retrieved, and recall beside its yardsticks.

matplotlib (the extra `plots`) is imported when a picture is drawn; pyplot is not used, so no global state is touched.
"""

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Families with Chinese glyphs, tried before matplotlib's own font where a machine has them.
_CJK_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC", "SimHei")
_TEXT_COLUMNS = 90
_LINE_INCHES = 0.185
_IMAGE_INCHES = 2.3
_OWN, _RIGHT, _RELATED, _WRONG = "#1f3f7f", "#12703c", "#8a5a00", "#444444"


@contextmanager
def picture_fonts() -> Iterator[None]:
    """Fonts for both languages while a picture is made."""
    require_matplotlib()
    import matplotlib
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in _CJK_FONTS if name in installed)]
    with matplotlib.rc_context({"font.family": families}):
        yield


def require_matplotlib() -> None:
    """Refuse to draw where matplotlib is missing.

    Raises:
        ModuleNotFoundError: It is; the message names the extra to install.
    """
    try:
        import matplotlib  # noqa: F401 (is it there?)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib; install it with `pip install 'selip[plots]'`, or ask for none"
        ) from error


@dataclass(frozen=True)
class RetrievedText:
    """One line of an example: a text with its cosine and its relevance grade 0 ... 3 (3 = hit)."""

    text: str
    score: float
    grade: int


@dataclass(frozen=True)
class RetrievalExample:
    """One series with what was retrieved for it.

    Attributes:
        volume: (X, Y, Z) RAS+ box volume, any intensity scale.
        spacing_mm: Voxel size along X, Y, Z.
        title: Study and series, e.g. "sub-0001_ses-01, FLAIR".
        own_text: The text of this series.
        rank: Rank of the best hit among `num_candidates`.
        retrieved: Best first.
        lesions: bool (X, Y, Z) true lesions, outlined and used to choose the slices; None where none are known.
    """

    volume: npt.NDArray[Any]
    spacing_mm: tuple[float, float, float]
    title: str
    own_text: str
    rank: int
    num_candidates: int
    retrieved: Sequence[RetrievedText]
    lesions: npt.NDArray[np.bool_] | None = None


@picture_fonts()
def draw_examples(examples: Sequence[RetrievalExample], path: str | Path, *, title: str) -> None:
    """Write a PNG with one row an example: three axial slices, its own text, the retrieved texts, the rank of the hit.

    Slices are shown as radiologists do: the patient's right is on the left of the picture.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: No example was given.
    """
    if not examples:
        raise ValueError("expected at least one example to draw, got none")
    blocks = [_example_lines(example) for example in examples]
    heights = [max(_IMAGE_INCHES, _LINE_INCHES * len(lines)) + 0.35 for lines in blocks]
    figure = new_figure(15.0, sum(heights) + 0.9)
    top = 1 - 0.75 / (sum(heights) + 0.9)
    grid = figure.add_gridspec(
        len(examples), 4, width_ratios=[1, 1, 1, 4.4], height_ratios=heights, left=0.01, right=0.995, top=top,
        bottom=0.005, wspace=0.03, hspace=0.04,
    )  # fmt: skip
    figure.text(0.01, 1 - 0.3 / (sum(heights) + 0.9), title, fontsize=14, fontweight="bold", va="center")
    legend = "green: right report (same findings at the same places)    brown: partly right    grey: not relevant"
    if any(example.lesions is not None for example in examples):
        legend += "    blue outline: true lesions of the study, also those that this sequence hides"
    figure.text(0.01, 1 - 0.58 / (sum(heights) + 0.9), legend, fontsize=9, color="#555555", va="center")
    for row, (example, lines) in enumerate(zip(examples, blocks, strict=True)):
        for column, z in enumerate(shown_slices(example.volume, example.lesions)):
            _draw_slice(figure.add_subplot(grid[row, column]), example, z)
        _draw_lines(figure.add_subplot(grid[row, 3]), lines, heights[row])
    save_figure(figure, path)


@picture_fonts()
def draw_recall(
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    sequences: Sequence[str],
    path: str | Path,
    *,
    title: str,
) -> None:
    """Write a PNG of recall@1, 5, 10 for all series, the abnormal ones, each sequence, beside chance and blind order.

    Args:
        metrics: As `RetrievalResult.metrics`.
        intervals: As `RetrievalResult.intervals`; bars without one have no whisker.
        sequences: Sequences to show, in this order.
        path: PNG file.
        title: Heading.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    scopes = {"within_sequence": "all series", "within_sequence_abnormal": "abnormal only"}
    scopes.update({sequence: sequence for sequence in sequences})
    figure = new_figure(max(11.0, 1.5 * len(scopes) + 6), 8.2)
    axes = figure.subplots(2, 3, sharey=True, sharex=True)
    directions = {"image_to_text": "series to report", "text_to_image": "report to series"}
    for row, (direction, words) in enumerate(directions.items()):
        for column, k in enumerate((1, 5, 10)):
            _draw_bars(axes[row, column], metrics, intervals, list(scopes), direction, k)
            axes[row, column].set_title(f"{words}, recall@{k}", fontsize=11)
            axes[row, column].set_xticks(
                range(len(scopes)), list(scopes.values()), rotation=40, ha="right", fontsize=9
            )
        axes[row, 0].set_ylabel("share of queries (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=3, frameon=False, fontsize=9, bbox_to_anchor=(0.99, 0.955))
    figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, y=0.985, ha="left")
    figure.subplots_adjust(left=0.06, right=0.99, top=0.875, bottom=0.13, wspace=0.06, hspace=0.2)
    save_figure(figure, path)


def spread_slices(volume: npt.NDArray[Any], count: int = 3) -> list[int]:
    """Axial slice indices spread over the part of the box that holds the head.

    Args:
        volume: (X, Y, Z); air is 0.
        count: Number of slices >= 1.

    Returns:
        Ascending indices, from 35 % to 75 % of the height of the head (above the skull base, below the vertex).
    """
    filled = (volume > 0).mean(axis=(0, 1))
    inside = np.flatnonzero(filled > 0.1 * filled.max()) if filled.any() else np.arange(volume.shape[2])
    low, high = int(inside[0]), int(inside[-1])
    return [round(low + share * (high - low)) for share in np.linspace(0.35, 0.75, count)]


def shown_slices(volume: npt.NDArray[Any], lesions: npt.NDArray[np.bool_] | None, count: int = 3) -> list[int]:
    """Axial slices to show: first those with most lesion, none beside another, then spread ones; ascending.

    Args:
        volume: (X, Y, Z); air is 0.
        lesions: bool (X, Y, Z), or None.
        count: Number of slices >= 1.
    """
    chosen: list[int] = []
    if lesions is not None:
        area = lesions.sum(axis=(0, 1)).astype(np.int64)
        while area.any() and len(chosen) < count:
            best = int(area.argmax())
            chosen.append(best)
            area[max(0, best - 1) : best + 2] = 0
    spare = [z for z in spread_slices(volume, 2 * count) if z not in chosen]
    # Of the spare ones those farthest from what is shown already.
    while spare and len(chosen) < count:
        chosen.append(max(spare, key=lambda z: min((abs(z - other) for other in chosen), default=0)))
        spare.remove(chosen[-1])
    return sorted(chosen)


def axial_view(volume: npt.NDArray[Any], z: int) -> npt.NDArray[Any]:
    """One axial slice of a RAS+ volume as a picture (rows, columns): anterior on top, patient's right on the left."""
    return np.asarray(volume[::-1, ::-1, z].T)  # (X, Y) -> (Y, X), both reversed


def wrap(text: str, columns: int) -> list[str]:
    """Break a text into lines of at most `columns` cells; a Chinese character takes two and may end a line."""
    lines, line, width = [], "", 0
    for token in _tokens(text):
        cells = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in token)
        if width + cells > columns and line.strip():
            lines.append(line.rstrip())
            line, width = "", 0
            token = token.lstrip()
            cells = min(cells, len(token) or cells)
        line, width = line + token, width + cells
    return [*lines, line.rstrip()] if line.strip() else lines


def _tokens(text: str) -> list[str]:
    """Words with the blank before them; every wide character on its own."""
    tokens: list[str] = []
    for character in text:
        wide = unicodedata.east_asian_width(character) in "WF"
        starts = not tokens or character == " " or wide or unicodedata.east_asian_width(tokens[-1][-1]) in "WF"
        if starts:
            tokens.append(character)
        else:
            tokens[-1] += character
    return tokens


@dataclass(frozen=True)
class _Line:
    """One line of a text panel: `head` in a narrow column of its own, `text` beside it."""

    head: str
    text: str
    colour: str
    weight: str = "normal"


def _example_lines(example: RetrievalExample) -> list[_Line]:
    """Lines of the text panel."""
    title = f"{example.title}:  right report at rank {example.rank} of {example.num_candidates}"
    lines = [_Line("", title, "black", "bold")]
    for number, text in enumerate(wrap(example.own_text, _TEXT_COLUMNS)):
        lines.append(_Line("own" if number == 0 else "", text, _OWN))
    for place, found in enumerate(example.retrieved, start=1):
        colour = _RIGHT if found.grade >= 3 else _RELATED if found.grade > 0 else _WRONG
        weight = "bold" if found.grade >= 3 else "normal"
        for number, text in enumerate(wrap(found.text, _TEXT_COLUMNS)):
            head = f"{place}.   {found.score:.2f}" if number == 0 else ""
            lines.append(_Line(head, text, colour, weight))
    return lines


def _draw_lines(axes: "Axes", lines: Sequence[_Line], height_inches: float) -> None:
    axes.set_axis_off()
    for number, line in enumerate(lines):
        y = 1 - (0.1 + number * _LINE_INCHES) / height_inches
        indent = 0.105 if number else 0.012  # the title stands alone
        for x, text in ((0.012, line.head), (indent, line.text)):
            axes.text(
                x, y, text, transform=axes.transAxes, fontsize=9.6, color=line.colour, va="top", fontweight=line.weight
            )


def _draw_slice(axes: "Axes", example: RetrievalExample, z: int) -> None:
    draw_axial(axes, example.volume, z, example.spacing_mm)
    if example.lesions is not None and example.lesions[:, :, z].any():
        outline = axial_view(example.lesions, z).astype(float)
        axes.contour(outline, levels=[0.5], colors="#35d0e8", linewidths=0.9, alpha=0.9)


def draw_axial(axes: "Axes", volume: npt.NDArray[Any], z: int, spacing_mm: Sequence[float]) -> None:
    """One axial slice of a RAS+ volume, as radiologists look at it, with its sides and its number.

    Args:
        axes: Where it is drawn.
        volume: (X, Y, Z).
        z: Number of the slice.
        spacing_mm: Voxel size along X, Y, Z.
    """
    bright = float(np.percentile(volume[volume > 0], 99.5)) if (volume > 0).any() else 1.0
    aspect = spacing_mm[1] / spacing_mm[0]
    axes.imshow(axial_view(volume, z), cmap="gray", vmin=0, vmax=bright, aspect=aspect, interpolation="bilinear")
    for x, side, align in ((0.03, "R", "left"), (0.97, "L", "right")):
        axes.text(x, 0.5, side, transform=axes.transAxes, color="#ffd24d", fontsize=9, ha=align, va="center")
    axes.text(0.03, 0.03, f"slice {z}", transform=axes.transAxes, color="#bbbbbb", fontsize=6.5)
    axes.set_axis_off()


def _draw_bars(
    axes: "Axes",
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    scopes: Sequence[str],
    direction: str,
    k: int,
) -> None:
    for place, scope in enumerate(scopes):
        key = f"{scope}/{direction}/recall@{k}"
        if key not in metrics:
            continue
        first = place == 0
        value = 100 * metrics[key]
        colour = "#2f6db5" if place < 2 else "#8fb4de"
        axes.bar(place, value, width=0.66, color=colour, label="recall (95 % interval)" if first else None)
        if key in intervals:
            low, high = intervals[key]
            axes.plot([place, place], [100 * low, 100 * high], color="black", linewidth=1.3)
        for yardstick, style, words in (
            ("chance", "#d1442f", "chance given the sequence"),
            ("blind", "#e0a100", "best order that sees no query"),
        ):
            level = 100 * metrics[f"{scope}/{direction}/{yardstick}_recall@{k}"]
            axes.hlines(level, place - 0.4, place + 0.4, color=style, linewidth=2.2, label=words if first else "")
    axes.set_ylim(0, 100)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def new_figure(width_inches: float, height_inches: float) -> "Figure":
    """A white figure that is drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write the PNG atomically."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    figure.savefig(partial, format="png")
    os.replace(partial, target)
