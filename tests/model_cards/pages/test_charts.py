"""Charts draw to scale."""

import xml.etree.ElementTree as ElementTree

import pytest

from selip.model_cards.pages.charts import bar_chart, line_chart


def test_chart_puts_values_where_they_belong() -> None:
    """The largest value is the highest point, the first position the leftmost; a flat curve is flat."""
    svg = ElementTree.fromstring(line_chart([0, 5, 10], [1.0, 3.0, 2.0], title="a < b", x_label="step"))
    points = [tuple(map(float, pair.split(","))) for pair in svg.find("polyline").attrib["points"].split()]  # type: ignore[union-attr]
    xs, ys = zip(*points, strict=True)
    assert xs == tuple(sorted(xs))
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert min(ys) == ys[1]  # SVG counts downwards
    assert ys[2] == pytest.approx((ys[0] + ys[1]) / 2, abs=0.1)
    flat = ElementTree.fromstring(line_chart([0, 1], [2.0, 2.0], title="t", x_label="x"))
    heights = {pair.split(",")[1] for pair in flat.find("polyline").attrib["points"].split()}  # type: ignore[union-attr]
    assert len(heights) == 1


def test_bars_are_as_high_as_their_values() -> None:
    """Bars stand on one line side by side, heights in proportion; nothing but zeros is a chart, no bar is none."""
    svg = ElementTree.fromstring(bar_chart([1.0, 4.0, 0.0], title="a < b", first="0", last="1", x_label="x"))
    bars = [{name: float(bar.attrib[name]) for name in ("x", "y", "width", "height")} for bar in svg.findall("rect")]
    assert [bar["height"] / bars[1]["height"] for bar in bars] == pytest.approx([0.25, 1.0, 0.0])
    assert len({round(bar["y"] + bar["height"], 1) for bar in bars}) == 1
    assert bars[0]["x"] + bars[0]["width"] <= bars[1]["x"]
    assert len(ElementTree.fromstring(bar_chart([0.0], title="t", first="0", last="1", x_label="x"))) > 1
    with pytest.raises(ValueError, match="bar"):
        bar_chart([], title="t", first="0", last="1", x_label="x")
