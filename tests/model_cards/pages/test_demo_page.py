"""The page of the demo says what the result file says, and nothing else."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from selip.model_cards.pages.demo_page import DemoRecord, StageRecord, duration, ranking_context, write_demo_page


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
def result_file(tmp_path: Path, retrieval_result: dict[str, Any]) -> Path:
    path = tmp_path / "retrieval.json"
    path.write_text(json.dumps(retrieval_result))
    return path


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


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (59.6, "1 min 00 s"), (725, "12 min 05 s")])
def test_duration_reads_like_a_clock(seconds: float, text: str) -> None:
    """Seconds below a minute, else minutes and seconds, rounded once."""
    assert duration(seconds) == text
