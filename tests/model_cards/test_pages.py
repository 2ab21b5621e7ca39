"""Cards and pages say what the result files say, and nothing else."""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from selip.model_cards.charts import bar_chart, line_chart
from selip.model_cards.demo_page import DemoRecord, StageRecord, duration, ranking_context, write_demo_page
from selip.model_cards.results import read_result, result_table

METRICS = {
    "within_sequence/image_to_text/recall@1": 0.125,
    "within_sequence/image_to_text/recall@5": 0.5,
    "within_sequence/image_to_text/recall@10": 0.75,
    "within_sequence/image_to_text/chance_recall@5": 0.05,
    "within_sequence/image_to_text/blind_recall@5": 0.1,
    "within_sequence/image_to_text/above_chance_recall@5": 0.45,
    "within_sequence/image_to_text/median_rank": 4.5,
    "within_sequence/image_to_text/n_candidates": 80.0,
    "within_sequence/image_to_text/n_queries": 300.0,
    "within_sequence/text_to_image/recall@5": 0.4,
}
RESULT: dict[str, Any] = {
    "task": "retrieval",
    "metrics": METRICS,
    "intervals": {"within_sequence/image_to_text/recall@5": [0.4, 0.6]},
    "n": {"patients": 70, "studies": 90, "series": 300, "texts": 250},
    "simulated": True,
    "data": {"split": "test"},
    "command": "selip evaluate run/best studies",
    "files": {},
}


class Tags(HTMLParser):
    """Collects what a page refers to, and that its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def result_file(tmp_path: Path) -> Path:
    path = tmp_path / "retrieval.json"
    path.write_text(json.dumps(RESULT))
    return path


def test_table_holds_the_percentages_of_the_result() -> None:
    """Each cell is its metric in percent, intervals beside their metric; yardsticks make no rows of their own."""
    table = result_table(RESULT)
    assert [row.name for row in table.rows] == ["within sequence", "within sequence, text to series"]
    row = table.rows[0]
    assert (row.recall_1, row.recall_5, row.recall_10) == ("12.5", "50.0", "75.0")
    assert (row.interval, row.chance, row.blind) == ("40.0 to 60.0", "5.0", "10.0")
    assert (row.median_rank, row.candidates, row.queries) == ("4.5", "80", "300")
    assert table.rows[1].interval == ""
    assert table.subtitle.startswith("90 simulated studies of 70 patients")


@pytest.mark.parametrize("text", ["{", "{}", '{"task": "retrieval"}'])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    """A file that is not JSON, or lacks parts of a result, is a ValueError that names it."""
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken\.json"):
        read_result(path)


def test_only_retrievals_make_rows_of_the_page() -> None:
    """Any other result is refused by the name of its task."""
    with pytest.raises(ValueError, match="task structuring"):
        result_table({**RESULT, "task": "structuring", "metrics": {"finding/f1": 0.5}})


def test_page_stands_alone_and_escapes_texts(tmp_path: Path, result_file: Path) -> None:
    """One file: pictures inside, nothing fetched, every tag closed, texts of reports never read as HTML."""
    ranking = {
        "volume": "bids/a_FLAIR.nii.gz",
        "sequence": "FLAIR",
        "own_text": "FLAIR: <b>left</b> mass.",
        "texts": ["FLAIR: normal.", "FLAIR: <b>left</b> mass."],
        "cosines": [0.1, 0.9],
    }
    (tmp_path / "ranking.json").write_text(json.dumps(ranking))
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "loss": 3.0}\n{"step": 20, "loss": 2.0}\n')
    judged = {
        "metrics": {"finding/f1": 0.5, "finding/precision": 0.4, "finding/recall": 0.667},
        "intervals": {"finding/f1": [0.45, 0.55]},
        "structurer": {"name": "rules", "version": "9"},
    }
    (tmp_path / "structuring.json").write_text(json.dumps(json.loads(result_file.read_text()) | judged))
    picture = b"\x89PNG picture"
    (tmp_path / "preview.png").write_bytes(picture)
    record = DemoRecord(
        result=result_file,
        structuring=tmp_path / "structuring.json",
        ranking=tmp_path / "ranking.json",
        curves=tmp_path / "metrics.jsonl",
        preview=tmp_path / "preview.png",
        stages=[StageRecord("simulate", "selip simulate a & b", 61.0), StageRecord("evaluate", "selip evaluate", 9.0)],
        settings=["600 simulated studies"],
        machine="a machine",
        checkpoint=Path("demo/run/best"),
    )
    text = write_demo_page(record, tmp_path / "index.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.sources == ["data:image/png;base64," + base64.b64encode(picture).decode()]
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    assert "<b>left</b>" not in text
    assert "FLAIR: &lt;b&gt;left&lt;/b&gt; mass." in text
    assert "selip simulate a &amp; b" in text
    assert "1 min 10 s" in text
    assert "Its own text came\nfirst." in text
    assert "rules 9" in text
    assert "45.0 to 55.0), precision 40.0 %, recall 66.7 %" in text
    assert "50.0 %" in text


def test_ranking_keeps_the_own_text_in_sight() -> None:
    """Texts come by falling cosine; an own text below the shown ones is added with its rank."""
    texts = [f"text {index}" for index in range(20)]
    cosines = [index / 20 for index in range(20)]
    context = ranking_context(
        {"volume": "v", "sequence": "ADC", "own_text": "text 2", "texts": texts, "cosines": cosines}
    )
    assert [row["text"] for row in context["rows"][:2]] == ["text 19", "text 18"]
    assert context["rows"][-1] == {"rank": 18, "text": "text 2", "cosine": 0.1, "is_own": True}
    assert context["rank"] == 18


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


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (59.6, "1 min 00 s"), (725, "12 min 05 s")])
def test_duration_reads_like_a_clock(seconds: float, text: str) -> None:
    """Seconds below a minute, else minutes and seconds, rounded once."""
    assert duration(seconds) == text
