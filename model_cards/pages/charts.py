"""Charts as SVG text: no plotting package, no script, sharp at any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 26, 34


def line_chart(xs: Sequence[float], ys: Sequence[float], *, title: str, x_label: str) -> str:
    """An SVG line chart of one curve.

    Args:
        xs: Positions, ascending, N >= 1.
        ys: Values, N.
        title: Heading; says what the values are.
        x_label: Name of the horizontal axis.

    Raises:
        ValueError: The lengths differ or there is no point.
    """
    if len(xs) != len(ys) or not xs:
        raise ValueError(f"expected as many positions as values and at least one, got {len(xs)} and {len(ys)}")
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = min(ys), max(ys)
    points = " ".join(
        f"{_scaled(x, x_low, x_high, LEFT, WIDTH - RIGHT):.1f},{_scaled(y, y_low, y_high, HEIGHT - BOTTOM, TOP):.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    base = HEIGHT - BOTTOM
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">',
            f'<text x="{LEFT}" y="15" class="chart-title">{escape(title)}</text>',
            f'<path d="M{LEFT} {TOP}V{base}H{WIDTH - RIGHT}" class="chart-axis"/>',
            f'<polyline points="{points}" class="chart-line"/>',
            f'<text x="{LEFT - 5}" y="{TOP + 4}" text-anchor="end">{y_high:.3g}</text>',
            f'<text x="{LEFT - 5}" y="{base}" text-anchor="end">{y_low:.3g}</text>',
            f'<text x="{LEFT}" y="{base + 14}">{x_low:g}</text>',
            f'<text x="{WIDTH - RIGHT}" y="{base + 14}" text-anchor="end">{x_high:g}</text>',
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{base + 28}" text-anchor="middle">{escape(x_label)}</text>',
            "</svg>",
        ]
    )


def bar_chart(heights: Sequence[float], *, title: str, first: str, last: str, x_label: str) -> str:
    """An SVG bar chart, e.g. of a histogram.

    Args:
        heights: Heights of bars of one width, at least 0, N >= 1.
        title: Heading; says what the heights are.
        first: Value at the left end of the horizontal axis.
        last: Value at its right end.
        x_label: Name of the horizontal axis.

    Raises:
        ValueError: There is no bar, or one has a height below 0.
    """
    if not heights or min(heights) < 0:
        raise ValueError("expected at least one bar and heights of at least 0")
    base, width, highest = HEIGHT - BOTTOM, (WIDTH - RIGHT - LEFT) / len(heights), max(heights)
    tops = [_scaled(height, 0.0, highest, base, TOP) if highest else base for height in heights]
    bars = [
        f'<rect x="{LEFT + number * width + 1:.1f}" y="{top:.1f}" width="{width - 2:.1f}" height="{base - top:.1f}" '
        'class="chart-bar"/>'
        for number, top in enumerate(tops)
    ]
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">',
            f'<text x="{LEFT}" y="15" class="chart-title">{escape(title)}</text>',
            *bars,
            f'<path d="M{LEFT} {TOP}V{base}H{WIDTH - RIGHT}" class="chart-axis"/>',
            f'<text x="{LEFT - 5}" y="{TOP + 4}" text-anchor="end">{highest:.2g}</text>',
            f'<text x="{LEFT - 5}" y="{base}" text-anchor="end">0</text>',
            f'<text x="{LEFT}" y="{base + 14}">{escape(first)}</text>',
            f'<text x="{WIDTH - RIGHT}" y="{base + 14}" text-anchor="end">{escape(last)}</text>',
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{base + 28}" text-anchor="middle">{escape(x_label)}</text>',
            "</svg>",
        ]
    )


def interval_bar(value: float, low: float, high: float, *, mark: float | None = None) -> str:
    """A small SVG of a share and its interval on the way from 0 to 1, for the cell of a table.

    Args:
        value: The share.
        low: Lower end of its interval.
        high: Upper end.
        mark: A share to compare with, e.g. chance; None: none.
    """
    across = [f"{100 * min(1.0, max(0.0, each)):.1f}" for each in (value, low, high)]
    line = "" if mark is None else f'<path d="M{100 * mark:.1f} 0V14" class="bar-mark"/>'
    return (
        f'<svg viewBox="-3 0 106 14" class="bar" aria-hidden="true"><path d="M0 7H100" class="bar-axis"/>{line}'
        f'<path d="M{across[1]} 7H{across[2]}" class="bar-interval"/><circle cx="{across[0]}" cy="7" r="3.4" '
        'class="bar-value"/></svg>'
    )


@dataclass(frozen=True)
class Interval:
    """One line of an interval chart.

    Attributes:
        label: What it is of.
        value: The value.
        low: Lower end.
        high: Upper end.
        points: Single values behind it, drawn as ticks.
        is_strong: Drawn in the accent colour.
    """

    label: str
    value: float
    low: float
    high: float
    points: tuple[float, ...] = ()
    is_strong: bool = True


_LINE, _LABELS, _WIDE, _LETTERS = 22, 178, 640, 30


def interval_chart(lines: Sequence[Interval], *, title: str, mark: float | None = None, mark_label: str = "") -> str:
    """An SVG chart of values with their intervals, one below the other.

    Args:
        lines: From top to bottom, N >= 1.
        title: Heading; says what the values are.
        mark: Where a dashed line stands, e.g. chance, if that is near the values; None: nowhere.
        mark_label: What it is.

    Raises:
        ValueError: There is no line.
    """
    if not lines:
        raise ValueError("expected at least one interval to draw")
    ends = [end for line in lines for end in (line.low, line.high, line.value, *line.points)]
    if mark is not None and min(abs(mark - end) for end in ends) > (max(ends) - min(ends)) / 2:
        mark = None  # far away it would press the values together
    ends += [] if mark is None else [mark]
    low, high = min(ends), max(ends)
    base = TOP + _LINE * len(lines)
    parts = [
        f'<svg viewBox="0 0 {_WIDE} {base + 26}" role="img" aria-label="{escape(title, quote=True)}" '
        'class="chart-wide">',
        f'<text x="4" y="15" class="chart-title">{escape(title)}</text>',
        f'<path d="M{_LABELS} {TOP}V{base}H{_WIDE - RIGHT}" class="chart-axis"/>',
        f'<text x="{_LABELS}" y="{base + 14}">{low:.1f}</text>',
        f'<text x="{_WIDE - RIGHT}" y="{base + 14}" text-anchor="end">{high:.1f}</text>',
    ]

    def place(value: float) -> float:
        return _scaled(value, low, high, _LABELS + 6, _WIDE - RIGHT)

    if mark is not None:
        x = place(mark)
        parts.append(f'<path d="M{x:.1f} {TOP}V{base}" class="chart-mark"/>')
        if 40 < x - _LABELS < _WIDE - RIGHT - _LABELS - 60:
            parts.append(f'<text x="{x:.1f}" y="{base + 14}" text-anchor="middle">{escape(mark_label)}</text>')
    for number, line in enumerate(lines):
        y = TOP + _LINE * number + _LINE / 2
        label = line.label if len(line.label) <= _LETTERS else f"{line.label[: _LETTERS - 1]}…"
        kind = "chart-strong" if line.is_strong else "chart-weak"
        parts += [
            f'<text x="{_LABELS - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>',
            f'<path d="M{place(line.low):.1f} {y:.1f}H{place(line.high):.1f}" class="{kind}"/>',
            *(f'<path d="M{place(each):.1f} {y - 5:.1f}v10" class="chart-tick"/>' for each in line.points),
            f'<circle cx="{place(line.value):.1f}" cy="{y:.1f}" r="4" class="{kind}"/>',
        ]
    return "\n".join([*parts, "</svg>"])


def _scaled(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where a value lies on the way from `start` to `end`; in the middle if all values are one."""
    share = 0.5 if high == low else (value - low) / (high - low)
    return start + share * (end - start)
